import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from blockscan.findings import TxScore
from blockscan.store import open_store

pytestmark = pytest.mark.browser

PATIENCE_MS = 20_000
CHECKBOX = {"x": 18, "y": 52}  # the box that chooses the first row; tables are drawn on a canvas


def tx_hash(number: int) -> str:
    return f"0x{number:064x}"


class Watch:
    """What a page did behind the user's back."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.requests: list[str] = []
        self.trouble: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("websocket", lambda socket: self.requests.append(socket.url))
        page.on("dialog", lambda dialog: (self.trouble.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("pageerror", lambda error: self.trouble.append(f"error {error}"))

    def assert_quiet(self) -> None:
        """No request left this machine, no injected script ran, no injected element exists."""
        assert any(url.startswith("ws://127.0.0.1") for url in self.requests)
        away = [
            url
            for url in self.requests
            if not url.startswith(("data:", "blob:")) and urlsplit(url).hostname != "127.0.0.1"
        ]
        assert away == []
        assert self.trouble == []
        assert self.page.evaluate("window.pwned") is None
        assert self.page.locator("img[src*=evil], a[href*=evil], a[href^=javascript]").count() == 0


def query(page: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def test_from_the_overview_to_a_decision(
    address: str, hostile_store: Path, pictures: ModuleType, page: Any
) -> None:
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE_MS)
    watch = Watch(page)
    page.goto(address)
    pictures.settled(page)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    expect(page).to_have_title("Overview · BlockScan")
    expect(page.locator('[data-testid="stMetric"]').first).to_contain_text("60")
    expect(page.locator('[data-testid="stVegaLiteChart"]:has(canvas, svg)')).to_have_count(2)
    watch.assert_quiet()

    page.get_by_role("link", name="All alerts").click()
    expect(page.get_by_role("heading", name="Alerts")).to_be_visible()
    search = page.locator(".st-key-q input")
    search.fill(tx_hash(0))
    search.press("Enter")
    expect(page.get_by_text("1 alert", exact=True)).to_be_visible()
    pictures.settled(page)
    assert query(page)["q"] == [tx_hash(0)]
    page.locator('[data-testid="stDataFrame"]').first.click(position=CHECKBOX)

    expect(page.get_by_role("heading", name="Rarer than 1 in 5,000")).to_be_visible()
    pictures.settled(page)
    assert query(page)["tx"] == [tx_hash(0)] and set(query(page)) == {"tx", "chain"}
    expect(page.get_by_text("reason 0 ![](http://evil.test/m.png)")).to_be_visible()
    rows = page.locator(".tree .row")
    expect(rows).to_have_count(5)
    expect(page.locator(".row.selected .heat3")).to_have_text("rare")
    expect(page.get_by_text("Frame 3, depth 2")).to_be_visible()
    expect(page.locator("code", has_text="transfer(address,uint256)")).to_be_visible()
    watch.assert_quiet()

    page.locator('.row[data-place="4"]').click()
    expect(page.get_by_text("Frame 4, depth 1")).to_be_visible()
    expect(page.get_by_text("Nothing in this frame surprised the model.")).to_be_visible()
    expect(page.locator('.row[data-place="1"]')).to_have_attribute("aria-expanded", "true")
    page.locator('.row[data-place="1"] .fold').click()
    expect(rows).to_have_count(3)
    expect(page.locator('.row[data-place="1"]')).to_have_attribute("aria-expanded", "false")
    expect(page).to_have_title("0x000000…000000 · BlockScan")
    page.locator('.row[data-place="1"]').press("Enter")
    expect(page.get_by_text("Frame 1, depth 1")).to_be_visible()
    expect(rows).to_have_count(3)

    page.get_by_role("button", name="Decide").click()
    page.get_by_text("Confirm: this is an attack").click()
    page.get_by_label("Note").fill("drained")
    page.get_by_role("button", name="Record decision").click()
    expect(page.get_by_text("confirmed", exact=True).first).to_be_visible()
    expect(page.get_by_text("drained").first).to_be_visible()
    with open_store(hostile_store, read_only=True) as store:
        assert store.alert(tx_hash(0)).status == "confirmed"

    page.get_by_role("link", name="Alerts").last.click()
    expect(page.get_by_text("1 alert", exact=True)).to_be_visible()
    assert query(page)["q"] == [tx_hash(0)]
    watch.assert_quiet()


def test_a_tree_1100_calls_deep_stays_usable(address: str, pictures: ModuleType, page: Any) -> None:
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE_MS)
    watch = Watch(page)
    page.goto(f"{address}/transaction?tx={tx_hash(1)}")
    pictures.settled(page)
    expect(page.locator(".row.gap")).to_have_text("… 1,096 frames not shown")
    page.get_by_text("All 1,100").click()
    expect(page.locator(".tree .row:not(.gap)")).to_have_count(250)
    page.locator(".st-key-frames_page input").fill("5")
    page.locator(".st-key-frames_page input").press("Enter")
    expect(page.locator('.row[data-place="1099"]')).to_contain_text("depth 1099")
    expect(page.locator(".tree .row:not(.gap)")).to_have_count(100)
    watch.assert_quiet()


def test_a_shared_link_shows_the_same_list(address: str, pictures: ModuleType, page: Any) -> None:
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE_MS)
    page.goto(f"{address}/alerts?status=acknowledged&severity=high&severity=low")
    pictures.settled(page)
    expect(page.get_by_text("1 alert", exact=True)).to_be_visible()
    expect(page.locator(".st-key-severity")).to_contain_text("high")
    page.goto(f"{address}/alerts?page=2")
    pictures.settled(page)
    expect(page.get_by_text("60 alerts")).to_be_visible()
    expect(page.locator(".st-key-page input")).to_have_value("2")


def test_the_readme_picture_can_be_taken(hostile_store: Path, pictures: ModuleType, tmp_path: Path) -> None:
    line = [sys.executable, pictures.__file__, "--store", hostile_store, "--out", tmp_path / "picture.png"]
    subprocess.run(line, check=True, timeout=120, capture_output=True, cwd=Path(pictures.__file__).parents[1])
    header = (tmp_path / "picture.png").read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    assert int.from_bytes(header[16:20]) == 1280


def numbered(number: int) -> TxScore:
    """Of a sender of its own; a higher number is later."""
    return TxScore(
        chain="ethereum",
        tx_hash=tx_hash(number),
        block_number=number,
        tx_index=0,
        time=1_700_000_000 + number * 60,
        sender=f"0xaa{number}",
        target=f"0xbb{number}",
        value=1.0,
        p_value=(number + 1) / 1000,
        reason=f"reason {number}",
        evidence=(),
        calls=2,
        tokens=9,
        windows=1,
        source="s",
        trace_status="complete",
        model="m",
        calibration="c",
    )


@pytest.fixture
def growing(pictures: ModuleType, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A dashboard on a store of a test's own, with the alerts 0 to 3 of four strangers."""
    path = tmp_path / "results.db"
    with open_store(path) as store:
        store.write([(numbered(number), "high", None) for number in range(4)], now=0)
    with pictures.served(path) as found:
        yield found, path


