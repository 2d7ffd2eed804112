"""Books of contracts on the whole road: what was calibrated on and scored is in them, however it is cut."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blockscan.detect.books import NOTHING
from blockscan.detect.calibration_file import load_calibration, save_calibration
from blockscan.detect.history_file import load_history
from blockscan.store import open_store
from pipelines.commands import shards_of
from pipelines.history import fit_history
from pipelines.model_dir import ModelDir
from pipelines.sources import Shard, read_transactions

FIRST, MIDDLE, LAST = 377, 390, 400


def withdrawn(cli: Any, model: Path, archive: Path, store: Path, *ranges: str) -> dict[str, float]:
    """By hash, what earlier transactions, of whatever block, say of a withdrawal."""
    for blocks in ranges:
        result = cli("score", archive, "--model", model, "--blocks", blocks, "--store", store)
        assert result.exit_code == 0, result.output
    with open_store(store, read_only=True) as results:
        joint = [(each.tx_hash, fact) for each in results.iter_scores() for fact in each.joint]
    return {tx_hash: fact.value for tx_hash, fact in joint if fact.name == "withdrawn"}


def test_ranges_know_what_was_put_in_before_them(road: Any, cli: Any, tmp_path: Path) -> None:
    """Scored at once, one range after another, or alone: the archive has what came between."""
    whole = withdrawn(cli, road.model, road.archive, tmp_path / "whole", f"{FIRST}:{LAST}")
    parts = withdrawn(
        cli, road.model, road.archive, tmp_path / "parts", f"{FIRST}:{MIDDLE}", f"{MIDDLE}:{LAST}"
    )
    later = withdrawn(cli, road.model, road.archive, tmp_path / "later", f"{MIDDLE}:{LAST}")
    assert whole == parts and len(whole) > 3
    assert later == {tx_hash: value for tx_hash, value in whole.items() if tx_hash in later} and later


def test_what_was_calibrated_on_is_known_without_its_archive(road: Any, cli: Any, tmp_path: Path) -> None:
    """A file of later blocks alone; without the calibration's books what was put in is forgotten."""
    known = load_calibration(ModelDir(road.model).calibration)
    assert (
        known.books.until == {"evm-7001": 149}
        and known.books.whole
        and len(known.books.sums.keys)
        and len(known.books.made)
    )
    later = next(path for path in sorted(road.archive.glob("*.parquet")) if first_block(path) == FIRST)
    whole = withdrawn(cli, road.model, road.archive, tmp_path / "whole", f"{FIRST}:{MIDDLE}")
    assert withdrawn(cli, road.model, later, tmp_path / "later", f"{FIRST}:{MIDDLE}") == whole != {}
    forgetful = tmp_path / "forgetful"
    shutil.copytree(road.model, forgetful, ignore=shutil.ignore_patterns("calibration"))
    save_calibration(replace(known, books=NOTHING), ModelDir(forgetful).calibration)
    assert withdrawn(cli, forgetful, later, tmp_path / "less", f"{FIRST}:{MIDDLE}") != whole


def test_a_model_that_is_adapted_goes_on_with_the_books_of_its_base(road: Any, tmp_path: Path) -> None:
    """What is put later into contracts that the base saw created is entered, too."""
    every = list(read_transactions(shards_of(road.archive, "1:150")[0]))
    parts = [[each for each in every if ((each.block_number or 0) < 90) == early] for early in (True, False)]
    shards = [[Shard("part", lambda part=part: iter(part), len(part))] for part in (*parts, every)]
    fit_history(shards[0], tmp_path / "base", parents={})
    fit_history(shards[1], tmp_path / "adapted", base=load_history(tmp_path / "base"), parents={})
    fit_history(shards[2], tmp_path / "whole", parents={})
    adapted, whole = (load_history(tmp_path / name).books for name in ("adapted", "whole"))
    keys = whole.keys.tolist()
    assert [adapted.total(key) for key in keys] == pytest.approx([whole.total(key) for key in keys])
    assert len(keys) > len(load_history(tmp_path / "base").books.keys) > 0


def first_block(path: Path) -> int | None:
    return min(each.block_number or 0 for each in read_transactions(shards_of(path, None)[0]))
