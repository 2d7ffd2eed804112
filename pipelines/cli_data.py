"""The commands about data: ingest ethereum, coverage, watch. `pipelines.cli` adds them to the app."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blockscan.chains.networks import NETWORKS
from blockscan.safetext import safe_text
from pipelines.options import AsJson, Blocks, Device, DryRun, ModelOption, OnDevice, StoreOption

if TYPE_CHECKING:
    from pipelines.ingest import IngestReport
    from pipelines.sources import Rejects

PARTIAL = 3
"""Exit status: done, but some input was rejected, or all of it is degraded."""


@contextmanager
def reported(*rejects: "Rejects") -> Iterator[None]:
    """Say what the step inside could not read, also where it fails for that; the exit status says it, too."""
    try:
        yield
    finally:
        lines = [line for each in rejects for line in each.lines]
        for line in lines[:20]:
            typer.echo(safe_text(f"rejected: {line}", limit=1000), err=True)
    if lines:
        raise typer.Exit(PARTIAL)


Rpc = Annotated[
    list[str] | None,
    typer.Option(
        envvar="BLOCKSCAN_RPC",
        help="JSON-RPC URL, repeated or several with commas (better in BLOCKSCAN_RPC: it holds a key). "
        "Settings follow a #: weight, rps, concurrent, timeout, max_mb, attempts.",
    ),
]
ChainId = Annotated[
    int | None, typer.Option(help="Id of the chain, in place of --chain; for one without a name here.", min=1)
]


class Poorest(StrEnum):
    """The least that is taken of what a node can say about inner calls."""

    CALL_TRACER = "callTracer"
    TRACE_BLOCK = "trace_block"
    RECEIPT = "receipt"


MinSource = Annotated[Poorest, typer.Option(help="Poorest trace source taken.")]


def ingest_ethereum(
    out: Annotated[Path, typer.Option(help="Archive directory, new or to be continued.")],
    rpc: Rpc = None,
    blocks: Blocks = None,
    from_: Annotated[
        list[Path] | None, typer.Option("--from", help="File of records; may be repeated.")
    ] = None,
    files: Annotated[list[Path] | None, typer.Argument(help="More files, after --from.")] = None,
    chain: Annotated[
        str | None,
        typer.Option(
            help=f"From a node: the chain it must serve ({', '.join(NETWORKS)}). "
            "From files: keep only this chain, known or as the records name it."
        ),
    ] = None,
    chain_id: ChainId = None,
    min_source: MinSource = Poorest.RECEIPT,
    repair: Annotated[
        bool, typer.Option("--repair", help="Fetch quarantined and degraded blocks again.")
    ] = False,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Fetch blocks with traces from a node, or read files of records. Run it again to resume.

    Examples:

        blockscan ingest ethereum --rpc http://127.0.0.1:8545 --blocks -1000: --out archive

        blockscan ingest ethereum --rpc 'https://a.example/KEY#rps=25' --chain base --blocks 1M: --out archive

        blockscan ingest ethereum --repair --out archive

        blockscan ingest ethereum --from history.jsonl.gz more/*.jsonl --out archive
    """
    from pipelines import data_commands

    inputs = [*(from_ or []), *(files or [])]
    given = data_commands.Endpoints(rpc or [], chain, chain_id, min_source.value)
    report = data_commands.ingest(given, blocks, inputs, out, repair=repair, dry_run=dry_run)
    finish_ingest(report, as_json=as_json)


def finish_ingest(report: "IngestReport | None", *, as_json: bool) -> None:
    """Show what an ingest did, if it did anything; the exit status says whether that was all."""
    from pipelines.data_commands import show_ingest

    if report is None:
        return
    show_ingest(report, as_json=as_json)
    if report.partial:
        raise typer.Exit(PARTIAL)


def coverage(
    archive: Annotated[Path, typer.Argument(help="Archive directory.")],
    as_json: AsJson = False,
) -> None:
    """List what an archive holds, what it lacks, and the command that mends each.

    Example:

        blockscan coverage archive
    """
    from pipelines import data_commands

    data_commands.show_coverage(archive, as_json=as_json)


def watch(
    archive: Annotated[
        Path, typer.Option("--out", "--archive", help="Archive directory, new or to be continued.")
    ],
    model: ModelOption,
    store: StoreOption,
    rpc: Rpc = None,
    chain: Annotated[str | None, typer.Option(help="The chain that the node must serve, by name.")] = None,
    chain_id: ChainId = None,
    min_source: MinSource = Poorest.RECEIPT,
    finality: Annotated[
        str, typer.Option(help="Blocks to take: latest, safe, finalized, or N confirmations.")
    ] = "latest",
    start: Annotated[
        int | None, typer.Option(min=0, help="First block, where the archive has none; default the newest.")
    ] = None,
    until: Annotated[int | None, typer.Option(min=0, help="Stop after this block; default never.")] = None,
    poll: Annotated[
        float | None, typer.Option(min=0.01, help="Seconds between looks; default half a block's time.")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN",
            help="Forget what is older (12h, 30d, 8w) and never raised an alert, as `blockscan prune` does; "
            "default nothing.",
        ),
    ] = None,
    device: OnDevice = Device.AUTO,
) -> None:
    """Follow the head of a chain: ingest, score and alert as blocks arrive. Run it again to go on.

    Where the chain reorganises, scores and alerts of what left it become orphaned, and stay.
    A renewed calibration is used from the next start on; the log says when there is one.

    Example:

        blockscan watch --rpc http://127.0.0.1:8545 --out archive --model model --store scores.sqlite
    """
    import logging

    from pipelines import data_commands
    from pipelines.prune import seconds_of

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("blockscan").setLevel(logging.INFO)
    given = data_commands.Endpoints(rpc or [], chain, chain_id, min_source.value)
    span = None if keep is None else seconds_of(keep)
    on = device.value
    options = data_commands.WatchOptions(archive, model, store, on, finality, start, until, poll, span)
    data_commands.watch(given, options)
