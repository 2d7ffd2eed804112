"""Tables of cryo through the command line: into an archive, resumed, and read back."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from blockscan.archive import Archive
from blockscan.chains.ethereum import parse
from blockscan.transaction import TraceSource, call_count
from pipelines import ingest

SENDER, TARGET = b"\2" * 20, b"\3" * 20


def write_tables(folder: Path, blocks: range) -> None:
    """Two transactions a block; the second of block 3 has a frame without caller and cannot be joined."""
    folder.mkdir(exist_ok=True)
    txs, calls = [], []
    for block in blocks:
        for index in range(2):
            at = {"block_number": block, "transaction_index": index, "chain_id": 8453}
            at["transaction_hash"] = (block * 10 + index).to_bytes(32)
            both = {"from_address": SENDER, "to_address": TARGET, "input": b"", "value_string": "1"}
            txs.append({**at, **both, "success": True, "timestamp": 1700000000 + block})
            for place in ("", "0", "0 0") if (block, index) != (3, 1) else ("", "0 0"):
                frame = {"typ": "CALL", "gas_used_string": "5", "output": b"", "error": None}
                calls.append({**at, **both, **frame, "trace_address": place})
    for name, rows in (("txs", txs), ("calls", calls)):
        path = folder / f"base__{name}__{blocks.start}_to_{blocks.stop - 1}.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)


def test_tables_become_an_archive_and_are_resumed(tmp_path: Path, cli: Any, monkeypatch: Any) -> None:
    write_tables(tmp_path / "cryo", range(1, 10))
    out = tmp_path / "archive"
    monkeypatch.setattr(ingest, "PART_ROWS", 4)
    done = cli("ingest", "ethereum", "--from", tmp_path / "cryo", "--out", out)
    assert done.exit_code == 3
    assert "no caller for trace address" in " ".join(done.output.split())
    whole = [tx for raw in Archive(out).raw_blocks() for tx in parse(raw)]
    assert [(tx.block_number, tx.index) for tx in whole] == [
        (block, index) for block in range(1, 10) for index in range(2) if (block, index) != (3, 1)
    ]
    assert {(tx.chain, tx.source, call_count(tx.root)) for tx in whole} == {
        ("base", TraceSource.CALL_TRACER, 3)
    }
    for part in Archive(out).part_paths()[2:]:
        part.unlink()
    done = cli("ingest", "ethereum", "--from", tmp_path / "cryo", "--out", out)
    assert [tx for raw in Archive(out).raw_blocks() for tx in parse(raw)] == whole
    done = cli("ingest", "ethereum", "--from", tmp_path / "cryo", "--out", out)
    assert "added 0 transactions" in done.output


def test_a_chain_that_tables_cannot_be_of_is_refused_before_anything_is_read(
    tmp_path: Path, cli: Any
) -> None:
    write_tables(tmp_path / "cryo", range(1, 3))
    begin = ["ingest", "ethereum", "--from", tmp_path / "cryo", "--out", tmp_path / "archive"]
    refused = cli(*begin, "--chain", "bass")
    assert refused.exit_code == 1 and "nearest known one is 'base'" in " ".join(refused.stderr.split())
    assert not (tmp_path / "archive").exists()
    assert "added 4 transactions" in cli(*begin, "--chain", "base").output


def test_a_directory_without_tables_is_named(tmp_path: Path, cli: Any) -> None:
    (tmp_path / "empty").mkdir()
    done = cli("ingest", "ethereum", "--from", tmp_path / "empty", "--out", tmp_path / "archive")
    assert done.exit_code == 1
    assert "neither transactions nor traces of cryo or ethereum-etl" in " ".join(done.output.split())
