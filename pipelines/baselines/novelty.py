"""What a transaction has that training never had: share of unseen call edges, functions and addresses.

Only calls of functions count, and the sender has no name: most senders, and most receivers of plain
transfers, are new to any history, and say nothing.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blockscan.transaction import Call, CallKind, Transaction, walk
from pipelines.baselines.setting import Score, Setting

COLUMNS = ("unseen_edges", "unseen_selectors", "unseen_addresses")
SELECTOR_BYTES = 4
_CODE = (CallKind.CREATE, CallKind.CREATE2, CallKind.SELFDESTRUCT)


def fit_novelty(train: Sequence[Transaction], _setting: Setting) -> Score:
    """Remember what training had; score by the share of a transaction's distinct items that it had not."""
    seen: tuple[set[str], ...] = tuple(set() for _ in COLUMNS)
    for transaction in train:
        for known, items in zip(seen, _items(transaction), strict=True):
            known |= items

    def score(transactions: Sequence[Transaction]) -> NDArray[np.float64]:
        values = np.empty((len(transactions), len(COLUMNS)))
        for row, transaction in zip(values, transactions, strict=True):
            pairs = zip(seen, _items(transaction), strict=True)
            row[:] = [len(items - known) / max(1, len(items)) for known, items in pairs]
        return values

    return score


def selector_of(call: Call) -> str:
    """The function that a frame calls: four bytes; on Solana program and first byte; "" for none."""
    if call.kind is CallKind.INSTRUCTION:
        return f"{call.target}:{call.data[:1].hex()}" if call.data else ""
    if call.kind in _CODE or len(call.data) < SELECTOR_BYTES:
        return ""
    return call.data[:SELECTOR_BYTES].hex()


def _items(transaction: Transaction) -> tuple[set[str], set[str], set[str]]:
    """Edges, selectors and called addresses of a transaction."""
    sender = transaction.root.caller
    edges, selectors, addresses = set[str](), set[str](), set[str]()
    for visit in walk(transaction.root):
        if isinstance(visit.step, Call) and (function := selector_of(visit.step)):
            caller = "sender" if visit.step.caller == sender else visit.step.caller
            edges.add(f"{caller}>{visit.step.target}")
            selectors.add(function)
            addresses.add(str(visit.step.target))
    return edges, selectors, addresses
