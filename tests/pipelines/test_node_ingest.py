"""Blocks of nodes -> archive: order, links, quarantine, repair, coverage, and what the command line says."""

import json
import logging
import runpy
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from blockscan.archive import Archive, RawBlock
from blockscan.chains.pool import Pool
from blockscan.chains.rpc import LEAST, EthereumNode
from blockscan.chains.transport import Endpoint
from blockscan.errors import ArtifactError, ChainError
from blockscan.transaction import TraceSource
from pipelines import block_writer
from pipelines.cli_data import Poorest
from pipelines.data_commands import problems
from pipelines.ingest import ingest_node, repair_node
from pipelines.prefetch import prefetch
from pipelines.ranges import BlockRange
from pipelines.sources import Rejects, open_shards, read_transactions

HELP = runpy.run_path(str(Path(__file__).parents[1] / "chains" / "fault_server.py"))
Chain, Fault, serve, KEY, Refuse = (HELP[name] for name in ("Chain", "Fault", "serve", "KEY", "Refuse"))
TRACES = "debug_traceBlockByNumber"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blockscan.chains.pool.PAUSE", 0.005)


@pytest.fixture
def server() -> Iterator[Any]:
    with serve(Chain(blocks=60)) as running:
        yield running


def node(*servers: Any) -> EthereumNode:
    endpoints = [Endpoint(each.url, timeout=5, attempts=2, pause=0.001) for each in servers]
    return EthereumNode(Pool(endpoints))


def stored(path: Path) -> list[str]:
    return [transaction.hash for transaction in read_transactions(open_shards(path, Rejects()))]


def expected(chain: Any, first: int, stop: int) -> list[str]:
    return [tx["hash"] for entry in chain.entries[first:stop] for tx in entry["block"]["transactions"]]


def test_blocks_come_in_order_however_late_their_answers(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_writer, "PART_ROWS", 7)
    server.fault = lambda method, count: Fault(hang=0.03) if count % 5 == 0 else None
    report = ingest_node(node(server), BlockRange(1, 50), tmp_path)
    assert stored(tmp_path) == expected(server.chain, 1, 50)
    assert report.added == 147 and report.coverage.blocks == ((1, 49),) and report.coverage.chain_ids == (1,)
    before = server.asked[TRACES]
    assert ingest_node(node(server), BlockRange(1, 50), tmp_path).added == 0
    assert server.asked[TRACES] == before + 1  # the probe


def test_no_more_blocks_are_fetched_ahead_than_a_few(server: Any) -> None:
    answers = prefetch(node(server), range(1, 60))
    for _ in range(3):
        next(answers)
    assert server.asked["eth_getBlockByNumber"] <= 3 + 2 * 4
    answers.close()


def test_a_failing_node_leaves_what_was_fetched_and_the_next_run_goes_on(server: Any, tmp_path: Path) -> None:
    given = node(server)
    server.fault = lambda method, count: Fault(503) if server.asked[TRACES] > 20 else None
    with pytest.raises(ChainError, match="HTTP status 503"):
        ingest_node(given, BlockRange(1, 40), tmp_path)
    held = stored(tmp_path)
    assert 3 * 10 < len(held) < 3 * 30
    server.fault = lambda method, count: None
    ingest_node(node(server), BlockRange(1, 40), tmp_path)
    assert stored(tmp_path) == expected(server.chain, 1, 40)


def break_traces(server: Any, *numbers: int) -> None:
    names = {hex(number) for number in numbers}
    server.chain.change = lambda method, params, result: (
        [] if method == TRACES and params[0] in names else result
    )


def test_wrong_answers_are_quarantined_with_reason_and_bodies_and_repaired(
    server: Any, tmp_path: Path
) -> None:
    given = node(server)
    break_traces(server, 5, 6, 9)
    report = ingest_node(given, BlockRange(1, 20), tmp_path)
    assert len(report.rejected) == 3 and "traces are not those" in report.rejected[0]
    assert [number for number, _ in report.coverage.quarantined] == [5, 6, 9]
    assert report.coverage.blocks == ((1, 4), (7, 8), (10, 19)) and report.coverage.gaps == ()
    from blockscan.archive import part_info, read_part

    kept = tmp_path / "quarantine" / "block-000000000005.parquet"
    (raw,) = read_part(kept)
    assert raw.number == 5 and b'"result": []' in raw.bodies["traces"] and b"hash" in raw.bodies["block"]
    assert "traces are not those" in part_info(kept).quarantined[0][1]
    assert ingest_node(given, BlockRange(1, 20), tmp_path).added == 0
    break_traces(server, 6)
    partly = repair_node(given, tmp_path)
    assert partly.added == 6 and [number for number, _ in partly.coverage.quarantined] == [6]
    break_traces(server)
    assert repair_node(given, tmp_path).coverage.quarantined == ()
    assert sorted(stored(tmp_path)) == sorted(expected(server.chain, 1, 20))


