"""The detectors of the tables: BlockScan, the built-in baselines, and those of files, joined by hash."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from blockscan.errors import ConfigError
from blockscan.safetext import safe_text
from pipelines.evaluation.selection import Case
from pipelines.labels import hash_key

Floats = NDArray[np.float64]
OURS = "BlockScan"
HASH = "tx_hash"
Baselines = Mapping[str, Sequence[Mapping[str, float]]]
"""Values by detector, by training seed, by `hash_key`; higher = more anomalous."""


def read_baselines(paths: Sequence[Path]) -> dict[str, list[dict[str, float]]]:
    """Read Parquet files with a column tx_hash and a column of floats per baseline.

    A column that several files have for the same transactions is one baseline with a training seed per file;
    of files without a transaction in common it is joined.

    Raises:
        ConfigError: unreadable, no tx_hash, no column of numbers, a hash twice, or a name that is taken.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for path in paths:
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"baselines {path} are no readable Parquet file: {error}") from error
        names = [field.name for field in table.schema if pa.types.is_floating(field.type)]
        if HASH not in table.column_names or not names:
            raise ConfigError(
                f"baselines {path} need a column {HASH} and a float64 column per baseline; found "
                f"{safe_text(', '.join(table.column_names)) or 'nothing'}"
            )
        keys = [hash_key(str(each)) for each in table[HASH].to_pylist()]
        if len(set(keys)) < len(keys):
            raise ConfigError(f"baselines {path} give values for one {HASH} twice; keep one row of each")
        if OURS in names:
            raise ConfigError(
                f"baselines {path} have a column {OURS}, which is the detector itself; rename it"
            )
        for name in names:
            column = table[name].to_numpy(zero_copy_only=False)
            _add_seed(found.setdefault(name, []), dict(zip(keys, column.tolist(), strict=True)))
    return found


def _add_seed(seeds: list[dict[str, float]], values: dict[str, float]) -> None:
    """Join values to the first seed that has none of their transactions, or make them a seed of their own."""
    for seed in seeds:
        if seed.keys().isdisjoint(values):
            seed |= values
            return
    seeds.append(values)


def rankings(
    cases: Sequence[Case],
    rng: np.random.Generator,
    *,
    train_counts: Floats | None = None,
    baselines: Baselines | None = None,
) -> dict[str, Floats]:
    """Values (R, N) by detector for R training seeds, BlockScan first and length second.

    A baseline from a file takes the place of a built-in one of the same name.

    Raises:
        ConfigError: a baseline has no number for a case.
    """
    found = {
        OURS: np.array([case.values for case in cases], dtype=np.float64).T,
        "length": np.array([[case.row.tokens for case in cases]], dtype=np.float64),
        "calls": np.array([[case.row.calls for case in cases]], dtype=np.float64),
    }
    counts = [case.facts.counts for case in cases if case.facts is not None]
    if train_counts is not None and counts:
        forest = IsolationForest(random_state=int(rng.integers(2**31))).fit(train_counts)
        found["Isolation Forest"] = -forest.score_samples(np.array(counts))[np.newaxis]
    for name, seeds in (baselines or {}).items():
        found[name] = np.array([_column(name, seed, cases) for seed in seeds])
    return found


def _column(name: str, values: Mapping[str, float], cases: Sequence[Case]) -> Floats:
    column = np.array([values.get(hash_key(case.row.tx_hash), np.nan) for case in cases], dtype=np.float64)
    if missing := int(np.isnan(column).sum()):
        raise ConfigError(
            f"baseline {safe_text(name)} has no number for {missing:,} of the {len(cases):,} evaluated "
            "transactions; compute it for all of them"
        )
    return column
