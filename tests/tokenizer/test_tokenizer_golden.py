"""Raw record -> call tree -> tokens, against text files that people have read.

`GOLDEN=write python -m pytest tests/tokenizer/test_tokenizer_golden.py` writes them anew; read the
difference before you keep it.
"""

import json
import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from blockscan.chains.ethereum import parse_record
from blockscan.config import TokenizerConfig
from blockscan.tokens import Field
from blockscan.transaction import Call, Log, Transaction, walk
from tokenizer.txtokenizer import TxTokenizer

FOLDER = Path(__file__).parents[1] / "golden" / "ethereum"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def read(name: str) -> Transaction:
    return parse_record(json.loads((FOLDER / f"{name}.json").read_text()))


@pytest.fixture(scope="module")
def tokenizer() -> TxTokenizer:
    """Fitted on the records themselves: what occurs in two of them is known."""
    return TxTokenizer.fit(map(read, NAMES), TokenizerConfig(aliases=4, buckets=4, text_pieces=8))


def tree_text(root: Call) -> Iterator[str]:
    for visit in walk(root):
        margin = "  " * visit.depth
        if isinstance(visit.step, Log):
            log = visit.step
            topics = " ".join(topic.hex() for topic in log.topics)
            yield f"{margin}  log {log.emitter} [{topics}] {log.data.hex()}"
            continue
        call = visit.step
        yield f"{margin}{call.kind} {call.caller} -> {call.target} value={call.value} gas={call.gas_used}"
        yield f"{margin}  in={call.data.hex()}"
        yield f"{margin}  out={call.output.hex()} error={call.error}"


def tokens_text(tokenizer: TxTokenizer, transaction: Transaction) -> Iterator[str]:
    """One value a line: frame, depth, field, group, pieces, and the true value."""
    sequence = tokenizer.encode(transaction)
    texts = tokenizer.unit_texts(transaction)
    for unit, places in groupby(range(len(sequence)), lambda place: int(sequence.unit[place])):
        tokens = list(places)
        first = tokens[0]
        pieces = " ".join(tokenizer.vocabulary.pieces[sequence.ids[place]] for place in tokens)
        facts = f"{sequence.node[first]} {sequence.depth[first]} {Field(sequence.field[first]).name}"
        yield f"{facts} g{sequence.group[first]} {pieces} | {texts[unit]}"


def check(path: Path, lines: Iterator[str]) -> None:
    text = "\n".join(lines) + "\n"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def test_there_are_golden_records() -> None:
    assert NAMES == ["create", "no_logs", "revert", "swap"]


@pytest.mark.parametrize("name", NAMES)
def test_trees_are_the_golden_ones(name: str) -> None:
    check(FOLDER / f"{name}.tree.txt", tree_text(read(name).root))


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_the_golden_ones(tokenizer: TxTokenizer, name: str) -> None:
    check(FOLDER / f"{name}.tokens.txt", tokens_text(tokenizer, read(name)))