def test_degraded_blocks_are_listed_and_replaced_by_a_repair(server: Any, tmp_path: Path) -> None:
    given = node(server)

    def change(method: str, params: list[Any], result: Any) -> Any:
        if method in (TRACES, "debug_traceTransaction") and number_of(method, params) == 7:
            raise Refuse(-32000, "required historical state unavailable")
        return result

    def number_of(method: str, params: list[Any]) -> int:
        place = params[0] if method == TRACES else server.chain.places.get(params[0], ("0x0", 0))[0]
        return int(place, 16)

    server.chain.change = change
    report = ingest_node(given, BlockRange(1, 12), tmp_path)
    assert [number for number, _ in report.coverage.degraded] == [7]
    assert report.coverage.sources == {"callTracer+logs": 30, "trace_block": 3}
    assert repair_node(given, tmp_path).added == 0
    server.chain.change = lambda method, params, result: result
    report = repair_node(given, tmp_path)
    assert report.coverage.degraded == () and report.coverage.sources == {"callTracer+logs": 33}
    transactions = list(read_transactions(open_shards(tmp_path, Rejects())))
    assert sorted(each.hash for each in transactions) == sorted(expected(server.chain, 1, 12))
    assert {each.source for each in transactions} == {TraceSource.CALL_TRACER_LOGS}
    assert sorted(Archive(tmp_path).tx_hashes()) == sorted(expected(server.chain, 1, 12))
    assert len(list(Archive(tmp_path).raw_blocks())) == 11
    (found,) = Archive(tmp_path).find(expected(server.chain, 7, 8)[0])
    assert found.source is TraceSource.CALL_TRACER_LOGS
    part = next(path for path, info in Archive(tmp_path).named_parts() if info.degraded)
    assert len(list(read_transactions(open_shards(part, Rejects())))) == 30


@pytest.mark.parametrize("depth", [1, 3, 12])
def test_a_reorganisation_in_mid_range_keeps_one_chain(
    server: Any, tmp_path: Path, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_writer, "PART_ROWS", 5)
    given = node(server)
    old = expected(server.chain, 1, 40)
    ingest_node(given, BlockRange(1, 40), tmp_path)
    fetch = EthereumNode.fetch
    server.chain.entries[50:] = []
    forked = False

    def reorganising(self: EthereumNode, number: int) -> RawBlock:
        nonlocal forked
        if number == 46 and not forked:
            forked = True
            server.chain.reorganise(len(server.chain.entries) - 46 + depth, 30)
        return fetch(self, number)

    monkeypatch.setattr(EthereumNode, "fetch", reorganising)
    report = ingest_node(given, BlockRange(40, 50), tmp_path)
    assert sorted(stored(tmp_path)) == sorted(expected(server.chain, 1, 50))
    rows = sorted(Archive(tmp_path).raw_blocks(), key=lambda raw: raw.number or 0)
    assert [row.number for row in rows] == list(range(1, 50))
    assert all(b.parent_hash == a.hash for a, b in pairwise(rows))
    left = set(old) - set(expected(server.chain, 1, 40))
    assert len(left) == 3 * max(0, depth - 6)
    # Blocks of the range itself are orphaned too where a part of them was written before the fork.
    assert max(0, depth - 6) <= report.coverage.orphaned <= depth


def test_another_chain_is_never_mixed_in(server: Any, tmp_path: Path) -> None:
    ingest_node(node(server), BlockRange(1, 5), tmp_path)
    with serve(Chain(chain_id=5)) as other, pytest.raises(ArtifactError, match="blocks of chain id 1"):
        ingest_node(node(other), BlockRange(5, 8), tmp_path)


