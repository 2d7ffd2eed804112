"""Trace dialects: one execution gives one tree."""

from typing import Any

import pytest

from blockscan.chains.decode import DEEPEST, MOST_CONTAINERS, decode, read_document
from blockscan.chains.frames import MAX_DEPTH, from_call_tracer, nest_parity
from blockscan.errors import ParseError
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceStatus, call_count, walk

A, B, C = ("0x" + digit * 40 for digit in "abc")
ECRECOVER = "0x" + "0" * 39 + "1"


def frame(target: str, **more: Any) -> dict[str, Any]:
    return {"type": "CALL", "from": A, "to": target, "value": "0x0", "input": "0x", **more}


def log(name: str, position: int | None = None) -> dict[str, Any]:
    placed = {} if position is None else {"position": hex(position)}
    return {"address": B, "topics": ["0x" + name * 64], "data": "0x", **placed}


def shape(root: Call) -> list[str]:
    """Execution order as text: targets of calls, first topic digits of logs."""
    order = []
    for visit in walk(root):
        step = visit.step
        order.append(step.topics[0].hex()[0] if isinstance(step, Log) else f"{visit.depth}:{step.target}"[:4])
    return order


def test_logs_stand_where_their_position_says() -> None:
    tree = from_call_tracer(
        frame(B, calls=[frame(C), frame(C)], logs=[log("2", 1), log("1", 0), log("3", 1), log("4", 2)])
    )
    assert shape(tree.root) == ["0:0x", "1", "1:0x", "2", "3", "1:0x", "4"]
    assert tree.log_order is LogOrder.EXACT


def test_without_positions_logs_follow_the_calls_and_the_order_says_so() -> None:
    tree = from_call_tracer(frame(B, calls=[frame(C, logs=[log("1")])], logs=[log("2")]))
    assert shape(tree.root) == ["0:0x", "1:0x", "1", "2"]
    assert tree.log_order is LogOrder.FRAME


def test_positions_count_precompile_calls_which_are_left_out() -> None:
    tree = from_call_tracer(frame(B, calls=[frame(ECRECOVER), frame(C)], logs=[log("1", 1), log("2", 2)]))
    assert shape(tree.root) == ["0:0x", "1", "1:0x", "2"]


def test_logs_at_and_below_a_failed_frame_do_not_exist() -> None:
    tree = from_call_tracer(
        frame(
            B,
            calls=[
                frame(C, error="execution reverted", calls=[frame(B, logs=[log("1", 0)])], logs=[log("2", 0)])
            ],
            logs=[log("3", 1)],
        )
    )
    assert shape(tree.root) == ["0:0x", "1:0x", "2:0x", "3"]
    failed = from_call_tracer(frame(B, logs=[log("1", 0)]), forced_error="failed")
    assert shape(failed.root) == ["0:0x"] and failed.root.error == "failed"


PARITY = [
    {"type": "call", "action": {"callType": "call", "from": A, "to": B, "value": "0x5", "input": "0x01"},
     "result": {"gasUsed": "0x64", "output": "0x02"}, "traceAddress": [], "subtraces": 3},
    {"type": "call", "action": {"callType": "delegatecall", "from": B, "to": C, "value": "0x5"},
     "result": {"gasUsed": "0x1", "output": "0x"}, "traceAddress": [0], "subtraces": 0},
    {"type": "call", "action": {"callType": "call", "from": B, "to": C, "value": "0x0", "input": "0x"},
     "error": "Reverted", "traceAddress": [1], "subtraces": 0},
    {"type": "create", "action": {"creationMethod": "create2", "from": B, "value": "0x0", "init": "0x60"},
     "result": {"gasUsed": "0x9", "address": C, "code": "0x61"}, "traceAddress": [2], "subtraces": 1},
    {"type": "suicide", "action": {"address": C, "refundAddress": A, "balance": "0x7"}, "result": None,
     "traceAddress": [2, 0], "subtraces": 0},
]  # fmt: skip
GETH = {
    "type": "CALL", "from": A, "to": B, "value": "0x5", "input": "0x01", "output": "0x02", "gasUsed": "0x64",
    "calls": [
        {"type": "STATICCALL", "from": B, "to": ECRECOVER, "input": "0xff", "gasUsed": "0xbb8"},
        {"type": "DELEGATECALL", "from": B, "to": C, "input": "0x", "gasUsed": "0x1"},
        {"type": "CALL", "from": B, "to": C, "value": "0x0", "input": "0x", "error": "execution reverted"},
        {"type": "CREATE2", "from": B, "to": C, "value": "0x0", "input": "0x60", "output": "0x61",
         "gasUsed": "0x9", "calls": [{"type": "SELFDESTRUCT", "from": C, "to": A, "value": "0x7"}]},
    ],
}  # fmt: skip


