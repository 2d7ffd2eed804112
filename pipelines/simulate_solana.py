"""Makes a labelled Solana benchmark as `pipelines.simulate` makes EVM ones, and reports on it.

`history` holds benign slots to learn from, `test` later ones with attacks in them; rows are those that an
ingest from a node would store. Labels stay in labels.csv, which only evaluation and the
report read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from blockscan.archive import Archive, PartInfo, RawBlock
from blockscan.artifact import drafted, require_empty
from blockscan.chains.solana import parse
from blockscan.errors import ArtifactError
from blockscan.transaction import Call, Log, TraceSource, Transaction, walk
from pipelines.metrics import Estimate, rank_metrics
from pipelines.simulate import HISTORY, TEST, read_truth
from pipelines.simulation.engine import SimulationError
from pipelines.simulation.solana.server import GENESIS_HASH

if TYPE_CHECKING:
    from pipelines.simulation.solana_world import SolanaChain

PRESETS = {"small": (1_500, 18), "standard": (6_000, 60), "large": (24_000, 240)}
"""Transactions (at least) and incidents. Three fifths are to train on, one fifth to calibrate with."""
CLUSTER = f"solana-{GENESIS_HASH[:8]}"
"""The chain's name, as a node that serves it would give it."""
_PART_SLOTS = 200
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SolanaPlan:
    """What to simulate; the same plan gives the same bytes. `split`: dev or eval, which families attack."""

    seed: int
    split: str
    transactions: int
    incidents: int


def plan(preset: str, split: str, seed: int) -> SolanaPlan:
    """Return the plan of a preset, a key of PRESETS."""
    return SolanaPlan(seed, split, *PRESETS[preset])


def simulate(wanted: SolanaPlan, out: Path) -> Json:
    """Run a plan and write `out`: archives history and test, labels and incidents (CSV), meta.json.

    Args:
        wanted: what to simulate.
        out: a new directory; it appears when everything is in it.

    Raises:
        ArtifactError: `out` is not empty, or the disk is full.
        SimulationError: LiteSVM is not installed, or an attack did not do its damage.
    """
    require_empty(out)
    try:
        from pipelines.simulation.solana.record import write_truth
        from pipelines.simulation.solana_world import build
    except ImportError as error:
        raise SimulationError(
            f"the Solana world needs LiteSVM ({error}); install it with: pip install 'blockscan[sim]'"
        ) from error
    chain = build(
        wanted.seed, transactions=wanted.transactions, incidents=wanted.incidents, split=wanted.split
    )
    try:
        with drafted(out) as draft:
            _write_archives(chain, draft)
            write_truth(chain, draft, seed=wanted.seed, split=wanted.split)
    except OSError as error:
        raise ArtifactError(f"cannot write {out}: {error.strerror}; free some space and run again") from error
    return _facts(chain, wanted, out)


def _write_archives(chain: SolanaChain, folder: Path) -> None:
    archives = {part: Archive.begin(folder / part, "solana") for part in (HISTORY, TEST)}
    rows: list[RawBlock] = []
    for row in raw_blocks(chain):
        rows.append(row)
        if row.number in (chain.calibrate_until, chain.last) or len(rows) == _PART_SLOTS:
            first, last = rows[0].number or 0, row.number or 0
            count = sum(len(each.tx_hashes) for each in rows)
            part = HISTORY if last <= chain.calibrate_until else TEST
            archives[part].append(rows, PartInfo("", "node", first, last, count))
            rows = []


def raw_blocks(chain: SolanaChain) -> Iterator[RawBlock]:
    """Yield every slot of a chain as an ingest from a node would store it, skipped ones among them."""
    newest = ""
    for slot in range(chain.first, chain.last + 1):
        block = orjson.loads(chain.blocks[slot]) if slot in chain.blocks else None
        entries = block["transactions"] if block else []
        before = block["previousBlockhash"] if block else newest
        newest = block["blockhash"] if block else newest
        yield RawBlock(
            chain=CLUSTER,
            number=slot,
            hash=newest,
            parent_hash=before,
            time=block["blockTime"] if block else None,
            source=TraceSource.SOLANA_LOGS,
            form="rpc",
            tx_hashes=tuple(entry["transaction"]["signatures"][0] for entry in entries),
            bodies={"block": orjson.dumps({"jsonrpc": "2.0", "id": 0, "result": block})},
        )


