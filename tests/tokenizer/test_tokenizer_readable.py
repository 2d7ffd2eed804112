"""Readable evidence: true values, predicted pieces, and the table of signatures."""

from collections.abc import Callable

import pytest

from blockscan.config import TokenizerConfig
from blockscan.transaction import Call, CallKind, Log, Transaction
from tokenizer.txtokenizer import TxTokenizer

SENDER, TOKEN, NEW = ("0x" + f"{byte:02x}" * 20 for byte in (0x51, 0x70, 0xC3))
TRANSFER = bytes.fromhex("a9059cbb")
MakeCall = Callable[..., Call]
MakeTransaction = Callable[[Call], Transaction]


@pytest.fixture(scope="module")
def tokenizer(make_call: MakeCall, make_transaction: MakeTransaction) -> TxTokenizer:
    seen = [make_call(SENDER, TOKEN, data=TRANSFER + b"\x9a" * 32) for _ in range(2)]
    return TxTokenizer.fit(map(make_transaction, seen), TokenizerConfig(aliases=4, buckets=4))


def test_units_show_the_true_values(
    tokenizer: TxTokenizer, make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    unknown = "0x" + "b1" * 20
    create = make_call(TOKEN, NEW, kind=CallKind.CREATE, data=b"\x60" * 300)
    data = TRANSFER + int(unknown, 16).to_bytes(32) + (123_456_789).to_bytes(32) + b"\xff" * 32 + b"\1\2"
    hostile = "a\x1b[31mb\u202ec\n" + "x" * 500
    root = make_call(SENDER, TOKEN, create, Log(TOKEN, (), b"\x9a" * 32), data=data, error=hostile)
    transaction = make_transaction(root)
    texts = tokenizer.unit_texts(transaction)
    assert len(texts) == tokenizer.encode(transaction).unit[-1] + 1
    assert texts[:9] == [
        "CALL failed from",
        SENDER,
        TOKEN,
        "0",
        "transfer(address,uint256)",
        unknown,
        "123456789 (≈1.23e+08)",
        "2^256-1",
        "0x0102",
    ]
    assert texts[9:13] == ["CREATE ok", NEW, "0", "code of 300 bytes 0x6060606060606060…"]
    assert texts[15] == "0x" + "9a" * 32
    assert texts[17].startswith('"a[31mbc xxx')
    assert all(text.isprintable() and len(text) <= 120 for text in texts)


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["[A3]"], "an unknown address"),
        (["[NEW2]"], "a contract created in this transaction"),
        (["[SENDER]"], "the sender"),
        (["[NONE]"], "no address"),
        (["[W1]"], "an unknown word"),
        ([f"A:{TOKEN}"], f"{TOKEN} (known)"),
        (["W:" + "9a" * 32], "0x" + "9a" * 32 + " (known)"),
        (["S:a9059cbb"], "transfer(address,uint256)"),
        (["S#1"], "a rare function"),
        (["T#0"], "a rare event"),
        (["n:7"], "7"),
        (["n:max"], "2^256-1"),
        (["e18"], "about 10^18"),
        (["-e6"], "about -10^6"),
        (["d123"], "digits 1.23"),
        (["e18", "d123"], "≈1.23e18"),
        (["-e18", "d500"], "≈-5.00e18"),
        (["[CODE]"], "an unknown code"),
        (["[CODE]", "e3", "d120"], "an unknown code of ≈1.20e3 bytes"),
        (["[RUN]", "n:17"], "17 opaque words"),
        (["b:0a", "b:ff"], "0x0aff"),
        (["E:out of gas"], '"out of gas"'),
        (["t:a", "t:b", "[/TEXT]"], '"ab"'),
        (["t:a"], '"a"'),
        (["[/TEXT]"], "the end of a text"),
        (["[DELEGATECALL failed]"], "DELEGATECALL failed"),
    ],
)
def test_predicted_pieces_are_readable(tokenizer: TxTokenizer, pieces: list[str], text: str) -> None:
    assert tokenizer.describe([tokenizer.vocabulary.ids[piece] for piece in pieces]) == text


def test_every_piece_has_a_text(tokenizer: TxTokenizer) -> None:
    texts = [tokenizer.describe([place]) for place in range(tokenizer.shape.size)]
    assert all(texts)
    assert all(text.isprintable() and len(text) <= 120 for text in texts)
