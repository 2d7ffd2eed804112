"""`blockscan recount`; `pipelines.cli` adds it to the app."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_data import reported
from pipelines.options import AsJson, Blocks, Exclude, ModelOption, Source


def recount(
    source: Source,
    model: ModelOption,
    out: Annotated[Path, typer.Option(help="New model directory: the same weights, another history.")],
    blocks: Blocks = None,
    exclude: Exclude = None,
    as_json: AsJson = False,
) -> None:
    """Count benign transactions anew for a trained model, without training it again.

    For more or later benign blocks than it was trained on, and after an upgrade that counts more than before.
    The new directory wants a calibration on blocks after these and after those of the training; the old one
    stays as it is.

    Example:

        blockscan recount archive --model model --blocks :19M --out model-2
    """
    from pipelines import commands

    shards, rejects = commands.shards_of(source, blocks)
    with reported(rejects):
        facts = commands.recount(shards, model, out, exclude)
        commands.show(facts, "History", as_json=as_json)
