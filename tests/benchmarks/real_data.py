"""Real Ethereum transactions, made comparable, and cut into folds by block."""

import gzip
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockscan.chains.ethereum import parse_record
from blockscan.transaction import Call, LogOrder, TraceSource, Transaction
from pipelines.sources import time_order

TRAINED = 0.7


@dataclass(frozen=True, slots=True)
class Item:
    """A transaction, and what only the tables look at; `when` is a block, None where nothing dates it."""

    transaction: Transaction
    file: str
    attack: bool
    incident: str
    when: float | None


@dataclass(frozen=True, slots=True)
class Fold:
    """Benign transactions in time order to train and to calibrate on; what is scored; `name`: its cut."""

    name: str
    train: list[Transaction]
    calibrate: list[Transaction]
    test: list[Item]


def read(folder: Path, setting: str) -> list[Item]:
    """Labelled Ethereum transactions as the setting compares them, in time order, attacks without date last.

    What nobody labelled, and benign ones of unknown block, are left out.
    """
    wanted = "onchain" if setting == "onchain" else "poc_replay"
    found = []
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for record in map(json.loads, lines):
                attack = record["label"] == "attack"
                if record["chain"] != "ethereum" or record["label"] not in ("attack", "benign"):
                    continue
                if attack and not record["kind"].startswith(wanted):
                    continue
                if kept := comparable(parse_record(record), setting):
                    found.append((path.name.partition(".")[0], attack, record, kept))
    anchors = np.array(
        sorted((each.time, each.block_number) for *_, each in found if each.time and each.block_number)
    )
    items = [
        Item(each, file, attack, record.get("incident") or each.hash, block_of(each, record, anchors))
        for file, attack, record, each in found
    ]
    placed = [item for item in items if item.attack or item.when is not None]
    return sorted(placed, key=in_time)


def in_time(item: Item) -> tuple[float, tuple[int, int, str]]:
    """Sort key: block, and the place in it; those without date come last."""
    return math.inf if item.when is None else item.when, time_order(item.transaction)


def comparable(transaction: Transaction, setting: str) -> Transaction | None:
    """The transaction with the logs and gas that all of the setting have, None if it has less."""
    if setting == "onchain":
        bare = without_logs(transaction.root, entirely=True)
        return replace(
            transaction, root=bare, gas_used=None, source=TraceSource.CALL_TRACER, log_order=LogOrder.ABSENT
        )
    if transaction.log_order not in (LogOrder.EXACT, LogOrder.FRAME):
        return None
    return replace(transaction, root=without_logs(transaction.root, entirely=False), log_order=LogOrder.FRAME)


def without_logs(root: Call, *, entirely: bool) -> Call:
    """The tree with each frame's logs after its sub-calls, or without logs and gas; no recursion."""
    order, pending = [], [root]
    while pending:
        call = pending.pop()
        order.append(call)
        pending += [step for step in call.steps if isinstance(step, Call)]
    made: dict[int, Call] = {}
    for call in reversed(order):
        calls = tuple(made[id(step)] for step in call.steps if isinstance(step, Call))
        logs = () if entirely else tuple(step for step in call.steps if not isinstance(step, Call))
        made[id(call)] = replace(call, steps=(*calls, *logs), gas_used=None if entirely else call.gas_used)
    return made[id(root)]


def block_of(
    transaction: Transaction, record: Mapping[str, Any], anchors: NDArray[np.float64]
) -> float | None:
    """The block number, or what the record's day comes to between known blocks (2024/1/13, 20220305, ...)."""
    if transaction.block_number is not None:
        return float(transaction.block_number)
    date = (record.get("date") or "").replace("/", "-")
    if date.isdigit() and len(date) == 8:
        date = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    if not date:
        return None
    year, month, day = ([int(part) for part in date.split("-")] + [1, 1])[:3]
    return float(np.interp(datetime(year, month, day, tzinfo=UTC).timestamp(), anchors[:, 0], anchors[:, 1]))


def folds(items: Sequence[Item], cuts: Sequence[int]) -> Iterator[Fold]:
    """One fold per cut block that has benign transactions on both sides."""
    benign = [item.transaction for item in items if not item.attack]
    for cut, until in zip(cuts, (*cuts[1:], math.inf), strict=True):
        past = [each for each in benign if (each.block_number or 0) < cut]
        test = [
            item
            for item in items
            if (item.when is None and until == math.inf)
            or (item.when is not None and cut <= item.when < until)
        ]
        if past and not all(item.attack for item in test):
            border = past[int(TRAINED * len(past))].block_number or 0
            train = [each for each in past if (each.block_number or 0) < border]
            yield Fold(f"{cut}", train, past[len(train) :], test)
