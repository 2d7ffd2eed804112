"""Solana through the same tokenizer: exact, canonical and idempotent, on generated and on real trees."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockscan.chains.base58 import b58encode, key_bytes, key_text
from blockscan.chains.solana import parse_record
from blockscan.chains.solana_layouts import COMPUTE_BUDGET, LAYOUTS, MEMO, PROGRAMS, SYSTEM, TOKEN, Layout
from blockscan.config import TokenizerConfig
from blockscan.errors import ParseError
from blockscan.tokens import Field, Modality
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceSource, Transaction, walk
from tokenizer.instructions import data_bytes, event_values, instruction_values, word_values
from tokenizer.linearize import linearize, rebuild
from tokenizer.modalities import address
from tokenizer.modalities.bytes import word_stand_in
from tokenizer.txtokenizer import TxTokenizer
from tokenizer.words import word_classifier

REAL = Path(__file__).parents[3] / "shared" / "data" / "solana" / "transactions.jsonl.gz"
KEYS = [b58encode(bytes([byte]) * 32) for byte in range(0x21, 0x29)]
PROGRAM = b58encode(b"\x50" * 32)
KNOWN, KNOWN_DISCRIMINATOR = KEYS[0], bytes.fromhex("e517cb977ae3ad2a")
STAND_INS = [address.stand_in("SENDER", 0), address.stand_in("A", 1), address.stand_in("NEW", 2)]

keys = st.sampled_from([*KEYS, *STAND_INS, SYSTEM])
u64 = st.one_of(
    st.sampled_from([0, 1, 255, 10**9, 2**48 - 1, 2**48, 2**56, 2**60 - 1, 2**60, 2**64 - 1]),
    st.integers(0, 2**64 - 1),
)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


def argument(kind: str) -> st.SearchStrategy[object]:
    sizes = {"u8": 8, "u16": 16, "u32": 32, "u64": 64, "enum8": 8, "enum32": 32}
    if kind in sizes:
        return st.integers(0, 2 ** sizes[kind] - 1)
    if kind == "i64":
        return st.integers(-(2**63), 2**63 - 1)
    if kind in ("key?", "key0"):
        return st.one_of(st.none(), keys.filter(lambda key: kind == "key?" or key != SYSTEM))
    return keys if kind == "key" else texts


@st.composite
def well_formed(draw: st.DrawFn) -> tuple[str, bytes]:
    program = draw(st.sampled_from(sorted(PROGRAMS)))
    layout: Layout = draw(st.sampled_from(list(PROGRAMS[program].values())))
    values: list[object] = []
    for _, kind in layout.arguments:
        values += (
            draw(st.lists(st.integers(0, 65_535), max_size=3)) if kind == "u16s" else [draw(argument(kind))]
        )
    return program, layout.pack(values)  # type: ignore[arg-type]  # the strategies draw what the layout takes


chunks = st.one_of(
    u64.map(lambda number: number.to_bytes(8, "little")),
    st.sampled_from([b"\x9a" * 32, word_stand_in(0), word_stand_in(3), bytes(32), key_bytes(KNOWN)]),
    st.integers(15, 18).map(lambda count: b"\xee" * 32 * count),
    st.binary(max_size=9),
)
unknown_data = st.tuples(
    st.one_of(
        st.binary(max_size=1),
        st.just(KNOWN_DISCRIMINATOR),
        st.binary(min_size=8, max_size=8),
        st.binary(min_size=7, max_size=7).map(lambda head: head + b"\0"),
    ),
    st.lists(chunks, max_size=4).map(b"".join),
).map(b"".join)
malformed = st.tuples(st.sampled_from(sorted(PROGRAMS)), st.binary(max_size=40))
instructions = st.one_of(
    well_formed(), malformed, st.tuples(st.sampled_from([PROGRAM, KEYS[1], STAND_INS[1]]), unknown_data)
)
balances = st.tuples(st.integers(-(2**64), 2**64), st.integers(0, 2**64 - 1), st.integers(0, 18)).map(
    lambda drawn: b"".join(number.to_bytes(32, signed=True) for number in drawn)
)
logs = st.one_of(
    st.builds(Log, emitter=keys, topics=st.just(()), data=st.just(b""), text=texts),
    st.builds(Log, emitter=keys, topics=st.just(()), data=unknown_data),
    st.builds(
        Log, keys, st.just(()), balances, st.just(""), st.lists(keys, min_size=1, max_size=2).map(tuple)
    ),
)


@st.composite
def frames(draw: st.DrawFn, inner: st.SearchStrategy[Call] | None) -> Call:
    target, data = draw(instructions)
    return Call(
        kind=CallKind.INSTRUCTION,
        caller=draw(keys),
        target=target,
        data=data,
        output=draw(st.lists(chunks, max_size=3).map(b"".join)),
        value=draw(st.one_of(st.just(0), u64)),
        error=draw(st.one_of(st.none(), texts)),
        gas_used=draw(st.one_of(st.none(), st.integers(0, 200_000))),
        steps=tuple(draw(st.lists(logs if inner is None else st.one_of(inner, logs), max_size=3))),
        accounts=tuple(draw(st.lists(keys, max_size=5))),
    )


trees = st.recursive(frames(None), frames, max_leaves=6)
thorough = settings(
    max_examples=70, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def transaction(root: Call) -> Transaction:
    facts = ("solana", "5" * 88, 1, None, 0, None, root.caller, root.ok, None)
    return Transaction(*facts, root, TraceSource.SOLANA_LOGS, LogOrder.EXACT)


def call(caller: str, target: str, data: bytes, *steps: Call | Log, accounts: tuple[str, ...] = ()) -> Call:
    return Call(CallKind.INSTRUCTION, caller, target, data, b"", 0, None, None, steps, accounts)


def fit(aliases: int) -> TxTokenizer:
    inner = call(KNOWN, PROGRAM, KNOWN_DISCRIMINATOR + b"\x9a" * 32)
    config = TokenizerConfig(aliases=aliases, buckets=5, text_pieces=20)
    tokenizer = TxTokenizer.fit([transaction(call(KNOWN, KNOWN, b"", inner))] * 2, config)
    for piece in (f"A:{KNOWN}", "D:" + KNOWN_DISCRIMINATOR.hex(), "W:" + "9a" * 32):
        assert piece in tokenizer.vocabulary
    return tokenizer


@pytest.fixture(scope="module")
def fitted() -> TxTokenizer:
    """So few aliases that most generated trees need more."""
    return fit(aliases=2)


@pytest.fixture(scope="module")
def roomy() -> TxTokenizer:
    """More aliases than any generated tree needs."""
    return fit(aliases=400)


@thorough
@given(root=trees)
def test_linear_form_is_exact(root: Call) -> None:
    rebuilt = rebuild(linearize(root, word_classifier(frozenset())).values)
    assert [visit.step for visit in walk(rebuilt) if isinstance(visit.step, Log)] == [
        visit.step for visit in walk(root) if isinstance(visit.step, Log)
    ]
    assert without_units(rebuilt) == without_units(root)


def without_units(root: Call) -> Call:
    steps = tuple(without_units(step) if isinstance(step, Call) else step for step in root.steps)
    return replace(root, gas_used=None, steps=steps)


@thorough
@given(program_and_data=instructions, other=unknown_data)
def test_values_of_data_are_exact(program_and_data: tuple[str, bytes], other: bytes) -> None:
    program, data = program_and_data
    assert data_bytes(instruction_values(program, data)) == data
    assert data_bytes(event_values(other)) == other
    assert data_bytes(word_values(other)) == other


def test_a_word_of_2_to_60_opens_a_key_and_a_number_follows_a_tag_of_one_byte() -> None:
    (largest,) = word_values((2**60 - 1).to_bytes(8, "little"))
    (key,) = word_values((2**60).to_bytes(8, "little") + bytes(24))
    assert largest == (Modality.NUMBER, 2**60 - 1) and key[0] is Modality.BYTES
    assert event_values(b"\3" + (5).to_bytes(8, "little")) == [
        (Modality.SELECTOR, b"\3"),
        (Modality.NUMBER, 5),
    ]


@thorough
@given(root=trees)
def test_decode_of_encode_is_canonical(fitted: TxTokenizer, roomy: TxTokenizer, root: Call) -> None:
    for tokenizer in (fitted, roomy):
        sequence = tokenizer.encode(transaction(root))
        assert tokenizer.decode(sequence) == tokenizer.canonical(transaction(root))
        assert len(tokenizer.unit_texts(transaction(root))) == sequence.unit[-1] + 1
        assert all(tokenizer.describe([one]).isprintable() for one in sequence.ids)


@thorough
@given(root=trees)
def test_encoding_is_idempotent(roomy: TxTokenizer, root: Call) -> None:
    left = roomy.canonical(transaction(root))
    ids = roomy.encode(transaction(root)).ids
    assert np.array_equal(roomy.encode(transaction(left)).ids, ids)
    assert roomy.canonical(transaction(left)) == left


@given(
    raw=st.one_of(
        st.binary(min_size=32, max_size=32), st.binary(max_size=20).map(lambda b: b.rjust(32, b"\0"))
    )
)
def test_addresses_and_their_bytes_belong_together(raw: bytes) -> None:
    assert key_bytes(key_text(raw)) == raw


def test_a_transfer_reads_as_its_names_and_numbers(roomy: TxTokenizer) -> None:
    """Case of keys kept, tokens by name, balances with their sign, prints as text."""
    data = LAYOUTS["spl-token:transferChecked"].pack([1_234_567, 6])
    accounts = tuple(KEYS[1:5])
    printed = Log(TOKEN, (), b"", text="Instruction: TransferChecked")
    change = b"".join(number.to_bytes(32, signed=True) for number in (-1_234_567, 0, 6))
    balance = Log(KEYS[2], (), change, accounts=(KEYS[1], KEYS[4]))
    transfer = call(KEYS[4], TOKEN, data, printed, accounts=accounts)
    memo = call(KEYS[4], MEMO, "grüße".encode())
    limit = call(KEYS[4], COMPUTE_BUDGET, b"\x02" + (200_000).to_bytes(4, "little"))
    whole = transaction(call(KEYS[4], KEYS[4], b"", limit, transfer, memo, balance, accounts=(KEYS[4],)))
    texts = roomy.unit_texts(whole)
    shown = [text for text in texts if text not in ("END", "INSTRUCTION ok", "PRINT", "BALANCE from")]
    assert shown == [
        *("INSTRUCTION ok from", KEYS[4], KEYS[4], "1", KEYS[4]),
        *(COMPUTE_BUDGET, "0", "compute-budget:setComputeUnitLimit", "200000"),
        *(TOKEN, "4", *accounts, "spl-token:transferChecked", "1234567 (≈1.23e+06)", "6"),
        '"Instruction: TransferChecked"',
        *(MEMO, "0", "spl-memo:memo", '"grüße"'),
        *(KEYS[2], "2", KEYS[1], KEYS[4], "-1234567 (≈-1.23e+06)", "0", "6"),
    ]
    sequence = roomy.encode(whole)
    pieces = [roomy.vocabulary.pieces[one] for one in sequence.ids]
    assert pieces.count("[SENDER]") == 5  # root caller, target and signer; authority; owner of the balance
    assert "I:spl-token:transferChecked" in pieces
    text = sequence.modality == Modality.TEXT
    assert text.any() and set(sequence.field[text].tolist()) == {Field.LOG_DATA, Field.ARGUMENT}
    amounts = [group for group, piece in zip(sequence.group, pieces, strict=True) if piece in ("e6", "-e6")]
    assert len(amounts) == 2 and amounts[0] == amounts[1] >= 0


def test_an_account_that_the_system_program_creates_is_new(roomy: TxTokenizer) -> None:
    data = LAYOUTS["system:createAccount"].pack([2_039_280, 165, TOKEN])
    root = call(KEYS[1], KEYS[1], b"", call(KEYS[1], SYSTEM, data, accounts=(KEYS[1], KEYS[2])))
    pieces = [roomy.vocabulary.pieces[one] for one in roomy.encode(transaction(root)).ids]
    assert "[NEW1]" in pieces and f"A:{TOKEN}" in pieces


def test_a_key_is_the_same_in_accounts_and_in_data(roomy: TxTokenizer) -> None:
    """Also after decoding, when it has the name of a stand-in."""
    data = LAYOUTS["spl-token:setAuthority"].pack([2, KEYS[3]])
    give = call(KEYS[1], TOKEN, data, accounts=(KEYS[2], KEYS[1]))
    pay = call(KEYS[1], SYSTEM, LAYOUTS["system:transfer"].pack([5]), accounts=(KEYS[1], KEYS[3]))
    whole = transaction(call(KEYS[1], KEYS[1], b"", give, pay, accounts=(KEYS[1],)))
    sequence = roomy.encode(whole)
    pieces = [roomy.vocabulary.pieces[one] for one in sequence.ids]
    assert pieces.count("[A2]") == 2  # the new authority, and who is paid
    left = transaction(roomy.canonical(whole))
    assert np.array_equal(roomy.encode(left).ids, sequence.ids)


def test_a_tokenizer_of_the_evm_has_no_piece_of_solana_and_says_so() -> None:
    evm = Call(CallKind.CALL, "0x" + "11" * 20, "0x" + "22" * 20, b"", b"", 0, None, None, ())
    tokenizer = TxTokenizer.fit([transaction(evm)], TokenizerConfig(aliases=4, buckets=4))
    assert not [piece for piece in tokenizer.vocabulary.pieces if piece[:2] in ("I:", "D:", "D#")]
    with pytest.raises(ParseError, match="fit one on Solana's"):
        tokenizer.encode(transaction(call(KEYS[1], KEYS[1], b"", call(KEYS[1], SYSTEM, b"\2"))))


def test_a_saved_tokenizer_reads_solana_again(roomy: TxTokenizer, tmp_path: Path) -> None:
    roomy.save(tmp_path / "tokenizer")
    again = TxTokenizer.load(tmp_path / "tokenizer")
    whole = transaction(call(KEYS[1], PROGRAM, KNOWN_DISCRIMINATOR + bytes(8)))
    assert np.array_equal(again.encode(whole).ids, roomy.encode(whole).ids)
    assert len(roomy.shape.alias_spans) == 6


@pytest.mark.skipif(not REAL.is_file(), reason="the recorded mainnet transactions are not here")
def test_real_transactions_survive_the_round_trip() -> None:
    with gzip.open(REAL, "rt") as lines:
        seen = [parse_record(json.loads(line)) for line in lines]
    assert len(seen) == 906
    tokenizer = TxTokenizer.fit(seen[::2], TokenizerConfig(aliases=2000))
    for whole in seen:
        sequence = tokenizer.encode(whole)
        left = tokenizer.canonical(whole)
        assert tokenizer.decode(sequence) == left
        assert np.array_equal(tokenizer.encode(replace(whole, root=left)).ids, sequence.ids)
        assert len(tokenizer.unit_texts(whole)) == sequence.unit[-1] + 1


def test_what_nobody_can_read_is_not_remembered(roomy: TxTokenizer) -> None:
    """Data of a well-known program that say nothing to anybody are of any length."""
    tokenizer = TxTokenizer(roomy.vocabulary)
    for length in (8, 4000):
        data = bytes([240]) + bytes(1 + n % 250 for n in range(length))
        tokenizer.encode(transaction(call(KNOWN, KNOWN, b"", call(KNOWN, TOKEN, data))))
    assert max(len(value[1]) for value in tokenizer._remembered if isinstance(value[1], bytes)) <= 64
