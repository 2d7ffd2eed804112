"""Incidents in the list of alerts and beside a transaction; facts among the evidence."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from blockscan import findings_wording
from blockscan.detect.facts import FACTS
from blockscan.findings import Evidence, Frame, TxScore
from blockscan.store import Search, open_store
from blockscan.tokens import Field
from dashboard import results, wording

View = Callable[..., AppTest]
HOSTILE = "![](http://evil.test/x.png) <script>alert(1)</script>"
FACT = Evidence(1, "loss", f"5e+20 of {HOSTILE} lost by 0xbb", (), 11.5, 0.00001, 1 / 685)
VALUE = Evidence(1, "log_data", HOSTILE, ("10^18",), 9.0, 0.0004)


def tx_hash(number: int) -> str:
    return f"0x{number:064x}"


def make_score(number: int, sender: str, target: str, *evidence: Evidence) -> TxScore:
    return TxScore(
        chain="ethereum",
        tx_hash=tx_hash(number),
        block_number=number,
        tx_index=0,
        time=1_700_000_000 + number * 600,
        sender=sender,
        target=target,
        value=1.0,
        p_value=(number + 1) / 1000,
        reason=f"reason {number} {HOSTILE}",
        evidence=evidence,
        calls=2,
        tokens=9,
        windows=1,
        source="s",
        trace_status="complete",
        model="m",
        calibration="c",
    )


@pytest.fixture
def incident_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Alerts 0 to 2 are linked by accounts, 3 and 4 only share a pool that many use; 5 has facts alone."""
    frames = (
        Frame(0, -1, 0, "CALL", "0xaa", "0xbb", "", "0", "", 0.0, ()),
        Frame(1, 0, 1, "CALL", "0xbb", "0xcc", "", "0", "", 0.85, (VALUE,)),
        Frame(1, 1, 2, "LOG", "", "0xcc", "", "", "", 0.1, ()),
    )
    alerts = [
        make_score(0, f"eve {HOSTILE}", "pool", FACT, VALUE),
        make_score(1, f"eve {HOSTILE}", "mallory"),
        make_score(2, "mallory", "pool"),
        make_score(3, "bob", "pool"),
        make_score(4, "ada", "pool"),
        make_score(5, "ann", "bank", FACT),
    ]
    path = tmp_path / "results.db"
    with open_store(path) as store:
        store.write([(alerts[0], "critical", frames)], now=0)
        store.write([(score, "low", None) for score in alerts[1:]], now=0)
    monkeypatch.setenv("BLOCKSCAN_STORE", str(path))
    return path


def test_incidents_are_listed_with_their_size_and_senders(incident_store: Path, open_view: View) -> None:
    app = open_view("alerts", list="Incidents")
    assert not app.exception
    assert "**4** incidents" in [each.value for each in app.markdown]
    table = app.dataframe[0].value
    assert list(table["Alerts"]) == [3, 1, 1, 1]
    assert table["Incident"][0].startswith("3 alerts of 2 senders: reason 0 ![]")
    assert table["Senders"][0].endswith("and 1 more")
    assert (table["Span"][0], table["Status"][0]) == ("20 min", "3 open")
    assert table["Rarest alert"][0] == 1000
    assert "evil.test" not in "".join(each.value for each in [*app.markdown, *app.caption])


def test_what_is_open_comes_first(incident_store: Path, open_view: View) -> None:
    with open_store(incident_store) as store:
        store.set_status(f"ethereum:{tx_hash(0)}", "acknowledged", note="", by="ada")
        store.set_status(f"ethereum:{tx_hash(2)}", "confirmed", note="", by="ada")
    table = open_view("alerts", list="Incidents").dataframe[0].value
    assert table["Status"][0] == "1 open, 1 acknowledged, 1 confirmed"


def test_a_filter_keeps_incidents_whole(incident_store: Path, open_view: View) -> None:
    app = open_view("alerts", list="Incidents", q=tx_hash(2))
    assert "**1** incident" in [each.value for each in app.markdown]
    assert list(app.dataframe[0].value["Alerts"]) == [3]
    app.text_input(key="q").set_value("nobody").run()
    assert "No incident matches" in app.info[0].value
    app.segmented_control(key="list").set_value("Alerts").run()
    assert "No alert matches" in app.info[0].value


def test_a_transaction_names_the_other_alerts_of_its_incident(incident_store: Path, open_view: View) -> None:
    app = open_view("transaction", tx=tx_hash(1))
    assert [each.label for each in app.expander] == ["2 other alerts of the same incident"]
    assert list(app.dataframe[0].value["Transaction"]) == [tx_hash(0), tx_hash(2)]
    assert not open_view("transaction", tx=tx_hash(3)).expander


