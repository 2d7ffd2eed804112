from collections.abc import Callable
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from blockscan.findings import Evidence, Frame, TxScore
from blockscan.store import Run, open_store

HOSTILE = (
    "![](http://evil.test/x.png) <script>alert(1)</script> [a](javascript:alert(1)) \u202egnp :red[x] $x$"
)
START = 1_700_000_000
APP = Path(__file__).parents[2] / "dashboard" / "app.py"


def tx_hash(number: int) -> str:
    return f"0x{number:064x}"


def make_score(number: int, p_value: float | None) -> TxScore:
    evidence = (
        Evidence(2, "selector", HOSTILE, (HOSTILE, "transfer(address,uint256)"), 9.5, 0.0004),
        Evidence(1, "value", "10^24", ("10^18",), 4.0, 0.02),
    )
    return TxScore(
        chain="ethereum",
        tx_hash=tx_hash(number),
        block_number=100 + number,
        tx_index=0,
        time=START + number * 60,
        sender="0x" + "aa" * 20,
        target=None if number == 3 else HOSTILE,
        value=float(number),
        p_value=p_value,
        reason=f"transaction {number} {HOSTILE}",
        evidence=evidence,
        calls=5,
        tokens=80,
        windows=1,
        source="geth callTracer",
        trace_status="exact",
        model="m" * 64,
        calibration="c" * 64,
    )


def make_frames(count: int, *, deep: bool = False) -> tuple[Frame, ...]:
    """Frame 2 is hot; `deep` makes a chain, else all hang below the root."""
    evidence = make_score(0, 0.5).evidence
    return tuple(
        Frame(
            node=node,
            parent=-1 if node == 0 else node - 1 if deep else 0,
            depth=0 if node == 0 else node if deep else 1,
            kind="CALL",
            caller="0x" + "aa" * 20,
            target=HOSTILE,
            selector=HOSTILE,
            value="1",
            error=HOSTILE,
            heat=0.85 if node == 2 else 0.0,
            evidence=tuple(item for item in evidence if item.node == node),
        )
        for node in range(count)
    )


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """120 transactions, of which 60 are alerts; number 0 is the most unusual."""
    path = tmp_path / "results.db"
    severities = ("critical", "high", "medium", "low")
    rows = [
        (
            make_score(number, (number + 1) / 10_000),
            severities[number % 4],
            make_frames((6, 1500, 1100)[number % 3], deep=number % 3 == 2) if number < 6 else None,
        )
        for number in range(60)
    ]
    rows += [(make_score(number, (number + 1) / 130), None, None) for number in range(60, 120)]
    with open_store(path) as results:
        results.write(rows, now=START)
        run = Run(
            "run-1", START, START + 60, (HOSTILE,), {"scored": 120}, "m" * 64, ("c" * 64,), 0.01, "archive"
        )
        results.record_run(run)
    monkeypatch.setenv("BLOCKSCAN_STORE", str(path))
    return path


@pytest.fixture
def open_view() -> Callable[..., AppTest]:
    """Run one view of the real app, with the query parameters of its address."""
    st.cache_data.clear()
    st.cache_resource.clear()

    def run(view: str = "overview", **query: str | list[str]) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=30)
        app.switch_page(f"views/{view}.py")
        for name, value in query.items():
            app.query_params[name] = value
        return app.run()

    return run
