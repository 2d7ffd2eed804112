"""The whole road through the command line, on real executions served over HTTP."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from blockscan.archive import Archive
from blockscan.store import open_store

RECORDING = Path(__file__).resolve().parents[2] / "pipelines" / "simulation" / "recording"
TOLERANCE = 1e-3
"""Stated bound on the anomaly value of a transaction scored alone against the same one in a batch."""


def records(archive: Path, first: int, last: int) -> list[bytes]:
    """Blocks first..last of an archive as lines of JSONL records."""
    lines = []
    for raw in Archive(archive).raw_blocks():
        if raw.number is None or not first <= raw.number <= last:
            continue
        bodies = {name: json.loads(body)["result"] for name, body in raw.bodies.items()}
        traces = {entry["txHash"]: entry["result"] for entry in bodies["traces"]}
        for receipt in bodies["receipts"]:
            tx_hash = receipt["transactionHash"]
            record = {
                "chain": raw.chain, "tx_hash": tx_hash, "block_number": raw.number, "timestamp": raw.time,
                "tx_index": int(receipt["transactionIndex"], 16), "status": int(receipt["status"], 16),
                "gas_used": int(receipt["gasUsed"], 16), "trace": traces[tx_hash], "logs": receipt["logs"],
            }  # fmt: skip
            lines.append(json.dumps(record).encode() + b"\n")
    return lines


def exported(store: Path) -> list[Any]:
    with open_store(store, read_only=True) as results:
        return [(score, results.frames(score.tx_hash)) for score in results.iter_scores()]


def score_file(cli: Any, road: Any, path: Path, *, store: str = "s.sqlite") -> list[Any]:
    where = path.parent / store
    result = cli("score", path, "--model", road.model, "--store", where, "--parquet", path.parent / "out")
    assert result.exit_code == 0, result.output
    return exported(where)


def test_http_ingest_covers_the_ranges_and_resumes(archive: Path, node: str, cli: Any) -> None:
    before = sorted(path.name for path in archive.iterdir())
    arguments = ["ingest", "ethereum", "--rpc", node, "--blocks", "1:150", "--out", archive]
    assert "would fetch 0 blocks" in cli(*arguments, "--dry-run").stderr
    report = json.loads(cli(*arguments, "--json").stdout)
    assert report["added"] == 0
    assert report["coverage"]["blocks"] == [[1, 149], [377, 399]]
    assert report["coverage"]["gaps"] == [[150, 376]]
    assert sorted(path.name for path in archive.iterdir()) == before


def test_an_interrupted_http_ingest_resumes(
    tmp_path: Path, node: str, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blockscan.chains.rpc import EthereumNode
    from pipelines import ingest

    monkeypatch.setattr(ingest, "PART_ROWS", 5)
    fetch = EthereumNode.fetch
    fetched: list[int] = []

    def dying(self: EthereumNode, number: int) -> Any:
        fetched.append(number)
        if len(fetched) == 18:
            raise KeyboardInterrupt
        return fetch(self, number)

    monkeypatch.setattr(EthereumNode, "fetch", dying)
    arguments = ["ingest", "ethereum", "--rpc", node, "--blocks", "20:50", "--out", tmp_path / "a", "--json"]
    interrupted = cli(*arguments)
    assert interrupted.exit_code == 130
    assert "run the same command again" in interrupted.stderr
    fetched.clear()
    fetched += [0] * 100
    assert json.loads(cli(*arguments).stdout)["coverage"]["blocks"] == [[20, 49]]
    again = sorted(fetched[100:])
    assert again == list(range(again[0], 50))
    assert 35 <= again[0] <= 38  # whole parts of five are certain; what came after them may be kept, too


def test_every_transaction_of_the_range_is_scored_once(road: Any) -> None:
    wanted = [
        tx_hash
        for raw in Archive(road.archive).raw_blocks()
        if (raw.number or 0) >= 377
        for tx_hash in raw.tx_hashes
    ]
    rows = exported(road.store)
    assert sorted(score.tx_hash for score, _ in rows) == sorted(wanted)
    assert all(score.p_value is not None and 0 < score.p_value <= 1 for score, _ in rows)
    assert all(frames for score, frames in rows if score.p_value <= 0.05)
    (file,) = [path for path in road.parquet.iterdir() if pq.read_metadata(path).num_rows]
    assert sorted(pq.read_table(file)["tx_hash"].to_pylist()) == sorted(wanted)


def test_scoring_twice_changes_nothing(road: Any, cli: Any, tmp_path: Path) -> None:
    rows = exported(road.store)
    again = ["score", road.archive, "--model", road.model, "--blocks", "377:400", "--store", road.store]
    result = cli(*again, "--parquet", tmp_path, "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["scored"] == len(rows)
    assert exported(road.store) == rows
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (road.parquet / path.name).read_bytes()


def test_ranges_one_after_the_other_are_scored_as_if_at_once(road: Any, cli: Any, tmp_path: Path) -> None:
    """What an account did before the range counts, where the store knows it."""
    rows = {score.tx_hash: (score, frames) for score, frames in exported(road.store)}
    halves = tmp_path / "halves.sqlite"
    for blocks in ("377:390", "390:400"):
        given = ("--model", road.model, "--blocks", blocks, "--store")
        assert cli("score", road.archive, *given, halves).exit_code == 0
    together, alone = exported(halves), tmp_path / "alone.sqlite"
    assert len(together) == len(rows)
    for score, _ in together:
        assert score.value == pytest.approx(rows[score.tx_hash][0].value, abs=TOLERANCE)
        assert [each.name for each in score.joint] == [each.name for each in rows[score.tx_hash][0].joint]
    assert cli("score", road.archive, *given, alone).exit_code == 0
    assert any(score.value < rows[score.tx_hash][0].value - 0.1 for score, _ in exported(alone))


def test_order_does_not_matter_to_the_byte(road: Any, cli: Any, tmp_path: Path) -> None:
    lines = records(road.archive, 380, 392)
    results = []
    for seed in (1, 2):
        path = tmp_path / str(seed) / "in.jsonl"
        path.parent.mkdir()
        path.write_bytes(b"".join(random.Random(seed).sample(lines, len(lines))))
        rows = score_file(cli, road, path)
        results.append((rows, (path.parent / "out" / "in.jsonl.scores.parquet").read_bytes()))
    assert len(results[0][0]) == len(lines) > 100
    assert results[0] == results[1]


def test_a_transaction_that_occurs_twice_is_scored_once(road: Any, cli: Any, tmp_path: Path) -> None:
    lines = records(road.archive, 380, 380)
    (tmp_path / "in.jsonl").write_bytes(b"".join([*lines, *lines]))
    result = cli(
        "score", tmp_path / "in.jsonl", "--model", road.model, "--store", tmp_path / "s.sqlite", "--json"
    )
    assert json.loads(result.stdout)["scored"] == len(lines) > 5


def test_one_hash_on_two_chains_is_scored_on_both(road: Any, cli: Any, tmp_path: Path) -> None:
    lines = records(road.archive, 380, 380)
    there = [line.replace(b'"chain": "', b'"chain": "other-') for line in lines]
    (tmp_path / "in.jsonl").write_bytes(b"".join([*lines, *there]))
    rows = score_file(cli, road, tmp_path / "in.jsonl")
    assert len(rows) == 2 * len({score.tx_hash for score, _ in rows}) == 2 * len(lines)
    assert pq.read_table(tmp_path / "out" / "in.jsonl.scores.parquet").num_rows == 2 * len(lines)


def test_groups_change_nothing_but_the_packing(
    road: Any, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import groups

    monkeypatch.setattr(groups, "GROUP", 40)
    path = tmp_path / "in.jsonl"
    lines = records(road.archive, 377, 392)  # from the first block on: values are carried over
    path.write_bytes(b"".join([*lines, b"broken\n"]))
    arguments = ["score", path, "--model", road.model, "--store", tmp_path / "s.sqlite"]
    result = cli(*arguments)
    assert result.exit_code == 3 and result.stderr.count("in.jsonl:") == 1
    together = {each.tx_hash: each.value for each, _ in exported(road.store)}
    found = {each.tx_hash: each.value for each, _ in exported(tmp_path / "s.sqlite")}
    assert len(found) == len(lines)
    assert all(value == pytest.approx(together[key], abs=TOLERANCE) for key, value in found.items())


def test_alone_and_in_a_batch_agree_within_the_stated_bound(road: Any, cli: Any, tmp_path: Path) -> None:
    together = {score.tx_hash: score for score, _ in exported(road.store)}
    for number, line in enumerate(random.Random(3).sample(records(road.archive, 377, 399), 5)):
        (tmp_path / f"{number}.jsonl").write_bytes(line)
        ((alone, _),) = score_file(cli, road, tmp_path / f"{number}.jsonl", store=f"{number}.sqlite")
        batch = together[alone.tx_hash]
        assert alone.tokens == batch.tokens
        assert alone.carried == 0.0
        assert alone.value == pytest.approx(batch.value - batch.carried, abs=TOLERANCE)
    assert any(score.carried for score in together.values())


def test_one_part_of_an_archive_is_scored_like_the_archive(road: Any, cli: Any, tmp_path: Path) -> None:
    part = next(path for path in Archive(road.archive).part_paths() if "-000000000377-" in path.name)
    (tmp_path / part.name).write_bytes(part.read_bytes())
    rows = score_file(cli, road, tmp_path / part.name)
    assert rows == exported(road.store)


def test_blocks_of_a_node_are_scored_like_an_archive(road: Any, cli: Any, node: str, tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    result = cli("score", "--rpc", node, "--blocks", "377:+3", "--model", road.model, "--store", store)
    assert result.exit_code == 0, result.output
    wanted = {score.tx_hash: score.value for score, _ in exported(road.store) if score.block_number < 380}
    found = {score.tx_hash: score.value for score, _ in exported(store)}
    assert found.keys() == wanted.keys()
    assert all(found[key] == pytest.approx(wanted[key], abs=TOLERANCE) for key in wanted)


def test_explain_shows_evidence_and_tree_from_store_and_archive(road: Any, cli: Any) -> None:
    with open_store(road.store, read_only=True) as results:
        strongest = min(results.iter_scores(), key=lambda score: (score.p_value, -score.value, score.tx_hash))
    stored = cli("explain", strongest.tx_hash, "--store", road.store, "--json")
    again = cli("explain", strongest.tx_hash, "--source", road.archive, "--model", road.model, "--json")
    one, two = json.loads(stored.stdout), json.loads(again.stdout)
    assert one["score"]["tx_hash"] == two["score"]["tx_hash"] == strongest.tx_hash
    assert [frame["target"] for frame in one["frames"]] == [frame["target"] for frame in two["frames"]]
    shown = cli("explain", strongest.tx_hash, "--store", road.store).stdout
    assert strongest.tx_hash in shown and "expected instead" in shown and "Call tree" in shown
    unknown = cli("explain", "0x" + "de" * 32, "--store", road.store)
    assert unknown.exit_code == 1 and "has no score of 0xdede" in unknown.stderr


def test_evaluate_compares_with_length_and_isolation_forest(road: Any, cli: Any) -> None:
    arguments = ["evaluate", "--store", road.store, "--labels", RECORDING / "labels.csv"]
    arguments += ["--archive", road.archive, "--train-blocks", "1:90"]
    result = cli(*arguments, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert {"BlockScan", "length", "calls"} < set(figures["detectors"])
    assert figures["coverage"]["attacks"] > 0 and figures["coverage"]["unlabelled"] == 0
    assert "length" in cli(*arguments).stdout


def test_a_trace_deeper_than_the_evm_allows_is_a_finding(road: Any, cli: Any, tmp_path: Path) -> None:
    caller, target = "0x" + "11" * 20, "0x" + "22" * 20
    head = f'{{"type":"CALL","from":"{caller}","to":"{target}","calls":['
    trace = head * 2000 + f'{{"type":"CALL","from":"{caller}","to":"{target}"}}' + "]}" * 2000
    path = tmp_path / "deep.jsonl"
    path.write_text(f'{{"tx_hash":"0x0d","block_number":400,"logs":[],"trace":{trace}}}\n')
    ((score, frames),) = score_file(cli, road, path)
    assert (score.trace_status, score.value) == ("truncated", float("inf"))
    assert "cut off" in score.reason and len(frames) > 1000
    with open_store(tmp_path / "s.sqlite", read_only=True) as results:
        assert results.alert("0x0d") is not None
