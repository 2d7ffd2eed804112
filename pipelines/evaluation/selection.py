"""Which of the scored transactions are evaluated, and against which others each attack is compared.

Labels come in here. What is left out is counted, never dropped in silence.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from blockscan.errors import ConfigError
from blockscan.safetext import safe_text
from pipelines.evaluation.facts import TxFacts
from pipelines.labels import Label, hash_key

EXPLOIT = "exploit"
Set = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """What evaluation needs of a TxScore."""

    tx_hash: str
    value: float
    p_value: float | None
    tokens: int
    calls: int
    block: int | None = None
    time: int | None = None
    chain: str = ""
    source: str = ""
    calibration: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be compared with what.

    after: last block of training and calibration; transactions up to it are left out. None: not checked.
    keep_earlier_attacks: leave out only benign ones for that; no attack is trained on, and few are late.
    keep_duplicates: also rank transactions that repeat another one's trace skeleton.
    mixed: compare across chains and trace sources, too. chain, source: only these; None for all.
    """

    after: int | None = None
    keep_earlier_attacks: bool = False
    keep_duplicates: bool = False
    mixed: bool = False
    chain: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One evaluated transaction: `values` and `p_values` by training seed, the rest from the first."""

    row: ScoredRow
    label: Label
    values: tuple[float, ...]
    p_values: tuple[float | None, ...]
    facts: TxFacts | None
    set: Set

    @property
    def attack(self) -> bool:
        """Whether it is an exploit; if not it is benign."""
        return self.label.label == "attack"

    @property
    def cluster(self) -> str:
        """The incident; a transaction without one stands for itself."""
        return self.label.incident or self.row.tx_hash


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many transactions went where; only `benign` and `attacks` are ranked.

    `unlabelled`: scored without a label. `unscored`: labelled without a score. `grey` and `other_stages`
    (steps around an exploit) are in neither class. `not_asked_for`: of another chain or trace source than
    asked for. `earlier_*`: at or before block `after`, or of unknown block, left out; `earlier_kept`:
    attacks kept in spite of that. The alarm figures are over what is left now; the ranking leaves out
    `duplicate_*` (None: not looked for, as no archive was given) and `unmatched_*`, which are of a chain
    and trace source without the other class. `without_p`: rows without p-value.
    `blocks`: first and last. `label_sources`: labels used, by who says so.
    """

    benign: int
    attacks: int
    incidents: int
    unlabelled: int
    unscored: int
    grey: int
    other_stages: int
    not_asked_for: int
    after: int | None
    earlier_benign: int
    earlier_attacks: int
    earlier_kept: int
    duplicate_benign: int | None
    duplicate_attacks: int | None
    unmatched_benign: int
    unmatched_attacks: int
    without_p: int
    blocks: tuple[int, int] | None
    label_sources: dict[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """`cases`: all after the time split, for alarms. `ranked`: for the ranking. Both ordered by hash."""

    cases: list[Case]
    ranked: list[Case]
    coverage: Coverage


def select(
    runs: Sequence[Sequence[ScoredRow]],
    labels: Mapping[str, Label],
    rules: Rules,
    facts: Mapping[str, TxFacts] | None = None,
) -> Selection:
    """Join scores, labels and facts by hash and apply the rules.

    Args:
        runs: scored transactions of each training seed.
        labels: by hash, from `pipelines.labels.read_labels`.
        rules: see Rules.
        facts: by `hash_key`, of every labelled row; None where there is no archive.

    Raises:
        ConfigError: no row has a label, a class is empty, runs differ, a value is NaN, a hash comes twice.
    """
    tables = [_by_key(rows, rules) for rows in runs]
    first = tables[0]
    _require_overlap(first, labels)
    _require_there("--chain", rules.chain, {row.chain for row in runs[0]})
    _require_there("--trace-source", rules.source, {row.source for row in runs[0]})
    picked = sorted(key for key in first if _class(labels.get(key)) is not None)
    asked = [key for key in picked if _asked_for(first[key], rules)]
    _require_same(tables, asked)
    _require_one_chain(first, asked, rules)
    kept = [key for key in asked if _is_kept(first[key], labels[key], rules)]
    out = Counter(labels[key].label for key in asked) - Counter(labels[key].label for key in kept)
    cases = [_case(key, tables, labels[key], facts, rules) for key in kept]
    _require_classes(cases, out)
    matched = _matched(cases)
    looked = facts is not None and not rules.keep_duplicates
    ranked = _unique(matched) if looked else matched
    gone, apart = _by_class(matched) - _by_class(ranked), _by_class(cases) - _by_class(matched)
    coverage = Coverage(
        **_sizes(ranked),
        **_aside(first, labels),
        not_asked_for=len(picked) - len(asked),
        after=rules.after,
        earlier_benign=out["benign"],
        earlier_attacks=out["attack"],
        earlier_kept=sum(not _is_late(first[key], rules) for key in kept),
        duplicate_benign=gone["benign"] if looked else None,
        duplicate_attacks=gone["attack"] if looked else None,
        unmatched_benign=apart["benign"],
        unmatched_attacks=apart["attack"],
        without_p=sum(None in case.p_values for case in cases),
        blocks=_span(case.row.block for case in cases),
        label_sources=dict(sorted(Counter(case.label.source or "not stated" for case in cases).items())),
    )
    return Selection(cases, ranked, coverage)


def is_asked_for(row: ScoredRow, label: Label | None, rules: Rules) -> bool:
    """Whether a row is evaluated, but for the time split."""
    return _class(label) is not None and _asked_for(row, rules)


def is_case(row: ScoredRow, label: Label | None, rules: Rules) -> bool:
    """Whether a row is evaluated."""
    return label is not None and is_asked_for(row, label, rules) and _is_kept(row, label, rules)


def comparison_set(row: ScoredRow, rules: Rules) -> Set:
    """The chain and trace source within which a row is compared."""
    return ("", "") if rules.mixed else (row.chain, row.source)


def _class(label: Label | None) -> str | None:
    """The class under which a transaction is evaluated, None for not at all."""
    if label is None or label.label == "grey":
        return None
    if label.label == "attack" and label.stage not in ("", EXPLOIT):
        return None
    return label.label


def _asked_for(row: ScoredRow, rules: Rules) -> bool:
    return rules.chain in (None, row.chain) and rules.source in (None, row.source)


def _is_late(row: ScoredRow, rules: Rules) -> bool:
    return rules.after is None or (row.block is not None and row.block > rules.after)


def _is_kept(row: ScoredRow, label: Label, rules: Rules) -> bool:
    return _is_late(row, rules) or (rules.keep_earlier_attacks and label.label == "attack")


def _case(
    key: str,
    tables: Sequence[Mapping[str, ScoredRow]],
    label: Label,
    facts: Mapping[str, TxFacts] | None,
    rules: Rules,
) -> Case:
    rows = [table[key] for table in tables]
    for row in rows:
        if math.isnan(row.value):
            raise ConfigError(
                f"transaction {safe_text(row.tx_hash)} has no number as its value; score it again"
            )
    return Case(
        rows[0],
        label,
        tuple(row.value for row in rows),
        tuple(row.p_value for row in rows),
        None if facts is None else facts[key],
        comparison_set(rows[0], rules),
    )


def _matched(cases: Sequence[Case]) -> list[Case]:
    """The cases whose comparison set holds both classes."""
    pairs = {(case.set, case.attack) for case in cases}
    matched = [case for case in cases if (case.set, not case.attack) in pairs]
    if not matched:
        raise ConfigError(
            "no chain and trace source has both benign transactions and exploits, and comparing across them "
            "would measure the source; give --mixed to do so all the same"
        )
    return matched


def _unique(cases: Sequence[Case]) -> list[Case]:
    """The earliest of benign transactions with equal skeleton and target; of exploits, within an incident."""
    first: dict[tuple[object, ...], Case] = {}
    for case in sorted(cases, key=_when):
        if case.facts is not None:
            group = case.cluster if case.attack else None
            first.setdefault((case.attack, group, case.set, case.facts.skeleton, case.facts.target), case)
    kept = {case.row.tx_hash for case in first.values()}
    return [case for case in cases if case.row.tx_hash in kept]


def _when(case: Case) -> tuple[float, str]:
    return math.inf if case.row.block is None else case.row.block, hash_key(case.row.tx_hash)


def _sizes(ranked: Sequence[Case]) -> dict[str, int]:
    counts = _by_class(ranked)
    incidents = {case.cluster for case in ranked if case.attack}
    return {"benign": counts["benign"], "attacks": counts["attack"], "incidents": len(incidents)}


def _aside(first: Mapping[str, ScoredRow], labels: Mapping[str, Label]) -> dict[str, int]:
    """How many rows and labels are in neither class."""
    found = [labels[key] for key in first if key in labels]
    return {
        "unlabelled": len(first) - len(found),
        "unscored": len(labels.keys() - first.keys()),
        "grey": sum(label.label == "grey" for label in found),
        "other_stages": sum(label.label == "attack" and _class(label) is None for label in found),
    }


def _span(blocks: Iterable[int | None]) -> tuple[int, int] | None:
    known = [block for block in blocks if block is not None]
    return (min(known), max(known)) if known else None


def _by_class(cases: Iterable[Case]) -> Counter[str]:
    return Counter(case.label.label for case in cases)


def _by_key(rows: Sequence[ScoredRow], rules: Rules) -> dict[str, ScoredRow]:
    """Rows by `hash_key`; of a hash on several chains that of the chain asked for."""
    asked = [row for row in rows if _asked_for(row, rules)]
    table = {hash_key(row.tx_hash): row for row in asked}
    if len(table) < len(asked):
        key, times = Counter(hash_key(row.tx_hash) for row in asked).most_common(1)[0]
        chains = sorted({row.chain for row in asked if hash_key(row.tx_hash) == key})
        if len(chains) > 1:
            raise ConfigError(
                f"transaction {safe_text(key)} is on chains {safe_text(', '.join(chains))}; give --chain NAME"
            )
        raise ConfigError(
            f"transaction {safe_text(key)} is scored {times} times; evaluate one calibration at once"
        )
    return {hash_key(row.tx_hash): row for row in rows} | table


def _require_there(option: str, asked: str | None, there: Iterable[str]) -> None:
    if asked is not None and asked not in there:
        known = safe_text(", ".join(sorted(there)))
        raise ConfigError(f"nothing scored is of {option} {safe_text(asked)}; there is {known}")


def _require_overlap(scored: Mapping[str, ScoredRow], labels: Mapping[str, Label]) -> None:
    if not scored.keys() & labels.keys():
        raise ConfigError(
            f"none of the {len(labels):,} labelled transactions is among the {len(scored):,} scored ones; "
            "check that labels and scores are of the same chain and range"
        )


def _require_same(tables: Sequence[Mapping[str, ScoredRow]], keys: Sequence[str]) -> None:
    for number, table in enumerate(tables[1:], start=2):
        if missing := sum(key not in table for key in keys):
            raise ConfigError(
                f"store {number} lacks {missing:,} of the {len(keys):,} labelled transactions of the first; "
                "score the same transactions with every seed"
            )


def _require_one_chain(rows: Mapping[str, ScoredRow], keys: Sequence[str], rules: Rules) -> None:
    chains = sorted({rows[key].chain for key in keys})
    if rules.after is not None and len(chains) > 1:
        raise ConfigError(
            f"block {rules.after:,} splits one chain, but the scores are of {len(chains)}: "
            f"{safe_text(', '.join(chains))}; give --chain NAME"
        )


def _require_classes(cases: Sequence[Case], early: Mapping[str, int]) -> None:
    counts = _by_class(cases)
    if not counts["benign"] or not counts["attack"]:
        lost = ""
        if early:
            lost = (
                f" after {early.get('benign', 0):,} benign and {early.get('attack', 0):,} exploits at or "
                "before the training range were left out"
            )
        raise ConfigError(
            f"evaluation needs both classes, but of the scored transactions {counts['benign']:,} are "
            f"labelled benign and {counts['attack']:,} are exploits{lost}; add labels, score more of "
            "them, or take the rest for benign with --rest-benign"
        )
