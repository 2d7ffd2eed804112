import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Element

from blockscan.findings import Alert
from blockscan.store import Disposition, ScoredBlock, open_store
from dashboard import results

View = Callable[..., AppTest]
# Elements that show text as it is; everything else may render markdown or HTML.
PLAIN = {"text", "code", "dataframe", "text_input", "text_area", "bidi_component"}
WORDS = ("title", "subheader", "caption", "markdown", "text", "code", "info", "warning", "error", "metric")


def tx_hash(number: int) -> str:
    return f"0x{number:064x}"


def told(app: AppTest) -> str:
    """Everything that the view says in words."""
    elements = [element for kind in WORDS for element in getattr(app, kind)]
    return "\n".join(f"{getattr(e, 'label', '')} {e.value}" for e in elements)


def alerts_in(app: AppTest) -> list[str]:
    return list(app.dataframe[0].value["Transaction"])


def assert_no_markup(app: AppTest) -> None:
    """Chain text is in plain elements only."""
    assert not app.exception
    elements = [node for node in app._tree if isinstance(node, Element)]
    assert len(elements) > 2
    for element in elements:
        if element.type not in PLAIN:
            proto = str(element.proto)
            assert "evil.test" not in proto, f"{element.type} shows chain text: {proto[:200]}"
            assert "<script" not in proto
    assert [html.proto.body[:7] for html in app.get("html")] == ["<style>"]


def test_overview_tells_counts_and_provenance(store: Path, open_view: View) -> None:
    app = open_view("overview")
    assert_no_markup(app)
    figures = {metric.label: metric.value for metric in app.metric}
    assert figures["Transactions scored"] == "120"
    assert figures["Alerts"] == "60"
    assert figures["Share of transactions at the alarm level"] == "50 %"
    assert [figures[name] for name in ("Critical", "High", "Medium", "Low")] == ["15"] * 4
    assert len(app.get("vega_lite_chart")) == 2
    top = app.dataframe[0].value
    assert len(top) == 10
    assert top["Rarity"][0] == 10_000
    column = json.loads(app.dataframe[0].proto.columns)["Rarity"]["type_config"]
    assert (column["type"], column["format"]) == ("number", "1 in %,d")
    runs = app.dataframe[2].value
    assert runs["finished"][0] == "2023-11-14 22:14:20 UTC"
    assert runs["calibrations"][0] == "cccccccc…cccccc"


def test_what_is_dismissed_is_not_among_the_most_unusual(store: Path, open_view: View) -> None:
    with open_store(store) as written:
        written.set_status(f"ethereum:{tx_hash(0)}", "dismissed", note="", by="ada")
    shown = alerts_in(open_view("overview"))
    assert len(shown) == 10 and shown[0] == tx_hash(1)


def test_overview_of_an_empty_store_names_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_view: View
) -> None:
    open_store(tmp_path / "empty.db").close()
    monkeypatch.setenv("BLOCKSCAN_STORE", str(tmp_path / "empty.db"))
    app = open_view("overview")
    assert not app.exception
    assert "no scores yet" in app.info[0].value
    assert "blockscan score" in app.code[0].value
    assert "No alert matches" in open_view("alerts").info[0].value


def test_overview_of_a_store_that_a_reorganisation_emptied_says_so(store: Path, open_view: View) -> None:
    with closing(sqlite3.connect(store)) as db, db:
        db.execute("UPDATE scores SET orphaned = 1")
    shown = open_view("overview").info[0].value
    assert "all 120 scored transactions left the chain" in shown and "no scores yet" not in shown


@pytest.mark.parametrize("view", ["overview", "alerts", "transaction"])
def test_an_unreadable_store_is_a_message(
    view: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_view: View
) -> None:
    path = tmp_path / "![](x) not.db"
    path.write_text("no database" * 100)
    monkeypatch.setenv("BLOCKSCAN_STORE", str(path))
    app = open_view(view, tx="0x1")
    assert_no_markup(app)
    assert "cannot be read" in app.error[0].value
    assert "is not a BlockScan store" in app.text[0].value
    monkeypatch.delenv("BLOCKSCAN_STORE")
    assert "BLOCKSCAN_STORE is not set" in open_view(view, tx="0x1").text[0].value


def test_alerts_are_paged_by_the_store(store: Path, open_view: View) -> None:
    app = open_view("alerts")
    assert_no_markup(app)
    assert "60" in app.markdown[0].value
    assert len(alerts_in(app)) == 50
    assert app.dataframe[0].value["Target"][0].startswith("![](http://evil.test/x.png) <script>")
    app.number_input(key="page").set_value(2).run()
    assert len(alerts_in(app)) == 10
    app.multiselect(key="severity").set_value(["low"]).run()
    assert not app.exception
    assert len(alerts_in(app)) == 15