def test_coverage_names_the_command_that_mends_each_problem(
    cli: Any, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "my archive"
    break_traces(server, 5)
    monkeypatch.setenv("BLOCKSCAN_RPC", f"{server.url}#attempts=1")
    for blocks, status in (("1:10", 3), ("20:30", 0)):
        result = cli("ingest", "ethereum", "--blocks", blocks, "--out", out, "--json")
        assert result.exit_code == status, result.output
    text = cli("coverage", out)
    assert text.exit_code == 0 and "quarantined" in text.stdout and "traces are not those" in text.stdout
    found = json.loads(cli("coverage", out, "--json").stdout)
    assert found["blocks"] == [[1, 4], [6, 9], [20, 29]] and found["chain_ids"] == [1]
    assert not found["from_files"]
    commands = {problem["kind"]: problem["command"] for problem in found["problems"]}
    assert commands == {
        "quarantined": f"blockscan ingest ethereum --repair --out '{out}'",
        "gap": f"blockscan ingest ethereum --blocks 10:20 --out '{out}'",
    }
    break_traces(server)
    for command in commands.values():
        assert cli(*shlex.split(command)[1:]).exit_code == 0
    assert problems(out)[1] == []
    assert "To mend" not in cli("coverage", out).stdout


def test_an_ingest_of_degraded_blocks_only_says_so_at_the_end(cli: Any, server: Any, tmp_path: Path) -> None:
    def change(method: str, params: list[Any], result: Any) -> Any:
        if method == "debug_traceTransaction" or (method == TRACES and int(params[0], 16) > 3):
            raise Refuse(-32000, "required historical state unavailable")
        return result

    server.chain.change = change
    for blocks, status in (("2:6", 0), ("6:9", 3), ("2:9", 0)):
        arguments = ["ingest", "ethereum", "--rpc", server.url, "--blocks", blocks, "--out", tmp_path / "a"]
        result = cli(*arguments)
        assert result.exit_code == status, result.output
        said = " ".join(result.stderr.split())
        assert ("all 3 blocks fetched are degraded" in said) == bool(status)
        assert not status or said.endswith("and fetch them again with --repair")
    arguments = ["ingest", "ethereum", "--rpc", server.url, "--repair", "--out", tmp_path / "a"]
    result = cli(*arguments)
    assert result.exit_code == 3, result.output
    assert "all 5 blocks fetched are degraded" in " ".join(result.stderr.split())
    server.chain.change = lambda method, params, result: result
    assert [cli(*arguments).exit_code for _ in range(2)] == [0, 0], "mended, and nothing to mend"


def test_chains_are_expected_by_name_or_id(cli: Any, server: Any, tmp_path: Path) -> None:
    begin = ["ingest", "ethereum", "--rpc", server.url, "--blocks", "1:3", "--out", tmp_path / "a"]
    for more, message in (
        (["--chain", "base"], "serves chain id 1, not 8453"),
        (["--chain-id", "56"], "serves chain id 1, not 56"),
        (["--chain", "bass"], "nearest known one is 'base'"),
        (["--chain", "base", "--chain-id", "10"], "--chain-id says 10"),
        (["--repair"], "give either --rpc URL with --blocks"),
    ):
        result = cli(*begin, *more)
        assert result.exit_code == 1 and message in result.stderr, more
        assert KEY not in result.output
    assert cli(*begin, "--chain", "mainnet", "--chain-id", "1").exit_code == 0
    assert not (tmp_path / "b").exists()


def test_an_unknown_trace_source_is_wrong_usage(cli: Any, tmp_path: Path) -> None:
    refused = cli("ingest", "ethereum", "--min-source", "magic", "--out", tmp_path)
    assert refused.exit_code == 2 and "'magic' is not one of" in refused.stderr
    assert [each.value for each in Poorest] == list(LEAST)


def test_no_key_reaches_logs_errors_or_files(
    cli: Any, server: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    break_traces(server, 3)
    texts = []
    for fault in (None, Fault(429), Fault(403), Fault(reset=True), Fault(cut=True)):
        server.fault = lambda method, count, fault=fault: fault
        arguments = ["--rpc", f"{server.url}#attempts=1", "--blocks", "1:6", "--out", tmp_path / "a"]
        texts.append(cli("ingest", "ethereum", *arguments).output)
    server.fault = lambda method, count: Fault(
        body=json.dumps({"id": 1, "error": {"code": -32000, "message": f"key {KEY} is not valid"}}).encode()
    )
    texts.append(cli("ingest", "ethereum", *arguments).output)
    texts.append(cli("coverage", tmp_path / "a").output)
    assert "HTTP status 403" in texts[2] and "is not valid" in texts[5]
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("urllib3")]
    assert any("POST" in line for line in logged)  # the libraries did log at DEBUG
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    everything = "\n".join([*texts, caplog.text, *logged]).encode() + b"".join(files)
    assert KEY.encode() not in everything and b"a" in everything
