"""Blocks from nodes: the best of what each offers, checked before it is given out."""

import runpy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blockscan.archive import RawBlock
from blockscan.chains.checks import InvalidAnswer
from blockscan.chains.ethereum import parse
from blockscan.chains.pool import Pool, summed
from blockscan.chains.rpc import EthereumNode
from blockscan.chains.transport import (
    AnswerTooLarge,
    Endpoint,
    Forbidden,
    MethodRefused,
    StateAbsent,
    TracerDown,
    Unanswered,
    Untraceable,
)
from blockscan.errors import ChainError, RpcError, UnsupportedTrace
from blockscan.transaction import Call, TraceSource, TraceStatus, call_count

HELP = runpy.run_path(str(Path(__file__).with_name("fault_server.py")))
Chain, Fault, serve, KEY, Refuse = (HELP[name] for name in ("Chain", "Fault", "serve", "KEY", "Refuse"))
TRACER = ("debug_traceBlockByNumber", "debug_traceTransaction")


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blockscan.chains.pool.PAUSE", 0.005)


@pytest.fixture
def server() -> Iterator[Any]:
    with serve(Chain()) as running:
        yield running


def quick(url: str, **more: Any) -> Endpoint:
    return Endpoint(url, **({"timeout": 5, "attempts": 2, "pause": 0.001} | more))


def sources(raw: RawBlock) -> set[TraceSource]:
    return {transaction.source for transaction in parse(raw)}


@pytest.mark.parametrize(
    ("absent", "source", "asked"),
    [
        ((), TraceSource.CALL_TRACER_LOGS, "debug_traceBlockByNumber"),
        (TRACER, TraceSource.TRACE_BLOCK_LOGS, "trace_block"),
        (("debug_traceBlockByNumber", "trace_block"), TraceSource.CALL_TRACER_LOGS, "debug_traceTransaction"),
        ((*TRACER, "trace_block"), TraceSource.RECEIPT, "eth_getBlockReceipts"),
        ((*TRACER, "trace_block", "eth_getBlockReceipts"), TraceSource.RECEIPT, "eth_getTransactionReceipt"),
    ],
    ids=["callTracer", "trace_block", "per transaction", "receipts", "single receipts"],
)
def test_the_best_that_a_node_offers_is_taken(
    server: Any, absent: tuple[str, ...], source: TraceSource, asked: str
) -> None:
    server.chain.absent = set(absent)
    node = EthereumNode(quick(server.url))
    before = server.asked[asked]
    raw = node.fetch(5)
    assert server.asked[asked] > before and raw.degraded == ""
    assert sources(raw) == {source}
    transactions = parse(raw)
    assert [each.hash for each in transactions] == list(raw.tx_hashes) and len(transactions) == 3
    logs = [visit for each in transactions if each.ok for visit in _logs(each.root)]
    assert len(logs) == sum(each.ok for each in transactions)
    assert call_count(transactions[0].root) == (1 if source is TraceSource.RECEIPT else 2)


def _logs(root: Call) -> list[Any]:
    from blockscan.chains.blocks import frame_logs

    return frame_logs(root)


def test_an_empty_block_needs_one_request(server: Any) -> None:
    node = EthereumNode(quick(server.url))
    before = server.requests
    assert parse(node.fetch(0)) == [] and server.requests == before + 1


def test_the_poorest_source_can_be_refused(server: Any) -> None:
    server.chain.absent = {*TRACER}
    with pytest.raises(UnsupportedTrace, match="no endpoint offers traces of source callTracer"):
        EthereumNode(quick(server.url), least="callTracer")
    assert EthereumNode(quick(server.url), least="trace_block").fetch(5).source is TraceSource.TRACE_BLOCK


