"""The Parquet files that the batch job writes: the scores of one shard each."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from blockscan.artifact import write_whole
from blockscan.errors import ArtifactError
from blockscan.findings import TxScore


def write_scores(path: Path, scores: Sequence[TxScore]) -> None:
    """One Parquet file, rows in time order; the same scores give the same bytes.

    Raises:
        ArtifactError: it cannot be written; a file of that name from before stays as it was.
    """
    rows = [_row(each) for each in sorted(scores, key=_place)]
    content = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), content, compression="zstd")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.getvalue())
    except OSError as error:
        raise ArtifactError(
            f"cannot write {path}: {error}; free some space and run the same command again"
        ) from error


_SCHEMA = pa.schema(
    [
        ("chain", pa.string()),
        ("tx_hash", pa.string()),
        ("block_number", pa.int64()),
        ("tx_index", pa.int64()),
        ("time", pa.int64()),
        ("sender", pa.string()),
        ("target", pa.string()),
        ("value", pa.float64()),
        ("p_value", pa.float64()),
        ("reason", pa.string()),
        ("evidence", pa.string()),
        ("calls", pa.int64()),
        ("tokens", pa.int64()),
        ("windows", pa.int64()),
        ("source", pa.string()),
        ("trace_status", pa.string()),
        ("model", pa.string()),
        ("calibration", pa.string()),
        ("carried", pa.float64()),
        ("joint", pa.string()),
        ("mix", pa.list_(pa.int64())),
    ]
)


def _row(score: TxScore) -> dict[str, Any]:
    row = asdict(score)
    return row | {name: json.dumps(row[name]) for name in ("evidence", "joint")}


def _place(score: TxScore) -> tuple[int, int, str]:
    block = -1 if score.block_number is None else score.block_number
    return block, -1 if score.tx_index is None else score.tx_index, score.tx_hash
