"""An evaluation as tables for a terminal. Names come from files and chains: they are shown as text only."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from blockscan.safetext import safe_text
from pipelines.evaluate import Evaluation
from pipelines.evaluation.alarms import SIZES, Alarms
from pipelines.evaluation.contracts import LEAST, TOP, ContractRanks
from pipelines.evaluation.detectors import OURS
from pipelines.evaluation.pools import Pools
from pipelines.evaluation.selection import Coverage
from pipelines.metrics import FEWEST, FPR_LEVELS, INCIDENT_LEVELS, TOP_K, Comparison, Estimate, share

_METRICS = {
    "Ranking": ["auroc", "auprc"],
    "Recall at a share of false alarms, threshold from these benign scores": [
        f"recall@fpr={level:g}" for level in FPR_LEVELS
    ],
    "Incidents with an exploit above that threshold": [
        f"incident_recall@fpr={level:g}" for level in INCIDENT_LEVELS
    ],
    "Recall among the k highest": [f"recall@k={k}" for k in TOP_K],
    "Precision among the k highest": [f"precision@k={k}" for k in TOP_K],
    "Share of false alarms among the k highest": [f"fpr@k={k}" for k in TOP_K],
}
COMPARED = ("auroc", "recall@fpr=0.01", "recall@fpr=0.001")
"""Metrics that are shown for every stratum, and as differences."""
Rows = Mapping[str, Mapping[str, Estimate]]
"""Estimates by row and column."""
_NOBODY = share(0, 0)


def render(evaluation: Evaluation) -> RenderableType:
    """The whole evaluation."""
    parts: list[RenderableType] = [
        detector_table(evaluation, metrics, title=title)
        for title, metrics in _METRICS.items()
        if set(metrics) & evaluation.overall.detectors[OURS].keys()
    ]
    parts += [strata_table(evaluation, metric) for metric in COMPARED]
    parts += [_difference_table(evaluation, metric) for metric in COMPARED]
    if evaluation.contracts is not None:
        parts.append(_contract_table(evaluation.contracts))
    if evaluation.pools is not None:
        parts += [*(_pool_table(evaluation.pools, k) for k in TOP_K), _published_table(evaluation.pools)]
    parts.append(_level_table(evaluation))
    tables = alarm_tables(evaluation.alarms, whole=False)
    parts += [_counted_table(title, rows) for title, rows in tables.items()]
    return Group(*parts, *(Text(line) for line in [*_out_of_reach(evaluation), *notes(evaluation)]))


def detector_table(evaluation: Evaluation, metrics: Sequence[str], *, title: str) -> Table:
    """One row per detector, one column per metric of `compare` that there is, intervals below the figures."""
    coverage, rows = evaluation.coverage, supported(evaluation.overall).detectors
    heading = f"{title} ({coverage.benign:,} benign, {coverage.attacks:,} attacks)"
    return _table(heading, rows, {name: name for name in metrics if name in rows[OURS]})


def strata_table(evaluation: Evaluation, metric: str = "auroc") -> Table:
    """One metric per detector (rows) and stratum (columns), intervals below the figures."""
    strata = {heading: heading for heading in comparisons(evaluation)}
    return _table(f"{metric} by stratum", by_stratum(evaluation, metric), strata)


def _difference_table(evaluation: Evaluation, metric: str) -> Table:
    strata = {heading: heading for heading in comparisons(evaluation)}
    rows = by_stratum(evaluation, metric, ahead=True)
    return _table(f"{metric}, {OURS} minus baseline", rows, strata, signed=True)


def by_stratum(evaluation: Evaluation, metric: str, *, ahead: bool = False) -> Rows:
    """One metric by detector and stratum; or how far BlockScan is `ahead` of each, on the same resamples."""
    of, strata = attrgetter("differences" if ahead else "detectors"), comparisons(evaluation)
    return {
        name: {heading: of(each)[name][metric] for heading, each in strata.items()}
        for name in of(evaluation.overall)
    }


def comparisons(evaluation: Evaluation) -> dict[str, Comparison]:
    """Every set of transactions that was ranked, by name and size, as far as `supported`."""
    found = {"all": evaluation.overall} | evaluation.strata
    if evaluation.length_matched is not None:
        found["matched by length"] = evaluation.length_matched
    found |= evaluation.groups
    return {
        f"{safe_text(name)} ({each.benign:,} benign, {each.attacks:,} attacks)": supported(each)
        for name, each in found.items()
    }


def supported(found: Comparison) -> Comparison:
    """The comparison with NaN, shown as a dash, where not even one benign one may be a false alarm."""

    def shown(by_name: Rows) -> dict[str, dict[str, Estimate]]:
        return {
            name: {metric: figure(metric, each) for metric, each in figures.items()}
            for name, figures in by_name.items()
        }

    def figure(metric: str, each: Estimate) -> Estimate:
        level = metric.partition("@fpr=")[2]
        return each if not level or _allows_one(float(level), found.benign) else _unknown(each)

    return replace(found, detectors=shown(found.detectors), differences=shown(found.differences))


def _unknown(each: Estimate) -> Estimate:
    return replace(each, value=math.nan, low=math.nan, high=math.nan, runs=())


def _allows_one(level: float, benign: int) -> bool:
    return level * benign > 1 - 1e-9


def notes(evaluation: Evaluation) -> list[str]:
    """What the figures are, and what was left out."""
    coverage = evaluation.coverage
    lines = [
        f"Below each figure its 95 % interval, a dash where none can be given: of fewer than {FEWEST} benign "
        "transactions or attacks, or where no resample differs."
    ]
    if evaluation.seeds > 1:
        lines[0] += f" Figures are means over {evaluation.seeds} training seeds; below, their range."
    fewest = min(each.benign for each in comparisons(evaluation).values())
    if below := [f"{100 * level:g} %" for level in FPR_LEVELS if not _allows_one(level, fewest)]:
        lines.append(
            f"Recall at {' or '.join(below)} of false alarms is a dash where that is less than one of the "
            "benign transactions: it would be the share of attacks above all of them, which a single one "
            "decides (--json has it)."
        )
    lines += [_set_aside(coverage), _split(coverage), _duplicates(coverage)]
    if evaluation.groups or coverage.unmatched_benign or coverage.unmatched_attacks:
        lines.append(
            "Attacks are ranked among benign transactions of their own chain and trace source. Without "
            f"the other class there: {coverage.unmatched_benign:,} benign, {coverage.unmatched_attacks:,} "
            "attacks."
        )
    if list(coverage.label_sources) != ["not stated"]:
        said = ", ".join(f"{safe_text(name)} {count:,}" for name, count in coverage.label_sources.items())
        lines.append(f"Labels by source: {said}.")
    return lines


def _set_aside(coverage: Coverage) -> str:
    blocks = "" if coverage.blocks is None else f" Blocks {coverage.blocks[0]:,} to {coverage.blocks[1]:,}."
    asked = f", {coverage.not_asked_for:,} of another chain or source" if coverage.not_asked_for else ""
    return (
        f"Not evaluated: {coverage.unlabelled:,} scored without label, {coverage.unscored:,} labelled "
        f"without score, {coverage.grey:,} grey, {coverage.other_stages:,} attack transactions of other "
        f"stages{asked}. Without p-value: {coverage.without_p:,}.{blocks}"
    )


def _split(coverage: Coverage) -> str:
    if coverage.after is None:
        return "Time split not checked: give --after BLOCK, the last block of training and calibration."
    kept = f" {coverage.earlier_kept:,} attacks from then were kept." if coverage.earlier_kept else ""
    return (
        f"Time split after block {coverage.after:,}: {coverage.earlier_benign:,} benign transactions and "
        f"{coverage.earlier_attacks:,} attacks at or before it, or of unknown block, were left out.{kept}"
    )


def _duplicates(coverage: Coverage) -> str:
    if coverage.duplicate_benign is None:
        return "Repeated trace skeletons were kept (no --archive, or --keep-duplicates)."
    return (
        f"Repeated trace skeletons left out of the ranking: {coverage.duplicate_benign:,} benign, "
        f"{coverage.duplicate_attacks:,} attacks; the alarm figures hold them."
    )


def _contract_table(ranks: ContractRanks) -> Table:
    title = (
        f"Exploit among the k highest at a contract ({ranks.incidents:,} incidents, {ranks.contracts:,} "
        f"contracts that {LEAST} benign transactions or more call, {ranks.pairs:,} pairs)"
    )
    return _table(title, ranks.detectors, {f"top@{k}": f"top {k}" for k in TOP})


def _pool_table(pools: Pools, k: int) -> Table:
    title = (
        f"The paper's protocol, k={k}, {pools.pools:,} pools of 709 benign and 10 attacks, from "
        f"{pools.benign:,} and {pools.incidents:,} incidents: mean, and where 95 % of pools lie"
    )
    columns = {f"{name}@k={k}": name for name in ("fpr", "recall", "precision")}
    return _table(title, pools.detectors, columns, digits=4)


def _published_table(pools: Pools) -> Table:
    table = Table(title=Text(f"The paper's own figures, FPR / recall / precision in % ({pools.caveat})"))
    table.add_column("detector")
    for k in TOP_K:
        table.add_column(f"k={k}", justify="right")
    for name, figures in pools.published.items():
        table.add_row(name, *(" / ".join(f"{each:g}" for each in figures[k]) for k in TOP_K))
    return table


def _unreached(evaluation: Evaluation) -> dict[str, float]:
    """The levels below the calibration's own that are below all p-values too: no alarm says nothing there."""
    return {
        name: each.level
        for name, each in evaluation.alarm_levels.items()
        if each.level < evaluation.alarms.level and not each.realised_fpr.value and not each.recall.value
    }


