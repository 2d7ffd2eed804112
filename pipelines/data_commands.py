"""What stands between the command line and the data steps: endpoints and directories in, facts out."""

import shlex
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from blockscan.archive import Archive, Coverage
from blockscan.chains.checks import InvalidAnswer
from blockscan.errors import ConfigError
from pipelines.block_writer import BlockWriter, Node
from pipelines.ingest import IngestReport, ingest_files, ingest_node, open_for, repair_node
from pipelines.ingest_plan import missing_blocks, require_files, require_known, require_same_chain
from pipelines.progress import console
from pipelines.ranges import parse_range
from pipelines.render import GAPS_UNKNOWN, coverage_table, pairs, plain, print_json, spans_text, to_stdout
from pipelines.table_lines import tables_among

if TYPE_CHECKING:
    from blockscan.chains.rpc import EthereumNode

SHOWN = 20
"""Lines of a list shown in a table; `--json` has all of them."""
_COMMANDS = {"evm": "ethereum", "solana": "solana"}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What the command line says about a node, or of files; see blockscan.chains.pool and networks.

    `family` is the chain family, evm or solana; `votes` keeps the votes of Solana's validators.
    """

    rpc: Sequence[str]
    chain: str | None = None
    chain_id: int | None = None
    least: str = "receipt"
    family: str = "evm"
    votes: bool = False


def open_node(given: Endpoints) -> Node:
    """The node behind the endpoints, of the family that they say.

    Raises:
        ConfigError: the settings contradict each other or name an unknown chain.
        ChainError: the endpoints do not answer, serve another chain, or cannot trace as wanted.
    """
    if given.family != "solana":
        return _ethereum_node(given)
    from blockscan.chains.pool import read_endpoints
    from blockscan.chains.solana_rpc import SolanaNode

    return SolanaNode(read_endpoints(given.rpc), votes=given.votes)


def _ethereum_node(given: Endpoints) -> "EthereumNode":
    """An EVM node, its chain checked."""
    from blockscan.chains.pool import read_endpoints
    from blockscan.chains.rpc import EthereumNode

    node = EthereumNode(read_endpoints(given.rpc), chain_id=_chain_id(given), least=given.least)
    for url, plans in node.offers.items():
        console.print(plain(f"{url}: chain id {node.chain_id}, {', '.join(plans)}"))
    if not any(plans[0] != "receipts" for plans in node.offers.values()):
        console.print("no endpoint can trace: receipts and logs only, so inner calls stay unseen")
    return node


def _chain_id(given: Endpoints) -> int | None:
    """The chain that `--chain` and `--chain-id` mean, None without either."""
    from blockscan.chains.networks import network

    if given.chain is None:
        return given.chain_id
    named = network(given.chain).chain_id
    if given.chain_id not in (None, named):
        raise ConfigError(f"--chain {given.chain} is chain id {named}, and --chain-id says {given.chain_id}")
    return named


def _only_chain(files: Sequence[Path], given: Endpoints) -> str | None:
    """The chain to keep of files. Records may be of chains that are unknown here; tables often name none."""
    from blockscan.chains.networks import chain_name

    if given.chain is not None and given.chain_id is None and not tables_among(files):
        return given.chain
    wanted = _chain_id(given)
    return None if wanted is None else chain_name(wanted)


def ingest(
    given: Endpoints, blocks: str | None, files: Sequence[Path], out: Path, *, repair: bool, dry_run: bool
) -> IngestReport | None:
    """`blockscan ingest ethereum`, or `solana`, from a node or from files; None of a dry run.

    Raises:
        ConfigError: not exactly one of blocks of a node, a repair and files is asked for.
    """
    wanted = sum((bool(files), bool(given.rpc and blocks and not files), repair))
    if wanted != 1 or (files and blocks) or (repair and (blocks or not given.rpc)):
        raise ConfigError(
            "give either --rpc URL with --blocks A:B, or --rpc URL with --repair, or --from FILE..."
        )
    if files:
        return _ingest_from_files(given, files, out, dry_run=dry_run)
    if repair:
        return _repair(given, out, dry_run=dry_run)
    return ingest_from_node(given, blocks or "", out, dry_run=dry_run)


def ingest_from_node(given: Endpoints, blocks: str, out: Path, *, dry_run: bool) -> IngestReport | None:
    """Fetch blocks of a node."""
    node = open_node(given)
    wanted = parse_range(blocks, newest=node.head())
    if not dry_run:
        return ingest_node(node, wanted, out)
    require_known(node, wanted)
    missing = missing_blocks(node, wanted, _planned(node, out))
    if missing:
        with suppress(InvalidAnswer):  # such a block is quarantined
            node.fetch(missing[0][0])
    count = sum(last - first + 1 for first, last in missing)
    console.print(plain(f"would fetch {count:,} blocks of {node.chain} into {out}"))
    return None


def _repair(given: Endpoints, out: Path, *, dry_run: bool) -> IngestReport | None:
    coverage = Archive(out).coverage()
    node = open_node(given)
    if not dry_run:
        return repair_node(node, out)
    _planned(node, out)
    count = len(coverage.quarantined) + len(coverage.degraded)
    console.print(plain(f"would fetch {count:,} blocks of {out} again"))
    return None


def _planned(node: Node, out: Path) -> Archive | None:
    """The archive that would be continued, if there is one."""
    archive = Archive.beginnable(out, node.family)
    if archive is not None:
        require_same_chain(node, archive)
    return archive


def _ingest_from_files(
    given: Endpoints, files: Sequence[Path], out: Path, *, dry_run: bool
) -> IngestReport | None:
    only_chain = _only_chain(files, given)
    if not dry_run:
        return ingest_files(files, out, only_chain, family=given.family, votes=given.votes)
    require_files(files)
    Archive.beginnable(out, given.family)
    console.print(plain(f"would read {len(files)} files into {out}"))
    return None


def show_ingest(report: IngestReport, *, as_json: bool) -> None:
    """Print what an ingest did and what the archive holds now."""
    for line in report.rejected[:SHOWN]:
        console.print(plain(f"rejected: {line}"))
    if more := len(report.rejected[SHOWN:]) + report.more_rejected:
        console.print(f"rejected: {more:,} more")
    held = report.coverage
    if held.quarantined or held.degraded:
        console.print(
            f"{len(held.quarantined):,} blocks quarantined, {len(held.degraded):,} degraded; "
            "`blockscan coverage` lists them"
        )
    if as_json:
        print_json(asdict(report))
    else:
        console.print(f"added {report.added:,} transactions")
        if report.unwanted:
            console.print(f"left out {report.unwanted:,} that were not asked for (other chains, votes)")
        rejected = len(report.rejected) + report.more_rejected
        to_stdout(coverage_table(report.coverage, rejected=rejected))
    if report.all_degraded:
        console.print(
            f"all {report.all_degraded:,} blocks fetched are degraded (`blockscan coverage` says why): take "
            "an endpoint that traces them in full, most often one that keeps old state, and fetch them again "
            "with --repair"
        )


def show_coverage(path: Path, *, as_json: bool) -> None:
    """`blockscan coverage`."""
    coverage, found = problems(path)
    if as_json:
        print_json(asdict(coverage) | {"problems": [asdict(problem) for problem in found]})
    else:
        for table in coverage_tables(coverage, found):
            to_stdout(table)


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What `blockscan watch` is told besides endpoints.

    poll: in seconds, None for half a block's time. keep: seconds after which scores are forgotten, or None.
    """

    archive: Path
    model: Path
    store: Path
    device: str = "auto"
    finality: str = "latest"
    start: int | None = None
    until: int | None = None
    poll: float | None = None
    keep: int | None = None