def _facts(chain: SolanaChain, wanted: SolanaPlan, out: Path) -> Json:
    return {
        "directory": str(out),
        "split": wanted.split,
        "slots": chain.last - chain.first + 1,
        "transactions": len(chain.labels),
        "benign": sum(row.label == "benign" for row in chain.labels),
        "of attacks": sum(row.label == "attack" for row in chain.labels),
        "incidents": len(chain.incidents),
        "families": len({incident.family for incident in chain.incidents}),
        "history until slot": chain.calibrate_until,
    }


def made(folder: Path) -> bool:
    """Whether a directory holds a benchmark of `simulate`; an EVM one, or none, does not."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        return isinstance(meta, dict) and meta.get("chain") == "solana"
    except (OSError, ValueError):
        return False


def read_report(folder: Path) -> Json:
    """Return what single facts give away: AUROC of exploits against later benign transactions.

    Intervals (95 %) are of a bootstrap that draws attacks by incident.

    Args:
        folder: holds history, test, labels.csv and meta.json.

    Raises:
        ArtifactError: the directory or a file cannot be read.
    """
    truth, after = read_truth(folder)
    kept = [(row, truth[row["hash"]]) for row in _features(folder) if row["hash"] in truth]
    kept = [
        (row, label)
        for row, label in kept
        if row.pop("slot") > after and (label["label"] == "benign" or label["stage"] == "exploit")
        if label["label"] != "grey"
    ]
    attack = np.array([label["label"] == "attack" for _, label in kept])
    if attack.all() or not attack.any():
        raise ArtifactError(f"{folder}: a report needs exploits and benign transactions after slot {after:,}")
    clusters = [label["incident"] or row["hash"] for row, label in kept]
    found: dict[str, Estimate] = {}
    for name in (name for name in kept[0][0] if name != "hash"):
        values = np.array([row[name] for row, _ in kept], dtype=np.float64)
        rng = np.random.default_rng(0)
        found[name] = rank_metrics(values, attack, rng=rng, clusters=clusters, resamples=300)["auroc"]
    return {
        "auroc": {name: [each.value, each.low, each.high] for name, each in found.items()},
        "exploits": int(attack.sum()),
        "benign": int((~attack).sum()),
        "families": dict(Counter(label["family"] for _, label in kept if label["incident"])),
        "tiers": dict(Counter(label["tier"] for _, label in kept if label["incident"])),
    }


def _features(folder: Path) -> Iterator[Json]:
    """Facts of every transaction that need no more than counting, in time order."""
    first: dict[str, int] = {}
    before: Counter[str] = Counter()
    for part in (HISTORY, TEST):
        for raw in Archive(folder / part).raw_blocks():
            for one in parse(raw):
                born = first.setdefault(one.sender, one.block_number or 0)
                yield _counts(one) | {
                    "sender's age in slots": (one.block_number or 0) - born,
                    "sender's earlier transactions": before[one.sender],
                }
                before[one.sender] += 1


def _counts(one: Transaction) -> Json:
    steps = [visit.step for visit in walk(one.root)]
    calls = [step for step in steps if isinstance(step, Call)]
    return {
        "hash": one.hash,
        "slot": one.block_number,
        "steps": len(steps),
        "instructions": len(calls) - 1,
        "input bytes": sum(len(call.data) for call in calls),
        "log lines": sum(isinstance(step, Log) and not step.accounts for step in steps),
        "accounts": len({account for call in calls for account in call.accounts}),
        "signers": len(one.root.accounts),
        "fee": one.root.value,
        "compute units": one.gas_used or 0,
    }