def decide(pictures: ModuleType, page: Any, address: str, number: int) -> None:
    """In another tab a colleague dismisses an alert: what is read next is read from the store."""
    from playwright.sync_api import expect

    tab = page.context.new_page()
    tab.goto(f"{address}/transaction?tx={tx_hash(number)}")
    pictures.settled(tab)
    tab.get_by_role("button", name="Decide").click()
    tab.get_by_text("Dismiss: a false alarm").click()
    tab.get_by_role("button", name="Record decision").click()
    expect(tab.get_by_text("dismissed", exact=True).first).to_be_visible()
    tab.close()


def row_box(place: int) -> dict[str, int]:
    return {"x": 18, "y": 52 + 35 * place}


def test_a_click_opens_the_alert_of_the_row_that_was_shown(
    growing: tuple[str, Path], pictures: ModuleType, page: Any
) -> None:
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE_MS)
    address, path = growing
    table = page.locator('[data-testid="stDataFrame"]').first
    page.goto(f"{address}/alerts?order=Newest+first")
    pictures.settled(page)
    with open_store(path) as store:
        store.write([(numbered(9), "high", None)])
    decide(pictures, page, address, 0)
    table.click(position=row_box(0))
    expect(page).to_have_url(re.compile(f"tx={tx_hash(3)}"))

    page.goto(f"{address}/alerts?status=open&order=Newest+first")
    pictures.settled(page)
    expect(page.get_by_text("4 alerts", exact=True)).to_be_visible()
    decide(pictures, page, address, 2)
    table.click(position=row_box(3))
    expect(page).to_have_url(re.compile(f"tx={tx_hash(1)}"))


def test_an_incident_that_was_chosen_stays_chosen_where_the_list_changes(
    growing: tuple[str, Path], pictures: ModuleType, page: Any
) -> None:
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE_MS)
    address, path = growing
    tables = page.locator('[data-testid="stDataFrame"]')
    page.goto(f"{address}/alerts?list=Incidents&order=Newest+first")
    pictures.settled(page)
    tables.first.click(position=row_box(0))
    expect(page.get_by_role("heading", name="Alerts of this incident")).to_be_visible()
    pictures.settled(page)
    with open_store(path) as store:
        store.write([(numbered(9), "high", None)])
    decide(pictures, page, address, 0)
    tables.nth(1).click(position=row_box(0))
    expect(page).to_have_url(re.compile(f"tx={tx_hash(3)}"))

    pictures.settled(page)
    page.get_by_role("link", name="Alerts").last.click()
    expect(page.get_by_text("5 incidents", exact=True)).to_be_visible()
    pictures.settled(page)
    tables.first.click(position=row_box(2))
    expect(page.get_by_role("heading", name="Alerts of this incident")).to_be_visible()
    pictures.settled(page)
    with open_store(path) as store:
        store.write([(numbered(8), "high", None)])
    decide(pictures, page, address, 1)
    # The list that is read for this click is another than the one that is clicked.
    tables.first.click(position=row_box(1))
    expect(page.get_by_text("5 incidents", exact=True)).not_to_be_visible()
    pictures.settled(page)
    tables.nth(1).click(position=row_box(0))
    expect(page).to_have_url(re.compile(f"tx={tx_hash(3)}"))