def test_a_list_that_became_shorter_goes_to_the_last_page_and_another_to_its_first(
    store: Path, open_view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "PAGE_SIZE", 10)
    app = open_view("alerts", page="6")
    assert alerts_in(app)[-1] == tx_hash(59)
    monkeypatch.setattr(results, "PAGE_SIZE", 20)
    app.run()
    assert not app.exception
    assert app.number_input(key="page").value == 3
    for widget, value in (
        (app.multiselect(key="severity"), ["low", "high"]),
        (app.selectbox(key="order"), "Newest first"),
    ):
        app.number_input(key="page").set_value(2).run()
        assert app.number_input(key="page").value == 2
        widget.set_value(value).run()
        assert not app.exception
        assert app.number_input(key="page").value == 1
        assert len(alerts_in(app)) == 20


def test_the_address_sets_the_filters(store: Path, open_view: View) -> None:
    app = open_view("alerts", q=tx_hash(1), severity=["critical", "high"], order="Newest first")
    assert alerts_in(app) == [tx_hash(1)]
    assert app.multiselect(key="severity").value == ["critical", "high"]
    assert alerts_in(open_view("alerts", order="Newest first"))[0] == tx_hash(59)
    assert len(alerts_in(open_view("alerts", **{"from": "2023-11-14", "to": "2023-11-14"}))) == 50
    assert "No alert matches" in open_view("alerts", **{"from": "2023-11-16"}).info[0].value
    assert "No alert matches" in open_view("alerts", **{"to": "2015-08-01"}).info[0].value
    assert len(alerts_in(open_view("alerts", **{"from": "1970-01-01", "to": "9999-12-30"}))) == 50
    assert "No alert matches" in open_view("alerts", status="confirmed").info[0].value


def test_a_nonsense_address_is_harmless(store: Path, open_view: View) -> None:
    app = open_view("alerts", severity="![](http://evil.test)", page="-7", order="9", **{"from": "yesterday"})
    assert_no_markup(app)
    assert len(alerts_in(app)) == 50


def test_transaction_tells_the_verdict_the_facts_and_the_evidence(store: Path, open_view: View) -> None:
    app = open_view("transaction", tx=tx_hash(0))
    assert_no_markup(app)
    assert app.subheader[0].value == "Rarer than 1 in 10,000 of ordinary transactions (p = 0.0001)."
    words = told(app)
    for expected in (
        "transaction 0 ![](http://evil.test/x.png)",
        tx_hash(0),
        "0x" + "aa" * 20,
        "2023-11-14 22:13:20 UTC",
        "5 calls, 80 tokens, 1 window",
        "geth callTracer (exact)",
        "**Frame 2**",
        "selector: 1 in 2,500 (p = 0.0004)",
        "transfer(address,uint256)",
    ):
        assert expected in words, expected
    assert "\u202e" not in words
    evidence = app.dataframe[0].value
    assert list(evidence["field"]) == ["selector", "value"]
    assert list(evidence["rarity"]) == ["1 in 2,500", "1 in 50"]
    widths = {
        name: each["width"]
        for name, each in json.loads(app.dataframe[0].proto.columns).items()
        if "width" in each
    }
    before = list(widths)[: list(widths).index("rarity") + 1]
    assert len(before) == 6 and sum(widths[name] for name in before) < 900


