"""The commands that look after a calibration and its alerts; `pipelines.cli` adds them to the app."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_data import reported
from pipelines.options import (
    SEEDS,
    AsJson,
    Blocks,
    Device,
    Exclude,
    ModelOption,
    OnDevice,
    Source,
    StoreOption,
)

DRIFTED = 4
"""Exit status of `drift` where the traffic has drifted; 1 stays for errors."""

AlertsPerDay = Annotated[
    float | None, typer.Option(help="Accepted false alarms a day, instead of --fpr.", metavar="N")
]
TransactionsPerDay = Annotated[
    float | None,
    typer.Option(min=1, help="Traffic, where the calibration data do not show it.", metavar="N"),
]


def recalibrate(
    source: Source,
    model: ModelOption,
    fpr: Annotated[
        float | None, typer.Option(help="Accepted share of false alarms; as before if nothing is given.")
    ] = None,
    alerts_per_day: AlertsPerDay = None,
    transactions_per_day: TransactionsPerDay = None,
    blocks: Blocks = None,
    exclude: Exclude = None,
    device: OnDevice = Device.AUTO,
    as_json: AsJson = False,
) -> None:
    """Renew p-values and thresholds on newer benign transactions; values keep their scale.

    The old calibration stays in the model directory beside the new one, which counts from now on.

    Example:

        blockscan recalibrate archive --model model --blocks 20M:21M
    """
    from pipelines import commands
    from pipelines.traffic import Target

    target = Target(fpr, alerts_per_day, transactions_per_day)
    shards, rejects = commands.shards_of(source, blocks)
    with reported(rejects):
        facts = commands.recalibrate(shards, model, target, exclude, source=source, device=device.value)
        commands.show(facts, "Recalibration", as_json=as_json)


def drift(
    store: StoreOption,
    model: ModelOption,
    seed: Annotated[
        int, typer.Option(min=0, max=SEEDS, help="Seed that breaks ties between equal values.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Test whether the scored traffic still looks like the calibration. Exit status 4: it does not.

    Example:

        blockscan drift --store scores.sqlite --model model
    """
    from pipelines import calibration_commands, commands

    facts, advice, drifted = calibration_commands.drift(store, model, seed=seed)
    commands.show(facts, "Drift", as_json=as_json, missing="not called")
    typer.echo(advice, err=True)
    if drifted:
        raise typer.Exit(DRIFTED)


def bundle(
    tx_hash: Annotated[str, typer.Argument(help="Transaction hash, or its first 8 hex digits or more.")],
    store: StoreOption,
    archive: Annotated[Path, typer.Option(help="Archive that holds the transaction.")],
    model: ModelOption,
    out: Annotated[Path, typer.Option(help="New file, for instance alert.json.gz.")],
    chain: Annotated[str | None, typer.Option(help="Chain, where several have the hash.")] = None,
    device: OnDevice = Device.AUTO,
    as_json: AsJson = False,
) -> None:
    """Write an alert with all that is needed to check it into one file.

    Example:

        blockscan bundle 0x1234... --store scores.sqlite --archive archive --model model --out alert.json.gz
    """
    from pipelines import calibration_commands, commands

    facts = calibration_commands.bundle(tx_hash, store, archive, model, out, device=device.value, chain=chain)
    commands.show(facts, "Bundle", as_json=as_json)


def verify(
    bundle: Annotated[Path, typer.Argument(help="A file written by `blockscan bundle`.")],
    model: ModelOption,
    device: OnDevice = Device.AUTO,
    as_json: AsJson = False,
) -> None:
    """Score a bundle's transaction again and compare everything. Exit status 1: something differs.

    Example:

        blockscan verify alert.json.gz --model model
    """
    from pipelines import calibration_commands

    if not calibration_commands.verify(bundle, model, device=device.value, as_json=as_json):
        raise typer.Exit(1)
