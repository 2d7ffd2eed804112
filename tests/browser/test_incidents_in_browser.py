"""From an incident to one of its transactions and its facts, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from blockscan.findings import Evidence, Frame, TxScore
from blockscan.store import open_store

pytestmark = pytest.mark.browser

PATIENCE_MS = 20_000
CHECKBOX = {"x": 18, "y": 52}  # the box that chooses the first row; tables are drawn on a canvas
HOSTILE = "![](http://evil.test/m.png) <img src=x onerror=window.pwned=1>"
FACT = Evidence(1, "bystander_loss", f"5e+20 of {HOSTILE} from 0xcc", (), 11.5, 0.00001)
VALUE = Evidence(1, "selector", HOSTILE, ("transfer(address,uint256)",), 9.0, 0.0004)


def tx_hash(number: int) -> str:
    return f"0x{number:064x}"


def make_score(number: int, sender: str, target: str) -> TxScore:
    return TxScore(
        chain="ethereum",
        tx_hash=tx_hash(number),
        block_number=number,
        tx_index=0,
        time=1_700_000_000 + number * 60,
        sender=sender,
        target=target,
        value=1.0,
        p_value=(number + 1) / 1000,
        reason=f"reason {number} {HOSTILE}",
        evidence=(FACT, VALUE),
        calls=2,
        tokens=9,
        windows=1,
        source="s",
        trace_status="complete",
        model="m",
        calibration="c",
    )


@pytest.fixture(scope="module")
def incident_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two linked alerts, and one of a stranger."""
    frames = (
        Frame(0, -1, 0, "CALL", "0xaa", "0xbb", "", "0", "", 0.0, ()),
        Frame(1, 0, 1, "CALL", "0xbb", HOSTILE, "", "0", "", 0.85, (VALUE,)),
    )
    linked = [make_score(0, HOSTILE, "0xaa"), make_score(1, "0xaa", "0xbb"), make_score(2, "0xdd", "0xee")]
    path = tmp_path_factory.mktemp("incidents") / "results.db"
    with open_store(path) as store:
        store.write([(score, "high", frames) for score in linked], now=0)
    return path


@pytest.fixture(scope="module")
def incidents_address(pictures: ModuleType, incident_store: Path) -> Iterator[str]:
    with pictures.served(incident_store) as found:
        yield found


def test_from_an_incident_to_the_facts_of_a_transaction(
    incidents_address: str, pictures: ModuleType, page: Any
) -> None:
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE_MS)
    page.goto(f"{incidents_address}/alerts")
    pictures.settled(page)
    expect(page.get_by_text("3 alerts", exact=True)).to_be_visible()
    page.get_by_text("Incidents", exact=True).click()
    expect(page.get_by_text("2 incidents", exact=True)).to_be_visible()
    pictures.settled(page)
    expect(page).to_have_url(re.compile("list=Incidents"))

    page.locator('[data-testid="stDataFrame"]').first.click(position=CHECKBOX)
    expect(page.get_by_role("heading", name="Alerts of this incident")).to_be_visible()
    expect(page.get_by_text("0xaa", exact=True)).to_be_visible()
    pictures.settled(page)
    page.locator('[data-testid="stDataFrame"]').nth(1).click(position=CHECKBOX)

    expect(page.get_by_role("heading", name="Rarer than 1 in 1,000")).to_be_visible()
    pictures.settled(page)
    expect(page).to_have_url(re.compile(rf"/transaction\?tx={tx_hash(0)}&chain=ethereum$"))
    expect(page.get_by_text("loss of accounts that make no call themselves: 1 in 100,000")).to_be_visible()
    expect(page.get_by_text("The model expected instead")).to_have_count(1)
    page.get_by_text("1 other alert of the same incident").click()
    expect(page.locator('[data-testid="stExpander"] [data-testid="stDataFrame"]')).to_be_visible()
    assert page.evaluate("window.pwned") is None
    assert page.locator("img[src*=evil], img[src=x]").count() == 0

    page.get_by_role("link", name="Alerts").last.click()
    expect(page.get_by_text("2 incidents", exact=True)).to_be_visible()
