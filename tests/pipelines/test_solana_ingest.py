"""Solana through the command line: records and slots -> archive, votes, other families, what is wrong."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from blockscan.archive import Archive
from blockscan.chains.base58 import b58encode
from blockscan.chains.families import parse
from blockscan.chains.solana_layouts import COMPUTE_BUDGET, SYSTEM, VOTE
from pipelines.simulation.solana.server import recorded_blocks, serve
from pipelines.sources import Rejects, open_shards, read_transactions, time_order

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "solana" / "transactions.jsonl.gz"
RECORDING = Path(__file__).resolve().parents[2] / "pipelines" / "simulation" / "solana" / "recording"
A, B = (b58encode(bytes([byte]) * 32) for byte in (0x41, 0x42))
EVM = {
    "tx_hash": "0x1",
    "trace": {"type": "CALL", "from": "0x" + "11" * 20, "to": "0x" + "22" * 20},
}


def entry(name: str, *programs: str) -> dict[str, Any]:
    """A getTransaction result with one empty instruction of each program."""
    message = {
        "accountKeys": [A, B, *programs],
        "header": {"numRequiredSignatures": 1},
        "instructions": [
            {"programIdIndex": 2 + place, "accounts": [0, 1], "data": "3Bxs4NQNnDSisSzK"}
            for place in range(len(programs))
        ],
    }
    meta = {"err": None, "fee": 5000, "logMessages": [], "innerInstructions": None}
    return {
        "slot": 7,
        "blockTime": 9,
        "version": 0,
        "transaction": {"signatures": [name], "message": message},
        "meta": meta,
    }


VOTING = entry("vote", COMPUTE_BUDGET, VOTE)


def block(name: str, parent: str, *entries: dict[str, Any]) -> bytes:
    content = {"blockhash": name, "previousBlockhash": parent, "blockTime": 9, "transactions": entries}
    return json.dumps(content).encode()


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def names(archive: Path) -> list[str]:
    return [one.hash for raw in Archive(archive).raw_blocks() for one in parse(raw)]


@pytest.mark.skipif(not REAL.exists(), reason="the real transactions are not there")
def test_every_real_record_is_ingested(cli: Any, tmp_path: Path) -> None:
    with gzip.open(REAL) as stream:
        count = sum(1 for _ in stream)
    out = tmp_path / "a"
    result = cli("ingest", "solana", "--from", REAL, "--out", out, "--votes", "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["added"], report["rejected"]) == (0, count, [])
    assert count == 906 and Archive(out).family == "solana" and len(names(out)) == count
    assert json.loads(cli("ingest", "solana", "--from", REAL, "--out", out, "--json").stdout)["added"] == 0


def test_votes_of_files_are_left_out_unless_asked_for(cli: Any, tmp_path: Path) -> None:
    path = lines(tmp_path / "in.jsonl", VOTING, entry("pay", SYSTEM), entry("both", VOTE, SYSTEM))
    for option, wanted in (([], ["pay", "both"]), (["--votes"], ["vote", "pay", "both"])):
        out = tmp_path / f"archive{len(option)}"
        result = cli("ingest", "solana", "--from", path, "--out", out, *option, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["rejected"] == []
        assert names(out) == wanted
    out = tmp_path / "archive0"
    again = ["ingest", "solana", "--from", path, "--out", out]
    assert "left out 1 that were not asked for" not in cli(*again).stderr
    report = json.loads(cli(*again, "--votes", "--json").stdout)
    assert (report["added"], report["duplicates"]) == (1, 2)
    assert sorted(names(out)) == ["both", "pay", "vote"]


def test_votes_of_a_node_are_left_out_unless_asked_for(cli: Any, tmp_path: Path) -> None:
    chain = {5: block("h5", "h4", VOTING, entry("pay", SYSTEM)), 7: block("h7", "h5", entry("more", SYSTEM))}
    with serve(chain) as url:
        for option, wanted in (([], ["pay", "more"]), (["--votes"], ["vote", "pay", "more"])):
            out = tmp_path / f"archive{len(option)}"
            command = ["ingest", "solana", "--rpc", url, "--blocks", "5:8", "--out", out, *option]
            assert "would fetch 3 blocks" in cli(*command, "--dry-run").stderr and not out.exists()
            report = json.loads(cli(*command, "--json").stdout)
            assert report["coverage"]["blocks"] == [[5, 7]] and report["added"] == len(wanted)
            assert names(out) == wanted
            assert json.loads(cli(*command, "--json").stdout)["added"] == 0


def test_a_range_that_begins_before_the_nodes_blocks_is_refused_and_stores_nothing(
    cli: Any, tmp_path: Path
) -> None:
    with serve({5: block("h5", "h4", entry("pay", SYSTEM)), 7: block("h7", "h5")}) as url:
        command = ["ingest", "solana", "--rpc", url, "--blocks", "3:8", "--out", tmp_path / "a"]
        for more in (["--dry-run"], []):
            result = cli(*command, *more)
            assert result.exit_code == 1 and "has no slot 3, its blocks begin at 5; begin" in result.stderr
    assert Archive(tmp_path / "a").coverage().blocks == ()


def test_records_of_another_family_are_rejected_with_a_reason(cli: Any, tmp_path: Path) -> None:
    path = lines(tmp_path / "mixed.jsonl", EVM, entry("pay", SYSTEM), {"tx": 1})
    for family, archived, kept in (("solana", "solana", ["pay"]), ("ethereum", "evm", ["0x1"])):
        result = cli("ingest", family, "--from", path, "--out", tmp_path / family, "--json")
        assert result.exit_code == 3
        rejected = json.loads(result.stdout)["rejected"]
        assert len(rejected) == 2 and names(tmp_path / family) == kept
        assert any(f"the archive is of {archived}; ingest it into another --out" in line for line in rejected)
        assert all(line.startswith("mixed.jsonl:") for line in rejected)
    refused = cli("ingest", "ethereum", "--from", path, "--out", tmp_path / "solana")
    assert refused.exit_code == 1 and "is an archive of solana, not evm" in refused.stderr


def test_what_a_node_answered_is_read_or_refused_with_what_to_give(cli: Any, tmp_path: Path) -> None:
    def answered(**body: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": 1} | body

    refused = {
        "does not say its slot; give answers of getTransaction": answered(
            result=json.loads(block("h5", "h4", entry("pay", SYSTEM)))
        ),
        "`result` is null": answered(result=None),
        "an error, 'Transaction version (0) is not": answered(
            error={"code": -32015, "message": "Transaction version (0) is not supported"}
        ),
        "`result` must be an object, not list": answered(result=["x"]),
        "give answers of getTransaction, one on a line": {"signature": "x"},
        "a record must be an object, not list": [answered(result=entry("batch", SYSTEM))],
    }
    path = lines(tmp_path / "answers.jsonl", answered(result=entry("pay", SYSTEM)), *refused.values())
    result = cli("ingest", "solana", "--from", path, "--out", tmp_path / "a", "--json")
    rejected = json.loads(result.stdout)["rejected"]
    assert result.exit_code == 3 and names(tmp_path / "a") == ["pay"]
    assert len(rejected) == len(refused) and "callTracer" not in "".join(rejected)
    for number, (line, reason) in enumerate(zip(rejected, refused, strict=True), 2):
        assert line.startswith(f"answers.jsonl:{number}: ") and reason in line
    assert [one.block_number for raw in Archive(tmp_path / "a").raw_blocks() for one in parse(raw)] == [7]


@pytest.mark.parametrize("name", ["tx_index", "transactionIndex", "index"])
def test_transactions_of_a_slot_keep_the_places_that_records_give(
    cli: Any, tmp_path: Path, name: str
) -> None:
    early, late = entry("zz", SYSTEM) | {name: 0}, entry("aa", SYSTEM) | {name: 3}
    for number, records in enumerate(
        ([early, late], [late, early], [{"tx": late}, {"jsonrpc": "2.0", "result": early}])
    ):
        out = tmp_path / str(number)
        path = lines(tmp_path / f"{number}.jsonl", *records)
        assert cli("ingest", "solana", "--from", path, "--out", out).exit_code == 0
        found = sorted(read_transactions(open_shards(out, Rejects())), key=time_order)
        assert [(one.hash, one.index) for one in found] == [("zz", 0), ("aa", 3)]
    path = lines(tmp_path / "in.jsonl", early | {name: -1})
    result = cli("ingest", "solana", "--from", path, "--out", tmp_path / "a", "--json")
    assert f"`{name}` is not a whole number" in json.loads(result.stdout)["rejected"][0]


def test_the_summary_of_single_slots_names_each_once_and_stays_short(cli: Any, tmp_path: Path) -> None:
    slots = [*range(11, 29, 2), 12]
    records = [entry(f"pay{slot}", SYSTEM) | {"slot": slot} for slot in slots]
    result = cli(
        "ingest", "solana", "--from", lines(tmp_path / "in.jsonl", *records), "--out", tmp_path / "a"
    )
    assert "11-13, 15, 17, 19 and 4 more " in result.stdout
    assert "11-13, 15, 17, 19, 21, 23, 25, 27 " in cli("coverage", tmp_path / "a").stdout


def test_the_recording_answers_and_gaps_name_the_command(cli: Any, tmp_path: Path) -> None:
    blocks = recorded_blocks(RECORDING)
    first, out = min(blocks), tmp_path / "archive"
    with serve(blocks) as url:
        for begin in (first, first + 8):
            span = f"{begin}:{begin + 4}"
            result = cli("ingest", "solana", "--rpc", url, "--blocks", span, "--out", out)
            assert result.exit_code == 0, result.output
    problems = json.loads(cli("coverage", out, "--json").stdout)["problems"]
    assert [problem["command"].split(" --out")[0] for problem in problems] == [
        f"blockscan ingest solana --blocks {first + 4}:{first + 8}"
    ]


def test_clusters_are_not_mixed(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.simulation.solana import server

    out, chain = tmp_path / "archive", {5: block("h5", "h4", entry("pay", SYSTEM)), 6: block("h6", "h5")}
    with serve(chain) as url:
        assert cli("ingest", "solana", "--rpc", url, "--blocks", "5:6", "--out", out).exit_code == 0
    monkeypatch.setattr(server, "GENESIS_HASH", "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d")
    with serve(chain) as url:
        refused = cli("ingest", "solana", "--rpc", url, "--blocks", "6:7", "--out", out)
    assert refused.exit_code == 1 and "holds transactions of solana-B1ockSca" in refused.stderr


def test_contradicting_options_are_one_line(cli: Any, tmp_path: Path) -> None:
    for options in ([], ["--blocks", "1:2"], ["--from", REAL, "--blocks", "1:2"], ["--repair"]):
        result = cli("ingest", "solana", "--out", tmp_path / "a", *options)
        assert result.exit_code == 1 and "give either --rpc URL" in result.stderr
    damaged = tmp_path / "recording"
    damaged.mkdir()
    with pytest.raises(Exception, match="not a readable recording"):
        recorded_blocks(damaged)
