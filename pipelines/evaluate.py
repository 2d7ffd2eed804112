"""How good the scores are: against labels, beside simple baselines, every figure with N and an interval.

Labels come in here and nowhere else; nothing in this module returns to calibration or training. The
baselines are ranked on the same transactions: `length` (number of tokens) first, since a detector that
does not beat it has learned nothing else, then the number of calls, then an Isolation Forest on counts,
fitted on benign training transactions only.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from sklearn.ensemble import IsolationForest

from blockscan.errors import ConfigError
from blockscan.safetext import safe_text
from pipelines.labels import Label, hash_key
from pipelines.metrics import FPR_LEVELS, TOP_K, Estimate, rank_metrics, share

EXPLOIT = "exploit"
STRATA = (2, 10, 40)
"""Least numbers of calls of the strata."""


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """What evaluation needs of a TxScore."""

    tx_hash: str
    value: float
    p_value: float | None
    tokens: int
    calls: int
    block: int | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many transactions went where; only `benign` and `attacks` are in the figures.

    `unlabelled`: scored without a label. `unscored`: labelled without a score. `grey` and `other_stages`
    (steps around an exploit) are in neither class. `without_p`: evaluated rows that have no p-value and
    hence cannot alarm. `blocks`: first and last block of the evaluated rows.
    """

    benign: int
    attacks: int
    unlabelled: int
    unscored: int
    grey: int
    other_stages: int
    without_p: int
    blocks: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outcome. `detectors`: metric by detector, see pipelines.metrics.rank_metrics.

    `strata`: AUROC by detector among transactions of at least so many calls on both sides, by the name of
    the stratum; over all transactions, size is told largely by plain transfers, which are never attacks.

    All others are for BlockScan at the calibration's alarm level, with Clopper-Pearson intervals.
    """

    coverage: Coverage
    alarm_level: float
    detectors: dict[str, dict[str, Estimate]]
    strata: dict[str, dict[str, Estimate]]
    realised_fpr: Estimate
    recall: Estimate
    incident_recall: Estimate
    family_recall: dict[str, Estimate]
    tier_recall: dict[str, Estimate]
    kind_fpr: dict[str, Estimate]
    hard_benign_fpr: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: plain numbers, strings, lists and dicts."""
        return asdict(self)


def evaluate(
    rows: Sequence[ScoredRow],
    labels: Mapping[str, Label],
    *,
    alarm_level: float,
    rng: np.random.Generator,
    train_counts: NDArray[np.float64] | None = None,
    test_counts: NDArray[np.float64] | None = None,
    resamples: int = 1000,
) -> Evaluation:
    """Compare scores with labels.

    Attacks are the rows labelled attack whose stage is "exploit" or not given.

    Args:
        rows: scored transactions, (R,).
        labels: by hash, from `pipelines.labels.read_labels`.
        alarm_level: the calibration's; an alarm is p <= alarm_level.
        rng: for the bootstrap and the Isolation Forest.
        train_counts: count features (B, F) of benign training transactions; without them the
            Isolation Forest row is left out.
        test_counts: count features (R, F) of `rows`, in the same order.
        resamples: of the bootstrap.

    Raises:
        ConfigError: no row has a label, a class is empty, or a value is NaN.
    """
    chosen = [i for i, row in enumerate(rows) if _class(labels.get(hash_key(row.tx_hash))) is not None]
    picked = [rows[i] for i in chosen]
    truths = [labels[hash_key(row.tx_hash)] for row in picked]
    coverage = _coverage(rows, labels, picked)
    _require_usable(picked, coverage)
    attack = np.array([truth.label == "attack" for truth in truths])
    rankings = _rankings(picked, chosen, train_counts, test_counts, rng)
    clusters = [truth.incident or row.tx_hash for truth, row in zip(truths, picked, strict=True)]
    alarm = [row.p_value is not None and row.p_value <= alarm_level for row in picked]
    exploits = [(t, a) for t, a in zip(truths, alarm, strict=True) if t.label == "attack"]
    benign = [(t, a) for t, a in zip(truths, alarm, strict=True) if t.label == "benign"]
    hard = [hit for truth, hit in benign if truth.hard_benign]
    incidents = _grouped((truth.incident, hit) for truth, hit in exploits)
    return Evaluation(
        coverage=coverage,
        alarm_level=alarm_level,
        detectors={
            name: rank_metrics(values, attack, rng=rng, resamples=resamples, clusters=clusters)
            for name, values in rankings.items()
        },
        strata=_strata(picked, rankings, attack, clusters, rng, resamples),
        realised_fpr=share(sum(hit for _, hit in benign), len(benign)),
        recall=share(sum(hit for _, hit in exploits), len(exploits)),
        incident_recall=share(sum(map(any, incidents.values())), len(incidents)),
        family_recall=_shares((truth.family, hit) for truth, hit in exploits),
        tier_recall=_shares((truth.tier, hit) for truth, hit in exploits),
        kind_fpr=_shares((truth.kind, hit) for truth, hit in benign),
        hard_benign_fpr=share(sum(hard), len(hard)) if hard else None,
    )


