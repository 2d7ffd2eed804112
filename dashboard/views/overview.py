"""Overview: how much was scored, what stands out, and whether the detector keeps its promise."""

import streamlit as st

from blockscan.findings_wording import all_left, utc
from blockscan.store import Run, Summary
from blockscan.store_schema import SEVERITIES
from dashboard import results
from dashboard.charts import alerts_over_time, p_value_histogram
from dashboard.components.alert_table import alert_table
from dashboard.wording import cell_text, percent, short


def main() -> None:
    """Draw the page."""
    summary, runs, top, lapsed = results.overview(results.store_path())
    st.title("Overview")
    if summary.scored == 0:
        held = all_left(summary.orphaned) if summary.orphaned else "there are no scores yet"
        st.info(f"In this store {held}. Score some transactions, then reload this page:")
        st.code("blockscan score --help", language=None)
        return
    _figures(summary)
    left, right = st.columns(2)
    with left.container(border=True):
        _p_values(summary)
    with right.container(border=True):
        st.markdown("**Alerts over chain time**")
        if summary.timeline:
            st.caption("Per hour." if summary.period < 86_400 else "Per day.")
            st.vega_lite_chart(alerts_over_time(summary.timeline, summary.period), width="stretch")
        else:
            st.caption("No alert has a chain time.")
    st.subheader("Most unusual alerts")
    if top:
        alert_table(top, lapsed, key="top")
        st.page_link("views/alerts.py", label="All alerts", icon=":material/arrow_forward:")
    else:
        st.caption("No alerts: nothing scored so far is at the alarm level.")
    _provenance(summary, runs)


def _figures(summary: Summary) -> None:
    first = st.columns(3)
    first[0].metric("Transactions scored", f"{summary.scored:,}", border=True, height="stretch")
    undecided = summary.by_status.get("open", 0)
    first[1].metric(
        "Alerts",
        f"{sum(summary.by_severity.values()):,}",
        f"{undecided:,} open",
        delta_color="off",
        delta_arrow="off",
        border=True,
        height="stretch",
    )
    share, level = "unknown", "no run states an alarm level"
    if summary.alarm_level is not None:
        level = f"alarm level {percent(summary.alarm_level)} of ordinary transactions"
    if summary.at_alarm is not None and summary.judged:
        share = percent(summary.at_alarm / summary.judged)
    first[2].metric(
        "Share of transactions at the alarm level",
        share,
        level,
        delta_color="off",
        delta_arrow="off",
        border=True,
        height="stretch",
    )
    for column, severity in zip(st.columns(4), SEVERITIES, strict=True):
        column.metric(severity.capitalize(), f"{summary.by_severity.get(severity, 0):,}", border=True)
    if summary.judged < summary.scored:
        missing = summary.scored - summary.judged
        st.warning(f"{missing:,} transactions have no p-value: no calibration for their kind of trace.")


def _p_values(summary: Summary) -> None:
    st.markdown("**P-values**")
    st.caption("Ordinary traffic follows the dashed line. Left of the red line: alarms.")
    st.vega_lite_chart(p_value_histogram(summary.histogram, summary.alarm_level), width="stretch")


def _provenance(summary: Summary, runs: list[Run]) -> None:
    st.subheader("What judged them")
    judges = [
        {"model": short(model), "calibration": short(calibration), "transactions": count}
        for model, calibration, count in summary.judges
    ]
    st.dataframe(judges, hide_index=True, width="stretch")
    if runs:
        st.caption("Latest runs")
        st.dataframe(
            [
                {
                    "run": cell_text(run.id),
                    "started": utc(run.started),
                    "finished": utc(run.finished) if run.finished is not None else "not finished",
                    "inputs": cell_text(", ".join(run.inputs)),
                    "source": cell_text(run.source),
                    "counts": cell_text(", ".join(f"{name} {count:,}" for name, count in run.counts.items())),
                    "alarm level": run.alarm_level,
                    "model": short(run.model),
                    "calibrations": ", ".join(map(short, run.calibrations)),
                }
                for run in runs
            ],
            hide_index=True,
            width="stretch",
        )


if __name__ == "__main__":
    main()
