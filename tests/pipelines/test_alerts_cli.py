"""`blockscan alerts`: tables for people, JSON for programs, nothing that a terminal obeys."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from blockscan.errors import StoreError
from blockscan.findings import TxScore
from blockscan.store import open_store
from pipelines.cli_alerts import alerts

HOSTILE = "\x1b[31m\u202e[bold]evil[/bold]"


def tx_hash(number: int) -> str:
    return f"0x{number:064x}"


def make_score(number: int, sender: str, target: str | None, p_value: float) -> TxScore:
    return TxScore(
        chain="ethereum",
        tx_hash=tx_hash(number),
        block_number=number,
        tx_index=0,
        time=number * 3600,
        sender=sender,
        target=target,
        value=1.0,
        p_value=p_value,
        reason=f"reason {number} {HOSTILE}",
        evidence=(),
        calls=1,
        tokens=1,
        windows=1,
        source="s",
        trace_status="complete",
        model="m",
        calibration="c",
    )


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(alerts)
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def read(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0
    return json.loads(result.stdout)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "scores.sqlite"
    found = [
        make_score(1, "eve", None, 0.004),
        make_score(2, "eve", "pool", 0.001),
        make_score(3, "bob", "bank", 0.002),
        make_score(29, "eve", "pool", 0.003),
    ]
    with open_store(path) as results:
        results.write([(score, "high" if score.p_value == 0.001 else "low", None) for score in found], now=0)
    return path


def test_alerts_are_listed_the_most_unusual_first(store: Path) -> None:
    listed = read("--store", store, "--limit", 3)
    assert listed["total"] == 4
    assert [each["tx_hash"] for each in listed["alerts"]] == [tx_hash(n) for n in (2, 3, 29)]
    assert listed["alerts"][0]["severity"] == "high"
    assert listed["alerts"][0]["sender"] == "eve"


def test_incidents_hold_their_transactions(store: Path) -> None:
    listed = read("--store", store, "--incidents")
    assert [listed[name] for name in ("total", "alerts", "alerts_left_out")] == [3, 4, 0]
    first = listed["incidents"][0]
    assert first["id"] == f"ethereum:{tx_hash(1)}"
    assert [each["tx_hash"] for each in first["transactions"]] == [tx_hash(1), tx_hash(2)]
    assert (first["smallest_p_value"], first["severity"], first["links"]) == (0.001, "high", ["eve"])
    assert (first["first_time"], first["last_time"]) == (3600, 7200)
    wider = read("--store", store, "--incidents", "--window-hours", 27, "--limit", 1)
    assert wider["total"] == 2
    assert [len(each["transactions"]) for each in wider["incidents"]] == [3]


@pytest.mark.parametrize("options", [(), ("--incidents",)])
def test_tables_are_plain_text(store: Path, options: tuple[str, ...]) -> None:
    result = run("--store", store, *options)
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout
    assert "[bold]evil[/bold]" in result.stdout
    flat = "".join(result.stdout.split())
    assert all(tx_hash(number)[:40] in flat for number in (1, 2, 3, 29))
    assert ("2 alerts of 1 sender" in result.stdout) == bool(options)
    assert ("3 of 3 incidents in 4 alerts" in result.stdout) == bool(options)


@pytest.mark.parametrize("options", [(), ("--incidents",)])
def test_an_alert_that_lapsed_says_so(store: Path, options: tuple[str, ...]) -> None:
    with open_store(store) as results:
        calmer = replace(make_score(1, "eve", None, 0.06), calibration="newer")
        results.write([(calmer, None, None)], now=1)
    listed = read("--store", store, *options)
    alerts = listed["alerts"] if not options else [x for i in listed["incidents"] for x in i["transactions"]]
    said = {each["tx_hash"]: (each["lapsed"], each["p_value"], each["calibration"]) for each in alerts}
    assert said[tx_hash(1)] == (True, 0.004, "c") and said[tx_hash(2)] == (False, 0.001, "c")
    assert run("--store", store, *options).stdout.count("(lapsed)") == 1 + bool(options)


@pytest.mark.parametrize("options", [(), ("--incidents",)])
def test_hashes_stay_whole_where_there_is_room(tmp_path: Path, options: tuple[str, ...]) -> None:
    with open_store(tmp_path / "s.sqlite") as results:
        for number in (1, 2):
            score = replace(make_score(number, "eve", "pool", 0.001), reason="a reason of many words " * 9)
            results.write([(score, "high", None)])
    shown = run("--store", tmp_path / "s.sqlite", *options).stdout
    assert all(tx_hash(number) in shown for number in (1, 2))


def test_a_store_without_alerts_is_an_empty_list(tmp_path: Path) -> None:
    open_store(tmp_path / "empty.sqlite").close()
    assert read("--store", tmp_path / "empty.sqlite") == {"alerts": [], "total": 0}
    assert read("--store", tmp_path / "empty.sqlite", "--incidents")["incidents"] == []
    assert "0 of 0 incidents" in run("--store", tmp_path / "empty.sqlite", "--incidents").stdout


def test_no_store_is_said_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store at"):
        run("--store", tmp_path / "none.sqlite")
    assert not (tmp_path / "none.sqlite").exists()