def _strata(
    picked: Sequence[ScoredRow],
    rankings: Mapping[str, NDArray[np.float64]],
    attack: NDArray[np.bool_],
    clusters: Sequence[str],
    rng: np.random.Generator,
    resamples: int,
) -> dict[str, dict[str, Estimate]]:
    """AUROC by detector where benign and attack transactions have at least so many calls."""
    found = {}
    calls = np.array([row.calls for row in picked])
    for least in STRATA:
        inside = np.flatnonzero(calls >= least)
        count = int(attack[inside].sum())
        if not 0 < count < len(inside):
            continue
        name = f"{least} calls or more ({len(inside) - count:,} benign, {count:,} attacks)"
        found[name] = {
            detector: rank_metrics(
                values[inside],
                attack[inside],
                rng=rng,
                resamples=resamples,
                clusters=[clusters[place] for place in inside.tolist()],
            )["auroc"]
            for detector, values in rankings.items()
        }
    return found


def render(evaluation: Evaluation) -> RenderableType:
    """The evaluation as tables for a terminal."""
    tables = {
        "Ranking": ["auroc", "auprc"],
        "Recall at a share of false alarms, threshold from these benign scores": [
            f"recall@fpr={level:g}" for level in FPR_LEVELS
        ],
        "Recall among the k highest": [f"recall@k={k}" for k in TOP_K],
        "Precision among the k highest": [f"precision@k={k}" for k in TOP_K],
        "Share of false alarms among the k highest": [f"fpr@k={k}" for k in TOP_K],
    }
    return Group(
        *(detector_table(evaluation, metrics, title=title) for title, metrics in tables.items()),
        strata_table(evaluation),
        _alarm_table(evaluation),
        Text(_coverage_line(evaluation.coverage)),
    )


def detector_table(evaluation: Evaluation, metrics: Sequence[str], *, title: str) -> Table:
    """One row per detector, one column per metric of `rank_metrics`, intervals below the figures."""
    coverage = evaluation.coverage
    table = Table(title=Text(f"{title} ({coverage.benign:,} benign, {coverage.attacks:,} attacks)"))
    table.add_column("detector")
    for metric in metrics:
        table.add_column(Text(metric), justify="right")
    for name, estimates in evaluation.detectors.items():
        table.add_row(name, *(_cell(estimates[metric]) for metric in metrics))
    return table


def strata_table(evaluation: Evaluation) -> Table:
    """AUROC per detector (rows) and stratum (columns), intervals below the figures."""
    table = Table(title=Text("AUROC among transactions of a least size"))
    table.add_column("detector")
    for name in evaluation.strata:
        table.add_column(Text(name), justify="right")
    for detector in evaluation.detectors:
        table.add_row(detector, *(_cell(each[detector]) for each in evaluation.strata.values()))
    return table


def _class(label: Label | None) -> str | None:
    """The class under which a transaction is evaluated, None for not at all."""
    if label is None or label.label == "grey":
        return None
    if label.label == "attack" and label.stage not in ("", EXPLOIT):
        return None
    return label.label


