"""Imported names and labels, from the command line to what people read."""

import json
from pathlib import Path
from shutil import copytree
from typing import Any

from blockscan.store import open_store
from blockscan.transaction import Call, walk
from tokenizer.signatures import BUILT_IN

NAMED = "someFunction(uint256)"


def test_explain_shows_imported_names_and_labels(cli: Any, road: Any, tmp_path: Path) -> None:
    model, store = tmp_path / "model", tmp_path / "scores.sqlite"
    copytree(road.model, model)
    with open_store(road.store, read_only=True) as results:
        kept = ((each, results.frames(each.tx_hash)) for each in results.iter_scores())
        score, frames = next(
            (each, frames) for each, frames in kept if any("(" in frame.selector for frame in frames)
        )
    plain = [frame.selector for frame in frames if frame.selector]
    unnamed = {
        step.data[:4]
        for step in (visit.step for visit in walk(_root(road.archive, score.tx_hash)))
        if isinstance(step, Call) and len(step.data) >= 4
    }
    known = [code for code in unnamed if BUILT_IN.functions(code)]
    assert known
    export = tmp_path / "export.csv"
    export.write_text(f"{NAMED}\n")
    assert cli("signatures", "import", export, "--out", model / "signatures.json").exit_code == 0
    labels = tmp_path / "labels.csv"
    labels.write_text(f"address,name,confidence\n{score.sender},![](http://evil.test),0.5\n")
    store.write_bytes(road.store.read_bytes())
    done = cli("labels", "import", labels, "--store", store, "--source", "us", "--date", "2024-05-31")
    assert done.exit_code == 0, done.output
    again = ["explain", score.tx_hash, "--source", road.archive, "--model", model, "--store", store, "--all"]
    shown = json.loads(cli(*again, "--json").stdout)
    assert [frame["selector"] for frame in shown["frames"] if frame["selector"]] == plain
    assert shown["labels"] == [
        {"address": score.sender, "name": "![](http://evil.test)", "source": "us"}
        | {"date": "2024-05-31", "confidence": 0.5, "chain": ""}
    ]
    for command in (again, ["explain", score.tx_hash, "--store", store]):
        text = cli(*command).output
        assert "Known addresses" in text
        assert "50%" in text


def _root(archive: Path, tx_hash: str) -> Call:
    from blockscan.archive import Archive
    from blockscan.chains.ethereum import parse

    blocks = Archive(archive).find(tx_hash)
    return next(tx.root for raw in blocks for tx in parse(raw) if tx.hash == tx_hash)
