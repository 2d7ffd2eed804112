"""What a transaction looks like when it is only counted: the features of the simple baselines."""

import math

import numpy as np
from numpy.typing import NDArray

from blockscan.transaction import Call, CallKind, Transaction, walk

COUNT_NAMES = (
    "calls",
    "depth",
    "logs",
    "addresses",
    "input_bytes",
    "output_bytes",
    "value_transfers",
    "failed_frames",
    "creates",
    "delegatecalls",
    "staticcalls",
    "value_log10",
    "gas_used",
)


def count_features(transaction: Transaction) -> NDArray[np.float64]:
    """The counts named in COUNT_NAMES, shape (13,).

    `depth` is the deepest frame's (root 0), `value_log10` is log10(1 + all value moved, in wei), and
    `gas_used` is -1 where it is not known.
    """
    visits = list(walk(transaction.root))
    calls = [visit.step for visit in visits if isinstance(visit.step, Call)]
    kinds = [call.kind for call in calls]
    addresses = {address for call in calls for address in (call.caller, call.target)}
    addresses |= {visit.step.emitter for visit in visits if not isinstance(visit.step, Call)}
    counts = (
        len(calls),
        max(visit.depth for visit in visits),
        len(visits) - len(calls),
        len(addresses - {None}),
        sum(len(call.data) for call in calls),
        sum(len(call.output) for call in calls),
        sum(call.value > 0 for call in calls),
        sum(not call.ok for call in calls),
        kinds.count(CallKind.CREATE) + kinds.count(CallKind.CREATE2),
        kinds.count(CallKind.DELEGATECALL),
        kinds.count(CallKind.STATICCALL),
        math.log10(1 + sum(call.value for call in calls if call.ok)),
        -1 if transaction.gas_used is None else transaction.gas_used,
    )
    return np.array(counts, dtype=np.float64)
