"""What a recording looks like from outside: its shape, and what trivial features give away.

`python -m pipelines.simulation.shape DIR` prints both. A detector is only as good as its margin over the
best single feature, so these numbers belong beside every result on this world.
"""

from __future__ import annotations

import argparse
import csv
import json
import lzma
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Json = dict[str, Any]
TREE = ("calls", "depth", "logs", "addresses", "bytes", "gas_used")
SIDE = (
    "sender_age",
    "sender_nonce",
    "contract_age",
    "gas_limit",
    "gas_slack",
    "tip",
    "legacy",
    "block_position",
)


def blocks(folder: Path) -> Iterator[Json]:
    """Yield the recording's lines: {"block", "receipts", "traces"}."""
    with lzma.open(folder / "blocks.jsonl.xz", "rb") as file:
        for line in file:
            yield json.loads(line)


def labels(folder: Path) -> dict[str, dict[str, str]]:
    """Return labels.csv by transaction hash."""
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return {row["tx_hash"]: row for row in csv.DictReader(file)}


def tree_size(root: Json) -> dict[str, int]:
    """Return calls, depth, logs, distinct addresses and input + output bytes of a trace."""
    calls = depth = logs = size = 0
    addresses: set[str | None] = set()
    stack = [(root, 0)]
    while stack:
        frame, level = stack.pop()
        calls += 1
        depth = max(depth, level)
        logs += len(frame.get("logs", ()))
        size += (len(frame["input"]) + len(frame.get("output", "0x")) - 4) // 2
        addresses.update((frame["from"], frame.get("to")))
        stack.extend((child, level + 1) for child in frame.get("calls", ()))
    return {"calls": calls, "depth": depth, "logs": logs, "addresses": len(addresses), "bytes": size}


def rows(folder: Path) -> list[Json]:
    """Return one row of features, label columns included, per transaction in chain order."""
    truth = labels(folder)
    first_seen: dict[str, int] = {}
    created: dict[str, int] = {}
    result = []
    for entry in blocks(folder):
        block = entry["block"]
        number, base_fee = int(block["number"], 16), int(block["baseFeePerGas"], 16)
        pairs = zip(block["transactions"], entry["receipts"], entry["traces"], strict=True)
        for position, (tx, receipt, trace) in enumerate(pairs):
            row: Json = dict(truth[tx["hash"]]) | tree_size(trace["result"])
            sender, gas = tx["from"], int(tx["gas"], 16)
            first_seen.setdefault(sender, number)
            used = int(receipt["gasUsed"], 16)
            row |= {
                "block": number,
                "from": sender,
                "to": tx["to"],
                "selector": tx["input"][:10] if len(tx["input"]) >= 10 and tx["to"] else "",
                "plain": tx["input"] == "0x" and row["calls"] == 1 and row["logs"] == 0,
                "failed": receipt["status"] == "0x0",
                "gas_used": used,
                "sender_age": number - first_seen[sender],
                "sender_nonce": int(tx["nonce"], 16),
                "contract_age": number - created.get(tx["to"] or "", 0),
                "gas_limit": gas,
                "gas_slack": gas / used,
                "tip": int(tx["gasPrice"], 16) - base_fee,
                "legacy": int(tx["type"] == "0x0"),
                "block_position": position,
            }
            result.append(row)
            for address in _creations(trace["result"]):
                created.setdefault(address, number)
    return result


def _creations(root: Json) -> Iterator[str]:
    stack = [root]
    while stack:
        frame = stack.pop()
        if frame["type"].startswith("CREATE") and "error" not in frame:
            yield frame["to"]
        stack.extend(frame.get("calls", ()))


def auroc(positive: npt.ArrayLike, negative: npt.ArrayLike) -> float:
    """Return the probability that a positive exceeds a negative, ties counted half (Mann-Whitney)."""
    ranked = np.sort(np.asarray(negative, dtype=np.float64))
    values = np.asarray(positive, dtype=np.float64)
    below = np.searchsorted(ranked, values, side="left") + np.searchsorted(ranked, values, side="right")
    return float(below.mean() / (2 * len(ranked)))


def separations(table: list[Json], after: int) -> dict[str, float]:
    """Return the AUROC of each feature on exploits against benign contract calls later than `after`.

    A contract call is a transaction to a contract (calldata, or a trace with events or sub-calls).
    Above 0.5: exploits have more of it; below: less.
    """
    calls = [r for r in table if r["block"] > after and r["to"] is not None and not r["plain"]]
    exploits = [r for r in calls if r["stage"] == "exploit"]
    benign = [r for r in calls if r["label"] == "benign"]
    return {name: auroc([r[name] for r in exploits], [r[name] for r in benign]) for name in (*TREE, *SIDE)}


def body(table: list[Json]) -> dict[str, float]:
    """Return the overall shape: shares, quantiles and tails."""
    count = len(table)
    targets = Counter(r["to"] for r in table)
    shape = {
        "transactions": count,
        "plain transfers": sum(r["plain"] for r in table) / count,
        "failed": sum(r["failed"] for r in table) / count,
        "creations": sum(r["to"] is None for r in table) / count,
        "senders / transactions": len({r["from"] for r in table}) / count,
        "top 10 targets": sum(n for _, n in targets.most_common(10)) / count,
        "targets called once": sum(n == 1 for n in targets.values()) / len(targets),
        "root selectors": len({r["selector"] for r in table} - {""}),
    }
    for name in TREE[:5]:
        for quantile in (0.5, 0.9, 0.99, 1.0):
            shape[f"{name} p{quantile * 100:g}"] = float(np.quantile([r[name] for r in table], quantile))
    return shape


def short_exploits(table: list[Json], after: int) -> tuple[int, int]:
    """Return (exploits with fewer calls than the median benign contract call, all exploits)."""
    calls = [r for r in table if r["block"] > after and r["to"] is not None and not r["plain"]]
    middle = float(np.median([r["calls"] for r in calls if r["label"] == "benign"]))
    exploits = [r["calls"] for r in calls if r["stage"] == "exploit"]
    return sum(n < middle for n in exploits), len(exploits)


def main(argv: list[str] | None = None) -> None:
    """Print the report of a recording as JSON."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.simulation.shape", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder
    table = rows(folder)
    after = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["calibrate_until_block"]
    report = {
        "shape": body([r for r in table if r["label"] == "benign"]),
        "auroc": separations(table, after),
        "exploits shorter than the median benign contract call": short_exploits(table, after),
        "kinds": dict(Counter(r["kind"] or r["stage"] for r in table).most_common()),
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
