"""Step 5: score transactions, write them to the store and, as a batch job, to one file per shard.

The result of a set of transactions depends on no seed and no order: the set is cut into groups of
neighbouring blocks (by the hash of the transaction where the block is unknown), and these are judged in
time order, since part of a value is carried over to what an account does next. A rerun writes the same rows
again, which changes nothing.
"""

import hashlib
import json
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from blockscan.chains.families import main_target
from blockscan.detect.accounts import Carrying, Recent
from blockscan.detect.calibrate import Calibration, Observed, judge
from blockscan.detect.dealings import dealing_in, joint_of, with_joint
from blockscan.detect.explain import Reading, fact_evidence, paint, reason, strongest_evidence
from blockscan.detect.fact import Facts
from blockscan.detect.facts import fact_values, facts_of
from blockscan.errors import ArtifactError, ConfigError
from blockscan.findings import Before, Frame, Joint, TxScore
from blockscan.model.embed import embeddings
from blockscan.model.losses import token_losses
from blockscan.store import Run, ScoreStore
from blockscan.tokens import TokenLosses, TokenSequence
from blockscan.transaction import Transaction, call_count
from pipelines.decoding import name_frames
from pipelines.drift import drift_line, drift_of
from pipelines.encode import watched
from pipelines.model_dir import Detector
from pipelines.progress import progress
from pipelines.sources import Shard, time_order

GROUP = 8000
"""Transactions held in memory and packed together."""
KEPT_P = 0.05
"""The painted call tree is kept for transactions that are at least this rare."""
CARRIED_SHOWN = 0.25
"""From this share of the value on, what it got from the account's other transactions is said."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One judged transaction; `severity` is None where there is no alarm.

    rarities, views: see blockscan.detect.calibrate.Judgement.
    """

    score: TxScore
    severity: str | None
    frames: tuple[Frame, ...] | None
    rarities: Mapping[str, float]
    views: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """What a run of scoring did; `drifts` has a sentence for each trace source whose traffic has drifted."""

    scored: int
    alerts: int
    without_p: int
    windowed: int
    seconds: float
    drifts: tuple[str, ...]


def score(
    shards: list[Shard], detector: Detector, store: ScoreStore, *, parquet: Path | None = None
) -> ScoreReport:
    """Score every transaction of the shards once.

    Args:
        shards: what to score; see pipelines.sources.
        detector: tokenizer, model and calibration.
        store: takes scores, alerts and painted trees.
        parquet: directory for one Parquet file per shard, or None.

    Raises:
        ConfigError: there is nothing to score.
        StoreError, ArtifactError: an output cannot be written; what was stored before stays.
    """
    started = time.time()
    files: dict[str, list[TxScore]] = {shard.name: [] for shard in shards}
    counts: Counter[str] = Counter()
    begins, recent = _begins(shards), detector.calibration.recent()
    for group in range(len(begins)):
        owner, transactions = _members(shards, group, begins)
        label = f"score {group + 1}/{len(begins)} (tokens)"
        scored = list(judge_all(transactions, detector, label=label, recent=recent))
        store.write((each.score, each.severity, each.frames) for each in scored)
        for each in scored:
            files[owner[each.score.tx_hash]].append(each.score)
            counts["scored"] += 1
            counts["alerts"] += each.severity is not None
            counts["without_p"] += each.score.p_value is None
            counts["windowed"] += each.score.windows > 1
    if not counts["scored"]:
        raise ConfigError("no transaction to score; widen the block range or ingest more")
    if parquet is not None:
        for name, scores in files.items():
            write_scores(parquet / f"{name}.scores.parquet", scores)
    store.record_run(_run(shards, detector, counts, started))
    return ScoreReport(
        counts["scored"],
        counts["alerts"],
        counts["without_p"],
        counts["windowed"],
        time.time() - started,
        _drifts(files, detector.calibration),
    )


def _drifts(files: Mapping[str, Sequence[TxScore]], calibration: Calibration) -> tuple[str, ...]:
    ordered = sorted((each for scores in files.values() for each in scores), key=_place)
    found = drift_of(ordered, calibration, rng=np.random.default_rng(0))
    return tuple(
        drift_line(source, evidence, alarms, calibration)
        for source, (evidence, alarms) in found.items()
        if evidence.drifted
    )


def _place(score: TxScore) -> tuple[int, int, str]:
    block = -1 if score.block_number is None else score.block_number
    return block, -1 if score.tx_index is None else score.tx_index, score.tx_hash


def judge_all(
    transactions: Sequence[Transaction],
    detector: Detector,
    *,
    label: str = "score (tokens)",
    kept_p: float = KEPT_P,
    recent: Recent | None = None,
) -> Iterator[Scored]:
    """Judge transactions together, in the order given, which is that of time.

    Trees are painted for p-values up to `kept_p`. `recent` is what the accounts did before the first of them;
    it is kept up to date.
    """
    known = detector.calibration.recent() if recent is None else recent
    for transaction, seen in zip(transactions, _look(transactions, detector, label), strict=True):
        account, history = (transaction.sender, transaction.time), detector.history
        facts, dealing = facts_of(transaction, history), dealing_in(transaction, history)
        joint = joint_of(facts, known.dealings(*account), dealing, history)
        scored = _judge(transaction, seen, facts, joint, known.carried(*account), detector, kept_p)
        known.add(*account, scored.score.value, dealing)
        yield scored