def test_a_wrong_chain_is_refused_at_the_start_and_in_a_block(server: Any) -> None:
    with pytest.raises(ChainError, match="serves chain id 1, not 8453") as caught:
        EthereumNode(quick(server.url), chain_id=8453)
    assert KEY not in str(caught.value)
    with serve(Chain(chain_id=5)) as other, pytest.raises(ChainError, match="serves chain id 5, not 1"):
        EthereumNode(Pool([quick(server.url), quick(other.url)]), chain_id=1)
    node = EthereumNode(quick(server.url))
    server.chain.entries[5]["block"]["transactions"][1]["chainId"] = "0x2105"
    with pytest.raises(InvalidAnswer, match="of another chain: id 0x2105, not 1"):
        node.fetch(5)


def test_a_dead_endpoint_is_left_out_and_taken_up_when_it_comes_back(server: Any) -> None:
    dead = quick("http://127.0.0.1:9/" + KEY, timeout=0.2, attempts=1)
    node = EthereumNode(Pool([dead, quick(server.url)]))
    assert list(node.offers) == [quick(server.url).shown]
    assert node.fetch(3).number == 3


def test_a_block_is_degraded_while_an_endpoint_that_may_know_more_has_not_answered(server: Any) -> None:
    dead = quick("http://127.0.0.1:9/" + KEY, timeout=0.2, attempts=1)
    server.chain.absent = {*TRACER, "trace_block"}
    raw = EthereumNode(Pool([dead, quick(server.url)])).fetch(3)
    assert sources(raw) == {TraceSource.RECEIPT} and raw.degraded == f"{dead.shown} never answered"
    assert EthereumNode(Pool([dead, quick(server.url)])).fetch(0).degraded == "", "it has no transactions"
    assert EthereumNode(quick(server.url)).fetch(3).degraded == ""
    server.chain.absent = set()
    assert EthereumNode(Pool([dead, quick(server.url)])).fetch(3).degraded == "", "nothing is better"


def swap(of: str, with_: Callable[[list[Any], Any], Any]) -> Callable[[str, list[Any], Any], Any]:
    return lambda method, params, result: with_(params, result) if method == of else result


def first(key: str, value: Any) -> Callable[[list[Any], Any], Any]:
    """Change one field of the first entry of a list."""
    return lambda params, result: [{**result[0], key: value}, *result[1:]]


def deeper(change: dict[str, Any]) -> Callable[[list[Any], Any], Any]:
    """Change the root frame of the second trace."""
    return lambda params, result: [
        result[0],
        {**result[1], "result": {**result[1]["result"], **change}},
        *result[2:],
    ]


