"""Files of records -> archive: malformed input, duplicates, interruption, full disk."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from blockscan.archive import Archive, PartInfo, RawBlock, covered_ranges
from blockscan.errors import ArtifactError, ConfigError
from blockscan.transaction import TraceSource
from pipelines import ingest
from pipelines.ingest import ingest_files
from pipelines.sources import Rejects, open_shards, read_transactions

A, B = ("0x" + digit * 40 for digit in "ab")


def line(number: int, **more: Any) -> bytes:
    trace = {"type": "CALL", "from": A, "to": B, "value": hex(number), "input": "0x"}
    record = {
        "chain": "ethereum",
        "tx_hash": f"0x{number:064x}",
        "block_number": number,
        "trace": trace,
        **more,
    }
    return json.dumps(record).encode() + b"\n"


def hashes(archive: Path) -> list[str]:
    return sorted(transaction.hash for transaction in read_transactions(open_shards(archive, Rejects())))


def test_malformed_lines_are_named_and_the_rest_is_ingested(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(
        line(1) + b'{"tx_hash": "0x2"\n' + b"\n" + line(3) + line(4, trace={"type": "?"}) + line(5)
    )
    report = ingest_files([source], tmp_path / "archive")
    assert report.added == 3
    assert [text.split(": ")[0] for text in report.rejected] == ["in.jsonl:2", "in.jsonl:5"]
    assert "not valid JSON" in report.rejected[0] and "unknown frame type" in report.rejected[1]
    assert report.coverage.rejected == report.rejected
    assert hashes(tmp_path / "archive") == [f"0x{n:064x}" for n in (1, 3, 5)]


def test_numbers_above_63_bits_cost_their_line_and_no_other(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    wide = [line(n, **{name: 2**63}) for n, name in enumerate(("block_number", "timestamp", "tx_index"))]
    source.write_bytes(line(8) + b"".join(wide) + line(9, timestamp=2**63 - 1))
    report = ingest_files([source], tmp_path / "archive")
    assert report.added == 2
    assert [text.split(" is not")[0] for text in report.rejected] == [
        "in.jsonl:2: `block_number`",
        "in.jsonl:3: `timestamp`",
        "in.jsonl:4: `tx_index`",
    ]


def test_an_amount_in_wei_may_be_an_integer(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    trace = {"type": "CALL", "from": A, "to": B, "value": 20 * 10**18}
    source.write_bytes(line(1, trace=trace))
    assert ingest_files([source], tmp_path / "archive").rejected == ()
    (transaction,) = read_transactions(open_shards(tmp_path / "archive", Rejects()))
    assert transaction.root.value == 20 * 10**18


@pytest.mark.parametrize("begin", [line(1), b"\n" + line(1)])
def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path, begin: bytes) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"\xef\xbb\xbf" + begin + line(2))
    assert ingest_files([source], tmp_path / "archive").rejected == ()
    assert hashes(tmp_path / "archive") == [f"0x{n:064x}" for n in (1, 2)]


def test_of_very_many_bad_lines_the_first_are_kept_and_the_others_counted(cli: Any, tmp_path: Path) -> None:
    source, archive = tmp_path / "in.jsonl", tmp_path / "archive"
    source.write_bytes(line(1) + b"bad\n" * 2500)
    for _ in range(2):
        report = ingest_files([source], archive)
        assert (len(report.rejected), report.more_rejected) == (1000, 1500)
        assert report.rejected[0].startswith("in.jsonl:2: ")
        assert (report.coverage.rejected, report.coverage.more_rejected) == (report.rejected, 1500)
    shown = cli("ingest", "ethereum", "--from", source, "--out", archive)
    assert shown.exit_code == 3 and "rejected: 2,480 more" in shown.stderr and "2,500" in shown.stdout
    assert "2,500" in cli("coverage", archive).stdout


def test_files_do_not_tell_an_empty_block_from_a_missing_one(cli: Any, tmp_path: Path) -> None:
    source, archive = tmp_path / "in.jsonl", tmp_path / "archive"
    source.write_bytes(line(1, block_number=5) + line(2, block_number=7))
    said = "unknown: files do not tell an empty block from a missing one"
    assert said in cli("ingest", "ethereum", "--from", source, "--out", archive).stdout
    assert said in cli("coverage", archive).stdout
    held = Archive(archive).coverage()
    assert (held.blocks, held.gaps, held.from_files) == (((5, 5), (7, 7)), (), True)


def test_a_second_run_adds_nothing_and_still_reports_the_rejected(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(line(1) + b"nonsense\n" + line(2))
    first = ingest_files([source], tmp_path / "archive")
    before = sorted((tmp_path / "archive").iterdir())
    second = ingest_files([source], tmp_path / "archive")
    assert (second.added, second.rejected) == (0, first.rejected)
    assert sorted((tmp_path / "archive").iterdir()) == before


def test_a_truncated_gzip_keeps_what_could_be_read(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl.gz"
    whole = gzip.compress(b"".join(line(number, padding=str(hash(str(number)))) for number in range(2000)))
    source.write_bytes(whole[: len(whole) // 2])
    report = ingest_files([source], tmp_path / "archive")
    assert 100 < report.added < 2000
    assert "truncated gzip after line" in report.rejected[0]
    source.write_bytes(whole)
    assert ingest_files([source], tmp_path / "archive").added == 2000 - report.added
    assert len(hashes(tmp_path / "archive")) == 2000


def test_a_transaction_is_stored_once(tmp_path: Path) -> None:
    one, two, copy = (tmp_path / name for name in ("one.jsonl", "two.jsonl", "copy.jsonl"))
    one.write_bytes(line(1) + line(2) + line(1))
    two.write_bytes(line(2) + line(3) + line(1))
    copy.write_bytes(one.read_bytes())
    report = ingest_files([one, two, copy], tmp_path / "archive")
    assert (report.added, report.duplicates) == (3, 3)
    assert hashes(tmp_path / "archive") == [f"0x{number:064x}" for number in (1, 2, 3)]


def test_one_hash_on_two_chains_is_two_transactions(tmp_path: Path) -> None:
    source, again = tmp_path / "in.jsonl", tmp_path / "again.jsonl"
    source.write_bytes(line(1) + line(1, chain="bsc"))
    again.write_bytes(line(1, chain="bsc") + line(1, chain="base") + line(1, chain="bnb"))
    report = ingest_files([source], tmp_path / "archive")
    assert (report.added, report.duplicates) == (2, 0)
    report = ingest_files([again], tmp_path / "archive")
    assert (report.added, report.duplicates) == (1, 2), "bnb is bsc by another name"
    assert report.coverage.chains == {"ethereum": 1, "bsc": 1, "base": 1}


def test_one_chain_can_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(line(1) + line(2, chain="bsc") + line(3))
    report = ingest_files([tmp_path / "in.jsonl"], tmp_path / "archive", "bsc")
    assert report.coverage.chains == {"bsc": 1}


def test_what_one_choice_left_out_another_brings_in(tmp_path: Path) -> None:
    source, archive = tmp_path / "in.jsonl", tmp_path / "archive"
    source.write_bytes(line(1) + line(2, chain="bsc") + line(3, chain="base") + line(4))
    for chain, added, unwanted, transactions in (("bsc", 1, 3, 1), ("base", 1, 3, 2), (None, 2, 0, 4)):
        report = ingest_files([source], archive, chain)
        assert (report.added, report.unwanted, report.coverage.transactions) == (
            added,
            unwanted,
            transactions,
        )
        before = sorted(archive.iterdir())
        again = ingest_files([source], archive, chain)
        assert (again.added, sorted(archive.iterdir())) == (0, before)
    assert (report.coverage.duplicates, report.coverage.unwanted) == (2, 6)


def test_a_part_written_before_choices_were_recorded_is_the_whole_file(tmp_path: Path) -> None:
    source, archive = tmp_path / "in.jsonl", tmp_path / "archive"
    source.write_bytes(line(1) + line(2, chain="bsc"))
    ingest_files([source], archive)
    (part,) = Archive(archive).part_paths()
    table = pq.read_table(part)
    info = json.loads(table.schema.metadata[b"blockscan"])
    del info["unwanted"]
    pq.write_table(table.replace_schema_metadata({"blockscan": json.dumps(info)}), part)
    assert ingest_files([source], archive).added == 0
    assert Archive(archive).part_paths() == [part] and hashes(archive) == [f"0x{n:064x}" for n in (1, 2)]


@pytest.mark.parametrize("name", ["bnb", "bsc", "BSC"])
def test_a_network_is_the_same_under_all_its_names(tmp_path: Path, name: str) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(line(1) + line(2, chain="bsc") + line(3, chain="bnb"))
    assert ingest_files([source], tmp_path / "archive", name).added == 2


def test_a_chain_of_which_there_is_no_record_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(line(1) + line(2, chain="\x1b[31m") + line(3, chain="polygon"))
    for chain, message in (
        ("ploygon", r"'ploygon' and nothing .* ethereum \(1\), .*; the nearest known one is 'polygon'"),
        ("base", r"no record is of chain 'base'.*polygon \(1\)$"),
    ):
        for _ in range(2):
            with pytest.raises(ConfigError, match=message) as caught:
                ingest_files([source], tmp_path / "archive", chain)
            assert "\x1b" not in str(caught.value)
    assert Archive(tmp_path / "archive").part_paths() == []
    assert ingest_files([source], tmp_path / "archive").added == 3


def test_a_chain_may_be_one_that_only_the_records_name(cli: Any, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(line(1, chain="fantom") + line(2, chain="evm-250") + line(3, chain="bsc"))
    begin = ["ingest", "ethereum", "--from", source, "--out", tmp_path / "archive", "--json"]
    for option, value in (("--chain", "fantom"), ("--chain-id", "250"), ("--chain-id", "56")):
        report = json.loads(cli(*begin, option, value).stdout)
        assert (report["added"], report["unwanted"]) == (1, 2)


def test_an_interrupted_ingest_resumes_without_loss_or_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"".join(line(number) for number in range(100)))
    monkeypatch.setattr(ingest, "PART_ROWS", 10)
    append = Archive.append
    calls = []

    def killed(self: Archive, rows: Any, info: PartInfo) -> None:
        calls.append(info)
        if len(calls) == 4:
            raise KeyboardInterrupt
        append(self, rows, info)

    monkeypatch.setattr(Archive, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        ingest_files([source], tmp_path / "archive")
    assert len(hashes(tmp_path / "archive")) == 30
    report = ingest_files([source], tmp_path / "archive")
    assert report.added == 70
    assert hashes(tmp_path / "archive") == sorted(f"0x{number:064x}" for number in range(100))


def test_a_full_disk_is_one_error_and_what_was_stored_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"".join(line(number) for number in range(30)))
    monkeypatch.setattr(ingest, "PART_ROWS", 10)
    write = pq.write_table
    written = []

    def full(table: Any, path: Path, **options: Any) -> None:
        written.append(path)
        if len(written) == 3:
            path.write_bytes(b"half a file")
            raise OSError(28, "No space left on device")
        write(table, path, **options)

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(ArtifactError, match=r"No space left on device.*run the same command again"):
        ingest_files([source], tmp_path / "archive")
    assert len(hashes(tmp_path / "archive")) == 20
    assert not list((tmp_path / "archive").glob("*.draft"))
    monkeypatch.setattr(pq, "write_table", write)
    assert ingest_files([source], tmp_path / "archive").added == 10


def test_wrong_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(line(1))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("precious")
    with pytest.raises(ArtifactError, match="is not empty and holds no archive"):
        ingest_files([tmp_path / "in.jsonl"], tmp_path / "full")
    with pytest.raises(ArtifactError, match="no such file"):
        ingest_files([tmp_path / "none.jsonl"], tmp_path / "archive")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="pipe is neither a file nor a directory"):
        ingest_files([tmp_path / "in.jsonl", tmp_path / "pipe"], tmp_path / "archive")
    assert not (tmp_path / "archive").exists()
    with pytest.raises(ArtifactError, match="holds no archive"):
        open_shards(tmp_path / "full", Rejects())
    with pytest.raises(ArtifactError, match="does not exist"):
        open_shards(tmp_path / "nowhere", Rejects())
    Archive.begin(tmp_path / "empty", "evm")
    with pytest.raises(ArtifactError, match="is empty; run `blockscan ingest`"):
        open_shards(tmp_path / "empty", Rejects())
    with pytest.raises(ArtifactError, match="is an archive of evm"):
        Archive.begin(tmp_path / "empty", "solana")


def test_what_a_run_left_that_was_killed_as_it_began_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".archive.json.draft").write_text("")
    (tmp_path / ".archive.json.0badcafe.draft").write_text("")
    assert Archive.begin(tmp_path, "evm").part_paths() == []


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(line(1))
    ingest_files([tmp_path / "in.jsonl"], tmp_path / "archive")
    (part,) = Archive(tmp_path / "archive").part_paths()
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="is damaged"):
        Archive(tmp_path / "archive").parts()


def test_a_transaction_is_found_by_its_hash(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"".join(line(number) for number in range(50)))
    ingest_files([tmp_path / "in.jsonl"], tmp_path / "archive")
    archive = Archive(tmp_path / "archive")
    (found,) = archive.find(f"0x{7:064x}")
    assert found.number == 7
    assert list(archive.find("0x07")) == []


def test_a_file_whose_name_is_not_utf8_has_a_name_that_can_be_stored(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff2.jsonl")
    try:
        path.write_bytes(line(1))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    (shard,) = open_shards(path, Rejects())
    assert shard.name == "\\udcff2.jsonl" and len(list(shard.read())) == 1


def test_ranges_merge() -> None:
    assert covered_ranges([(5, 6), (1, 2), (3, 3), (9, 9)]) == [(1, 3), (5, 6), (9, 9)]
    assert covered_ranges([(1, 9), (2, 3), (9, 12)]) == [(1, 12)]


def block(number: int, block_hash: str | None) -> RawBlock:
    source, bodies = TraceSource.CALL_TRACER, {"block": b"x"}
    return RawBlock("ethereum", number, block_hash, None, 1, source, "rpc", (f"0x{number}",), bodies)


def test_a_block_comes_back_with_the_bodies_that_it_had(tmp_path: Path) -> None:
    archive = Archive.begin(tmp_path / "a", "ethereum")
    archive.append([block(5, "0xb")], PartInfo("", "node", 5, 5, 1))
    assert list(archive.raw_blocks()) == [block(5, "0xb")]


def test_a_block_that_is_stored_is_quarantined_no_more(tmp_path: Path) -> None:
    archive = Archive.begin(tmp_path / "a", "ethereum")
    archive.append([], PartInfo("", "node", 5, 6, 0, quarantined=((5, "bad"), (6, "worse"))))
    assert archive.coverage().quarantined == ((5, "bad"), (6, "worse")) and not archive.coverage().blocks
    archive.append([block(5, "0xb")], PartInfo("", "node", 5, 5, 1))
    assert archive.coverage().quarantined == ((6, "worse"),)
    assert (archive.coverage().blocks, archive.accounted()) == (((5, 5),), [(5, 6)])


def test_only_a_node_says_which_hash_a_block_has(tmp_path: Path) -> None:
    archive = Archive.begin(tmp_path / "a", "ethereum")
    archive.append([block(5, None)], PartInfo("ab" * 32, "in.jsonl", 1, 9, 1))
    archive.append([block(6, "0xb")], PartInfo("", "node", 6, 6, 1))
    assert archive.block_hashes(0, 9) == {6: ("0xb", archive.part_paths()[-1].name)}


def test_a_part_of_a_later_version_is_read(tmp_path: Path) -> None:
    """Its info says more than this version knows of."""
    archive = Archive.begin(tmp_path / "a", "ethereum")
    archive.append([block(5, "0xb")], PartInfo("", "node", 5, 5, 1))
    (path,) = archive.part_paths()
    table, info = pq.read_table(path), archive.parts()
    told = json.loads(table.schema.metadata[b"blockscan"]) | {"invented": 1}
    pq.write_table(table.replace_schema_metadata({"blockscan": json.dumps(told)}), path)
    assert Archive(tmp_path / "a").parts() == info
