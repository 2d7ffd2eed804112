"""How single words are classified, at the edges of every class, and when calls inside of data are entered."""

import pytest

from blockscan.tokens import Modality
from tokenizer.modalities.bytes import Run
from tokenizer.words import (
    ADDRESS_FROM,
    KNOWN_ADDRESS_FROM,
    NEGATIVE_FROM,
    RUN_FROM,
    blob_bytes,
    blob_values,
    word_classifier,
)

VANITY = "0x000000000022d473030f116ddee9f6b43ac78ba3"
SELECTOR = bytes.fromhex("a9059cbb")
OPAQUE = b"\x9e\x91" * 16
classify = word_classifier({VANITY})


@pytest.mark.parametrize(
    ("number", "modality", "content"),
    [
        (0, Modality.NUMBER, 0),
        (ADDRESS_FROM - 1, Modality.NUMBER, ADDRESS_FROM - 1),
        (ADDRESS_FROM, Modality.ADDRESS, f"0x{ADDRESS_FROM:040x}"),
        (2**160 - 1, Modality.ADDRESS, "0x" + "ff" * 20),
        (2**160, Modality.BYTES, (2**160).to_bytes(32)),
        (10**48, Modality.NUMBER, 10**48),
        (int(VANITY, 16), Modality.ADDRESS, VANITY),
        (int(VANITY, 16) + 1, Modality.NUMBER, int(VANITY, 16) + 1),
        (NEGATIVE_FROM - 1, Modality.BYTES, (NEGATIVE_FROM - 1).to_bytes(32)),
        (NEGATIVE_FROM, Modality.NUMBER, -ADDRESS_FROM),
        (2**256 - 2, Modality.NUMBER, -2),
        (2**256 - 1, Modality.NUMBER, 2**256 - 1),
        (ord("A") << 248, Modality.TEXT, "A"),
    ],
)
def test_classes_meet_at_their_edges(number: int, modality: Modality, content: object) -> None:
    assert classify(number.to_bytes(32)) == (modality, content)


def test_text_with_a_gap_or_a_control_character_is_opaque() -> None:
    for raw in (b"two\0words", b"bell\x07", "\N{EURO SIGN}".encode()):
        word = raw.ljust(32, b"\0")
        assert classify(word) == (Modality.BYTES, word)


def test_small_known_addresses_stay_numbers() -> None:
    low = f"0x{KNOWN_ADDRESS_FROM - 1:040x}"
    ether = f"0x{25 * 10**18:040x}"
    for name in (low, ether):
        number = int(name, 16)
        assert word_classifier({name})(number.to_bytes(32)) == (Modality.NUMBER, number)


@pytest.mark.parametrize(
    "first",
    [b"a text of 32 characters and then".ljust(32), bytes(31) + b"\7", bytes(12) + b"\x9c" * 20],
    ids=["text", "number", "address"],
)
def test_only_what_begins_like_a_call_is_entered(first: bytes) -> None:
    data = (36).to_bytes(32) + first + bytes(32)
    values = blob_values(data, classify)
    assert Modality.SELECTOR not in [modality for modality, _ in values]
    assert blob_bytes(values) == data


def test_a_long_inner_call_is_not_entered() -> None:
    for words, entered in ((31, True), (32, False)):
        inner = SELECTOR + bytes(32) * words
        data = len(inner).to_bytes(32) + SELECTOR + OPAQUE + inner[36:] + bytes(28)
        values = blob_values(data, classify)
        assert ((Modality.SELECTOR, SELECTOR) in values) == entered
        assert blob_bytes(values) == data


@pytest.mark.parametrize("padded", [True, False])
def test_a_run_may_go_past_the_end_of_an_inner_call(padded: bool) -> None:
    inner = SELECTOR + OPAQUE * 10
    data = len(inner).to_bytes(32) + inner + (bytes(28) if padded else bytes(27) + b"\1") + OPAQUE * 10
    values = blob_values(data, classify)
    assert blob_bytes(values) == data
    assert ((Modality.BYTES, Run(OPAQUE * 20)) in values) == padded


def test_runs_begin_at_their_length() -> None:
    assert blob_values(OPAQUE * RUN_FROM, classify) == [(Modality.BYTES, Run(OPAQUE * RUN_FROM))]
    assert blob_values(OPAQUE * (RUN_FROM - 1), classify) == [(Modality.BYTES, OPAQUE)] * (RUN_FROM - 1)