def _coverage(
    rows: Sequence[ScoredRow], labels: Mapping[str, Label], picked: Sequence[ScoredRow]
) -> Coverage:
    keys = [hash_key(row.tx_hash) for row in rows]
    found = [labels[key] for key in keys if key in labels]
    if not found:
        raise ConfigError(
            f"none of the {len(labels):,} labelled transactions is among the {len(rows):,} scored ones; "
            "check that labels and scores are of the same chain and range"
        )
    counted = Counter(truth.label for truth in found)
    classes = Counter(_class(truth) for truth in found)
    blocks = [row.block for row in picked if row.block is not None]
    return Coverage(
        benign=classes["benign"],
        attacks=classes["attack"],
        unlabelled=len(rows) - len(found),
        unscored=len(labels.keys() - set(keys)),
        grey=counted["grey"],
        other_stages=counted["attack"] - classes["attack"],
        without_p=sum(row.p_value is None for row in picked),
        blocks=(min(blocks), max(blocks)) if blocks else None,
    )


def _require_usable(picked: Sequence[ScoredRow], coverage: Coverage) -> None:
    if not coverage.benign or not coverage.attacks:
        raise ConfigError(
            f"evaluation needs both classes, but of the scored transactions {coverage.benign:,} are labelled "
            f"benign and {coverage.attacks:,} are exploits; add labels or score more transactions"
        )
    keys = Counter(hash_key(row.tx_hash) for row in picked)
    key, times = keys.most_common(1)[0]
    if times > 1:
        raise ConfigError(
            f"transaction {safe_text(key)} is scored {times} times; evaluate one calibration at once"
        )
    for row in picked:
        if math.isnan(row.value):
            raise ConfigError(
                f"transaction {safe_text(row.tx_hash)} has no number as its value; score it again"
            )


def _rankings(
    picked: Sequence[ScoredRow],
    chosen: Sequence[int],
    train_counts: NDArray[np.float64] | None,
    test_counts: NDArray[np.float64] | None,
    rng: np.random.Generator,
) -> dict[str, NDArray[np.float64]]:
    """Values (N,) by detector, higher = more anomalous."""
    rankings = {
        "BlockScan": np.array([row.value for row in picked], dtype=np.float64),
        "length": np.array([row.tokens for row in picked], dtype=np.float64),
        "calls": np.array([row.calls for row in picked], dtype=np.float64),
    }
    if train_counts is not None and test_counts is not None:
        forest = IsolationForest(random_state=int(rng.integers(2**31))).fit(train_counts)
        rankings["Isolation Forest"] = -forest.score_samples(test_counts[chosen])
    return rankings


def _grouped(hits: Iterable[tuple[str, bool]]) -> dict[str, list[bool]]:
    """Hits by name, in the order of the names; unnamed ones are left out."""
    groups: dict[str, list[bool]] = {}
    for name, hit in hits:
        if name:
            groups.setdefault(name, []).append(hit)
    return dict(sorted(groups.items()))


def _shares(hits: Iterable[tuple[str, bool]]) -> dict[str, Estimate]:
    return {name: share(sum(group), len(group)) for name, group in _grouped(hits).items()}


def _alarm_table(evaluation: Evaluation) -> Table:
    table = Table(title=Text(f"At the alarm level p <= {evaluation.alarm_level:g}"))
    for column in ("figure", "share", "N"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    lines: list[tuple[str, Estimate]] = [
        ("realised FPR on benign", evaluation.realised_fpr),
        *(("of these, hard benign", each) for each in [evaluation.hard_benign_fpr] if each is not None),
        ("recall of exploits", evaluation.recall),
        ("recall of incidents", evaluation.incident_recall),
        *((f"recall, tier {name}", each) for name, each in evaluation.tier_recall.items()),
        *((f"recall, {name}", each) for name, each in evaluation.family_recall.items()),
        *((f"false alarms, {name}", each) for name, each in evaluation.kind_fpr.items()),
    ]
    for name, estimate in lines:
        table.add_row(Text(safe_text(name)), _cell(estimate), f"{estimate.n:,}")
    return table


def _cell(estimate: Estimate) -> Text:
    return Text(f"{estimate.value:.3f}\n{estimate.low:.3f}-{estimate.high:.3f}")


def _coverage_line(coverage: Coverage) -> str:
    blocks = "" if coverage.blocks is None else f" Blocks {coverage.blocks[0]:,} to {coverage.blocks[1]:,}."
    return (
        f"Below each figure its 95 % interval. Not evaluated: {coverage.unlabelled:,} scored without label, "
        f"{coverage.unscored:,} labelled without score, {coverage.grey:,} grey, {coverage.other_stages:,} "
        f"attack transactions of other stages. Without p-value: {coverage.without_p:,}.{blocks}"
    )
