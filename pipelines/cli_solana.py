"""The command that brings Solana data into an archive. `pipelines.cli` adds it to the app."""

from pathlib import Path
from typing import Annotated

import typer

from blockscan.errors import ConfigError
from pipelines.cli_data import PARTIAL, Rpc
from pipelines.options import AsJson, Blocks, DryRun


def ingest_solana(
    out: Annotated[Path, typer.Option(help="Archive directory, new or to be continued.")],
    rpc: Rpc = None,
    blocks: Blocks = None,
    from_: Annotated[
        list[Path] | None, typer.Option("--from", help="File of records; may be repeated.")
    ] = None,
    files: Annotated[list[Path] | None, typer.Argument(help="More files, after --from.")] = None,
    votes: Annotated[bool, typer.Option("--votes", help="Keep the votes of validators too.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Fetch quarantined slots again.")] = False,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Fetch finalized slots from a node, or read files of getTransaction results. Run it again to resume.

    Slots are counted as blocks; a slot that its leader skipped has no transactions. A file has one result on
    a line, bare or in the answer of the node. Transactions of one slot are taken in the order of `tx_index`,
    `transactionIndex` or `index`, and by their signatures where a file has none of these.

    Examples:

        blockscan ingest solana --rpc http://127.0.0.1:8899 --blocks -1000: --out archive

        blockscan ingest solana --from history.jsonl.gz more/*.jsonl --out archive
    """
    from pipelines import data_commands

    inputs = [*(from_ or []), *(files or [])]
    wanted = sum((bool(inputs), bool(rpc and blocks and not inputs), repair))
    if wanted != 1 or (inputs and blocks) or (repair and (blocks or not rpc)):
        raise ConfigError(
            "give either --rpc URL with --blocks A:B, or --rpc URL with --repair, or --from FILE..."
        )
    given = data_commands.Endpoints(rpc or [], family="solana", votes=votes)
    if inputs:
        report = data_commands.ingest_from_files(given, inputs, out, dry_run=dry_run)
    elif repair:
        report = data_commands.repair(given, out, dry_run=dry_run)
    else:
        report = data_commands.ingest_from_node(given, blocks or "", out, dry_run=dry_run)
    if report is None:
        return
    data_commands.show_ingest(report, as_json=as_json)
    if report.partial:
        raise typer.Exit(PARTIAL)