BAD = {
    "another block": (swap("eth_getBlockByNumber", lambda p, r: {**r, "number": "0x6"}), "another block"),
    "no transactions": (
        swap("eth_getBlockByNumber", lambda p, r: {**r, "transactions": []}),
        "does not fit transactionsRoot",
    ),
    "no block": (swap("eth_getBlockByNumber", lambda p, r: [1]), "must be an object"),
    "no time": (swap("eth_getBlockByNumber", lambda p, r: {**r, "timestamp": "noon"}), "timestamp"),
    "a time far ahead": (
        swap("eth_getBlockByNumber", lambda p, r: {**r, "timestamp": hex(2**63)}),
        r"`timestamp` is not below 2\^63",
    ),
    "empty traces": (swap(TRACER[0], lambda p, r: []), "traces are not those"),
    "null traces": (swap(TRACER[0], lambda p, r: None), "must be lists"),
    "a trace twice": (swap(TRACER[0], lambda p, r: [*r, r[0]]), "two traces"),
    "a trace of another": (swap(TRACER[0], first("txHash", "0x01")), "traces are not those"),
    "traces exchanged": (
        swap(TRACER[0], lambda p, r: [{**a, "txHash": b["txHash"]} for a, b in zip(r, r[::-1], strict=True)]),
        "root frame is not the transaction|the receipt does not|logs are not",
    ),
    "another target": (swap(TRACER[0], deeper({"to": "0x" + "9" * 40})), "root frame is not"),
    "another value": (swap(TRACER[0], deeper({"value": "0x99"})), "root frame is not"),
    "another input": (swap(TRACER[0], deeper({"input": "0x99"})), "root frame is not"),
    "another sender": (swap(TRACER[0], deeper({"from": "0x" + "9" * 40})), "another sender"),
    "no frame": (swap(TRACER[0], deeper({"type": "JUMP"})), "unknown frame type"),
    "receipts missing": (swap("eth_getBlockReceipts", lambda p, r: r[1:]), "receipts are not those"),
    "receipts of a fork": (swap("eth_getBlockReceipts", first("blockHash", "0x1")), "another block hash"),
    "logs missing": (
        swap("eth_getBlockReceipts", lambda p, r: [{**each, "logs": []} for each in r]),
        "logs are not the receipt's",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_answers_that_do_not_hold_together_are_refused_with_the_answers(server: Any, name: str) -> None:
    change, message = BAD[name]
    node = EthereumNode(quick(server.url))
    server.chain.change = change
    with pytest.raises(InvalidAnswer, match=message) as caught:
        node.fetch(4)
    assert KEY not in str(caught.value)
    assert caught.value.raw is not None or name == "no block"


def test_a_trace_without_logs_among_traces_with_logs_is_refused(server: Any) -> None:
    node = EthereumNode(quick(server.url))
    good = [place for place, each in enumerate(server.chain.entries[4]["receipts"]) if each["logs"]]
    assert len(good) > 1

    def silent(params: list[Any], result: Any) -> Any:
        bare = {**result[good[0]]["result"], "calls": []}
        return [{**each, "result": bare} if place == good[0] else each for place, each in enumerate(result)]

    server.chain.change = swap(TRACER[0], silent)
    with pytest.raises(InvalidAnswer, match=r"has no logs, and the receipt has 1"):
        node.fetch(4)


def test_transactions_of_rollups_and_sidechains_are_taken_as_they_are(server: Any) -> None:
    node = EthereumNode(quick(server.url))
    entry = server.chain.entries[4]
    deposit, state_sync = entry["block"]["transactions"][:2]
    deposit["type"] = "0x7e"
    entry["traces"][0]["result"]["from"] = "0x" + "9" * 40
    zero = "0x" + "0" * 40
    state_sync |= {"from": zero, "to": zero}
    del entry["traces"][1]
    transactions = parse(node.fetch(4))
    assert transactions[0].sender == deposit["from"] != transactions[0].root.caller
    assert transactions[1].source is TraceSource.RECEIPT and transactions[1].status is TraceStatus.COMPLETE


def test_logs_that_only_a_receipt_can_have_are_left_out(server: Any) -> None:
    server.chain.chain_id = 137
    for receipt in server.chain.entries[4]["receipts"]:
        fee = {"address": "0x" + "0" * 36 + "1010", "topics": [], "data": "0x"}
        receipt["logs"] = [*receipt["logs"], fee]
    transactions = parse(EthereumNode(quick(server.url)).fetch(4))
    assert {log.emitter for each in transactions for log in _logs(each.root)} == {"0x" + "c" * 40}


def test_what_one_endpoint_answers_wrongly_another_is_asked_for() -> None:
    bad_chain = Chain()
    with serve(bad_chain) as bad, serve(Chain()) as good:
        bad_chain.change = BAD["empty traces"][0]
        node = EthereumNode(Pool([quick(bad.url, weight=1e9), quick(good.url, weight=1e-9)]))
        raw = node.fetch(4)
        assert sources(raw) == {TraceSource.CALL_TRACER_LOGS} and raw.degraded == ""
        assert bad.asked[TRACER[0]] > 1


def test_a_better_source_elsewhere_comes_before_a_lesser_one_here() -> None:
    poor_chain = Chain()
    poor_chain.absent = set(TRACER)
    with serve(poor_chain) as poor, serve(Chain()) as rich:
        node = EthereumNode(Pool([quick(poor.url, weight=1e9), quick(rich.url, weight=1e-9)]))
        assert sources(node.fetch(4)) == {TraceSource.CALL_TRACER_LOGS}
        rich.fault = lambda method, count: Fault(reset=True)
        with pytest.raises(RpcError):
            node.fetch(5)


def refusing(*methods: str) -> Callable[[str, list[Any], Any], Any]:
    def change(method: str, params: list[Any], result: Any) -> Any:
        if method in methods:
            raise Refuse(-32000, "required historical state unavailable")
        return result

    return change


def test_a_refused_block_degrades_and_says_so_unless_that_is_forbidden(server: Any) -> None:
    node = EthereumNode(quick(server.url))
    strict = EthereumNode(quick(server.url), least="callTracer")
    server.chain.change = refusing(TRACER[0])
    assert node.fetch(4).degraded == "" and sources(node.fetch(4)) == {TraceSource.CALL_TRACER_LOGS}
    server.chain.change = refusing(*TRACER)
    raw = node.fetch(4)
    assert sources(raw) == {TraceSource.TRACE_BLOCK_LOGS} and "historical state" in raw.degraded
    with pytest.raises(InvalidAnswer, match="historical state"):
        strict.fetch(4)
    server.chain.change = refusing(*TRACER, "trace_block")
    raw = node.fetch(4)
    assert sources(raw) == {TraceSource.RECEIPT} and raw.degraded


def test_transactions_that_fail_inside_a_good_answer_are_traced_alone(server: Any) -> None:
    node = EthereumNode(quick(server.url))
    slow = server.chain.entries[4]["block"]["transactions"][1]["hash"]

    def change(method: str, params: list[Any], result: Any) -> Any:
        if method == TRACER[0]:
            return [
                {"txHash": each["txHash"], "error": "execution timeout"} if each["txHash"] == slow else each
                for each in result
            ]
        if method == TRACER[1] and params[0] == slow and stubborn:
            raise Refuse(-32000, "execution timeout")
        return result

    server.chain.change = change
    stubborn = False
    raw = node.fetch(4)
    assert sources(raw) == {TraceSource.CALL_TRACER_LOGS} and raw.degraded == ""
    stubborn = True
    raw = node.fetch(4)
    assert "1 of 3 transactions could not be traced" in raw.degraded
    transactions = parse(raw)
    assert [each.source for each in transactions] == [
        TraceSource.CALL_TRACER_LOGS,
        TraceSource.RECEIPT,
        TraceSource.CALL_TRACER_LOGS,
    ]
    assert [each.status for each in transactions] == [
        TraceStatus.COMPLETE,
        TraceStatus.TRUNCATED,
        TraceStatus.COMPLETE,
    ]


SLOW = Refuse(-32000, "execution timeout")
BOMBS: dict[str, Callable[[], Any]] = {
    "refused": lambda: (_ for _ in ()).throw(SLOW),
    "internal error": lambda: (_ for _ in ()).throw(Refuse(-32603, "trace took too long")),
    "hangs": lambda: time.sleep(0.5),
}


def bombed(chain: Any, name: str, place: int = 0) -> Callable[[str, list[Any], Any], Any]:
    """One transaction of block 4 that no tracer gets through."""
    bomb = chain.entries[4]["block"]["transactions"][place]["hash"]

    def change(method: str, params: list[Any], result: Any) -> Any:
        whole = method in (TRACER[0], "trace_block") and params[0] == "0x4"
        if whole or (method == TRACER[1] and params[0] == bomb):
            BOMBS[name]()
        return result

    return change


def statuses(raw: RawBlock) -> list[tuple[TraceSource, TraceStatus]]:
    return [(each.source, each.status) for each in parse(raw)]


UNTRACED = (TraceSource.RECEIPT, TraceStatus.TRUNCATED)
TRACED = (TraceSource.CALL_TRACER_LOGS, TraceStatus.COMPLETE)
RECEIPT = (TraceSource.RECEIPT, TraceStatus.COMPLETE)


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("count", [1, 3])
def test_a_transaction_that_breaks_the_tracer_is_untraced_and_the_others_are_not(
    name: str, count: int
) -> None:
    with serve(Chain(txs=count)) as server:
        server.chain.absent = {"trace_block"}
        node = EthereumNode(quick(server.url, timeout=0.4))
        server.chain.change = bombed(server.chain, name)
        raw = node.fetch(4)
        assert statuses(raw) == [UNTRACED] + [TRACED] * (count - 1)
        assert f"1 of {count} transactions could not be traced" in raw.degraded and KEY not in raw.degraded
        assert KEY.encode() not in raw.bodies["traces"]


@pytest.mark.parametrize("absent", [TRACER, (TRACER[1], "trace_block")], ids=["trace_block", "blocks only"])
@pytest.mark.parametrize("name", BOMBS)
def test_a_block_that_breaks_the_only_tracer_is_untraced(absent: tuple[str, ...], name: str) -> None:
    with serve(Chain()) as server:
        server.chain.absent = set(absent)
        node = EthereumNode(quick(server.url, timeout=0.4))
        server.chain.change = bombed(server.chain, name)
        raw = node.fetch(4)
    assert statuses(raw) == [UNTRACED] * 3 and "3 of 3 transactions could not be traced" in raw.degraded


def test_traces_too_large_for_one_answer_are_untraced_where_they_cannot_be_asked_for_singly(
    server: Any,
) -> None:
    server.chain.absent = set(TRACER)
    node = EthereumNode(quick(server.url, max_bytes=20_000))
    frame = server.chain.entries[4]["traces"][0]["result"]
    frame["calls"] = [*frame["calls"], {**frame["calls"][0], "input": "0x" + "00" * 40_000, "logs": []}]
    raw = node.fetch(4)
    assert statuses(raw) == [UNTRACED] * 3 and "longer than 20,000 bytes" in raw.degraded


def test_a_failure_inside_an_answer_is_untraced_where_nothing_else_can_be_asked(server: Any) -> None:
    server.chain.absent = {TRACER[1]}
    node = EthereumNode(quick(server.url))
    server.chain.change = swap(
        TRACER[0], lambda p, r: [{"txHash": r[0]["txHash"], "error": "execution timeout"}, *r[1:]]
    )
    raw = node.fetch(4)
    assert statuses(raw) == [UNTRACED, TRACED, TRACED] and "1 of 3" in raw.degraded


def test_what_protocols_list_and_nobody_traces_is_complete_in_an_untraced_block(server: Any) -> None:
    server.chain.absent = set(TRACER)
    node = EthereumNode(quick(server.url))
    zero = "0x" + "0" * 40
    server.chain.entries[4]["block"]["transactions"][1] |= {"from": zero, "to": zero}
    server.chain.change = bombed(server.chain, "refused")
    assert statuses(node.fetch(4)) == [UNTRACED, (TraceSource.RECEIPT, TraceStatus.COMPLETE), UNTRACED]


def test_another_endpoint_may_trace_what_one_cannot() -> None:
    with serve(Chain(txs=1)) as slow, serve(Chain(txs=1)) as good:
        node = EthereumNode(Pool([quick(slow.url, weight=1e9), quick(good.url, weight=1e-9)]))
        slow.chain.change = bombed(slow.chain, "refused")
        assert statuses(node.fetch(4)) == [TRACED]
        good.fault = lambda method, count: Fault(reset=True)
        assert statuses(node.fetch(4)) == [UNTRACED]


@pytest.mark.parametrize("fault", [Fault(hang=0.6), Fault(status=504), Fault(reset=True)])
def test_a_tracer_that_is_down_is_waited_for_but_not_for_ever(
    server: Any, fault: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", logger="blockscan")
    node = EthereumNode(quick(server.url, timeout=0.3))
    server.fault = lambda method, count: fault if method in TRACER else None
    with pytest.raises(RpcError, match="debug_traceBlockByNumber"):
        node.fetch(4)
    monkeypatch.setattr("blockscan.chains.rpc.PATIENCE", 0.0)
    raw = node.fetch(4)
    assert statuses(raw) == [RECEIPT] * 3, "an outage is no property of these transactions"
    assert raw.source is TraceSource.RECEIPT and "debug_trace" in raw.degraded and KEY not in raw.degraded
    asked = sum(server.asked[method] for method in TRACER)
    assert statuses(node.fetch(5)) == [RECEIPT] * 3 and "tracer" in node.fetch(5).degraded
    assert sum(server.asked[method] for method in TRACER) == asked, "not asked again for every block"
    assert not node.fetch(0).degraded, "nothing of an empty block is missing"
    assert [each.levelname for each in caplog.records] == ["ERROR"] and "raises no alert" in caplog.text
    monkeypatch.setattr("blockscan.chains.rpc.PATIENCE", 1e9)
    node._silent, node._ask_again = dict.fromkeys(node._silent, -1e9), {}
    assert statuses(node.fetch(5))[0] == RECEIPT, "the wait is the tracer's, not each block's"
    server.fault = lambda method, count: None
    node._ask_again = dict.fromkeys(node._ask_again, time.monotonic())
    assert set(statuses(node.fetch(5))) == {TRACED} and not node._silent
    assert "answers again" in caplog.text


def test_one_transaction_that_breaks_a_living_tracer_is_untraced_however_long_it_was_down(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blockscan.chains.rpc.PATIENCE", 0.0)
    server.chain.absent = {"trace_block"}
    node = EthereumNode(quick(server.url, timeout=0.3))
    server.fault = lambda method, count: Fault(status=504) if method in TRACER else None
    assert statuses(node.fetch(3)) == [RECEIPT] * 3
    server.fault = lambda method, count: None
    server.chain.change = bombed(server.chain, "internal error")
    node._ask_again = dict.fromkeys(node._ask_again, time.monotonic())
    assert statuses(node.fetch(4)) == [UNTRACED, TRACED, TRACED]


def test_a_tracer_that_is_down_leaves_nothing_where_traces_are_required(
    server: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("blockscan.chains.rpc.PATIENCE", 0.0)
    node = EthereumNode(quick(server.url, timeout=0.3), least="callTracer")
    server.fault = lambda method, count: Fault(status=504) if method in TRACER else None
    for number in (4, 5):
        with pytest.raises(InvalidAnswer, match=f"block {number}: .*(504|nothing for long)"):
            node.fetch(number)
    assert caplog.text.count("is quarantined until it answers") == 1 and "receipts" not in caplog.text


def test_the_traces_of_another_endpoint_are_taken_where_one_tracer_is_down_for_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", logger="blockscan")
    monkeypatch.setattr("blockscan.chains.rpc.PATIENCE", 0.0)
    with serve(Chain()) as best, serve(Chain()) as lesser:
        best.chain.absent, lesser.chain.absent = {"trace_block"}, set(TRACER)
        node = EthereumNode(Pool([quick(best.url), quick(lesser.url)]))
        best.fault = lambda method, count: Fault(status=504) if method in TRACER else None
        for number in (3, 4):
            raw = node.fetch(number)
            assert sources(raw) == {TraceSource.TRACE_BLOCK_LOGS} and raw.degraded
        down, well = (endpoint.shown for endpoint in node._pool.endpoints)
        assert down in raw.degraded and well not in raw.degraded
        assert caplog.text.count("is down") == caplog.text.count("lesser traces") == 1
        lesser.fault = lambda method, count: Fault(status=504) if method == "trace_block" else None
        assert sources(node.fetch(5)) == {TraceSource.RECEIPT} and "raises no alert" in caplog.text
        lesser.fault = best.fault = lambda method, count: None
        node._ask_again = dict.fromkeys(node._ask_again, time.monotonic())
        assert sources(node.fetch(5)) == {TraceSource.CALL_TRACER_LOGS}


def test_a_tracer_that_answers_another_thread_at_this_moment_ends_none(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgotten(dict[Any, float]):
        """As another thread leaves it, which has got traces just now."""

        def setdefault(self, key: Any, default: float = 0.0) -> float:
            return default

    node = EthereumNode(quick(server.url))
    monkeypatch.setattr(node, "_silent", Forgotten())
    with pytest.raises(TracerDown):
        node._wait(TracerDown("no answer"), tuple(node._pool.endpoints))


@pytest.mark.parametrize("other", [StateAbsent, Forbidden, Unanswered, AnswerTooLarge, RpcError])
def test_a_tracer_that_is_down_is_waited_for_no_longer_because_of_others(other: type[Exception]) -> None:
    assert type(summed([TracerDown("one"), other("another")])) is TracerDown
    assert type(summed([other("another"), TracerDown("one"), Untraceable("third")])) is Untraceable


@pytest.mark.parametrize("method", ["eth_getBlockByNumber", "eth_getBlockReceipts"])
def test_a_node_that_answers_nothing_else_is_waited_for(server: Any, method: str) -> None:
    node = EthereumNode(quick(server.url))
    server.chain.change = bombed(server.chain, "internal error")
    server.fault = lambda asked, count: Fault(status=503) if asked == method else None
    with pytest.raises(RpcError, match="HTTP status 503"):
        node.fetch(4)


@pytest.mark.parametrize("words", ["You've reached the usage limit for your current plan", "database closed"])
def test_a_node_that_refuses_a_block_in_any_words_is_waited_for(server: Any, words: str) -> None:
    node = EthereumNode(quick(server.url))

    def change(method: str, params: list[Any], result: Any) -> Any:
        raise Refuse(-32000, words)

    server.chain.change = change
    with pytest.raises(RpcError, match=words) as caught:
        node.fetch(4)
    assert not isinstance(caught.value, MethodRefused)
    server.chain.change = lambda method, params, result: result
    assert node.fetch(4).degraded == ""


def test_a_rate_limit_on_traces_is_no_bomb(server: Any) -> None:
    node = EthereumNode(quick(server.url))
    harmless = ("0x0", "0x" + "0" * 64)

    def change(method: str, params: list[Any], result: Any) -> Any:
        if method in TRACER and params[0] not in harmless:
            raise Refuse(-32005, "limit exceeded")
        return result

    server.chain.change = change
    with pytest.raises(RpcError, match="rate limit"):
        node.fetch(4)


def test_the_tracer_gives_up_before_the_client_does(server: Any) -> None:
    seen = []

    def change(method: str, params: list[Any], result: Any) -> Any:
        if method in TRACER:
            seen.append(params[1]["timeout"])
        return result

    node = EthereumNode(quick(server.url))
    server.chain.change = change
    node.fetch(4)
    assert seen == ["2500ms"]


def test_opcode_logs_are_no_traces(server: Any) -> None:
    node = EthereumNode(quick(server.url))

    def change(method: str, params: list[Any], result: Any) -> Any:
        if method == TRACER[0]:
            return [{"txHash": each["txHash"], "result": {"structLogs": [], "gas": 0}} for each in result]
        return {"structLogs": [], "gas": 0} if method == TRACER[1] else result

    server.chain.change = change
    raw = node.fetch(4)
    assert sources(raw) == {TraceSource.TRACE_BLOCK_LOGS} and "callTracer's fields" in raw.degraded


def test_finality_tags_and_headers(server: Any) -> None:
    node = EthereumNode(quick(server.url))
    assert (node.head(), node.head("safe"), node.head("finalized")) == (9, 7, 5)
    header = node.header(4)
    assert header is not None and header.parent_hash == server.chain.entries[3]["block"]["hash"]
    assert node.header(99) is None
    with pytest.raises(ChainError, match="has no block 99"):
        node.fetch(99)


@pytest.mark.parametrize("wrong", [None, "0x", "syncing", {}, -1, True])
def test_a_head_or_header_that_is_no_number_is_waited_for(server: Any, wrong: Any) -> None:
    node = EthereumNode(quick(server.url))

    def change(method: str, params: list[Any], result: Any) -> Any:
        if method == "eth_blockNumber":
            return wrong
        return {**result, "number": wrong, "timestamp": wrong}

    server.chain.change = change
    for ask in (node.head, lambda: node.head("safe"), lambda: node.header(4)):
        with pytest.raises(RpcError, match="wait until the node has started"):
            ask()
    server.chain.change = lambda method, params, result: {}
    with pytest.raises(RpcError, match="block 4 was answered without its hashes"):
        node.header(4)
