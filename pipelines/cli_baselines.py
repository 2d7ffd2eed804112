"""The command that computes what BlockScan is compared with."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_data import reported
from pipelines.exclude import hashes_of
from pipelines.options import (
    SEEDS,
    AsJson,
    Device,
    DryRun,
    Exclude,
    OnDevice,
    Preset,
    Set,
    Source,
    preset_config,
)


def baselines(
    source: Source,
    train: Annotated[str, typer.Option(help="Blocks to fit on, benign as far as known.", metavar="A:B")],
    test: Annotated[str, typer.Option(help="Blocks to give values to.", metavar="C:D")],
    out: Annotated[Path, typer.Option(help="Parquet file: tx_hash and a column per baseline.")],
    test_source: Annotated[
        Path | None, typer.Option(help="Archive of the blocks to give values to, if it is another one.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="This family only; may be repeated.", metavar="NAME")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model directory whose tokenizer to use; else one is fitted.")
    ] = None,
    exclude: Exclude = None,
    preset: Preset = "small",
    set_: Set = None,
    seed: Annotated[int, typer.Option(min=0, max=SEEDS, help="Seed of all baselines.")] = 0,
    device: OnDevice = Device.AUTO,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Fit simple and published detectors on past blocks, and give values to later ones. No label is read.

    Neural baselines have the size and the steps of the preset. `blockscan evaluate --baselines FILE` puts
    the values into its tables; files of other transactions, as of attacks in an archive of their own, are
    joined there. Run again, it goes on with the families that are not yet in the file.

    Examples:

        blockscan baselines archive --train :18M --test 18M:19M --out values.parquet

        blockscan baselines archive --train :18M --test 18M:19M --out values.parquet --only lof --only ecod
    """
    from pipelines import commands
    from pipelines.baselines import BASELINES, run
    from pipelines.model_dir import ModelDir, pick_device
    from tokenizer.txtokenizer import TxTokenizer

    config = preset_config(preset, set_)
    run.require_known(only or ())
    past, past_rejects = commands.shards_of(source, train)
    later, later_rejects = commands.shards_of(test_source or source, test)
    if dry_run:
        typer.echo(f"would fit {', '.join(only or BASELINES)} on blocks {train}, score {test}", err=True)
        return
    with reported(past_rejects, later_rejects):
        learnt = run.load("read, train", past, hashes_of(exclude))
        tokenizer = (
            TxTokenizer.fit(learnt, config.tokenizer)
            if model is None
            else TxTokenizer.load(ModelDir(model).tokenizer)
        )
        request = run.Request(
            train=learnt,
            test=run.load("read, test", later),
            tokenizer=tokenizer,
            config=config,
            seed=seed,
            device=pick_device(device.value),
            only=tuple(only or ()),
        )
        commands.show(run.run_baselines(request, out), "Baselines", as_json=as_json)
