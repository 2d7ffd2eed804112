"""Commands about tokens: `blockscan tokenizer balance`."""

from typing import Annotated

import typer

from pipelines.cli_data import reported
from pipelines.options import AsJson, Blocks, Device, ModelOption, OnDevice, Source


def tokenizer_balance(
    source: Source,
    model: ModelOption,
    blocks: Blocks = None,
    sample: Annotated[int, typer.Option(help="Transactions to look at, chosen by hash.")] = 1000,
    device: OnDevice = Device.AUTO,
    as_json: AsJson = False,
) -> None:
    """Show what share of the tokens and of the information each modality and field takes, per chain.

    With a checkpoint in the model directory the information is the model's surprise, without one the
    entropy of single pieces.

    Example:

        blockscan tokenizer balance archive --model model --sample 2000
    """
    from pipelines import balance, commands
    from pipelines.model_dir import ModelDir
    from pipelines.render import print_json, to_stdout

    shards, rejects = commands.shards_of(source, blocks)
    with reported(rejects):
        found, measure = balance.balance_of(shards, ModelDir(model), count=sample, device=device.value)
        if as_json:
            print_json(balance.to_dict(found, measure))
        else:
            to_stdout(balance.render(found, measure))