def _out_of_reach(evaluation: Evaluation) -> list[str]:
    return [
        f"Alarms at p <= {name} are a dash: no p-value is so small, nor can one be with fewer than "
        f"{math.ceil(1 / level - 1e-9) - 1:,} held-out transactions (--json has the zeros)."
        for name, level in _unreached(evaluation).items()
    ]


def _level_table(evaluation: Evaluation) -> Table:
    levels = evaluation.alarm_levels
    rows: dict[str, dict[str, Estimate]] = {
        "realised FPR on benign": {name: each.realised_fpr for name, each in levels.items()},
        "recall of exploits": {name: each.recall for name, each in levels.items()},
        "recall of incidents": {name: each.incident_recall for name, each in levels.items()},
    }
    hard = {name: each.hard_benign_ratio for name, each in levels.items()}
    present = {name: each for name, each in hard.items() if each is not None}
    if present:
        rows["hard-benign FPR, times the nominal"] = present
    unreached = _unreached(evaluation)
    shown = {
        figure: {name: _unknown(each) if name in unreached else each for name, each in estimates.items()}
        for figure, estimates in rows.items()
    }
    return _table("Alarms by level", shown, {name: f"p <= {name}" for name in levels}, first="figure")


def alarm_tables(alarms: Alarms, *, whole: bool) -> dict[str, Rows]:
    """The shares at one alarm level, by heading. Kinds without an alarm are one row unless `whole`."""
    kinds = alarms.kind_fpr if whole else _folded(alarms.kind_fpr)
    hard = alarms.hard_kind_fpr if whole else _folded(alarms.hard_kind_fpr)
    lines = [
        ("realised FPR on benign", alarms.realised_fpr),
        *(("of these, hard benign", each) for each in [alarms.hard_benign_fpr] if each is not None),
        ("recall of exploits", alarms.recall),
        ("recall of incidents", alarms.incident_recall),
        *((f"recall, tier {name}", each) for name, each in alarms.tier_recall.items()),
        *((f"recall, year {name}", each) for name, each in alarms.year_recall.items()),
        *((f"false alarms, {name}", each) for name, each in kinds.items()),
        *((f"false alarms, hard benign {name}", each) for name, each in hard.items()),
        *((f"false alarms, year {name}", each) for name, each in alarms.year_fpr.items()),
    ]
    families = {
        name: {"recall of exploits": each, "recall of incidents": alarms.family_incident_recall[name]}
        for name, each in alarms.family_recall.items()
    }
    sizes = {
        name: {
            "false alarms": alarms.size_fpr.get(name, _NOBODY),
            "recall of exploits": alarms.size_recall.get(name, _NOBODY),
        }
        for name in SIZES
    }
    found = {
        "At the alarm level": {name: {"share": each} for name, each in lines},
        "By number of calls, at the alarm level": sizes,
        "By family of attack, at the alarm level": families,
    }
    return {f"{title} p <= {alarms.level:g}": rows for title, rows in found.items() if rows}


