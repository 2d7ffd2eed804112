"""Counting the past anew: the weights stay, the history changes, the old model directory is left alone."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blockscan.artifact import create, read_manifest
from blockscan.detect.history import KINDS, History, history_of
from blockscan.detect.history_file import load_history, save_history
from blockscan.detect.tally import Tally
from blockscan.errors import ArtifactError
from blockscan.transaction import Call, CallKind, LogOrder, TraceSource, Transaction
from pipelines.history import fit_history
from pipelines.model_dir import ModelDir
from pipelines.sources import Shard


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_a_recounted_model_is_calibrated_and_scores(road: Any, cli: Any, tmp_path: Path) -> None:
    before, out = contents(road.model), tmp_path / "again"
    result = cli("recount", road.archive, "--model", road.model, "--blocks", ":60", "--out", out, "--json")
    assert result.exit_code == 0, result.output
    old, new = ModelDir(road.model), ModelDir(out)
    assert contents(road.model) == before
    assert contents(new.checkpoint) == contents(old.checkpoint)
    assert json.loads(result.stdout)["transactions"] == load_history(new.history).transactions
    assert 0 < load_history(new.history).transactions < load_history(old.history).transactions
    assert not (out / "calibration").exists()
    steps = (
        ("calibrate", road.archive, "--model", out, "--blocks", "90:150", "--preset", "debug"),
        ("score", road.archive, "--model", out, "--blocks", "377:400", "--store", tmp_path / "s.sqlite"),
    )
    for step in steps:
        assert cli(*step).exit_code == 0


@pytest.mark.parametrize("lost", [False, True])
def test_fewer_counts_do_not_free_blocks_that_the_weights_were_trained_on(
    road: Any, cli: Any, tmp_path: Path, lost: bool
) -> None:
    """Trained on 1:90; what it has learnt by heart would make alarms of new traffic too many."""
    model, out = tmp_path / "model", tmp_path / "again"
    for part in ("tokenizer", "checkpoint", "history"):
        shutil.copytree(road.model / part, model / part)
    if lost:
        (model / "history" / "manifest.json").unlink()
    assert cli("recount", road.archive, "--model", model, "--blocks", ":30", "--out", out).exit_code == 0
    result = cli("calibrate", road.archive, "--model", out, "--blocks", "40:150", "--preset", "debug")
    assert result.exit_code == 1
    assert "block 40 is not later than block 89" in result.stderr and "--blocks 90:" in result.stderr
    later = cli("recount", road.archive, "--model", out, "--blocks", "100:120", "--out", tmp_path / "later")
    assert later.exit_code == 0 and load_history(tmp_path / "later" / "history").until == {"evm-7001": 119}


@pytest.mark.parametrize(
    ("fitted", "until"),
    [
        ({"ethereum": 5, "bsc": 40}, {"ethereum": 5, "bsc": 40, "base": 1}),
        ({"ethereum": 5, "bsc": 30}, {"ethereum": 40, "bsc": 40, "base": 40}),  # of another past
        ({}, {"ethereum": 40, "base": 40}),  # of an earlier version
    ],
)
def test_without_a_history_no_chain_is_held_to_the_last_block_of_another(
    tmp_path: Path, fitted: dict[str, int], until: dict[str, int]
) -> None:
    model = ModelDir(tmp_path / "model")
    for kind, config in (("tokenizer", {"until": fitted}), ("checkpoint", {"data": {"last_block": 40}})):
        with create(model.path / kind, kind, config=config, parents={}):
            pass
    known = [replace(_call("0x1", 3, "0xb"), chain=chain) for chain in ("ethereum", "base")]
    known[1] = replace(known[1], block_number=1)
    fit_history([Shard("s", lambda: iter(known), 2)], tmp_path / "history", trained=model, parents={})
    assert load_history(tmp_path / "history").until == until


def test_the_same_past_gives_the_same_history(road: Any, cli: Any, tmp_path: Path) -> None:
    out = tmp_path / "same"
    assert (
        cli("recount", road.archive, "--model", road.model, "--blocks", "1:90", "--out", out).exit_code == 0
    )
    fingerprints = {
        read_manifest(ModelDir(each).history, "history").fingerprint for each in (out, road.model)
    }
    assert len(fingerprints) == 1


def test_what_is_there_is_not_overwritten(road: Any, cli: Any) -> None:
    result = cli("recount", road.archive, "--model", road.model, "--out", road.model)
    assert result.exit_code == 1 and "is not empty" in result.stderr


def test_a_range_without_transactions_is_refused_and_may_be_tried_again(
    road: Any, cli: Any, tmp_path: Path
) -> None:
    command = ("recount", road.archive, "--model", road.model, "--out", tmp_path / "new", "--blocks")
    result = cli(*command, "90000:90001")
    assert result.exit_code == 1 and "no transaction to count" in result.stderr
    assert not ModelDir(tmp_path / "new").history.exists()
    assert cli(*command, ":60").exit_code == 0


def test_without_a_trained_model_nothing_is_counted(road: Any, cli: Any, tmp_path: Path) -> None:
    result = cli("recount", road.archive, "--model", tmp_path / "none", "--out", tmp_path / "new")
    assert result.exit_code == 1 and str(tmp_path / "none") in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_history_of_before_says_what_to_do(tmp_path: Path) -> None:
    """One that an earlier version counted, which knew less to count."""
    tallies = {kind: tally for kind, tally in history_of([]).tallies.items() if kind != KINDS[-1]}
    save_history(History(tallies, 0), tmp_path / "history")
    with pytest.raises(ArtifactError, match=r"no history this program can read.*blockscan recount ARCHIVE"):
        load_history(tmp_path / "history")


def test_what_the_base_has_counted_counts_once(tmp_path: Path) -> None:
    """A call seen once is not one seen twice, and another protocol of the same blocks is not left out."""
    past = [_call("0x1", 5, "0xb"), _call("0x2", 6, "0xc")]
    base = history_of(past)
    more = [_call("0x3", 6, "0xd"), _call("0x4", 7, "0xb")]  # unknown there; a later block
    shard = Shard("s", lambda: iter([*past, *more]), 4)
    fit_history([shard], tmp_path / "history", base=base, parents={})
    found, whole = load_history(tmp_path / "history"), history_of([*past, *more])
    assert found.transactions == 4 and found.until == {"ethereum": 7}
    for callee in "bcd":
        edge = ("edge", "0xa", f"0x{callee}")
        assert found.seen(*edge) == whole.seen(*edge)


def _call(tx_hash: str, block: int, callee: str) -> Transaction:
    root = Call(CallKind.CALL, "0xa", callee, b"", b"", 0, None, None, ())
    facts = ("ethereum", tx_hash, block, None, 0, 1, "0xa", True, 1, root)
    return Transaction(*facts, TraceSource.CALL_TRACER, LogOrder.EXACT)


def test_one_hash_on_two_chains_counts_twice(tmp_path: Path) -> None:
    root = Call(CallKind.CALL, "0xa", "0xb", b"", b"", 0, None, None, ())
    ethereum, bsc = (
        Transaction(
            chain, "0x1", 1, None, 0, 1, "0xa", True, 1, root, TraceSource.CALL_TRACER, LogOrder.EXACT
        )
        for chain in ("ethereum", "bsc")
    )
    shard = Shard("s", lambda: iter([ethereum, bsc, ethereum]), 3)
    fit_history([shard], tmp_path / "history", parents={})
    assert load_history(tmp_path / "history").transactions == 2


def test_a_history_that_counted_more_than_is_asked_now_is_read(tmp_path: Path) -> None:
    known = history_of([])
    save_history(History({**known.tallies, "path": Tally.of({1024: 3})}, 7), tmp_path / "history")
    found = load_history(tmp_path / "history")
    assert set(found.tallies) == set(KINDS) and found.transactions == 7
