"""The report on a simulated benchmark as tables for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table

from pipelines.render import pairs
from pipelines.simulation.features import COST, TREE

_TREE_LIMIT, _LENGTH_LIMIT, _SIDE_LIMIT = 0.85, 0.80, 0.60
_LENGTHS = ("calls", "bytes")


def report_tables(report: Mapping[str, Any]) -> Group:
    """Return body, quantiles, separations and counts of `simulation.shape.report`."""
    short = {name: f"{value:g}" for name, value in report["short exploits"].items()}
    return Group(
        _body(report["body"]),
        _quantiles(report["quantiles"]),
        _separations(report["auroc"]),
        pairs(short | report["large benign"], "Short exploits, large benign transactions"),
        pairs(report["tiers"] | report["families"], "Exploit transactions by tier and family"),
    )


def solana_report_tables(report: Mapping[str, Any]) -> Group:
    """Return separations and counts of `simulate_solana.read_report`."""
    table = Table(
        title=f"AUROC of single facts, {report['exploits']:,} exploits against {report['benign']:,} later "
        "benign transactions",
        title_justify="left",
    )
    for column in ("fact", "AUROC", "95 % interval"):
        table.add_column(column)
    for name, (value, low, high) in report["auroc"].items():
        table.add_row(name, f"{value:.3f}", f"{low:.3f} to {high:.3f}")
    counts = pairs(report["tiers"] | report["families"], "Exploit transactions by tier and family")
    return Group(table, counts)


def _body(bodies: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(title="Shape of benign transactions", title_justify="left")
    for column in ("", *bodies):
        table.add_column(column, justify="left" if not column else "right")
    for name in bodies["simulated"]:
        table.add_row(name, *(f"{shape[name]:,.3g}" for shape in bodies.values()))
    return table


def _quantiles(groups: Mapping[str, Mapping[str, list[float]]]) -> Table:
    table = Table(title="p50 / p90 / p99 / max", title_justify="left")
    for column in ("", *groups):
        table.add_column(column, justify="left" if not column else "right")
    for name in TREE:
        cells = [" / ".join(f"{value:,.0f}" for value in group[name]) for group in groups.values()]
        table.add_row(name, *cells)
    return table


def _separations(found: Mapping[str, float]) -> Table:
    table = Table(
        title="AUROC of single features, exploits against benign contract calls", title_justify="left"
    )
    for column in ("feature", "AUROC", "should stay within", ""):
        table.add_column(column)
    for name, value in found.items():
        limit = _LENGTH_LIMIT if name in _LENGTHS else _TREE_LIMIT if name in (*TREE, *COST) else _SIDE_LIMIT
        verdict = "" if 1 - limit <= value <= limit else "outside"
        table.add_row(name, f"{value:.3f}", f"{1 - limit:.2f} to {limit:.2f}", verdict)
    return table