@pytest.mark.parametrize("number", [1, 2])
def test_large_trees_show_the_hottest_first_and_all_on_request(
    number: int, store: Path, open_view: View
) -> None:
    app = open_view("transaction", tx=tx_hash(number))
    assert_no_markup(app)
    total = 1500 if number == 1 else 1100
    app.segmented_control(key="frames").set_value("All").run()
    assert not app.exception
    pages = app.number_input(key="frames_page")
    assert pages.max == -(-total // 250)
    pages.set_value(pages.max).run()
    assert not app.exception


def test_transactions_without_tree_alert_or_score_say_so(store: Path, open_view: View) -> None:
    without = told(open_view("transaction", tx=tx_hash(50)))
    assert "No call tree was kept; `blockscan explain HASH --archive DIR --model DIR` shows it" in without
    ordinary = told(open_view("transaction", tx=tx_hash(100)))
    assert "Ordinary: 78%" in ordinary
    assert "No alert" in ordinary
    unknown = open_view("transaction", tx="![](http://evil.test)")
    assert_no_markup(unknown)
    assert "no score for that transaction" in unknown.info[0].value
    assert "Give a transaction hash" in open_view("transaction").info[0].value
    assert "contract creation" in told(open_view("transaction", tx=tx_hash(3)))


def decided(path: Path) -> tuple[Alert | None, list[Disposition]]:
    with open_store(path, read_only=True) as opened:
        return opened.alert(tx_hash(0)), opened.history(f"ethereum:{tx_hash(0)}")


def test_a_decision_is_recorded_with_note_and_name(store: Path, open_view: View) -> None:
    app = open_view("transaction", tx=tx_hash(0))
    app.radio(key=f"decision-ethereum:{tx_hash(0)}").set_value("confirmed")
    app.text_area(key=f"note-ethereum:{tx_hash(0)}").set_value("drained the vault ![](http://evil.test)")
    app.text_input(key=f"by-ethereum:{tx_hash(0)}").set_value("ada")
    app.button[0].click().run()
    assert_no_markup(app)
    alert, history = decided(store)
    assert (alert.status, alert.note) == ("confirmed", "drained the vault ![](http://evil.test)")
    assert [(entry.who, entry.what) for entry in history] == [("ada", "confirmed")]
    assert "drained the vault" in told(app)
    assert "confirmed" not in app.radio(key=f"decision-ethereum:{tx_hash(0)}").options


def test_a_decision_on_what_another_has_decided_since_is_not_recorded(store: Path, open_view: View) -> None:
    app, key = open_view("transaction", tx=tx_hash(0)), f"ethereum:{tx_hash(0)}"
    with open_store(store) as opened:
        opened.set_status(key, "confirmed", note="drained", by="ann ![](http://evil.test)")
    st.cache_data.clear()  # as time does
    app.radio(key=f"decision-{key}").set_value("dismissed")
    app.text_input(key=f"by-{key}").set_value("bob")
    app.button[0].click().run()
    assert_no_markup(app)
    assert "not recorded" in app.warning[0].value
    assert "ann ![](http://evil.test) set this alert to confirmed at " in told(app)
    assert [entry.what for entry in decided(store)[1]] == ["confirmed"]
    app.radio(key=f"decision-{key}").set_value("dismissed")
    app.button[0].click().run()
    assert [entry.what for entry in decided(store)[1]] == ["confirmed", "dismissed"]


def test_a_decision_needs_a_name(store: Path, open_view: View) -> None:
    app = open_view("transaction", tx=tx_hash(0))
    app.text_input(key=f"by-ethereum:{tx_hash(0)}").set_value("  ")
    app.button[0].click().run()
    assert "Say who decides" in app.warning[0].value
    assert decided(store)[1] == []


def test_a_lapsed_alert_says_so(store: Path, open_view: View) -> None:
    with open_store(store) as opened:
        opened.write([(replace(opened.score(tx_hash(0)), p_value=0.3, calibration="d"), None, None)])
    app = open_view("transaction", tx=tx_hash(0))
    assert "Ordinary: 30%" in app.subheader[0].value
    assert "no longer at the alarm level" in app.warning[0].value
    assert "open (lapsed)" in set(open_view("alerts").dataframe[0].value["Status"])
    assert "open (lapsed)" in set(open_view("overview").dataframe[0].value["Status"])


def test_the_beginning_of_a_hash_opens_the_one_transaction_that_begins_so(
    store: Path, open_view: View
) -> None:
    with open_store(store) as opened:
        odd = replace(opened.score(tx_hash(0)), tx_hash="0xabcdef0123456789" + "0" * 48, p_value=0.4)
        opened.write([(odd, None, None)])
    assert "Ordinary: 40%" in told(open_view("transaction", tx="0xABCDEF01"))
    assert "120 transactions begin with that" in open_view("transaction", tx=tx_hash(0)[:12]).info[0].value
    assert "no score" in open_view("transaction", tx="0xabcdef02").info[0].value


def test_an_orphaned_alert_says_what_became_of_its_block(store: Path, open_view: View) -> None:
    with open_store(store) as opened:
        opened.put_blocks([ScoredBlock("ethereum", 100, "0xb", (tx_hash(0),))])
        opened.orphan_blocks("ethereum", ["0xb"])
    warnings = [each.value for each in open_view("transaction", tx=tx_hash(0)).warning]
    assert len(warnings) == 1 and "on no block of the chain any more" in warnings[0]


def test_an_alarm_level_is_shown_though_nothing_was_judged(store: Path, open_view: View) -> None:
    with open_store(store) as opened:
        opened._db.execute("UPDATE scores SET p_value = NULL")
    figure = next(each for each in open_view("overview").metric if each.label.startswith("Share"))
    assert (figure.value, figure.delta) == ("unknown", "alarm level 1 % of ordinary transactions")


def test_of_a_hash_on_two_chains_one_is_shown_and_the_other_can_be_chosen(
    store: Path, open_view: View
) -> None:
    with open_store(store) as opened:
        other = replace(opened.score(tx_hash(0)), chain="arbitrum", p_value=0.4, reason="over there")
        opened.write([(other, None, None)])
    app = open_view("transaction", tx=tx_hash(0))
    assert app.selectbox(key="chain").options == ["ethereum", "arbitrum"]
    assert "Rarer than 1 in 10,000" in app.subheader[0].value and "**Frame 2**" in told(app)
    app.selectbox(key="chain").set_value("arbitrum").run()
    assert_no_markup(app)
    words = told(app)
    assert "Ordinary: 40%" in words and "over there" in words and "No alert" in words
    assert "No call tree was kept" in words
    linked = open_view("transaction", tx=tx_hash(0), chain="arbitrum")
    assert "Ordinary: 40%" in linked.subheader[0].value
    assert not open_view("transaction", tx=tx_hash(1), chain="arbitrum").selectbox
