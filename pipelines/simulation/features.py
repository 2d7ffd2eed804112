"""What can be counted about a transaction without a detector: size of its tree, and facts of its sender.

The report on a benchmark (`shape.py`) compares these between exploits and benign transactions, and
between the simulation and a real chain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Json = dict[str, Any]
TREE = ("calls", "depth", "logs", "addresses", "bytes")
"""Size of the call tree; also known of recorded transactions of a real chain."""
COST = ("gas_used", "value", "contract_calls")
SIDE = (
    "sender_age",
    "sender_nonce",
    "sender_transactions",
    "contract_age",
    "fresh_contract",
    "own_contract",
    "gas_limit",
    "gas_slack",
    "tip",
    "legacy",
    "block_position",
    "block",
    "target_address",
)
"""Facts around the call tree; none of them may tell an attack."""
_FRESH = 10


def tree_size(root: Mapping[str, Any]) -> dict[str, int]:
    """Return calls, depth, logs, distinct addresses and input + output bytes of a callTracer tree."""
    calls = depth = logs = size = 0
    addresses: set[str | None] = set()
    stack = [(root, 0)]
    while stack:
        frame, level = stack.pop()
        calls += 1
        depth = max(depth, level)
        logs += len(frame.get("logs", ()))
        size += (len(frame.get("input", "0x")) + len(frame.get("output") or "0x") - 4) // 2
        addresses.update((frame["from"], frame.get("to")))
        stack.extend((child, level + 1) for child in frame.get("calls", ()))
    return {"calls": calls, "depth": depth, "logs": logs, "addresses": len(addresses), "bytes": size}


def rows(blocks: Iterable[Json], truth: Mapping[str, Mapping[str, str]]) -> list[Json]:
    """Return one row of features, label columns included, per transaction in chain order.

    Args:
        blocks: {"block", "receipts", "traces"} as the three RPC methods answer, from the first block on.
        truth: rows of labels.csv by transaction hash.
    """
    history = _History()
    result = []
    for entry in blocks:
        base_fee = int(entry["block"]["baseFeePerGas"], 16)
        number = int(entry["block"]["number"], 16)
        pairs = zip(entry["block"]["transactions"], entry["receipts"], entry["traces"], strict=True)
        for position, (tx, receipt, trace) in enumerate(pairs):
            tree = trace["result"]
            row = dict(truth[tx["hash"]]) | tree_size(tree) | _of_transaction(tx, receipt, base_fee)
            row["plain"] = tx["input"] == "0x" and row["calls"] == 1 and row["logs"] == 0
            row |= {"block": number, "block_position": position} | history.of(tx, number)
            result.append(row)
            history.add(tx, tree, number)
    return result


def _of_transaction(tx: Json, receipt: Json, base_fee: int) -> Json:
    gas, used = int(tx["gas"], 16), int(receipt["gasUsed"], 16)
    return {
        "hash": tx["hash"],
        "from": tx["from"],
        "to": tx["to"],
        "selector": tx["input"][:10] if len(tx["input"]) >= 10 and tx["to"] else "",
        "failed": receipt["status"] == "0x0",
        "gas_used": used,
        "value": int(tx["value"], 16),
        "sender_nonce": int(tx["nonce"], 16),
        "gas_limit": gas,
        "gas_slack": gas / used,
        "tip": int(tx["gasPrice"], 16) - base_fee,
        "legacy": int(tx["type"] == "0x0"),
        "target_address": int(tx["to"] or "0x0", 16),
    }


class _History:
    """What the chain has shown of senders and contracts before a transaction."""

    def __init__(self) -> None:
        self._first_seen: dict[str, int] = {}
        self._sent: Counter[str] = Counter()
        self._called: Counter[str] = Counter()
        self._created: dict[str, tuple[int, str]] = {}

    def of(self, tx: Json, number: int) -> Json:
        """Return the sender's and the target's past."""
        sender, target = tx["from"], tx["to"] or ""
        made, maker = self._created.get(target, (0, ""))
        return {
            "sender_age": number - self._first_seen.get(sender, number),
            "sender_transactions": self._sent[sender],
            "contract_age": number - made,
            "contract_calls": self._called[target],
            "fresh_contract": int(number - made <= _FRESH),
            "own_contract": int(maker == sender),
        }

    def add(self, tx: Json, tree: Json, number: int) -> None:
        """Take note of a transaction."""
        self._first_seen.setdefault(tx["from"], number)
        self._sent[tx["from"]] += 1
        self._called[tx["to"] or ""] += 1
        for address in _creations(tree):
            self._created.setdefault(address, (number, tx["from"]))


def _creations(root: Json) -> Iterator[str]:
    stack = [root]
    while stack:
        frame = stack.pop()
        if frame["type"].startswith("CREATE") and "error" not in frame:
            yield frame["to"]
        stack.extend(frame.get("calls", ()))