def watch(given: Endpoints, options: WatchOptions) -> None:
    """`blockscan watch`."""
    from blockscan.chains.networks import block_seconds
    from blockscan.store import open_store
    from pipelines import watch as step
    from pipelines.model_dir import ModelDir, load_detector, renewal
    from pipelines.prune import beside, opened

    finality = step.Finality.read(options.finality)
    node = open_node(given)
    finality.head(node)  # a tag that the node does not know is an error now, not a warning for ever
    writer = BlockWriter(open_for(node, options.archive), node)
    model = ModelDir(options.model)
    detector = load_detector(model, options.device)
    poll = block_seconds(node.chain_id or 0) / 2 if options.poll is None else options.poll
    with open_store(options.store) as results, closing(opened(options.store, read_only=False)) as db:
        old = step.NOTHING if options.keep is None else beside(db, node.chain, options.keep)
        watcher = step.Watcher(writer, detector, results, finality, renewed=lambda: renewal(model, detector))
        step.watch(watcher, first=options.start, until=options.until, poll=poll, between=old)
        console.print(plain(f"{watcher.blocks:,} blocks: {watcher.latencies.line()}"))


@dataclass(frozen=True, slots=True)
class Problem:
    """Something an archive lacks, and the command that mends it. `first` and `last` are block numbers."""

    kind: str
    first: int
    last: int
    reason: str
    command: str


def problems(path: Path) -> tuple[Coverage, list[Problem]]:
    """The coverage of an archive and what is wrong with it, in block order.

    Raises:
        ArtifactError: `path` is no archive.
    """
    archive = Archive(path)
    coverage = archive.coverage()
    begin = f"blockscan ingest {_COMMANDS.get(archive.family, archive.family)}"
    out = f"--out {shlex.quote(str(path))}"
    found = [
        Problem("gap", first, last, "never fetched", f"{begin} --blocks {first}:{last + 1} {out}")
        for first, last in coverage.gaps
    ]
    for kind, blocks in (("quarantined", coverage.quarantined), ("degraded", coverage.degraded)):
        found += [
            Problem(kind, number, number, reason, f"{begin} --repair {out}") for number, reason in blocks
        ]
    return coverage, sorted(found, key=lambda each: (each.first, each.kind))


def coverage_tables(coverage: Coverage, found: Sequence[Problem]) -> list[Table]:
    """A coverage report for people: what is there, and what is not with the command that mends it."""
    held = pairs(
        {
            "transactions": coverage.transactions,
            "blocks": spans_text(coverage.blocks, most=SHOWN) or "none",
            "chain ids": ", ".join(map(str, coverage.chain_ids)) or "not recorded",
            "chains": ", ".join(f"{name} {count:,}" for name, count in sorted(coverage.chains.items())),
            "trace sources": ", ".join(
                f"{name} {count:,}" for name, count in sorted(coverage.sources.items())
            ),
            "gaps": GAPS_UNKNOWN if coverage.from_files else len(coverage.gaps),
            "quarantined blocks": len(coverage.quarantined),
            "degraded blocks": len(coverage.degraded),
            "orphaned blocks": coverage.orphaned,
            "rejected lines": len(coverage.rejected) + coverage.more_rejected,
        },
        "Coverage",
    )
    if not found:
        return [held]
    shown = found[:SHOWN]
    title = "To mend" + (f" (first {SHOWN} of {len(found):,}; --json has all)" if len(found) > SHOWN else "")
    table = Table(title=title, title_justify="left")
    for column in ("what", "blocks", "reason", "command"):
        table.add_column(column, overflow="fold")
    for problem in shown:
        span = spans_text([(problem.first, problem.last)], most=1)
        table.add_row(problem.kind, span, plain(problem.reason), plain(problem.command))
    return [held, table]
