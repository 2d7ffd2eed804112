"""How hard endpoints are pressed, how they rest, how work is spread and how batches adapt."""

import gzip
import json
import random
import runpy
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from blockscan.chains.batching import MAX_UNANSWERED, fetch_each
from blockscan.chains.limits import FAILURES_TO_OPEN, Breaker, TokenBucket, backoff, retry_after
from blockscan.chains.pool import Pool, read_endpoints
from blockscan.chains.transport import AnswerTooLarge, Endpoint, MethodAbsent, MethodRefused, Unanswered
from blockscan.errors import ConfigError, RpcError

HELP = runpy.run_path(str(Path(__file__).with_name("fault_server.py")))
Chain, Fault, serve, KEY, Refuse = (HELP[name] for name in ("Chain", "Fault", "serve", "KEY", "Refuse"))


def quick(url: str, **more: Any) -> Endpoint:
    return Endpoint(url, **({"timeout": 5, "attempts": 3, "pause": 0.001} | more))


def test_a_token_bucket_holds_the_rate() -> None:
    bucket = TokenBucket(100)
    started = time.monotonic()
    bucket.take(95)
    threads = [threading.Thread(target=lambda: [bucket.take() for _ in range(10)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.24 < time.monotonic() - started < 2


def test_backoff_grows_with_jitter_and_heeds_the_server() -> None:
    rng = random.Random(1)
    waits = [[backoff(attempt, 1.0, 0.0, rng) for _ in range(200)] for attempt in (1, 2, 3)]
    for scale, found in zip((1, 2, 4), waits, strict=True):
        assert 0.5 * scale <= min(found) < 0.6 * scale and 1.4 * scale < max(found) <= 1.5 * scale
    assert backoff(1, 0.001, 7.0, rng) == 7.0
    assert backoff(60, 1.0, 0.0, rng) == 120.0
    assert [retry_after(text) for text in (None, "3", "-1", "1e9", "soon", "nan")] == [0, 3, 0, 120, 0, 0]
    huge = ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Mon, 01 Jan 2020 00:00:00 +99999999999999")
    assert [retry_after(text) for text in huge] == [0, 0]
    assert 50 < retry_after(time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))) <= 60


def test_a_breaker_opens_after_failures_in_a_row_and_closes_on_success() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.failed()
    assert not breaker.blocked
    breaker.failed()
    first = breaker.blocked
    breaker.failed()
    assert 0 < first <= 2 < breaker.blocked <= 4
    breaker.succeeded()
    assert not breaker.blocked


def test_retry_after_is_waited_for() -> None:
    with serve(Chain()) as server:
        server.fault = lambda method, count: Fault(429, {"Retry-After": "0.3"}) if count == 1 else None
        started = time.monotonic()
        assert quick(server.url).fetch("eth_chainId", [])[0] == "0x1"
        assert time.monotonic() - started >= 0.3


def test_no_more_requests_run_at_once_than_allowed() -> None:
    running, most = 0, 0
    lock = threading.Lock()

    with serve(Chain()) as server:
        endpoint = quick(server.url, concurrent=2)
        post = endpoint._session.post

        def counted(*args: Any, **more: Any) -> Any:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.02)
            try:
                return post(*args, **more)
            finally:
                with lock:
                    running -= 1

        endpoint._session.post = counted  # type: ignore[method-assign]  # observed, not replaced
        threads = [threading.Thread(target=endpoint.fetch, args=("eth_chainId", [])) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == 2


@pytest.mark.parametrize("body", [b'{"jsonrpc":"2.0","id":1,"result":"' + b"x" * 3_000_000 + b'"}'])
def test_an_answer_over_the_limit_is_refused_also_when_it_is_compressed(body: bytes) -> None:
    packed = gzip.compress(body)
    assert len(packed) < 10_000
    with serve(Chain()) as server:
        server.fault = lambda method, count: Fault(headers={"Content-Encoding": "gzip"}, body=packed)
        assert len(quick(server.url).fetch("eth_chainId", [])[0]) == 3_000_000
        with pytest.raises(AnswerTooLarge, match="longer than 1,000,000 bytes"):
            quick(server.url, max_bytes=1_000_000).fetch("eth_chainId", [])


def test_a_dripping_answer_ends_at_the_time_limit() -> None:
    with serve(Chain()) as server:
        server.fault = lambda method, count: Fault(drip=0.05)
        started = time.monotonic()
        with pytest.raises(RpcError, match=r"longer than 0\.3 s"):
            quick(server.url, timeout=0.3, attempts=1).fetch("eth_chainId", [])
        assert time.monotonic() - started < 1.5


def test_a_redirect_is_not_followed() -> None:
    with serve(Chain()) as server:
        server.fault = lambda method, count: Fault(302, {"Location": f"http://127.0.0.1:9/{KEY}"})
        with pytest.raises(RpcError, match="HTTP status 302"):
            quick(server.url).fetch("eth_chainId", [])
        assert server.requests == 1


def test_endpoints_are_read_from_text_with_their_settings() -> None:
    pool = read_endpoints(["http://a/KEY#weight=2&rps=25&concurrent=3, http://b", "http://c#max_mb=0.5"])
    assert [endpoint.weight for endpoint in pool.endpoints] == [2, 1, 1]
    assert pool.concurrent == 3 + 4 + 4 and [endpoint.attempts for endpoint in pool.endpoints] == [2, 2, 2]
    assert read_endpoints(["http://a"]).endpoints[0].attempts == 5
    for text in ("http://a#s3cr3t", "http://a#rps=s3cr3t", "http://a#weight=-1", "http://a#concurrent=0"):
        with pytest.raises(ConfigError, match=r"settings may stand|no usable number") as caught:
            read_endpoints([text])
        assert "s3cr3t" not in str(caught.value)
    with pytest.raises(ConfigError, match="at least one"):
        read_endpoints(["", " , "])


def test_work_is_spread_by_weight_and_endpoints_at_rest_come_last() -> None:
    heavy, light, tired = (Endpoint(f"http://{name}", weight=weight) for name, weight in
                           (("a", 3.0), ("b", 1.0), ("c", 9.0)))  # fmt: skip
    tired.breaker.rest(60)
    pool = Pool([heavy, light, tired], random.Random(5))
    first = Counter(pool.order(pool.endpoints)[0].shown for _ in range(2000))
    assert set(first) == {heavy.shown, light.shown}
    assert 2.4 < first[heavy.shown] / first[light.shown] < 3.8
    assert all(pool.order(pool.endpoints)[-1] is tired for _ in range(20))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(429),
        Fault(401),
        Fault(body=b'{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"daily limit, upgrade"}}'),
        Fault(body=b'{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"limit exceeded"}}'),
        Fault(cut=True),
        Fault(reset=True),
    ],
    ids=["429", "401", "error envelope", "-32005", "truncated", "reset"],
)
def test_another_endpoint_is_asked_on_every_kind_of_failure(fault: Any) -> None:
    with serve(Chain()) as bad, serve(Chain()) as good:
        bad.fault = lambda method, count: fault
        pool = Pool([quick(bad.url, attempts=1), quick(good.url, weight=1e-9)])
        for _ in range(12):
            assert pool.fetch("eth_chainId", [])[0] == "0x1"
        assert good.requests == 12
        assert bad.requests <= 12
        if "error" not in str(fault.body) or fault.status != 200:
            assert bad.requests <= FAILURES_TO_OPEN


