import re
from dataclasses import replace
from math import log10
from pathlib import Path

import pytest

from blockscan.findings import Evidence, Frame
from blockscan.findings_wording import utc
from dashboard.charts import alerts_over_time, p_value_histogram
from dashboard.components.call_tree import HEAT_LABELS, heat_level, hottest, tree_rows
from dashboard.components.call_tree_assets import HTML, JS
from dashboard.wording import cell_text, evidence_rarity, one_in, percent, rarity, short, verdict

DASHBOARD = Path(__file__).parents[2] / "dashboard"


def make_frame(node: int, parent: int, depth: int, heat: float = 0.0) -> Frame:
    return Frame(node, parent, depth, "CALL", "0xaa", "0xbb", "f()", "0", "", heat, ())


@pytest.mark.parametrize(
    ("p_value", "words"),
    [
        (0.0019, "1 in 520"),
        (0.001, "1 in 1,000"),
        (1 / 12345, "1 in 12,000"),
        (1e-5, "1 in 100,000"),
        (1.0001e-5, "1 in 99,000"),
        (1e-6, "1 in 1,000,000"),
        (3e-14, "1 in over a million"),
        (0.5, "1 in 2"),
        (0.9, "ordinary"),
        (0.0, "never seen"),
        (None, "not calibrated"),
    ],
)
def test_rarity_never_overstates(p_value: float | None, words: str) -> None:
    assert rarity(p_value) == words
    number = one_in(p_value)
    assert number is None or number == 1_000_000 or words == f"1 in {number:,}"
    assert (number is None) == (p_value is None or p_value > 0.5)


def test_evidence_claims_no_more_than_the_calibration_can_show() -> None:
    far = Evidence(0, "depth", "28 deep", (), 15.5, 1.8e-7, 1 / 685)
    assert evidence_rarity(far) == "beyond all 684 compared"
    assert evidence_rarity(replace(far, p_value=0.0019)) == "1 in 520"
    assert evidence_rarity(replace(far, least=0.0)) == "1 in over a million"  # of a store of before


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t=", " \u200b@"])
def test_a_spreadsheet_takes_no_cell_for_a_formula(first: str) -> None:
    assert cell_text(f"{first}HYPERLINK(1)") == f"'{first[-1]}HYPERLINK(1)"
    assert cell_text("a=b\u202e") == "a=b"
    assert len(cell_text("x" * 900, limit=300)) == 300


def test_a_small_share_is_not_nothing() -> None:
    assert [percent(each) for each in (1.7e-5, 0.01, 0.1234, 1.0)] == ["0.0017 %", "1 %", "12.3 %", "100 %"]


def test_the_verdict_fits_the_p_value() -> None:
    assert verdict(0.0019) == "Rarer than 1 in 520 of ordinary transactions (p = 0.0019)."
    assert verdict(0.4).startswith("Ordinary: 40%")
    assert verdict(None).startswith("Not judged")


def test_short_and_utc() -> None:
    assert short("0x" + "ab" * 20) == "0xababab…ababab"
    assert short("router") == "router"
    assert short("a sentence of several words that stays") == "a sentence of several words that stays"
    assert utc(0) == "1970-01-01 00:00:00 UTC"
    assert utc(None) == "unknown"
    assert utc(10**18).endswith("after 1970")


@pytest.mark.parametrize(
    ("p_value", "level"), [(0.2, 0), (0.1, 1), (0.01, 2), (0.001, 3), (1e-4, 4), (1e-9, 4)]
)
def test_heat_words_are_powers_of_ten(p_value: float, level: int) -> None:
    assert heat_level(min(1.0, -log10(p_value) / 4)) == level
    assert len(HEAT_LABELS) == 5


def test_the_hottest_frame_of_a_deep_chain_comes_with_near_ancestors() -> None:
    frames = [make_frame(i, i - 1, i, heat=0.9 if i == 1000 else 0.0) for i in range(1024)]
    assert hottest(frames) == [0, *range(988, 1001)]
    rows = tree_rows(frames, hottest(frames))
    assert [row["gap"] for row in rows if "gap" in row] == [987, 23]
    assert [row["place"] for row in rows if "place" in row] == hottest(frames)


def test_of_a_wide_tree_the_hottest_thirty_are_kept() -> None:
    frames = [make_frame(0, -1, 0)] + [make_frame(i, 0, 1, heat=i / 5000) for i in range(1, 5000)]
    assert hottest(frames) == [0, *range(4970, 5000)]


def test_an_ordinary_tree_still_shows_frames() -> None:
    frames = [make_frame(0, -1, 0)] + [make_frame(i, 0, 1) for i in range(1, 5)]
    assert hottest(frames) == [0, 1, 2, 3, 4]
    assert tree_rows(frames, [0, 1, 2, 3, 4])[-1]["place"] == 4
    assert hottest([]) == []
    assert tree_rows([], []) == []


def test_damaged_parents_end_the_walk() -> None:
    frames = [make_frame(0, 1, 0, heat=1.0), make_frame(1, 0, 1, heat=1.0), make_frame(2, 77, 1, heat=1.0)]
    assert hottest(frames) == [0, 1, 2]


def test_rows_hold_only_safe_text_and_numbers() -> None:
    evil = "\u202e\x1b[31m<img src=x onerror=alert(1)>\u200b"
    frame = Frame(0, -1, 0, evil, evil, evil, evil, evil, evil, 1.0, (Evidence(0, evil, evil, (), 1.0, 0.1),))
    row = tree_rows([frame], [0])[0]
    for value in row.values():
        assert not re.search("[\u202e\x1b\u200b]", str(value))


def test_the_tree_is_drawn_without_any_way_to_markup() -> None:
    sinks = (
        r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|ContextualFragment|eval\(|href|\.src"
    )
    assert not re.search(sinks, JS)
    assert "textContent" in JS
    assert "{" not in HTML


def test_no_view_uses_unsafe_html_or_another_host() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in DASHBOARD.rglob("*.py")}
    assert len(sources) > 10
    for path, source in sources.items():
        assert "unsafe_allow" not in source, path
        # The name of the SVG namespace is no address that a browser asks.
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", source), path


def test_charts_hold_every_number() -> None:
    spec = p_value_histogram([5, 3, 0, 2], 0.01)
    assert [bar["transactions"] for bar in spec["data"]["values"]] == [5, 3, 0, 2]
    assert len(spec["layer"]) == 3
    assert len(p_value_histogram([1], None)["layer"]) == 2
    hours = alerts_over_time([(3600, "high", 2), (7200, "low", 1)], 3600)
    assert [value["alerts"] for value in hours["data"]["values"]] == [2, 1]
    assert [value["start"] for value in hours["data"]["values"]] == [3_600_000, 7_200_000], "milliseconds"
    assert hours["encoding"]["x"]["timeUnit"] == "utcyearmonthdatehours"
    assert alerts_over_time([], 86_400)["encoding"]["x"]["timeUnit"] == "utcyearmonthdate"


def test_a_log_is_a_row_of_its_own_though_it_shares_the_node_of_its_call() -> None:
    log = replace(make_frame(1, 1, 2, heat=0.9), kind="LOG")
    frames = [make_frame(0, -1, 0), make_frame(1, 0, 1), log, *(make_frame(n, 0, 1) for n in range(2, 60))]
    assert hottest(frames) == [0, 1, 2]
    rows = tree_rows(frames, hottest(frames))
    assert [(row["place"], row["kind"], row["node"]) for row in rows if "place" in row] == [
        (0, "CALL", "0"),
        (1, "CALL", "1"),
        (2, "LOG", ""),
    ]
