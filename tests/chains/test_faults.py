"""What a node, a network, a disk and an operator can do to an ingest: nothing may be lost or doubled."""

import random
import resource
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blockscan.archive import Archive
from blockscan.chains.ethereum import parse
from blockscan.chains.pool import Pool
from blockscan.chains.rpc import EthereumNode
from blockscan.chains.transport import AnswerTooLarge, Endpoint
from blockscan.errors import RpcError
from blockscan.transaction import TraceStatus, call_count
from pipelines.ingest import ingest_node
from pipelines.ranges import BlockRange

HERE = Path(__file__).resolve().parent
HELP = runpy.run_path(str(HERE / "fault_server.py"))
Chain, Fault, serve, KEY, Refuse = (HELP[name] for name in ("Chain", "Fault", "serve", "KEY", "Refuse"))
TRACES = "debug_traceBlockByNumber"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blockscan.chains.pool.PAUSE", 0.005)
    monkeypatch.setattr("blockscan.chains.limits.FIRST_COOLDOWN", 0.01)


@pytest.fixture
def server() -> Iterator[Any]:
    with serve(Chain(blocks=40)) as running:
        yield running


def endpoint(url: str, **more: Any) -> Endpoint:
    return Endpoint(url, **({"timeout": 5, "attempts": 16, "pause": 0.002} | more))


def expected(chain: Any, first: int, stop: int) -> list[str]:
    return sorted(tx["hash"] for entry in chain.entries[first:stop] for tx in entry["block"]["transactions"])


def stored(path: Path) -> list[str]:
    return sorted(each.hash for raw in Archive(path).raw_blocks() for each in parse(raw))


LIMIT = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"limit exceeded"}}'
STORMS = {
    "429": Fault(429, {"Retry-After": "0"}),
    "-32005": Fault(body=LIMIT),
    "503": Fault(503),
    "truncated": Fault(cut=True),
    "reset": Fault(reset=True),
    "empty": Fault(body=b""),
    "html": Fault(body=b"<html>gateway</html>"),
    "slow": Fault(hang=0.05),
}


def storm(share: float, *faults: Any) -> Callable[[str, int], Any]:
    rng = random.Random(7)
    return lambda method, count: rng.choice(faults) if rng.random() < share else None


@pytest.mark.parametrize("name", STORMS)
def test_a_storm_of_one_fault_costs_time_and_nothing_else(server: Any, tmp_path: Path, name: str) -> None:
    given = EthereumNode(endpoint(server.url))
    server.fault = storm(0.4, STORMS[name])
    report = ingest_node(given, BlockRange(1, 25), tmp_path)
    assert stored(tmp_path) == expected(server.chain, 1, 25)
    assert report.rejected == () and report.coverage.sources == {"callTracer+logs": 72}


def test_a_storm_of_all_faults_at_two_endpoints(server: Any, tmp_path: Path) -> None:
    with serve(server.chain) as second:
        pool = Pool([endpoint(each.url, attempts=4) for each in (server, second)])
        given = EthereumNode(pool)
        server.fault, second.fault = storm(0.6, *STORMS.values()), storm(0.3, *STORMS.values())
        ingest_node(given, BlockRange(1, 40), tmp_path)
    assert stored(tmp_path) == expected(server.chain, 1, 40)


def test_a_hanging_endpoint_is_left_for_another_and_alone_ends_in_an_error(
    server: Any, tmp_path: Path
) -> None:
    with serve(server.chain) as hanging:
        slow = endpoint(hanging.url, timeout=0.3, attempts=1, weight=100.0)
        given = EthereumNode(Pool([slow, endpoint(server.url)]))
        hanging.fault = lambda method, count: Fault(hang=30)
        started = time.monotonic()
        ingest_node(given, BlockRange(1, 40), tmp_path)
        assert time.monotonic() - started < 15
        assert stored(tmp_path) == expected(server.chain, 1, 40)
        with pytest.raises(RpcError, match="no answer"):
            EthereumNode(endpoint(hanging.url, timeout=0.2, attempts=2))


def test_traces_of_another_block_are_refused(server: Any, tmp_path: Path) -> None:
    given = EthereumNode(endpoint(server.url))
    entries = server.chain.entries

    def change(method: str, params: list[Any], result: Any) -> Any:
        number = int(params[0], 16) if method == TRACES else 0
        return entries[number + 1]["traces"] if number in (5, 6) else result

    server.chain.change = change
    report = ingest_node(given, BlockRange(1, 10), tmp_path)
    assert [number for number, _ in report.coverage.quarantined] == [5, 6]
    assert stored(tmp_path) == sorted(expected(server.chain, 1, 5) + expected(server.chain, 7, 10))


