"""Records and raw blocks -> Transactions; and the real mainnet transactions, where they are at hand."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from blockscan.archive import RawBlock
from blockscan.chains import families
from blockscan.chains.decode import decode
from blockscan.chains.ethereum import parse, parse_record
from blockscan.errors import ParseError
from blockscan.transaction import Call, LogOrder, TraceSource

A, B = ("0x" + digit * 40 for digit in "ab")
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "evm"


def record(**more: Any) -> dict[str, Any]:
    trace = {"type": "CALL", "from": A, "to": B, "value": "0x1", "input": "0x"}
    return {"chain": "ethereum", "tx_hash": "0x01", "block_number": 7, "tx_index": 2, "trace": trace, **more}


LOG = {"address": B, "topics": [], "data": "0x"}


def test_a_record_becomes_a_transaction() -> None:
    transaction = parse_record(record(timestamp=99, gas_used="0x5208", status=1, logs=[]))
    assert (transaction.block_number, transaction.index, transaction.time) == (7, 2, 99)
    assert (transaction.sender, transaction.ok, transaction.gas_used) == (A, True, 21000)
    assert transaction.source is TraceSource.CALL_TRACER_LOGS


@pytest.mark.parametrize(
    ("logs", "source", "order", "steps"),
    [
        (None, TraceSource.CALL_TRACER, LogOrder.ABSENT, 0),
        ([], TraceSource.CALL_TRACER_LOGS, LogOrder.EXACT, 0),
        ([LOG], TraceSource.CALL_TRACER_LOGS, LogOrder.ROOT, 1),
    ],
)
def test_receipt_logs_hang_at_the_root_and_the_source_says_what_is_known(
    logs: Any, source: TraceSource, order: LogOrder, steps: int
) -> None:
    transaction = parse_record(record(logs=logs))
    assert (transaction.source, transaction.log_order, len(transaction.root.steps)) == (source, order, steps)


def test_the_largest_number_that_can_be_stored_is_taken() -> None:
    largest = 2**63 - 1
    transaction = parse_record(record(block_number=largest, tx_index=hex(largest), timestamp=str(largest)))
    assert (transaction.block_number, transaction.index, transaction.time) == (largest, largest, largest)


def test_amounts_above_64_bits_may_be_integers() -> None:
    wei = 20 * 10**18
    frame = {**record()["trace"], "value": wei}
    body = json.dumps(record(trace=frame | {"calls": [frame]})).encode()
    row = RawBlock(
        "ethereum", 7, None, None, 99, TraceSource.CALL_TRACER, "record", ("0x01",), {"record": body}
    )
    (transaction,) = parse(row)
    assert transaction.root.value == wei
    assert [step.value for step in transaction.root.steps if isinstance(step, Call)] == [wei]


def test_a_failed_receipt_fails_the_root_even_where_the_trace_is_silent() -> None:
    transaction = parse_record(record(status=0, logs=[LOG]))
    assert not transaction.ok
    assert transaction.root.steps == ()


def test_labels_in_a_record_are_never_read() -> None:
    assert parse_record(record(label="attack", incident="x", loss="1")) == parse_record(record())


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([], "must be a JSON object"),
        ({"tx_hash": "0x1"}, "no `trace` object"),
        (record(tx_hash=""), "no usable `tx_hash`"),
        (record(tx_hash="a\x1b[31m"), "no usable `tx_hash`"),
        (record(block_number="soon"), "`block_number` is not a whole number"),
        (record(logs="none"), "`logs` must be a list"),
        *(
            (record(**{name: value}), f"`{name}` is not below 2\\^63")
            for name in ("block_number", "tx_index", "timestamp")
            for value in (2**63, "0x8000000000000000")
        ),
        (record(gas_used=hex(2**64)), "`gas_used` is not below 2\\^64"),
    ],
)
def test_unusable_records_are_named(raw: Any, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        parse_record(raw)


def block(**change: Any) -> RawBlock:
    answers: dict[str, Any] = {
        "block": {"number": "0x7", "hash": "0xb", "timestamp": "0x63",
                  "transactions": [{"hash": "0x01", "from": A, "transactionIndex": "0x0"}]},
        "receipts": [{"transactionHash": "0x01", "status": "0x1", "gasUsed": "0x5208", "logs": []}],
        "traces": [{"txHash": "0x01", "result": record()["trace"]}],
    }  # fmt: skip
    answers |= change
    bodies = {name: json.dumps({"id": 1, "result": answer}).encode() for name, answer in answers.items()}
    source = TraceSource.CALL_TRACER_LOGS
    return RawBlock("ethereum", 7, "0xb", "0xa", 99, source, "rpc", ("0x01",), bodies)


@pytest.mark.parametrize("source", [TraceSource.CALL_TRACER, TraceSource.SOLANA])
def test_a_row_without_its_record_is_refused(source: TraceSource) -> None:
    with pytest.raises(ParseError, match="a record must be"):
        families.parse(RawBlock("c", 7, None, None, 99, source, "record", ("0x01",), {}))


def test_a_raw_block_becomes_its_transactions() -> None:
    (transaction,) = parse(block())
    assert (transaction.hash, transaction.block_hash, transaction.time, transaction.gas_used) == (
        "0x01",
        "0xb",
        99,
        21000,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"traces": []}, "has no trace or no receipt"),
        ({"receipts": []}, "has no trace or no receipt"),
        (
            {"traces": [{"txHash": "0x01", "result": None}]},
            "the trace of 0x01 has no result",
        ),
        (
            {"traces": [{"txHash": "0x01", "result": {"type": "CALL", "from": B, "to": A}}]},
            "starts at another sender",
        ),
        ({"block": None}, "must be an object"),
        (
            {"receipts": [{"transactionHash": "0x01", "status": "0x1", "gasUsed": hex(2**64)}]},
            "`gasUsed` is not below",
        ),
    ],
)
def test_bodies_that_do_not_belong_together_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParseError, match=message):
        parse(block(**change))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real mainnet transactions are not at hand")
def test_real_transactions_parse_and_keep_their_counts() -> None:
    checked: Counter[str] = Counter()
    for path in sorted(REAL.glob("blocks_*.jsonl.gz")):
        with gzip.open(path) as lines:
            for _, line in zip(range(300), lines, strict=False):
                raw = decode(line)
                transaction = parse_record(raw)
                assert transaction.sender == raw["from"]
                assert transaction.block_number == raw["block_number"]
                checked[transaction.source] += 1
    assert checked[TraceSource.CALL_TRACER_LOGS] > 1000
    assert checked[TraceSource.CALL_TRACER] > 500
