"""The command that brings Solana data into an archive. `pipelines.cli` adds it to the app."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_data import Rpc, finish_ingest
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
    given = data_commands.Endpoints(rpc or [], family="solana", votes=votes)
    report = data_commands.ingest(given, blocks, inputs, out, repair=repair, dry_run=dry_run)
    finish_ingest(report, as_json=as_json)