def test_incidents_are_not_copied_for_every_page(incident_store: Path) -> None:
    st.cache_resource.clear()
    path = str(incident_store)
    first = results.incidents(path, Search(), "p_value")
    assert results.incidents(path, Search(), "p_value") is first
    results.decide(path, f"ethereum:{tx_hash(0)}", "dismissed", note="", by="ada", seen=("open", ""))
    (alert,) = (
        each for each in results.same_incident(path, f"ethereum:{tx_hash(1)}")[0] if each.status != "open"
    )
    assert alert.score.tx_hash == tx_hash(0)


def test_facts_are_named_and_claim_no_expectation(incident_store: Path, open_view: View) -> None:
    app = open_view("transaction", tx=tx_hash(0))
    assert not app.exception
    table = app.dataframe[0].value
    assert list(table["kind"]) == ["fact", "value"]
    assert list(table["field"]) == ["loss of a contract", "log data"]
    assert list(table["expected instead"]) == ["", "10^18"]
    assert list(table["surprise (nats)"]) == ["", "9.00"]
    detail = [each.value for each in app.text]
    shown = [line for line in detail if "(p " in line]
    assert shown == [
        "loss of a contract: beyond all 684 compared (p < 0.0015)",
        "log data: 1 in 2,500 (p = 0.0004)",
    ]
    assert list(table["rarity"]) == ["beyond all 684 compared", "1 in 2,500"]
    assert list(table["p-value"]) == [1 / 685, 0.0004]
    assert any("the smallest that these can show" in each.value for each in app.caption)
    expected = [each.value for each in app.caption].count("The model expected instead")
    assert expected == 1


def test_no_frame_is_said_to_show_what_is_of_all_calls(incident_store: Path, open_view: View) -> None:
    size, depth = (Evidence(0, name, "9", (), 9.0, 0.001) for name in ("calls", "depth"))
    root = Frame(0, -1, 0, "CALL", "0xaa", "0xbb", "", "0", "", 0.85, ())
    with open_store(incident_store) as store:
        store.write([(make_score(6, "ann", "bank", size, depth), "high", (root,))], now=0)
    app = open_view("transaction", tx=tx_hash(6))
    assert list(app.dataframe[0].value["frame"]) == ["all", "0"]
    assert [each.value for each in app.text if "(p " in each.value] == [
        "depth of the call tree: 1 in 1,000 (p = 0.001)"
    ]


def test_columns_about_values_are_hidden_where_all_is_facts(incident_store: Path, open_view: View) -> None:
    app = open_view("transaction", tx=tx_hash(5))
    order = app.dataframe[0].proto.column_order
    assert list(order) == ["frame", "kind", "field", "found", "rarity", "p-value"]


def test_incidents_of_an_empty_store_and_a_lapsed_alert(
    incident_store: Path, open_view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(incident_store) as store:
        store.write([(replace(make_score(3, "bob", "pool"), calibration="d", p_value=0.5), None, None)])
        store.write([(replace(make_score(2, "mallory", "pool"), calibration="d", p_value=0.5), None, None)])
    table = open_view("alerts", list="Incidents").dataframe[0].value
    assert list(table["Alerts"]) == [3, 1, 1, 1]
    assert table["Status"][0] == "2 open, 1 open (lapsed)"
    beside = open_view("transaction", tx=tx_hash(0)).dataframe
    assert ["open", "open (lapsed)"] in [list(each.value.get("Status", ())) for each in beside]
    open_store(tmp_path / "empty.db").close()
    monkeypatch.setenv("BLOCKSCAN_STORE", str(tmp_path / "empty.db"))
    assert "No incident matches" in open_view("alerts", list="Incidents").info[0].value


def test_every_fact_has_a_name_and_no_value_is_taken_for_one() -> None:
    assert set(findings_wording.FACTS) == set(FACTS)
    assert not {field.name.lower() for field in Field} & set(findings_wording.FACTS)
    former = findings_wording.FORMER_FACTS
    assert not set(former) & set(FACTS) and all(map(findings_wording.is_fact, former))
    assert findings_wording.evidence_name("rare_path") == former["rare_path"]


@pytest.mark.parametrize(
    ("last", "words"), [(0, "0 s"), (119, "119 s"), (180, "3 min"), (7200, "2 h"), (5 * 86_400, "5 d")]
)
def test_spans(last: int, words: str) -> None:
    assert wording.span(0, last) == words
    assert wording.span(None, last) == "unknown"
