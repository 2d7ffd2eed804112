"""The command that lists alerts, alone or put together into incidents; `pipelines.cli` adds it."""

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.options import AsJson, StoreOption

if TYPE_CHECKING:
    from rich.table import Table

    from blockscan.findings import Alert
    from blockscan.incidents import Incident


def alerts(
    store: StoreOption,
    incidents: Annotated[
        bool, typer.Option("--incidents", help="Put alerts that share an attacker's address together.")
    ] = False,
    window_hours: Annotated[
        float,
        typer.Option(min=0, max=1_000_000, help="With --incidents, how far apart two linked alerts may lie."),
    ] = 24.0,
    limit: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="How many to list, the most unusual first.")
    ] = 50,
    as_json: AsJson = False,
) -> None:
    """List the alerts of a store, or the incidents that they belong to.

    Two alerts are one incident if, directly or through others, they share a sender or a contract that hardly
    anybody else calls. An incident shows the smallest p-value of its alerts, which is not its own. An alert
    shows the judgement that raised it; "lapsed" says that under the newest one it is none any more.

    Examples:

        blockscan alerts --store scores.sqlite

        blockscan alerts --store scores.sqlite --incidents --limit 10 --json
    """
    from blockscan.incidents import MOST_ALERTS, read_incidents
    from blockscan.store import open_store
    from pipelines.render import alert_facts, print_json, to_stdout

    with open_store(store, read_only=True) as results:
        total = results.count_alerts()
        if not incidents:
            found = results.alerts(limit=limit)
            lapsed = results.lapsed([alert.unique_key for alert in found])
            if as_json:
                print_json({"alerts": [alert_facts(alert, lapsed) for alert in found], "total": total})
            else:
                to_stdout(_alert_table(found, total, lapsed))
            return
        grouped = read_incidents(results, window=round(window_hours * 3600))
        shown = [alert.unique_key for incident in grouped[:limit] for alert in incident.alerts]
        lapsed = results.lapsed(shown)
    read = min(total, MOST_ALERTS)
    if as_json:
        listed = [_incident_facts(incident, lapsed) for incident in grouped[:limit]]
        print_json(
            {"alerts": read, "alerts_left_out": total - read, "incidents": listed, "total": len(grouped)}
        )
    else:
        to_stdout(_incident_table(grouped[:limit], len(grouped), read, total - read, lapsed))


def _status(alert: "Alert", lapsed: Collection[str]) -> str:
    """What people made of it, and whether it is below the alarm level under the newest calibration."""
    return f"{alert.status} (lapsed)" if alert.unique_key in lapsed else alert.status


def _incident_facts(incident: "Incident", lapsed: Collection[str]) -> dict[str, Any]:
    from pipelines.render import alert_facts

    return {
        "id": incident.id,
        "chain": incident.chain,
        "title": incident.title,
        "severity": incident.severity,
        "smallest_p_value": incident.p_value,
        "value": incident.value,
        "first_block": incident.first_block,
        "last_block": incident.last_block,
        "first_time": incident.first_time,
        "last_time": incident.last_time,
        "senders": list(incident.senders),
        "links": list(incident.links),
        "transactions": [alert_facts(alert, lapsed) for alert in incident.alerts],
    }


def _alert_table(found: "list[Alert]", total: int, lapsed: Collection[str]) -> "Table":
    from pipelines.render import alert_table

    names = [alert.score.tx_hash for alert in found]
    table = alert_table(f"{len(found):,} of {total:,} alerts", names, first="transaction", fourth="status")
    for alert in found:
        _add(table, alert, lapsed)
    return table


def _incident_table(
    incidents: "list[Incident]", total: int, read: int, left_out: int, lapsed: Collection[str]
) -> "Table":
    """One row per incident, followed by a row for each of its transactions where it has several."""
    from pipelines.render import alert_cells, alert_table

    title = f"{len(incidents):,} of {total:,} incidents in {read:,} alerts"
    if left_out:
        title += f"; {left_out:,} older alerts are left out"
    table = alert_table(title, [incident.id for incident in incidents], first="incident", fourth="status")
    for incident in incidents:
        if len(incident.alerts) == 1:
            _add(table, incident.alerts[0], lapsed)
        else:
            counts = Counter(_status(alert, lapsed) for alert in incident.alerts)
            statuses = ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items()))
            table.add_row(
                *alert_cells(incident.id, incident.p_value, incident.severity, statuses, incident.title)
            )
            for alert in incident.alerts:
                _add(table, alert, lapsed, indent="  ")
        table.add_section()
    return table


def _add(table: "Table", alert: "Alert", lapsed: Collection[str], *, indent: str = "") -> None:
    from pipelines.render import alert_cells

    score, status = alert.score, _status(alert, lapsed)
    cells = alert_cells(score.tx_hash, score.p_value, alert.severity, status, score.reason, indent=indent)
    table.add_row(*cells)
