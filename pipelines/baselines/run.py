"""Baseline values of a test range, fitted on a train range: one Parquet file that grows by columns.

Columns: tx_hash, and one of float64 per baseline, higher = more anomalous. A family that is finished is not
computed again, so that a run can be interrupted, or extended by other families.
"""

import hashlib
import json
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import spearmanr

from blockscan.artifact import write_whole
from blockscan.config import Config
from blockscan.errors import ArtifactError, ConfigError
from blockscan.transaction import CallKind, Transaction
from pipelines.baselines import BASELINES
from pipelines.baselines.setting import Baseline, Setting
from pipelines.encode import watched
from pipelines.progress import console, progress
from pipelines.sources import Shard, time_order
from tokenizer.txtokenizer import TxTokenizer

HASH = "tx_hash"
AGAIN = "_again"
_META = b"blockscan_baselines"


@dataclass(frozen=True, slots=True)
class Request:
    """What to compute. train, test: each hash once. only: names of families, all if there are none."""

    train: Sequence[Transaction]
    test: Sequence[Transaction]
    tokenizer: TxTokenizer
    config: Config
    seed: int = 0
    device: str = "cpu"
    only: tuple[str, ...] = ()


@dataclass(slots=True)
class _Values:
    """The file in memory. seconds: of fitting and of scoring, by family."""

    identity: dict[str, Any]
    hashes: list[str]
    columns: dict[str, NDArray[np.float64]]
    seconds: dict[str, tuple[float, float]]


def run_baselines(request: Request, out: Path) -> dict[str, object]:
    """Fit and score what `out` lacks; rewrites `out` after each family. Returns facts for people.

    Raises:
        ConfigError: no transactions, some in both ranges, an unknown family, or an `out` of other settings.
        ArtifactError: `out` cannot be read or written.
    """
    _check(request)
    values = _open(out, request)
    for name in request.only or BASELINES:
        baseline = BASELINES[name]
        if baseline.columns[0] in values.columns:
            console.print(f"{name}: already in {out}", markup=False)
        elif baseline.evm_only and request.train[0].root.kind is CallKind.INSTRUCTION:
            console.print(f"{name}: left out, it reads EVM chains only", markup=False)
        else:
            _compute(name, baseline, request, values)
            _write(out, values)
    return _facts(values, out)


def load(what: str, shards: list[Shard], exclude: Collection[str] = ()) -> list[Transaction]:
    """Every transaction of the shards once, in time order, without the excluded hashes."""
    found = {transaction.hash: transaction for _, transaction in watched(what, shards, exclude)}
    return sorted(found.values(), key=time_order)


def _compute(name: str, baseline: Baseline, request: Request, values: _Values) -> None:
    with progress(name, None) as bar:
        # A generator per family: what one draws does not depend on which others ran before.
        rng = np.random.default_rng([request.seed, zlib.crc32(name.encode())])
        setting = Setting(request.tokenizer, rng, request.config, request.device, bar.to)
        began = time.monotonic()
        score = baseline.fit(request.train, setting)
        fitted = time.monotonic()
        found = score(request.test)
        seconds = round(fitted - began, 1), round(time.monotonic() - fitted, 1)
        bar.advance(0, f"fitted in {seconds[0]} s, scored in {seconds[1]} s")
    if not np.isfinite(found).all():
        raise ConfigError(f"baseline {name} gives values that are not finite; try another --seed or preset")
    values.columns |= dict(zip(baseline.columns, found.T, strict=True))
    values.seconds[name] = seconds


def require_known(only: Collection[str]) -> None:
    """Refuse names of families that there are not.

    Raises:
        ConfigError: it says which there are.
    """
    for name in only:
        if name not in BASELINES:
            raise ConfigError(f"unknown baseline {name[:40]!r}; choose from {', '.join(BASELINES)}")


def _check(request: Request) -> None:
    require_known(request.only)
    if not request.train or not request.test:
        raise ConfigError(
            f"{len(request.train):,} transactions to fit on and {len(request.test):,} to score; "
            "both are needed: widen the block ranges"
        )
    both = {each.hash for each in request.train} & {each.hash for each in request.test}
    if both:
        raise ConfigError(
            f"{len(both):,} transactions are in the train range and in the test range; a baseline must not "
            "be fitted on what it scores: give ranges without overlap"
        )


def _open(out: Path, request: Request) -> _Values:
    """What `out` already holds, if it is of the same request."""
    hashes = [each.hash for each in request.test]
    identity = {
        "train transactions": _digest([each.hash for each in request.train]),
        "test transactions": _digest(hashes),
        "tokenizer": request.tokenizer.fingerprint,
        "preset": json.loads(json.dumps(asdict(request.config))),
        "seed": request.seed,
    }
    values = _Values(identity, hashes, {}, {})
    if not out.exists():
        return values
    try:
        table = pq.read_table(out)
        stored = json.loads((table.schema.metadata or {})[_META])
        differing = [key for key in identity if stored["identity"].get(key) != identity[key]]
        timed = stored["seconds"].items()
        values.seconds = {name: (float(fit), float(score)) for name, (fit, score) in timed}
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{out} is no file of baseline values ({error}); remove it, or give another --out"
        ) from error
    if differing:
        raise ConfigError(
            f"{out} was made with other {', '.join(differing)}; give another --out, or remove it"
        )
    names = [name for name in table.column_names if name != HASH]
    values.columns = {name: table[name].to_numpy() for name in names}
    return values


def _digest(hashes: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(hashes).encode("utf-8", "surrogatepass")).hexdigest()


def _write(out: Path, values: _Values) -> None:
    meta = json.dumps({"identity": values.identity, "seconds": values.seconds}, sort_keys=True)
    table = pa.table({HASH: pa.array(values.hashes, pa.string()), **values.columns})
    content = BytesIO()
    pq.write_table(table.replace_schema_metadata({_META: meta}), content, compression="zstd")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, content.getvalue())
    except OSError as error:
        raise ArtifactError(f"cannot write {out}: {error}; free some space and run it again") from error


def _facts(values: _Values, out: Path) -> dict[str, object]:
    """Seconds by family, and how far two random masks of the same model agree."""
    facts: dict[str, object] = {"transactions": len(values.hashes), "baselines": len(values.columns)}
    for name, (fit, score) in values.seconds.items():
        facts[f"{name} seconds"] = f"{fit} + {score}"
    facts |= {
        f"Spearman of {name} under two masks": agreement(values.columns, name)
        for name in values.columns
        if name + AGAIN in values.columns
    }
    return facts | {"out": str(out)}


def agreement(columns: Mapping[str, NDArray[np.float64]], name: str) -> float | None:
    """Rank correlation of a column and its "_again", 3 digits; None where one of them is constant."""
    one, other = columns[name], columns[name + AGAIN]
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return round(float(spearmanr(one, other).statistic), 3)
