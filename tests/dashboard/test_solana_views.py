"""The dashboard on a store of Solana transactions: base58 names, instructions, prints, balances."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from blockscan.chains.base58 import b58encode
from blockscan.chains.solana_layouts import SYSTEM, TOKEN
from blockscan.findings import Evidence, Frame, TxScore
from blockscan.store import Run, open_store
from dashboard.components.call_tree import tree_rows

SIGNATURE = b58encode(bytes(range(1, 65)))
PAYER, MINT = (b58encode(bytes([byte]) * 32) for byte in (0x41, 0x42))
EVIDENCE = Evidence(1, "argument", "18446744073709551615", ("10^6",), 12.0, 0.0001)
REASON = f"unusual argument 18446744073709551615, in spl-token:approve, 1 deep, of program {TOKEN}"
SCORE = TxScore(
    chain="solana",
    tx_hash=SIGNATURE,
    block_number=300_000_007,
    tx_index=4,
    time=1_730_000_002,
    sender=PAYER,
    target=TOKEN,
    value=3.0,
    p_value=0.002,
    reason=REASON,
    evidence=(EVIDENCE,),
    calls=2,
    tokens=41,
    windows=1,
    source="solana+logs",
    trace_status="complete",
    model="m" * 64,
    calibration="c" * 64,
)
FRAMES = (
    Frame(0, -1, 0, "INSTRUCTION", PAYER, PAYER, "", "5000", "", 0.1, ()),
    Frame(1, 0, 1, "INSTRUCTION", PAYER, TOKEN, "spl-token:approve", "0", "", 1.0, (EVIDENCE,)),
    Frame(1, 1, 2, "LOG", "", TOKEN, "Instruction: Approve", "", "", 0.0, ()),
    Frame(0, 0, 1, "LOG", "", SYSTEM, f"balance -5,000 to 2, of {PAYER}, 9 decimals", "", "", 0.0, ()),
)


@pytest.fixture
def solana_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "solana.sqlite"
    other = dataclasses.replace(SCORE, tx_hash=SIGNATURE.swapcase(), p_value=0.9)
    with open_store(path) as results:
        results.write([(SCORE, "high", FRAMES), (other, None, None)], now=1_730_000_009)
        results.record_run(
            Run("r", 1, 2, ("archive",), {"scored": 2}, "m" * 64, ("c" * 64,), 0.01, "archive")
        )
    monkeypatch.setenv("BLOCKSCAN_STORE", str(path))
    return path


def told(app: AppTest) -> str:
    assert not app.exception
    words = ("subheader", "caption", "markdown", "text", "code", "info")
    return "\n".join(str(element.value) for kind in words for element in getattr(app, kind))


def test_the_transaction_page(solana_store: Path, open_view: Callable[..., AppTest]) -> None:
    app = open_view("transaction", tx=SIGNATURE)
    words = told(app)
    for expected in (SIGNATURE, PAYER, TOKEN, REASON, "300,000,007", "solana+logs (complete)", "**Frame 1**"):
        assert expected in words, expected
    assert "spl-token:approve" in words, "the hottest frame is open, with the instruction's name"
    assert "contract creation" not in words
    assert list(app.dataframe[0].value["found"]) == ["18446744073709551615"]
    swapped = told(open_view("transaction", tx=SIGNATURE.swapcase()))
    assert "Ordinary: 90%" in swapped, "base58 is told apart by case"


def test_the_lists(solana_store: Path, open_view: Callable[..., AppTest]) -> None:
    listed: Any = open_view("alerts").dataframe[0].value
    assert list(listed["Transaction"]) == [SIGNATURE]
    assert list(listed["Target"]) == [TOKEN]
    assert len(open_view("alerts", q=PAYER).dataframe[0].value) == 1
    assert "Transactions scored" in [metric.label for metric in open_view("overview").metric]


def test_the_tree_has_a_row_for_every_step() -> None:
    rows = tree_rows(FRAMES, range(len(FRAMES)))
    assert [(row["kind"], row["selector"], row["value"]) for row in rows] == [
        ("INSTRUCTION", "", "5000"),
        ("INSTRUCTION", "spl-token:approve", ""),
        ("LOG", "Instruction: Approve", ""),
        ("LOG", f"balance -5,000 to 2, of {PAYER}, 9 decimals", ""),
    ]
    assert rows[1]["target"] == f"{TOKEN[:8]}…{TOKEN[-6:]}" and rows[1]["target_full"] == TOKEN