def test_parity_and_geth_traces_of_one_execution_give_one_tree() -> None:
    parity = from_call_tracer(nest_parity(PARITY[::-1])).root
    geth = from_call_tracer(GETH).root
    assert parity == geth
    kinds = [visit.step.kind for visit in walk(geth) if isinstance(visit.step, Call)]
    assert kinds == [
        CallKind.CALL,
        CallKind.DELEGATECALL,
        CallKind.CALL,
        CallKind.CREATE2,
        CallKind.SELFDESTRUCT,
    ]


def test_parity_entries_without_a_parent_or_root_are_refused() -> None:
    with pytest.raises(ParseError, match="no parent for traceAddress"):
        nest_parity([PARITY[0], PARITY[4]])
    with pytest.raises(ParseError, match="no root"):
        nest_parity([])


def deep_json(levels: int) -> bytes:
    head = f'{{"type":"CALL","from":"{A}","to":"{B}","input":"0x","calls":['.encode()
    return head * levels + f'{{"type":"CALL","from":"{A}","to":"{B}"}}'.encode() + b"]}" * levels


@pytest.mark.parametrize("levels", [10, 600, MAX_DEPTH])
def test_every_depth_that_the_evm_allows_is_read_whole(levels: int) -> None:
    tree = from_call_tracer(decode(deep_json(levels)))
    assert call_count(tree.root) == levels + 1
    assert tree.status is TraceStatus.COMPLETE


def test_a_deeper_trace_is_cut_and_marked() -> None:
    tree = from_call_tracer(decode(deep_json(3000)))
    assert call_count(tree.root) == MAX_DEPTH + 1
    assert tree.status is TraceStatus.TRUNCATED


def test_absurd_nesting_is_refused_without_a_crash() -> None:
    with pytest.raises(ParseError, match="nested more than"):
        decode(b"[" * (DEEPEST + 1))


WEI = 20 * 10**18


@pytest.mark.parametrize("levels", [1, 600])
@pytest.mark.parametrize("value", [WEI, 2**64 - 1, 2**64, 10**19 - 1, 2**256 - 1])
def test_integers_of_any_size_are_read_exactly(levels: int, value: int) -> None:
    raw = deep_json(levels).replace(b'"type":"CALL"', b'"type":"CALL", "value": %d ' % value)
    tree = read_document(raw, from_call_tracer)
    assert {visit.step.value for visit in walk(tree.root) if isinstance(visit.step, Call)} == {value}


def test_only_integers_are_read_anew() -> None:
    def refuse_doubles(document: Any) -> Any:
        if isinstance(document[0], float):
            raise ParseError("a double")
        return document

    texts = b'"\\"[20000000000000000000,\\\\", "20000000000000000000", 0.20000000000000000000, -7, 1e2'
    found = read_document(b"[20000000000000000000, " + texts + b"]", refuse_doubles)
    assert found == [str(WEI), '"[20000000000000000000,\\', str(WEI), 0.2, -7, 100.0]
    for number in (b"2e+19", b"20000000000000000000.5", b"20000000000000000000e1"):
        with pytest.raises(ParseError, match="a double"):
            read_document(b"[" + number + b"]", refuse_doubles)


def test_a_text_without_an_end_is_looked_through_once() -> None:
    with pytest.raises(ParseError, match="not valid JSON"):
        read_document(b'[20000000000000000000, "' + b'\\"' * 1_000_000, list)


def test_more_parts_than_any_transaction_has_are_refused_before_they_take_memory() -> None:
    with pytest.raises(ParseError, match="more than 20,000,000 objects and lists"):
        decode(b"[" + b"{}," * MOST_CONTAINERS + b"{}]")
    assert decode(b'"' + b"x" * (MOST_CONTAINERS + 1) + b'"') == "x" * (MOST_CONTAINERS + 1)


def test_the_deep_decoder_agrees_with_the_fast_one() -> None:
    inner = b'{"a":[1,-2.5,true,null,"\\u00e9\\"",{"b":{}},[]],"c":"x"}'
    nested = decode(b"[" * 1200 + inner + b"]" * 1200)
    for _ in range(1200):
        (nested,) = nested
    assert nested == decode(inner)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"type": "CALL", "to": B}, "`from` is not a 20-byte hex address"),
        ({"type": "JUMP", "from": A, "to": B}, "unknown frame type 'JUMP'"),
        ({"type": "CALL", "from": A, "to": B, "input": "0xzz"}, "`input` is not hex data"),
        ({"type": "CALL", "from": A, "to": B, "value": "lots"}, "`value` is not a whole number"),
        ({"type": "CALL", "from": A, "to": B, "value": 1e30}, "`value` is not a whole number"),
        ({"type": "CALL", "from": A, "to": B, "calls": {}}, "`calls` must be a list"),
        ({"type": "CALL", "from": A, "to": B, "calls": ["x"]}, "`calls` must be an object"),
        (
            {"type": "CALL", "from": A, "to": B, "logs": [{"address": A, "topics": ["0x"] * 5}]},
            "at most four",
        ),
    ],
)
def test_what_is_not_a_trace_is_named(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ParseError, match=message):
        from_call_tracer(raw)
