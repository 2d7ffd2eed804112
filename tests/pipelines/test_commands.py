"""What the command line hands to the steps: the hashes to exclude."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from blockscan.errors import ConfigError
from pipelines.exclude import hashes_of
from pipelines.labels import Label, hash_key, read_labels

HASH = "0x" + "ab" * 32
SIGNATURE = "5" + "J" * 87


@pytest.mark.parametrize(
    "text",
    [
        f"{HASH}\n\n{SIGNATURE}\n",
        f"\ufeff{HASH}\r\n  {SIGNATURE}  \r\n",
        f"{HASH.upper()}\n{SIGNATURE}",
        f'"{HASH}"\n"{SIGNATURE}"\n',
        f"# known attacks\n{HASH} # the bridge, 2022\n{SIGNATURE},\n",
        f"{HASH},attack\n{SIGNATURE},attack\n",
        f"\ufefftx_hash,label\n{HASH},attack\n{SIGNATURE},attack\n",
        f"label, TX_HASH\nattack,{HASH}\nattack, {SIGNATURE}\n",
        f"{HASH[2:]}\n{SIGNATURE}\n",
    ],
    ids=["plain", "bom", "capitals", "quoted", "comments", "labels", "header", "second column", "without 0x"],
)
def test_hashes_are_found_however_they_are_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "known").write_text(text, encoding="utf-8", newline="")
    assert hashes_of(tmp_path / "known") == {HASH, SIGNATURE}


def test_a_record_without_a_hash_is_left_out_and_labelled_by_its_name(tmp_path: Path) -> None:
    name = "poc:2018-04-bec_exp:testExploit()"
    (tmp_path / "known").write_text(f"{HASH}\n{name}\n")
    assert hashes_of(tmp_path / "known") == {HASH, name}
    (tmp_path / "labels.csv").write_text(f"tx_hash,label\n{name},attack\n")
    assert read_labels(tmp_path / "labels.csv") == {name: Label("attack")}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{HASH}\n{HASH} attack\n", "line 2: '0xabab"),
        (f"{HASH}\n\n{HASH[2:-1]}\n", "line 3"),
        (f"{HASH}\n\nhttps://etherscan.io/tx/{HASH}\n", "line 3"),
        (f"label,tx_hash\nattack,{HASH}\nattack\n", "line 3: ''"),
        (f"address\n{HASH}\n", "line 1: 'address'"),
    ],
)
def test_a_line_without_a_hash_is_refused_by_its_number(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "known").write_text(text)
    with pytest.raises(ConfigError, match=told):
        hashes_of(tmp_path / "known")
    (tmp_path / "known").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot read the hashes to exclude"):
        hashes_of(tmp_path / "known")


def test_a_hash_stored_without_0x_or_in_capitals_is_one_that_is_listed() -> None:
    assert {hash_key(each) for each in (HASH, HASH[2:], HASH.upper(), HASH[2:].upper())} == {HASH}
    assert hash_key(SIGNATURE) == SIGNATURE and hash_key(SIGNATURE.lower()) != SIGNATURE
    assert hash_key("abc") == "abc"  # no hash: some name of a record


def test_no_listed_transaction_is_learnt_from(cli: Any, archive: Path, tmp_path: Path) -> None:
    from pipelines.sources import Rejects, open_shards, read_transactions

    known = next(read_transactions(open_shards(archive, Rejects()))).hash
    (tmp_path / "known.csv").write_text(f"\ufefftx_hash,label\n{known.upper()},attack\n{HASH},attack\n")
    model = ["--model", tmp_path / "m", "--preset", "debug", "--blocks", "1:20"]
    result = cli("tokenizer", "fit", archive, *model, "--exclude", tmp_path / "known.csv")
    assert result.exit_code == 0
    assert "1 of the 2 hashes to exclude are here, left out" in " ".join(result.stderr.split())


def test_score_asks_every_endpoint_that_it_is_given(cli: Any, tmp_path: Path, monkeypatch: Any) -> None:
    asked: list[Any] = []

    def open_node(given: Any) -> Any:
        asked.append(list(given.rpc))
        raise ConfigError("far enough")

    monkeypatch.setattr("pipelines.data_commands.open_node", open_node)
    given = ["--rpc", "http://a.example", "--rpc", "http://b.example,http://c.example", "--blocks", "1:2"]
    assert cli("score", *given, "--model", tmp_path, "--store", tmp_path / "s").exit_code == 1
    assert asked == [["http://a.example", "http://b.example,http://c.example"]]


def test_a_vocabulary_of_later_blocks_is_not_calibrated_on_them(cli, road, tmp_path):
    """Their names are in it, those of live traffic are not; an older tokenizer says nothing of its past."""
    model = tmp_path / "model"
    for part in ("tokenizer", "checkpoint", "history"):
        shutil.copytree(road.model / part, model / part)
    manifest = model / "tokenizer" / "manifest.json"
    told = json.loads(manifest.read_text())
    assert told["config"].pop("until") == {"evm-7001": 89}
    command = ("calibrate", road.archive, "--model", model, "--blocks", "90:150", "--preset", "debug")
    manifest.write_text(json.dumps(told | {"config": {**told["config"], "until": {"evm-7001": 119}}}))
    result = cli(*command)
    assert result.exit_code == 1 and "block 119, the last the tokenizer was fitted on" in result.stderr
    manifest.write_text(json.dumps(told))
    assert cli(*command).exit_code == 0