def _folded(kinds: Mapping[str, Estimate]) -> Mapping[str, Estimate]:
    """Shares of false alarms by kind, those of 0 as one."""
    quiet = [each.n for each in kinds.values() if not each.value]
    if len(quiet) < 2:
        return kinds
    loud = {name: each for name, each in kinds.items() if each.value}
    return loud | {f"{len(quiet):,} kinds without any": share(0, sum(quiet))}


def _counted_table(title: str, rows: Rows) -> Table:
    """Estimates by row and column, beside each the number of cases."""
    table = Table(title=Text(title))
    table.add_column("")
    for heading in next(iter(rows.values())):
        table.add_column(heading, justify="right")
        table.add_column("N", justify="right")
    for name, estimates in rows.items():
        cells = ((_cell(each), f"{each.n:,}") for each in estimates.values())
        table.add_row(Text(safe_text(name)), *(text for cell in cells for text in cell))
    return table


def _table(
    title: str,
    rows: Rows,
    columns: Mapping[str, str],
    *,
    first: str = "detector",
    signed: bool = False,
    digits: int = 3,
) -> Table:
    """Estimates by row and column; `columns` maps the key of a column to its heading."""
    table = Table(title=Text(title))
    table.add_column(first)
    for heading in columns.values():
        table.add_column(Text(heading), justify="right")
    for name, estimates in rows.items():
        cells = (_cell(estimates[key], signed=signed, digits=digits) for key in columns)
        table.add_row(Text(safe_text(name)), *cells)
    return table


def _cell(estimate: Estimate, *, signed: bool = False, digits: int = 3) -> Text:
    return Text("\n".join(cell_lines(estimate, signed=signed, digits=digits)))


def cell_lines(estimate: Estimate, *, signed: bool = False, digits: int = 3) -> list[str]:
    """The figure, its interval or a dash, and the range over training seeds where there are several.

    A figure that is no number, or a share of nothing, is a dash.
    """
    if math.isnan(estimate.value) or not estimate.n:
        return ["-"]
    form, between = (f"+.{digits}f", " to ") if signed else (f".{digits}f", "-")
    interval = f"{estimate.low:{form}}{between}{estimate.high:{form}}"
    lines = [f"{estimate.value:{form}}", "-" if math.isnan(estimate.low) else interval]
    if estimate.runs:
        lines.append(f"seeds {min(estimate.runs):{form}}{between}{max(estimate.runs):{form}}")
    return lines
