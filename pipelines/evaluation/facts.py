"""What evaluation needs of the call trees themselves: counts, skeletons, the contracts touched."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockscan.chains.families import main_target
from blockscan.detect.counts import count_features
from blockscan.errors import ConfigError
from blockscan.transaction import Call, CallKind, Transaction, walk
from pipelines.encode import watched
from pipelines.labels import hash_key
from pipelines.sources import Shard


@dataclass(frozen=True, slots=True, eq=False)
class TxFacts:
    """Facts of one transaction: count features (13,), skeleton, main target, contracts called."""

    counts: NDArray[np.float64]
    skeleton: bytes
    target: str | None
    touched: frozenset[str]


def tx_facts(transaction: Transaction) -> TxFacts:
    """The facts of a transaction, in one walk per kind of fact and without recursion."""
    return TxFacts(
        count_features(transaction),
        skeleton(transaction.root),
        main_target(transaction),
        _touched(transaction),
    )


def skeleton(root: Call) -> bytes:
    """A hash of the call tree's shape: depth, kind, selector and success of every frame in pre-order.

    Addresses, arguments, amounts and logs are left out, so that repetitions of one operation are equal.
    The selector is the first four bytes of the input, of a Solana instruction the first byte; a contract
    creation has none, as its input is code.
    """
    digest = hashlib.blake2b(digest_size=16)
    for visit in walk(root):
        if isinstance(visit.step, Call):
            call = visit.step
            digest.update(f"{visit.depth} {call.kind} {_selector(call).hex()} {call.ok}\n".encode())
    return digest.digest()


def read_facts(shards: Iterable[Shard], wanted: Mapping[str, str]) -> dict[str, TxFacts]:
    """Facts of the transactions whose `hash_key` is wanted, on the chain that it maps to where it is on two.

    Raises:
        ConfigError: one of them is in no shard.
    """
    found = {}
    for _, transaction in watched("facts, scored", list(shards)):
        key = hash_key(transaction.hash)
        if key in wanted and (key not in found or transaction.chain == wanted[key]):
            found[key] = tx_facts(transaction)
    if missing := len(wanted) - len(found):
        raise ConfigError(
            f"the archives lack {missing:,} of the {len(wanted):,} scored and labelled transactions; "
            "give every archive that was scored, or leave out --archive"
        )
    return found


def _selector(call: Call) -> bytes:
    if call.kind in (CallKind.CREATE, CallKind.CREATE2):
        return b""
    return call.data[: 1 if call.kind == CallKind.INSTRUCTION else 4]


def _touched(transaction: Transaction) -> frozenset[str]:
    """Targets of frames with an input, which are contracts or programs; the sender is none."""
    targets = {
        visit.step.target
        for visit in walk(transaction.root)
        if isinstance(visit.step, Call) and visit.step.data and visit.step.target is not None
    }
    return frozenset(targets - {transaction.sender})
