"""Shares of tokens and of information, by hand and on the recorded chain."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from blockscan.errors import ConfigError
from blockscan.tokens import Field, Modality, TokenSequence, VocabularyShape
from pipelines.balance import ChainBalance, balance, render, sample, unigram_bits
from pipelines.cli_tokenizer import tokenizer_balance
from pipelines.commands import shards_of
from pipelines.sources import Shard


def tokens(*described: tuple[int, Modality, Field, bool]) -> TokenSequence:
    ids, modality, field, scored = zip(*described, strict=True)
    length = len(ids)
    return TokenSequence(
        "0x01",
        np.array(ids, np.int32),
        np.array(modality, np.uint8),
        np.array(field, np.uint8),
        np.zeros(length, np.int32),
        np.zeros(length, np.int16),
        np.arange(length, dtype=np.int32),
        np.full(length, -1, np.int32),
        np.array(scored),
    )


KIND = (2, Modality.STRUCTURE, Field.KIND, True)
END = (3, Modality.STRUCTURE, Field.MARK, False)
VALUE = (4, Modality.NUMBER, Field.VALUE, True)
WORD = (5, Modality.NUMBER, Field.ARGUMENT, True)


def test_shares_by_hand() -> None:
    sequence = tokens(KIND, VALUE, WORD, END)
    (found,) = balance([sequence], [np.array([1.0, 2.0, 4.0, 1.0])], ["evm-1"])
    assert (found.chain, found.transactions, found.tokens, found.bits) == ("evm-1", 1, 4, 8.0)
    shown = [(one.modality, one.token_share, one.bit_share, one.scored) for one in found.modalities]
    assert shown == [("number", 0.5, 0.75, 1.0), ("structure", 0.5, 0.25, 0.5)]
    fields = {(one.modality, one.field): (one.tokens, one.bits) for one in found.fields}
    assert fields == {
        ("number", "argument"): (1, 4.0),
        ("number", "value"): (1, 2.0),
        ("structure", "kind"): (1, 1.0),
        ("structure", "mark"): (1, 1.0),
    }


def test_chains_are_apart_and_in_order() -> None:
    one, other = tokens(VALUE, END), tokens(KIND)
    bits = [np.array([1.0, 1.0]), np.array([5.0]), np.array([3.0])]
    found = balance([one, other, other], bits, ["b", "a", "a"])
    assert [(each.chain, each.transactions, each.bits) for each in found] == [("a", 2, 8.0), ("b", 1, 2.0)]
    assert sum(share.bit_share for share in found[1].fields) == pytest.approx(1.0)


def test_misaligned_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="2 tokens and 1 bits"):
        balance([tokens(VALUE, END)], [np.array([1.0])], ["a"])


def test_unigram_bits_take_aliases_together() -> None:
    shape = VocabularyShape(8, ((4, 6),))
    first, second = unigram_bits([tokens(VALUE, WORD, KIND, END), tokens(KIND)], shape, ["a", "b"])
    assert first.tolist() == [1.0, 1.0, 2.0, 2.0]
    assert second.tolist() == [0.0]


def test_a_chain_named_by_an_attacker_is_no_markup() -> None:
    named = ChainBalance("[/]\x1b[31m", 1, 1, 0.0, (), ())
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render([named], "model"))
    assert "[/]" in console.export_text()


def test_the_sample_depends_on_no_order(archive: Path) -> None:
    shards, _ = shards_of(archive, "1:60")
    chosen = [each.hash for each in sample(shards, 20)]
    assert len(set(chosen)) == 20
    assert [each.hash for each in sample([*shards[::-1], *shards], 20)] == chosen
    assert {each.hash for each in sample(shards, 10)} < set(chosen)
    everything = sample(shards, 100_000)
    assert len({each.hash for each in everything}) == len(everything)


def test_one_hash_on_two_chains_is_two_of_the_sample(archive: Path) -> None:
    ((here, *_), _) = shards_of(archive, "1:9")
    there = Shard("bsc", lambda: (replace(each, chain="bsc") for each in here.read()), here.rows)
    chosen = [each.key for each in sample([here, there, here], 5)]
    assert chosen == [each.key for each in sample([there, here], 5)]
    assert len(set(chosen)) == 5 and len({tx_hash for _, tx_hash in chosen}) == 3


def test_no_sample_is_refused(archive: Path) -> None:
    shards, _ = shards_of(archive, "1:60")
    with pytest.raises(ConfigError, match="at least 1"):
        sample(shards, 0)
    with pytest.raises(ConfigError, match="no transaction to look at"):
        sample([], 5)


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(tokenizer_balance)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def shares(result: Result) -> dict[str, Any]:
    (chain,) = json.loads(result.stdout)["chains"]
    return dict(chain)


def test_the_command_measures_with_a_model_and_without(road: Any, tmp_path: Path) -> None:
    trained = run(road.archive, "--model", road.model, "--sample", "40", "--json")
    shutil.copytree(road.model / "tokenizer", tmp_path / "tokenizer")
    counted = run(road.archive, "--model", tmp_path, "--sample", "40", "--json")
    assert [json.loads(each.stdout)["measure"] for each in (trained, counted)] == ["model", "unigram"]
    seen, plain = shares(trained), shares(counted)
    assert seen["transactions"] == plain["transactions"] == 40
    assert seen["tokens"] == plain["tokens"] == sum(each["tokens"] for each in seen["fields"])
    assert seen["bits"] > 0 and plain["bits"] > 0 and seen["bits"] != plain["bits"]
    marks = next(each for each in seen["fields"] if each["field"] == "mark")
    assert marks["scored"] == 0 and marks["bits"] > 0
    table = run(road.archive, "--model", tmp_path, "--sample", "40").stdout
    assert "40 transactions" in table and "(unigram)" in table and "log_data" in table