def judge_alone(
    transaction: Transaction, detector: Detector, before: Before, *, label: str = "score (tokens)"
) -> Scored:
    """Judge one transaction, whose account's transactions of the last minutes added `before`."""
    (seen,) = _look([transaction], detector, label)
    facts = facts_of(transaction, detector.history)
    return _judge(transaction, seen, facts, before.joint, lambda *_: before.carried, detector, 1.0)


class _Look(NamedTuple):
    """What the model makes of a transaction; `embedding` only where a density wants it."""

    sequence: TokenSequence
    losses: TokenLosses
    embedding: NDArray[np.float32] | None


def _look(transactions: Sequence[Transaction], detector: Detector, label: str) -> Iterator[_Look]:
    sequences = [detector.tokenizer.encode(transaction) for transaction in transactions]
    with progress(label, None) as bar:
        losses = token_losses(detector.model, sequences, detector.scoring, progress=bar.to)
    wanted = detector.calibration.density is not None
    vectors = embeddings(detector.model, sequences, detector.scoring) if wanted else [None] * len(sequences)
    yield from map(_Look, sequences, losses, vectors)


def _judge(
    transaction: Transaction,
    seen: _Look,
    alone: Facts,
    joint: tuple[Joint, ...],
    carrying: Carrying,
    detector: Detector,
    kept_p: float,
) -> Scored:
    calibration, (sequence, losses, embedding) = detector.calibration, seen
    facts, target = with_joint(alone, joint), main_target(transaction)
    source, status = transaction.source.value, transaction.status.value
    observed = Observed(sequence, losses, fact_values(facts), source, status, target or "", embedding)
    judgement = judge(calibration, observed, carried=carrying)
    carried = judgement.views["carried"]
    tokenizer, name = detector.tokenizer, detector.signatures.name
    unit_text = tokenizer.unit_text(transaction, name)
    reading = Reading(
        sequence, losses, judgement.token_p, unit_text, lambda piece: tokenizer.describe([piece], name)
    )
    shown = fact_evidence(facts, judgement.rarities)
    evidence = strongest_evidence(reading, shown)
    verdict = TxScore(
        chain=transaction.chain,
        tx_hash=transaction.hash,
        block_number=transaction.block_number,
        tx_index=transaction.index,
        time=transaction.time,
        sender=transaction.sender,
        target=target,
        value=judgement.value,
        p_value=judgement.p_value,
        reason=reason(transaction, evidence, after_others=carried > CARRIED_SHOWN * judgement.value),
        evidence=evidence,
        calls=call_count(transaction.root),
        tokens=len(sequence),
        windows=losses.windows,
        source=source,
        trace_status=status,
        model=detector.fingerprint,
        calibration=detector.calibrated_as,
        carried=carried,
        joint=joint,
    )
    alarm = calibration.alarms(verdict)
    rare = alarm or judgement.p_value is None or judgement.p_value <= kept_p
    return Scored(
        verdict,
        calibration.severity(verdict) if alarm else None,
        name_frames(paint(transaction, reading, shown), transaction, detector.signatures, detector.idls)
        if rare
        else None,
        judgement.rarities,
        judgement.views,
    )


def write_scores(path: Path, scores: Sequence[TxScore]) -> None:
    """One Parquet file, rows in time order; the same scores give the same bytes.

    Raises:
        ArtifactError: it cannot be written; a file of that name from before stays as it was.
    """
    rows = [_row(each) for each in sorted(scores, key=_place)]
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), draft, compression="zstd")
        draft.rename(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
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
    ]
)


def _row(score: TxScore) -> dict[str, Any]:
    row = asdict(score)
    return row | {name: json.dumps(row[name]) for name in ("evidence", "joint")}


def _begins(shards: list[Shard]) -> list[int]:
    """The first block of each group; groups have GROUP transactions or a little more, and whole blocks."""
    if sum(shard.rows for shard in shards) <= GROUP:
        return [0]
    sizes: Counter[int] = Counter()
    for _, transaction in watched("read", shards):
        if transaction.block_number is not None:
            sizes[transaction.block_number] += 1
    begins, held = [0], 0
    for block in sorted(sizes):
        if held >= GROUP:
            begins.append(block)
            held = 0
        held += sizes[block]
    return begins


def _members(
    shards: list[Shard], group: int, begins: Sequence[int]
) -> tuple[dict[str, str], list[Transaction]]:
    """The transactions of one group in time order, each once, and the first shard that holds each."""
    owner: dict[str, str] = {}
    found = []
    for name, transaction in watched(f"read {group + 1}/{len(begins)}", shards):
        if transaction.hash not in owner and _group_of(transaction, begins) == group:
            owner[transaction.hash] = name
            found.append(transaction)
    return owner, sorted(found, key=time_order)


def _group_of(transaction: Transaction, begins: Sequence[int]) -> int:
    if transaction.block_number is not None:
        return bisect_right(begins, transaction.block_number) - 1
    digest = hashlib.blake2b(transaction.hash.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % len(begins)


def _run(shards: list[Shard], detector: Detector, counts: Counter[str], started: float) -> Run:
    inputs = tuple(shard.name for shard in shards)
    identity = hashlib.sha256("\n".join((*sorted(inputs), detector.calibrated_as)).encode()).hexdigest()
    return Run(
        id=identity[:16],
        started=int(started),
        finished=int(time.time()),
        inputs=inputs,
        counts=dict(counts),
        model=detector.fingerprint,
        calibrations=(detector.calibrated_as,),
        alarm_level=detector.calibration.alarm_level,
        source="blockscan score",
        calibrated_until=detector.calibration.traffic.until,
    )
