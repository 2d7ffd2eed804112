"""Count features by hand on one transaction of every kind of step, and on a deep one."""

import pytest

from blockscan.detect.counts import COUNT_NAMES, count_features
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceSource, Transaction


def make_call(kind, caller, target, *steps, data=b"", output=b"", value=0, error=None):
    return Call(kind, caller, target, data, output, value, error, None, tuple(steps))


def make_transaction(root, gas_used):
    return Transaction(
        chain="ethereum",
        hash="0xabc",
        block_number=1,
        block_hash="0xb",
        index=0,
        time=1,
        sender="0xa",
        ok=True,
        gas_used=gas_used,
        root=root,
        source=TraceSource.CALL_TRACER_LOGS,
        log_order=LogOrder.EXACT,
    )


def test_counts_by_hand():
    root = make_call(
        CallKind.CALL,
        "a",
        "b",
        Log("e", (), b""),
        make_call(CallKind.DELEGATECALL, "b", "c", make_call(CallKind.CREATE2, "b", "d", data=b"123")),
        make_call(CallKind.STATICCALL, "b", "a", output=b"12"),
        make_call(CallKind.CALL, "b", "a", value=10**18, error="reverted"),
        make_call(CallKind.CREATE, "b", None, error="out of gas"),
        data=b"1234",
        output=b"1",
        value=99,
    )
    counts = dict(zip(COUNT_NAMES, count_features(make_transaction(root, 21_000)), strict=True))
    assert counts == {
        "calls": 6,
        "depth": 2,
        "logs": 1,
        "addresses": 5,
        "input_bytes": 7,
        "output_bytes": 3,
        "value_transfers": 2,
        "failed_frames": 2,
        "creates": 2,
        "delegatecalls": 1,
        "staticcalls": 1,
        "value_log10": pytest.approx(2.0),
        "gas_used": 21_000,
    }


def test_deep_tree_and_unknown_gas():
    root = make_call(CallKind.CALL, "a", "b")
    for _ in range(1023):
        root = make_call(CallKind.CALL, "a", "b", root)
    counts = dict(zip(COUNT_NAMES, count_features(make_transaction(root, None)), strict=True))
    assert (counts["calls"], counts["depth"], counts["gas_used"]) == (1024, 1023, -1)
