"""Saving, loading, fingerprints, and vocabularies that are not what they should be."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from blockscan import artifact
from blockscan.config import TokenizerConfig
from blockscan.errors import ArtifactError
from blockscan.tokens import MASK_ID, PAD_ID
from blockscan.transaction import Call, Transaction
from tokenizer.txtokenizer import FILE, KIND, TxTokenizer, fitted_until

MakeCall = Callable[..., Call]
MakeTransaction = Callable[[Call], Transaction]
ADDRESSES = ["0x" + f"{byte:02x}" * 20 for byte in range(0x21, 0x29)]

FIT_AND_PRINT = """
from blockscan.config import TokenizerConfig
from blockscan.transaction import *
from tokenizer.txtokenizer import TxTokenizer
texts = ["transfer amount exceeds balance", "transfer amount exceeds allowance", "paused", "not the owner"]
seen = []
for place in range(40):
    to = "0x" + f"{0x21 + place % 9:02x}" * 20
    data = bytes([place % 7]) * 4 + bytes([0x90 + place % 5]) * 32
    root = Call(CallKind.CALL, "0x" + "12" * 20, to, data, b"", 0, texts[place % 4], None, ())
    facts = ("ethereum", str(place), None, None, None, None, root.caller, True, None, root)
    seen.append(Transaction(*facts, TraceSource.CALL_TRACER, LogOrder.ABSENT))
print(TxTokenizer.fit(seen, TokenizerConfig()).fingerprint)
"""


@pytest.fixture(scope="module")
def transactions(make_call: MakeCall, make_transaction: MakeTransaction) -> list[Transaction]:
    return [
        make_transaction(make_call(ADDRESSES[0], one, data=bytes([place % 3] * 36), error="not the owner"))
        for place, one in enumerate(ADDRESSES * 2)
    ]


@pytest.fixture(scope="module")
def tokenizer(transactions: list[Transaction]) -> TxTokenizer:
    return TxTokenizer.fit(transactions[:12], TokenizerConfig(aliases=4, buckets=4))


def test_saved_and_loaded_it_is_the_same(
    tokenizer: TxTokenizer, transactions: list[Transaction], tmp_path: Path
) -> None:
    tokenizer.save(tmp_path / "tok", until={"ethereum": 7})
    loaded = TxTokenizer.load(tmp_path / "tok")
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.vocabulary.pieces == tokenizer.vocabulary.pieces
    assert loaded.shape == tokenizer.shape
    for transaction in transactions:
        assert np.array_equal(loaded.encode(transaction).ids, tokenizer.encode(transaction).ids)
    assert fitted_until(tmp_path / "tok") == {"ethereum": 7}


def test_another_vocabulary_has_another_fingerprint(
    tokenizer: TxTokenizer, transactions: list[Transaction]
) -> None:
    assert TxTokenizer.fit(transactions[:4], tokenizer.vocabulary.config).fingerprint != tokenizer.fingerprint


def test_padding_mask_and_alias_spans_are_in_their_places(tokenizer: TxTokenizer) -> None:
    pieces = tokenizer.vocabulary.pieces
    assert (pieces[PAD_ID], pieces[MASK_ID]) == ("[PAD]", "[MASK]")
    spans = [pieces[begin:end] for begin, end in tokenizer.shape.alias_spans]
    aliases = [tuple(f"[{kind}{place}]" for place in range(1, 5)) for kind in ("NEW", "A", "W")]
    buckets = tokenizer.vocabulary.config.buckets
    assert spans == aliases + [tuple(f"{kind}#{place}" for place in range(buckets)) for kind in ("S", "T")]
    assert tokenizer.shape.size == len(pieces)


def test_the_fit_is_the_same_in_every_process() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", FIT_AND_PRINT],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(found) == 1
    assert len(found.pop().strip()) == 64


def test_a_changed_file_is_refused(tokenizer: TxTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tok")
    file = tmp_path / "tok" / FILE
    file.write_text(file.read_text().replace("[END]", "[DNE]"))
    with pytest.raises(ArtifactError, match="was changed"):
        TxTokenizer.load(tmp_path / "tok")


def test_nothing_is_written_over(tokenizer: TxTokenizer, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="not empty"):
        tokenizer.save(tmp_path)


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no tokenizer"):
        TxTokenizer.load(tmp_path / "nowhere")


def _repeat_a_piece(raw: dict[str, list[object]]) -> None:
    raw["pieces"][-1] = raw["pieces"][-2]


def _drop_the_end_mark(raw: dict[str, list[object]]) -> None:
    raw["pieces"].remove("[END]")


def _swap_the_mask(raw: dict[str, list[object]]) -> None:
    raw["pieces"][:2] = raw["pieces"][1::-1]


def _number_for_a_piece(raw: dict[str, list[object]]) -> None:
    raw["pieces"][-1] = 7


def _merge_of_nothing(raw: dict[str, list[object]]) -> None:
    raw["merges"].insert(0, ["no such", "piece"])


def _no_merges(raw: dict[str, list[object]]) -> None:
    del raw["merges"]


def _foreign_code(raw: dict[str, dict[str, str]]) -> None:
    raw["codes"]["C:00"] = "60"


@pytest.mark.parametrize(
    "damage",
    [
        _repeat_a_piece,
        _drop_the_end_mark,
        _swap_the_mask,
        _number_for_a_piece,
        _merge_of_nothing,
        _no_merges,
        _foreign_code,
    ],
)
def test_a_damaged_vocabulary_is_refused(
    tokenizer: TxTokenizer, tmp_path: Path, damage: Callable[[object], None]
) -> None:
    raw = json.loads(tokenizer.vocabulary.to_json())
    damage(raw)
    with artifact.create(tmp_path / "tok", KIND, config={}, parents={}) as draft:
        (draft / FILE).write_text(json.dumps(raw))
    with pytest.raises(ArtifactError, match="fit the tokenizer again"):
        TxTokenizer.load(tmp_path / "tok")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path, text: str) -> None:
    with artifact.create(tmp_path / "tok", KIND, config={}, parents={}) as draft:
        (draft / FILE).write_text(text)
    with pytest.raises(ArtifactError, match="is no vocabulary"):
        TxTokenizer.load(tmp_path / "tok")
