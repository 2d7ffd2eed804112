"""The painted tree of a Solana transaction: names of instructions, what was printed, balances, places."""

import json

import numpy as np

from blockscan.chains.base58 import b58encode
from blockscan.chains.solana import parse_record
from blockscan.chains.solana_layouts import SYSTEM, TOKEN
from blockscan.config import TokenizerConfig
from blockscan.detect.explain import Reading, paint, reason, strongest_evidence
from blockscan.findings import Evidence
from blockscan.tokens import Field, TokenLosses
from tokenizer.txtokenizer import TxTokenizer

PAYER, THEIRS, OTHER = (b58encode(bytes([byte]) * 32) for byte in (0x41, 0x42, 0x43))
HOSTILE = "<script>alert(1)</script> \u202e\x1b[31mred"


def record():
    """A token transfer inside an unknown program, which prints and emits; then a System transfer."""
    instructions = [
        {"programIdIndex": 4, "accounts": [0, 1], "data": b58encode(bytes(range(1, 21))), "stackHeight": 1},
        {
            "programIdIndex": 2,
            "accounts": [0, 1],
            "data": b58encode(b"\2\0\0\0" + (5).to_bytes(8, "little")),
            "stackHeight": 1,
        },
    ]
    transfer = {
        "programIdIndex": 3,
        "accounts": [0, 1, 0],
        "data": b58encode(b"\3" + (9).to_bytes(8, "little")),
        "stackHeight": 2,
    }
    message = {
        "accountKeys": [PAYER, THEIRS, SYSTEM, TOKEN, OTHER],
        "header": {"numRequiredSignatures": 1},
        "instructions": instructions,
    }
    meta = {
        "err": None,
        "fee": 5000,
        "preBalances": [1_000_000, 0],
        "postBalances": [994_995, 5],
        "innerInstructions": [{"index": 0, "instructions": [transfer]}],
        "logMessages": [
            f"Program {OTHER} invoke [1]",
            f"Program log: {HOSTILE}",
            "Program data: AQIDBAUGBwgJCg==",
            f"Program {TOKEN} invoke [2]",
            f"Program {TOKEN} success",
            f"Program {OTHER} success",
            f"Program {SYSTEM} invoke [1]",
            f"Program {SYSTEM} success",
        ],
    }
    signed = {"signatures": ["sig"], "message": message}
    return json.loads(json.dumps({"slot": 3, "version": 0, "transaction": signed, "meta": meta}))


def read(rare):
    """The transaction with every token ordinary, but those that `rare` accepts (sequence -> mask)."""
    transaction = parse_record(record())
    tokenizer = TxTokenizer.fit([transaction], TokenizerConfig())
    sequence = tokenizer.encode(transaction)
    p = np.where(rare(sequence), 1e-6, 0.9)
    expected = np.full((len(p), 3), -1, np.int32)
    losses = TokenLosses("sig", -np.log(p).astype(np.float32), np.zeros(len(p), np.int32), expected, 1)
    unit_text = tokenizer.unit_text(transaction)
    reading = Reading(
        sequence, losses, p, unit_text, lambda piece: tokenizer.describe([piece]), lambda *_: 1e-9
    )
    return transaction, reading


def test_instructions_have_names_and_logs_their_words():
    transaction, reading = read(lambda sequence: sequence.field == Field.TOPIC0)
    frames = paint(transaction, reading)
    assert [(frame.kind, frame.depth, frame.target, frame.selector) for frame in frames[:6]] == [
        ("INSTRUCTION", 0, PAYER, ""),
        ("INSTRUCTION", 1, OTHER, "0x0102030405060708"),
        ("LOG", 2, OTHER, "<script>alert(1)</script> [31mred"),
        ("LOG", 2, OTHER, "0x0102030405060708"),
        ("INSTRUCTION", 2, TOKEN, "spl-token:transfer"),
        ("INSTRUCTION", 1, SYSTEM, "system:transfer"),
    ]
    assert [frame.value for frame in frames if frame.kind != "LOG"] == ["5000", "0", "0", "5"]
    assert [(frame.target, frame.selector) for frame in frames[6:]] == [
        (SYSTEM, f"balance -5,005 to 994,995, of {PAYER}, 9 decimals"),
        (SYSTEM, f"balance +5 to 5, of {THEIRS}, 9 decimals"),
    ]
    hot = [place for place, frame in enumerate(frames) if frame.heat > 0.5]
    assert hot == [3], "the event's discriminator is painted on its own line"


def test_the_reason_names_the_instruction_and_its_program():
    transaction, reading = read(lambda sequence: (sequence.node == 2) & (sequence.field == Field.ARGUMENT))
    said = reason(transaction, strongest_evidence(reading))
    assert f"in spl-token:transfer, 2 deep, of program {TOKEN}" in said
    transaction, reading = read(lambda sequence: (sequence.node == 0) & (sequence.field == Field.VALUE))
    said = reason(transaction, strongest_evidence(reading))
    assert said.startswith("unusual fee 5000") and f"in the message that {PAYER} pays for" in said
    transaction, reading = read(lambda sequence: (sequence.node == 3) & (sequence.field == Field.TARGET))
    said = reason(transaction, strongest_evidence(reading))
    assert said.startswith(f"unusual program {SYSTEM}, in system:transfer, 1 deep")
    for field, found, told in (
        ("topic", "2", "number of accounts, 2"),
        ("topic", PAYER, f"account of a balance change {PAYER}"),
        ("argument", "3", "number of accounts, 3"),
    ):
        value = Evidence(0, field, found, (), 9.0, 1e-5, 1e-9)
        assert reason(transaction, (value,)).startswith(f"unusual {told}, in the message")
