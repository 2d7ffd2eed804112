"""The evaluation as one HTML file with plots: no script, no request to anywhere, light and dark.

Names of families, kinds, chains and baselines come from files and chains. Each passes through `svg.label`,
and a content security policy forbids everything but the file's own style sheet.
"""

from collections.abc import Mapping
from pathlib import Path

from blockscan.artifact import write_whole
from blockscan.errors import ArtifactError
from pipelines.evaluate import Evaluation
from pipelines.evaluation import tables
from pipelines.evaluation.curves import Histogram
from pipelines.evaluation.detectors import OURS
from pipelines.evaluation.pools import Pools
from pipelines.evaluation.svg import Axis, interval_bars, label, line_chart
from pipelines.metrics import FPR_LEVELS, INCIDENT_LEVELS, TOP_K, Estimate

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#68707a;--page:#fff;--rule:#d9dde2;--bar:#7fa8d9;
--c0:#c0392b;--c1:#1f6fb4;--c2:#2b8a3e;--c3:#9c5fc4;--c4:#c77700;--c5:#117a8b;--c6:#7a4b2a;--c7:#5c6670}
@media(prefers-color-scheme:dark){:root{--ink:#e4e7ea;--dim:#9aa3ad;--page:#14171a;--rule:#343a41;--bar:#3d6595;
--c0:#ff7b6b;--c1:#6cb2f2;--c2:#6fd184;--c3:#cc9cf0;--c4:#f0ad4e;--c5:#57c7d9;--c6:#d3a07c;--c7:#aab3bd}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:1180px;
margin:2em auto;padding:0 1em}h1{font-size:1.5em}h2{font-size:1.1em;margin:2em 0 .4em}p{max-width:75ch}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(440px,1fr));gap:1em 2em}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.3em .7em;border-bottom:1px solid var(--rule);vertical-align:top}
th:first-child,td:first-child{text-align:left}td small{display:block;color:var(--dim)}
svg{width:100%;height:auto}svg text{fill:var(--ink);font-size:12px}
.mid{text-anchor:middle}.end{text-anchor:end}
.grid{stroke:var(--rule);fill:none}.line{fill:none;stroke-width:1.8}.bar{fill:var(--bar)}
.whisker{stroke:var(--ink);stroke-width:1.4}.legend{list-style:none;padding:0;margin:.2em 0}
.legend li{display:inline-block;margin-right:1.1em;font-weight:600}
""" + "".join(f".s{n}{{stroke:var(--c{n})}}.legend .s{n}{{color:var(--c{n})}}" for n in range(8))
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write(evaluation: Evaluation, path: Path) -> None:
    """Write the report.

    Raises:
        ArtifactError: the file cannot be written.
    """
    try:
        write_whole(path, html(evaluation).encode())
    except OSError as error:
        raise ArtifactError(
            f"cannot write the report {path}: {error.strerror}; free some space, or give another file"
        ) from error


def html(evaluation: Evaluation) -> str:
    """The report as text."""
    coverage = evaluation.coverage
    title = f"BlockScan against {coverage.benign:,} benign transactions and {coverage.attacks:,} attacks"
    body = [
        f"<h1>{label(title)}</h1>",
        *(f"<p>{label_long(line)}</p>" for line in tables.notes(evaluation)),
        f'<div class="plots">{"".join(_plots(evaluation))}</div>',
        *_tables(evaluation),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{label(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def label_long(text: str) -> str:
    """A sentence: `svg.label` piece by piece, as that cuts long text."""
    return " ".join(map(label, text.split()))


def _plots(evaluation: Evaluation) -> list[str]:
    curves, share = evaluation.curves, Axis("recall", 0, 1)
    false = Axis("share of false alarms (log)", min(curves.finest, 0.01), 1, log=True)
    families = {
        name: (each.value, each.low, each.high, f"{each.value:.2f} of {each.n:,}")
        for name, each in evaluation.alarms.family_recall.items()
    }
    found = [
        _plot("Receiver operating characteristic", line_chart(curves.roc, false, share, stepped=True)),
        _plot(
            "Precision and recall",
            line_chart(curves.precision_recall, share, Axis("precision", 0, 1)),
        ),
        _plot(f"Values of {OURS}", _histogram(curves.values)),
        _plot("Realised share of false alarms", _calibration(evaluation.calibration)),
    ]
    if families:
        heading = f"Recall per family at p <= {evaluation.alarms.level:g}, of exploit transactions"
        found.append(_plot(heading, interval_bars(families, name=heading)))
    return found


def _histogram(values: Histogram) -> str:
    highest = max(*values.benign, *values.attacks)
    sides = {
        name: [*zip(values.edges[:-1], shares, strict=True), (values.edges[-1], 0.0)]
        for name, shares in (("attacks", values.attacks), ("benign", values.benign))
    }
    x = Axis("anomaly value", values.edges[0], values.edges[-1])
    return line_chart(sides, x, Axis("share of the class", 0, highest), stepped=True)


def _calibration(levels: Mapping[str, Estimate]) -> str:
    points = {float(name): each for name, each in levels.items()}
    least = min(points)
    series = {
        "realised": [(level, each.value) for level, each in points.items()],
        "nominal": [(least, least), (max(points), max(points))],
        "95 % low": [(level, each.low) for level, each in points.items()],
        "95 % high": [(level, each.high) for level, each in points.items()],
    }
    return line_chart(series, Axis("alarm level", least, 1, log=True), Axis("realised", least, 1, log=True))


def _tables(evaluation: Evaluation) -> list[str]:
    metrics = [
        name
        for name in (
            "auroc",
            "auprc",
            *(f"recall@fpr={level:g}" for level in FPR_LEVELS),
            *(f"incident_recall@fpr={level:g}" for level in INCIDENT_LEVELS),
            *(f"{name}@k={k}" for name in ("recall", "precision", "fpr") for k in TOP_K),
        )
        if name in evaluation.overall.detectors[OURS]
    ]
    strata = list(tables.comparisons(evaluation))
    found = [_table("All transactions", tables.supported(evaluation.overall).detectors, metrics)]
    for metric in tables.COMPARED:
        rows = tables.by_stratum(evaluation, metric)
        found.append(_table(f"{metric} by stratum", rows, strata))
        rows = tables.by_stratum(evaluation, metric, ahead=True)
        found.append(_table(f"{metric}, {OURS} minus baseline", rows, strata, signed=True))
    if evaluation.contracts is not None:
        ranks = evaluation.contracts
        heading = f"Exploit among the highest at a contract ({ranks.pairs:,} pairs of incident and contract)"
        found.append(_table(heading, ranks.detectors, list(next(iter(ranks.detectors.values())))))
    if evaluation.pools is not None:
        found += _pools(evaluation.pools)
    for heading, shares in tables.alarm_tables(evaluation.alarms, whole=True).items():
        found.append(_table(heading, shares, list(next(iter(shares.values())))))
    return found


def _pools(pools: Pools) -> list[str]:
    metrics = [f"{name}@k={k}" for k in TOP_K for name in ("fpr", "recall", "precision")]
    heading = f"The paper's protocol: mean over {pools.pools:,} pools, and where 95 % of pools lie"
    cells = "".join(
        f"<tr><td>{label(name)}</td>"
        + "".join(f"<td>{' / '.join(f'{each:g}' for each in figures[k])}</td>" for k in TOP_K)
        + "</tr>"
        for name, figures in pools.published.items()
    )
    head = "<th>detector</th>" + "".join(f"<th>k={k}</th>" for k in TOP_K)
    published = f"The paper's own figures, FPR / recall / precision in % ({pools.caveat})"
    return [_table(heading, pools.detectors, metrics, digits=4), _framed(published, head, cells)]


def _table(
    heading: str, rows: tables.Rows, columns: list[str], *, signed: bool = False, digits: int = 3
) -> str:
    head = "<th></th>" + "".join(f"<th>{label(column)}</th>" for column in columns)
    body = "".join(
        f"<tr><td>{label(name)}</td>"
        + "".join(_cell(estimates[column], signed=signed, digits=digits) for column in columns)
        + "</tr>"
        for name, estimates in rows.items()
    )
    return _framed(heading, head, body)


def _cell(estimate: Estimate, *, signed: bool, digits: int) -> str:
    figure, *rest = tables.cell_lines(estimate, signed=signed, digits=digits)
    return f"<td>{figure}<small>{'<br>'.join([*rest, f'N {estimate.n:,}'])}</small></td>"


def _framed(heading: str, head: str, body: str) -> str:
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<h2>{label(heading)}</h2><div class="wide">{table}</div>'


def _plot(heading: str, figure: str) -> str:
    return f"<section><h2>{label(heading)}</h2>{figure}</section>"
