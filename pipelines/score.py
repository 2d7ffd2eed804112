"""Step 5: score transactions, write them to the store and, as a batch job, to one file per shard.

The result of a set of transactions depends on no seed and no order: it is cut into groups of neighbouring
blocks (pipelines.groups), and these are judged in time order, since part of a value is carried over to what
an account does next. A rerun writes the same rows again, which changes nothing.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockscan.chains.families import main_target
from blockscan.detect.accounts import Carrying, actor_of
from blockscan.detect.calibrate import Observed, judge
from blockscan.detect.dealings import dealing_in, joint_of, with_joint
from blockscan.detect.explain import Reading, fact_evidence, paint, reason, strongest_evidence
from blockscan.detect.fact import Facts
from blockscan.detect.facts import fact_values, facts_of
from blockscan.errors import ConfigError
from blockscan.findings import Before, Frame, TxScore
from blockscan.model.embed import embeddings
from blockscan.model.losses import token_losses
from blockscan.store import Run, ScoreStore
from blockscan.tokens import TokenLosses, TokenSequence
from blockscan.transaction import Transaction, call_count
from pipelines.before import Earlier, Reread, nothing_yet, remember_before
from pipelines.decoding import name_evidence, name_frames
from pipelines.drift import DriftTests, drift_line
from pipelines.groups import groups_of
from pipelines.model_dir import Detector
from pipelines.progress import progress
from pipelines.score_files import write_scores
from pipelines.sources import Shard

KEPT_P = 0.05
"""The painted call tree is kept for transactions that are at least this rare."""
CARRIED_SHOWN = 0.25
"""From this share of the value on, what it got from the account's other transactions is said."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One judged transaction; `severity` is None where there is no alarm.

    rarities, views: see blockscan.detect.calibrate.Judgement. least: the smallest p-value of each part that
    can be shown, see ScoreModel.least.
    """

    score: TxScore
    severity: str | None
    frames: tuple[Frame, ...] | None
    rarities: Mapping[str, float]
    least: Mapping[str, float]
    views: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """What a run of scoring did.

    `drifts` has a sentence for each trace source whose traffic has drifted, or might have unseen.
    """

    scored: int
    alerts: int
    without_p: int
    windowed: int
    seconds: float
    drifts: tuple[str, ...]


def score(
    shards: list[Shard],
    detector: Detector,
    store: ScoreStore,
    *,
    parquet: Path | None = None,
    reread: Reread = lambda _: (),
) -> ScoreReport:
    """Score every transaction of the shards once.

    Args:
        shards: what to score; see pipelines.sources.
        detector: tokenizer, model and calibration.
        store: takes scores, alerts and painted trees; knows what accounts did in the minutes before.
        parquet: directory for one Parquet file per shard, or None.
        reread: gives earlier transactions of the same source.

    Raises:
        ConfigError: there is nothing to score.
        StoreError, ArtifactError: an output cannot be written; what was stored before stays.
    """
    started = time.time()
    files: dict[str, list[TxScore]] = {shard.name: [] for shard in shards}
    ended: list[str] = []
    counts: Counter[str] = Counter()
    begun: set[str] = set()
    before = nothing_yet(detector)
    drifts = DriftTests(detector.calibration, np.random.default_rng(0))
    for group in groups_of(shards):
        begun |= remember_before(before, group.transactions, store, reread, detector, begun=begun)
        label = f"score {group.number + 1}/{group.total} (tokens)"
        scored = list(judge_all(group.transactions, detector, label=label, before=before))
        store.write((each.score, each.severity, each.frames) for each in scored)
        for each in scored:
            drifts.add(each.score)
            counts["scored"] += 1
            counts["alerts"] += each.severity is not None
            counts["without_p"] += each.score.p_value is None
            counts["windowed"] += each.score.windows > 1
            if parquet is not None:
                files[group.owner[each.score.chain, each.score.tx_hash]].append(each.score)
        ended += group.ended
        if parquet is not None and counts["scored"]:
            while ended:
                name = ended.pop()
                write_scores(parquet / f"{name}.scores.parquet", files.pop(name))
    if not counts["scored"]:
        raise ConfigError("no transaction to score; widen the block range or ingest more")
    store.record_run(_run(shards, detector, counts, started))
    return ScoreReport(
        counts["scored"],
        counts["alerts"],
        counts["without_p"],
        counts["windowed"],
        time.time() - started,
        (
            *drifts.untested(),
            *(
                drift_line(source, seen, detector.calibration)
                for source, seen in drifts.found().items()
                if seen.drift.drifted
            ),
        ),
    )


def judge_all(
    transactions: Sequence[Transaction],
    detector: Detector,
    *,
    label: str = "score (tokens)",
    before: Earlier | None = None,
) -> Iterator[Scored]:
    """Judge transactions together, in the order given, which is that of time.

    Trees are painted for p-values up to KEPT_P. `before` is what is known of the time before the first of
    them; it is kept up to date.
    """
    known = nothing_yet(detector) if before is None else before
    for transaction, seen in zip(transactions, _look(transactions, detector, label), strict=True):
        actor = actor_of(transaction.chain, transaction.sender, transaction.root.target)
        account = actor, transaction.time
        history = detector.history
        facts, dealing = facts_of(transaction, history), dealing_in(transaction, history)
        joint = joint_of(facts, known.recent.dealings(*account), dealing, known.books)
        mix = known.mixes.add(transaction.chain, transaction.source.value, facts["calls"].value)
        carrying, earlier = known.recent.carried(*account), Before(joint=joint, mix=mix)
        scored = _judge(transaction, seen, facts, carrying, earlier, detector, KEPT_P)
        known.recent.add(*account, scored.score.value, dealing)
        known.books.add(dealing)
        yield scored


def judge_alone(
    transaction: Transaction, detector: Detector, before: Before, *, label: str = "score (tokens)"
) -> Scored:
    """Judge one transaction, to which earlier ones added `before`."""
    (seen,) = _look([transaction], detector, label)
    facts = facts_of(transaction, detector.history)
    return _judge(transaction, seen, facts, lambda *_: before.carried, before, detector, 1.0)


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
    carrying: Carrying,
    before: Before,
    detector: Detector,
    kept_p: float,
) -> Scored:
    calibration, (sequence, losses, embedding) = detector.calibration, seen
    facts, target = with_joint(alone, before.joint), main_target(transaction)
    source, status = transaction.source.value, transaction.status.value
    observed = Observed(sequence, losses, fact_values(facts), source, status, target or "", embedding)
    judgement = judge(calibration, observed, carried=carrying, mix=before.mix)
    carried = judgement.views["carried"]
    tokenizer, name = detector.tokenizer, detector.signatures.name
    unit_text = tokenizer.unit_text(transaction, name)
    reading = Reading(
        sequence,
        losses,
        judgement.token_p,
        unit_text,
        lambda piece: tokenizer.describe([piece], name),
        calibration.fields.least,
    )
    least = calibration.score.least(facts["calls"].value)
    shown = name_evidence(fact_evidence(facts, judgement.rarities, least), name)
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
        joint=before.joint,
        mix=before.mix,
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
        least,
        judgement.views,
    )


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
