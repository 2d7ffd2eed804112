"""The commands that look at results: explain, evaluate, dashboard. `pipelines.cli` adds them to the app."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from blockscan.errors import ConfigError
from pipelines.options import AsJson, Device, OnDevice, StoreOption


def explain(
    tx_hash: Annotated[str, typer.Argument(help="Transaction hash.")],
    store: Annotated[Path | None, typer.Option(help="Store that holds its score.")] = None,
    source: Annotated[Path | None, typer.Option(help="Archive to score it from again, with --model.")] = None,
    model: Annotated[Path | None, typer.Option(help="Model directory, with --source.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show every frame of the call tree.")] = False,
    device: OnDevice = Device.AUTO,
    as_json: AsJson = False,
) -> None:
    """Show why a transaction was judged as it was: evidence, expectations, painted call tree.

    Examples:

        blockscan explain 0x1234... --store scores.sqlite

        blockscan explain 0x1234... --source archive --model model
    """
    from pipelines import commands

    if store is None and (source is None or model is None):
        raise ConfigError("give --store FILE, or --source ARCHIVE with --model DIR")
    if source is not None and model is not None:
        verdict, frames = commands.explain_again(tx_hash, source, model, device=device.value)
        labels = commands.labels_in(store, verdict, frames)
    else:
        verdict, frames, labels = commands.explain_stored(tx_hash, store or Path())
    commands.show_explanation(verdict, frames, labels, everything=everything, as_json=as_json)


def evaluate(
    store: StoreOption,
    labels: Annotated[Path, typer.Option(help="CSV: tx_hash,label[,stage,family,incident,kind].")],
    archive: Annotated[
        Path | None, typer.Option(help="Archive of the transactions, for the Isolation Forest baseline.")
    ] = None,
    train_blocks: Annotated[
        str | None, typer.Option(help="Blocks that the baseline is fitted on.", metavar="A:B")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap and of the baseline.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compare stored scores with labels, beside the length baseline. Labels are read here and nowhere else.

    Example:

        blockscan evaluate --store scores.sqlite --labels labels.csv --archive archive --train-blocks :18M
    """
    from pipelines import commands

    result = commands.evaluate(store, labels, archive, train_blocks, seed=seed)
    commands.show_evaluation(result, as_json=as_json)


def dashboard(
    store: StoreOption,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    allow_remote: Annotated[
        bool,
        typer.Option("--allow-remote", help="Permit an address that others can reach; there is no login."),
    ] = False,
) -> None:
    """Open the dashboard on a store.

    Example:

        blockscan dashboard --store demo-out/scores.sqlite
    """
    command = [sys.executable, "-m", "dashboard.launch", "--store", str(store), "--port", str(port)]
    command += ["--address", address, *(["--allow-remote"] if allow_remote else [])]
    try:
        status = subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        status = 0
    raise typer.Exit(status)