def test_a_pool_says_of_every_endpoint_why_it_failed() -> None:
    with serve(Chain()) as one, serve(Chain()) as two:
        one.fault = two.fault = lambda method, count: Fault(403)
        with pytest.raises(RpcError, match="403") as caught:
            Pool([quick(one.url), quick(two.url)]).fetch("eth_chainId", [])
        one.fault = two.fault = lambda method, count: None
        pool = Pool([quick(one.url), quick(two.url)])
        with pytest.raises(MethodRefused):
            pool.fetch("eth_nonsense", ["0x1"])
    assert str(caught.value).count("http://127.0.0.1") == 2 and KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "text", "absent"),
    [
        (-32601, "whatever", True),
        (-32000, "Unsupported method: trace_block on ETH_MAINNET", True),
        (-32600, "trace_block is not available on the Free tier", True),
        (-32000, "block does not exist", False),
        (-32000, "required historical state unavailable (reexec=128)", False),
        (-32000, "genesis is not traceable", False),
    ],
)
def test_absent_methods_are_told_from_refusals(code: int, text: str, absent: bool) -> None:
    with serve(Chain()) as server:
        error = {"id": 1, "error": {"code": code, "message": text}}
        server.fault = lambda method, count: Fault(body=json.dumps(error).encode())
        with pytest.raises(MethodRefused) as caught:
            quick(server.url).fetch("trace_block", ["0x1"])
        assert isinstance(caught.value, MethodAbsent) is absent and server.requests == 1


def hashes(chain: Any) -> list[list[str]]:
    return [[tx["hash"]] for entry in chain.entries for tx in entry["block"]["transactions"]]


def check_batch(endpoint: Endpoint, chain: Any, count: int = 1_000_000) -> None:
    wanted = hashes(chain)[:count]
    answers, body = fetch_each(endpoint, "eth_getTransactionReceipt", wanted)
    assert [answers[place]["transactionHash"] for place in range(len(wanted))] == [each for (each,) in wanted]
    assert {each["id"] for each in json.loads(body)} == set(range(len(wanted)))