def test_a_3000_deep_trace_is_a_finding_and_no_crash(server: Any, tmp_path: Path) -> None:
    """Sent as raw bytes, since no encoder here writes such depth."""
    given = EthereumNode(endpoint(server.url))
    trace = server.chain.entries[3]["traces"][0]["result"]
    deep = None
    respond = server.respond

    def answer(raw: bytes) -> tuple[str, bytes]:
        nonlocal deep
        method, body = respond(raw)
        if method == TRACES and b'"0x3"' in raw:
            inner = head_for(trace) * 3000
            deep = body.replace(
                b'"calls": [', b'"calls": [' + inner + tail_for(trace) + b"]}" * 3000 + b",", 1
            )
            return method, deep
        return method, body

    server.respond = answer
    ingest_node(given, BlockRange(1, 6), tmp_path)
    assert deep is not None and stored(tmp_path) == expected(server.chain, 1, 6)
    (raw,) = (raw for raw in Archive(tmp_path).raw_blocks() if raw.number == 3)
    first = parse(raw)[0]
    assert first.status is TraceStatus.TRUNCATED and call_count(first.root) > 1000
    assert raw.bodies["traces"] == deep


def head_for(trace: Any) -> bytes:
    return f'{{"type":"CALL","from":"{trace["to"]}","to":"{trace["from"]}","calls":['.encode()


def tail_for(trace: Any) -> bytes:
    return f'{{"type":"CALL","from":"{trace["to"]}","to":"{trace["from"]}"}}'.encode()


def test_a_200_mb_answer_ends_in_a_clear_error_or_smaller_questions_within_bounded_memory(
    server: Any, tmp_path: Path
) -> None:
    given = EthereumNode(endpoint(server.url))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flood = Fault(flood=200 * 1024 * 1024)
    server.fault = lambda method, count: flood if method == TRACES else None
    report = ingest_node(given, BlockRange(1, 3), tmp_path)
    assert stored(tmp_path) == expected(server.chain, 1, 3)
    assert report.coverage.sources == {"callTracer+logs": 6} and server.asked["debug_traceTransaction"] > 6
    server.fault = lambda method, count: flood
    with pytest.raises(AnswerTooLarge, match="longer than 67,108,864 bytes") as caught:
        endpoint(server.url).fetch("eth_blockNumber", [])
    assert KEY not in str(caught.value)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 4 * 2 * 64  # MiB: four requests at once, each up to the limit and its joined copy


PEAK = """
import resource, sys
from pathlib import Path
from blockscan.chains.rpc import EthereumNode
from blockscan.chains.transport import Endpoint
from pipelines.ingest import ingest_node
from pipelines.ranges import BlockRange
url, out, stop = sys.argv[1:]
ingest_node(EthereumNode(Endpoint(url)), BlockRange(1, int(stop)), Path(out))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_range(tmp_path: Path) -> None:
    """1.2 MB a block: a part is full after some 55 of them."""
    chain = Chain(blocks=1)
    chain.data = "0x" + "ab" * 100_000
    chain.grow(480)
    peaks = []
    with serve(chain) as server:
        for stop in (121, 481):
            command = [sys.executable, "-c", PEAK, server.url, str(tmp_path / str(stop)), str(stop)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE.parents[1])
            peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < peaks[0] + 40, peaks  # MiB; the longer range holds 430 MB more


CHILD = [sys.executable, str(HERE / "ingest_child.py")]


def run_child(url: str, out: Path, blocks: int, runs: int, seed: int = 0) -> Any:
    command = [*CHILD, url, str(out), str(blocks), str(runs), str(seed)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parents[1])


def kill_and_resume(tmp_path: Path, runs: int, seed: int) -> int:
    chain = Chain(blocks=25, txs=2)
    with serve(chain) as server:
        done = run_child(server.url, tmp_path, 25, runs, seed)
    assert done.returncode == 0, done.stderr[-2000:]
    for run in range(runs):
        assert stored(tmp_path / str(run)) == expected(chain, 1, 25), run
        assert Archive(tmp_path / str(run)).coverage().blocks == ((1, 24),)
    midway = [int(line) for line in done.stdout.split()]
    assert len(midway) == runs
    return sum(midway)


def test_a_killed_ingest_resumes_without_loss_or_doubles(tmp_path: Path) -> None:
    assert kill_and_resume(tmp_path, 8, 1) >= 8


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_killed_ingests_resume_without_loss_or_doubles(tmp_path: Path) -> None:
    assert kill_and_resume(tmp_path, 100, 2) >= 100


def test_a_full_disk_ends_in_one_line_and_the_next_run_goes_on(server: Any, tmp_path: Path) -> None:
    server.chain.grow(60)
    full = run_child(server.url, tmp_path / "a", 100, 0)
    assert full.returncode == 1 and "Traceback" not in full.stderr
    assert "free some space and run the same command again" in full.stderr and KEY not in full.stderr
    assert not list((tmp_path / "a").glob("*.draft"))
    ingest_node(EthereumNode(endpoint(server.url)), BlockRange(1, 100), tmp_path / "a")
    assert stored(tmp_path / "a") == expected(server.chain, 1, 100)
