"""Makes a labelled benchmark: a simulated chain as two archives, with the truth beside them.

`history` holds benign blocks to learn from, `test` later ones with attacks in them. Labels stay in
labels.csv, which only evaluation and the report on a benchmark read.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson

from blockscan.archive import Archive, PartInfo, RawBlock
from blockscan.artifact import drafted
from blockscan.chains.decode import decode
from blockscan.chains.ethereum import chain_name
from blockscan.errors import ArtifactError, ConfigError
from blockscan.transaction import TraceSource
from pipelines.progress import progress
from pipelines.simulation.chain import CHAIN_ID, START, Plan, SimulatedChain
from pipelines.simulation.engine import Engine
from pipelines.simulation.features import rows as feature_rows
from pipelines.simulation.features import tree_size
from pipelines.simulation.record import write_truth
from pipelines.simulation.shape import report

HISTORY, TEST = "history", "test"
_PART_BLOCKS = 200
Json = dict[str, Any]


def plan(preset: str, split: str, seed: int) -> Plan:
    """Return the plan of a preset, a key of PRESETS."""
    history, test, incidents, users = PRESETS[preset]
    return Plan(seed=seed, split=split, history=history, test=test, incidents=incidents, users=users)


PRESETS = {
    "small": (400, 100, 30, 8_000),
    "standard": (2_000, 520, 150, 36_000),
    "large": (7_500, 1_900, 600, 140_000),
}
"""Blocks of history (three quarters of them to train on), blocks of test, incidents, users of old."""


def simulate(wanted: Plan, out: Path, engine: str) -> Json:
    """Run a plan and write `out`: archives history and test, labels and incidents (CSV), meta.json.

    Args:
        wanted: what to simulate; the same plan gives the same bytes.
        out: a new directory; it appears when everything is in it.
        engine: "py-evm" (in process) or "anvil" (a local node, faster).

    Raises:
        ArtifactError: `out` is not empty, or the disk is full.
        SimulationError: the engine is not there, or died.
    """
    try:
        with drafted(out) as draft:
            with ExitStack() as stack:
                chain = _run(wanted, draft, stack, engine)
            write_truth(chain, draft)
    except OSError as error:
        raise ArtifactError(f"cannot write {out}: {error.strerror}; free some space and run again") from error
    return _facts(chain, out)


def _run(wanted: Plan, draft: Path, stack: ExitStack, engine: str) -> SimulatedChain:
    history = _Writer(Archive.begin(draft / HISTORY, "evm"), 1)
    test = _Writer(Archive.begin(draft / TEST, "evm"), wanted.history + 1)
    total = wanted.history + wanted.test
    bar = stack.enter_context(progress("simulate blocks", total))

    def keep(sealed: Json) -> None:
        number = int(sealed["block"]["number"], 16)
        (history if number <= wanted.history else test).add(sealed)
        bar.to(min(number, total), total)

    chain = SimulatedChain(wanted, _engine(engine, stack), keep)
    chain.run()
    history.flush()
    test.flush()
    return chain


def _engine(name: str, stack: ExitStack) -> Engine:
    try:
        from pipelines.simulation.anvil import Anvil
        from pipelines.simulation.pyevm import PyEvm
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"simulating needs {error.name}, which is not installed; pip install 'blockscan[sim]'"
        ) from error
    if name == "py-evm":
        return PyEvm(chain_id=CHAIN_ID, timestamp=START)
    return stack.enter_context(Anvil(chain_id=CHAIN_ID, timestamp=START))


class _Writer:
    """Sealed blocks on their way into an archive, a part at a time."""

    def __init__(self, archive: Archive, first: int) -> None:
        self._archive = archive
        self._first = first
        self._rows: list[RawBlock] = []

    def add(self, sealed: Json) -> None:
        self._rows.append(raw_block(sealed))
        if len(self._rows) == _PART_BLOCKS:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            last = self._first + len(self._rows) - 1
            count = sum(len(row.tx_hashes) for row in self._rows)
            self._archive.append(self._rows, PartInfo("", "node", self._first, last, count))
            self._first, self._rows = last + 1, []


def raw_block(sealed: Json) -> RawBlock:
    """Return a sealed block as an ingest from a node would store it."""
    block = sealed["block"]
    bodies = {
        name: orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": sealed[name]}, option=orjson.OPT_SORT_KEYS)
        for name in ("block", "receipts", "traces")
    }
    return RawBlock(
        chain=chain_name(CHAIN_ID),
        number=int(block["number"], 16),
        hash=block["hash"],
        parent_hash=block["parentHash"],
        time=int(block["timestamp"], 16),
        source=TraceSource.CALL_TRACER_LOGS,
        form="rpc",
        tx_hashes=tuple(tx["hash"] for tx in block["transactions"]),
        bodies=bodies,
    )


def _facts(chain: SimulatedChain, out: Path) -> Json:
    tags = list(chain.driver.labels.values())
    until = chain.plan.history
    return {
        "directory": str(out),
        "split": chain.plan.split,
        "blocks": chain.height,
        "transactions": len(tags),
        "benign": sum(tag.label == "benign" for tag in tags),
        "of attacks": sum(tag.label == "attack" for tag in tags),
        "incidents": len(chain.world.incidents),
        "families": len({incident.family for incident in chain.world.incidents}),
        "broken off": sum(chain.broken.values()),
        "history until block": until,
    }


def read_report(folder: Path, reference: Sequence[Path]) -> Json:
    """Return the report (`shape.report`) on a directory that `simulate` wrote.

    Args:
        folder: holds history, test, labels.csv and meta.json.
        reference: files of records of a real chain to compare with.

    Raises:
        ArtifactError: the directory or a file cannot be read.
    """
    truth, after = read_truth(folder)
    table = feature_rows(_sealed(folder), truth)
    return report(table, after, [row for path in reference for row in reference_rows(path)])


def read_truth(folder: Path) -> tuple[dict[str, dict[str, str]], int]:
    """Return the rows of labels.csv by hash, and the last block that attacks come after.

    Raises:
        ArtifactError: the directory holds no benchmark.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        with (folder / "labels.csv").open(encoding="utf-8", newline="") as stream:
            return {row["tx_hash"]: row for row in csv.DictReader(stream)}, int(meta["calibrate_until_block"])
    except (OSError, ValueError, KeyError) as error:
        message = f"{folder} holds no simulated benchmark ({error}); make one with --out"
        raise ArtifactError(message) from error


def _sealed(folder: Path) -> Iterator[Json]:
    for part in (HISTORY, TEST):
        for raw in Archive(folder / part).raw_blocks():
            yield {name: decode(body)["result"] for name, body in raw.bodies.items()}


def reference_rows(path: Path) -> Iterator[Json]:
    """Yield the features of a file of records (JSONL, plain or gzip) that need no more than a record."""
    import gzip

    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        for line in stream:
            record = decode(line)
            trace = record["trace"]
            row = tree_size(trace)
            row["logs"] = max(row["logs"], len(record.get("logs") or ()))
            data = record.get("input") or trace.get("input") or "0x"
            created = trace["type"].startswith("CREATE")
            yield row | {
                "from": trace["from"],
                "to": None if created else trace.get("to"),
                "selector": data[:10] if len(data) >= 10 and not created else "",
                "failed": "error" in trace or record.get("status") in (0, "0x0", False),
                "plain": data == "0x" and row["calls"] == 1 and row["logs"] == 0,
            }