def test_batches_halve_until_the_endpoint_takes_them_and_grow_again() -> None:
    chain = Chain(blocks=1500, txs=1)
    with serve(chain) as server:
        respond = server.respond

        def picky(raw: bytes) -> tuple[str, bytes]:
            if raw.startswith(b"[") and raw.count(b'"method"') > limit:
                error = {"code": -32600, "message": "batch too large"}
                return "batch", json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
            result: tuple[str, bytes] = respond(raw)
            return result

        server.respond = picky
        endpoint = quick(server.url)
        for limit, count in ((0, 30), (20, 300), (1000, 1499)):
            check_batch(endpoint, chain, count)
            assert server.biggest_batch <= max(limit, 1)
        assert server.biggest_batch >= 128


def test_members_that_are_rate_limited_are_asked_again_alone() -> None:
    chain = Chain(blocks=20)
    seen: Counter[str] = Counter()

    def change(method: str, params: list[Any], result: Any) -> Any:
        seen[params[0]] += 1
        if seen[params[0]] == 1 and len(seen) % 3 == 0:
            raise Refuse(-32005, "limit exceeded")
        return result

    chain.change = change
    with serve(chain) as server:
        check_batch(quick(server.url), chain)
    assert set(seen.values()) == {1, 2}


def test_a_refused_member_of_a_batch_does_not_spoil_the_others() -> None:
    chain = Chain(blocks=5)
    wanted = hashes(chain)
    with serve(chain) as server:
        answers, _ = fetch_each(quick(server.url), "debug_traceTransaction", [*wanted, ["0x00"]])
    assert isinstance(answers[len(wanted)], MethodRefused)
    assert all(answers[place]["type"] == "CALL" for place in range(len(wanted)))


def test_what_a_slow_member_of_a_batch_leaves_no_time_for_is_asked_for_alone() -> None:
    """A geth answers the rest of a batch whose time is over with -32002."""
    chain = Chain(blocks=5)
    wanted = hashes(chain)
    bombs: dict[str, int] = {wanted[4][0]: -32002}
    with serve(chain) as server:
        one, respond = server.one, server.respond
        late = False

        def answer(call: dict[str, Any]) -> Any:
            nonlocal late
            late = late or call["params"][0] in bombs
            error = {"code": -32002, "message": "request timed out"}
            return {"jsonrpc": "2.0", "id": call["id"], "error": error} if late else one(call)

        def anew(raw: bytes) -> tuple[str, bytes]:
            nonlocal late
            late = False
            return respond(raw)

        server.one, server.respond = answer, anew
        answers, body = fetch_each(quick(server.url), "debug_traceTransaction", wanted)
        assert server.requests <= 2 + len(wanted)
    assert isinstance(answers.pop(4), MethodRefused)
    assert all(answer["type"] == "CALL" for answer in answers.values()) and len(answers) == len(wanted) - 1
    last = {each["id"]: each for each in json.loads(body)}
    assert [place for place, each in last.items() if "error" in each] == [4]


def test_calls_that_get_no_answer_are_given_up_after_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain(blocks=5)
    wanted = hashes(chain)
    with serve(chain) as server:
        endpoint = quick(server.url)
        server.fault = lambda method, count: Fault(503)
        answers, body = fetch_each(endpoint, "debug_traceTransaction", wanted)
        assert server.requests == 3 * (1 + MAX_UNANSWERED)
    assert len(answers) == len(wanted) and body == b"[]"
    assert all(isinstance(answer, Unanswered) for answer in answers.values())


def test_the_answers_of_one_block_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blockscan.chains.batching.MAX_TOGETHER", 5_000)
    chain = Chain(blocks=5)
    chain.change = lambda method, params, result: result | {"output": "0x" + "00" * 1_000}
    wanted = hashes(chain)
    with serve(chain) as server:
        endpoint = quick(server.url)
        endpoint.batches.now = 1
        answers, body = fetch_each(endpoint, "debug_traceTransaction", wanted)
    kept = [place for place, answer in answers.items() if not isinstance(answer, AnswerTooLarge)]
    assert kept == [0, 1] and len(answers) == len(wanted) and len(body) < 5_000 + 3_000
    assert [each["id"] for each in json.loads(body)] == kept


def test_what_takes_all_its_time_is_asked_for_twice_and_not_five_times() -> None:
    with serve(Chain()) as server:
        server.fault = lambda method, count: Fault(hang=1)
        with pytest.raises(Unanswered, match=r"no answer within 0\.2 s \(2 attempts\)"):
            quick(server.url, timeout=0.2, attempts=5).fetch("eth_chainId", [])
