"""Labels beside the addresses of a transaction: all of it is others' text."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Element

from blockscan.store import open_store
from blockscan.store_labels import Label

SENDER = "0x" + "aa" * 20
HOSTILE = "![](http://evil.test/x.png) <script>alert(1)</script> :red[x]"
PLAIN = {"text", "code", "dataframe", "text_input", "text_area", "bidi_component"}
View = Callable[..., AppTest]


def test_labels_stand_beside_the_address_and_in_a_table(store: Path, open_view: View) -> None:
    with open_store(store) as results:
        results.put_labels(
            [
                Label(SENDER, HOSTILE, "Forta", "2023-04-05", 0.8),
                Label(SENDER, "Mixer", HOSTILE, "2024-05-31", None),
                Label(SENDER, "elsewhere", "x", "2024-05-31", 1.0, "bsc"),
            ]
        )
    app = open_view("transaction", tx=f"0x{0:064x}")
    assert not app.exception
    texts = [element.value for element in app.text]
    assert f"{HOSTILE} (Forta, 2023-04-05, confidence 80%)" in texts
    assert f"Mixer ({HOSTILE}, 2024-05-31, confidence not stated)" in texts
    assert not any("elsewhere" in text for text in texts)
    table = next(frame.value for frame in app.dataframe if "confidence" in frame.value)
    assert list(table["date"]) == ["2023-04-05", "2024-05-31"]
    for element in (node for node in app._tree if isinstance(node, Element)):
        if element.type not in PLAIN:
            assert "evil.test" not in str(element.proto), element.type


def test_no_table_holds_a_formula(store: Path, open_view: View) -> None:
    formula = "=HYPERLINK(0)"
    with open_store(store) as results:
        results.put_labels([Label(SENDER, formula, formula, "2023-04-05", 0.8)])
        first = results.score(f"0x{0:064x}")
        evidence = (replace(first.evidence[0], found=formula, expected=(formula,)),)
        changed = replace(first, reason=formula, target=formula, evidence=evidence)
        results.write([(changed, "high", None)])
        results.set_status(f"ethereum:{first.tx_hash}", "confirmed", note=formula, by=formula)
        run = replace(results.runs()[0], id=formula, inputs=(formula,), source=formula)
        results.record_run(replace(run, started=run.started + 1))
    pages = (
        ("overview", {}),
        ("alerts", {}),
        ("alerts", {"list": "Incidents"}),
        ("transaction", {"tx": first.tx_hash}),
    )
    guarded = 0
    for view, query in pages:
        for table in open_view(view, **query).dataframe:
            for text in map(str, table.value.to_numpy().ravel()):
                assert not text.startswith("="), (view, text)
                guarded += text.startswith("'=")
    assert guarded >= 13


def test_without_labels_the_page_says_nothing_of_them(store: Path, open_view: View) -> None:
    app = open_view("transaction", tx=f"0x{0:064x}")
    assert not app.exception
    assert "Known addresses" not in [element.value for element in app.subheader]
