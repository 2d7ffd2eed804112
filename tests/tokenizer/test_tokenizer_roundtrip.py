"""decode(encode(t)) == canonical(t), on generated trees full of values at the edges of every class."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockscan.config import TokenizerConfig
from blockscan.tokens import Field, Modality, windows
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceSource, Transaction, walk
from tokenizer.canonical import cut
from tokenizer.linearize import linearize, rebuild
from tokenizer.modalities import address, number
from tokenizer.modalities.bytes import word_stand_in
from tokenizer.modalities.text import CLIENT_ERRORS
from tokenizer.txtokenizer import TxTokenizer
from tokenizer.vocabulary import Names
from tokenizer.words import ADDRESS_FROM, NEGATIVE_FROM, RUN_FROM, blob_bytes, blob_values, word_classifier

KNOWN = [f"0x{byte:02x}" + f"{byte:02x}" * 19 for byte in (0x11, 0x22)]
VANITY = "0x000000000022d473030f116ddee9f6b43ac78ba3"
UNKNOWN = [f"0x{byte:02x}" + "77" * 19 for byte in (0x31, 0x32, 0x33, 0x34, 0x35)]
RESERVED = [address.stand_in("SENDER", 0), address.stand_in("NEW", 1), address.stand_in("A", 2)]
KNOWN_SELECTOR = bytes.fromhex("a9059cbb")
KNOWN_TOPIC = bytes.fromhex("dd" * 32)
KNOWN_WORD = bytes.fromhex("9a" * 32)
KNOWN_CODE = bytes.fromhex("6080604052")
EDGES = [
    *(0, 1, 255, 256, 999, 1000, 12_345, 2**64, 10**18, 2**128 - 1, int(VANITY, 16), int(VANITY, 16) + 1),
    *(edge + step for edge in (ADDRESS_FROM, 2**160, NEGATIVE_FROM) for step in (-1, 0, 1)),
    *(10**45, 123 * 10**70, 2**255, 2**256 - 10**18, 2**256 - 2, 2**256 - 1),
]


def as_word(text: str) -> bytes:
    return int(text, 16).to_bytes(32)


addresses = st.sampled_from([*KNOWN, VANITY, *UNKNOWN, *RESERVED, address.ZERO, f"0x{2:040x}"])
words = st.one_of(
    st.sampled_from([number.to_bytes(32) for number in EDGES]),
    addresses.map(as_word),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=32).map(
        lambda text: text.encode().ljust(32, b"\0")
    ),
    st.sampled_from([KNOWN_WORD, word_stand_in(0), word_stand_in(1), b"\xfe" * 32]),
    st.integers(0, 7).map(lambda seed: bytes([0xB0 + seed]) * 32),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**256 - 1).map(lambda value: value.to_bytes(32)),
)
runs = st.tuples(st.integers(RUN_FROM - 1, RUN_FROM + 1), st.binary(min_size=1, max_size=1)).map(
    lambda drawn: b"".join(b"\xee\x81" + drawn[1] + bytes([place]) * 29 for place in range(drawn[0]))
)
long_run = st.sampled_from([100, 1234]).map(lambda words: b"\x9d\x9c\x9b\x9a" * 8 * words)
selectors = st.one_of(
    st.sampled_from([KNOWN_SELECTOR, bytes(4), b"\0\0\0\1", b"ABCD"]), st.binary(min_size=4, max_size=4)
)


@st.composite
def inner_calls(draw: st.DrawFn, inner: st.SearchStrategy[bytes]) -> bytes:
    """A call as a `bytes` argument: often right, sometimes with a wrong length or no padding."""
    data = draw(selectors) + b"".join(draw(st.lists(st.one_of(words, words, inner), max_size=3)))
    length = len(data) + draw(st.sampled_from([0, 0, 0, 0, 32, -32, 1]))
    return (
        max(length, 0).to_bytes(32) + data + draw(st.sampled_from([bytes(28), bytes(28), bytes(27) + b"\1"]))
    )


nested = inner_calls(inner_calls(st.one_of(words, runs)))
blobs = st.tuples(
    st.lists(st.one_of(words, words, words, runs, long_run, nested), max_size=5).map(b"".join),
    st.one_of(st.just(b""), st.binary(max_size=31)),
).map(b"".join)
calldata = st.one_of(st.binary(max_size=3), blobs, st.tuples(selectors, blobs).map(b"".join))
codes = st.one_of(
    st.just(KNOWN_CODE), st.binary(min_size=1, max_size=40), st.integers(1, 5000).map(lambda n: b"\x60" * n)
)
errors = st.one_of(
    st.sampled_from(["", *CLIENT_ERRORS]),
    st.text(st.characters(exclude_categories=()), max_size=80),
    st.sampled_from(["[END]", "[/TEXT]", "E:reverted", "t:a", "\0\x1b[31m", "ends with [CALL ok]", "\ud800"]),
)
topics = st.one_of(
    st.just(()), st.tuples(st.just(KNOWN_TOPIC), words), st.lists(words, min_size=1, max_size=4).map(tuple)
)
logs = st.builds(Log, emitter=addresses, topics=topics, data=blobs)


@st.composite
def frames(draw: st.DrawFn, inner: st.SearchStrategy[Call] | None) -> Call:
    step = logs if inner is None else st.one_of(inner, logs)
    return Call(
        kind=draw(st.sampled_from([kind for kind in CallKind if kind is not CallKind.INSTRUCTION])),
        caller=draw(addresses),
        target=draw(st.one_of(addresses, addresses, st.none())),
        data=draw(st.one_of(calldata, codes)),
        output=draw(st.one_of(st.just(b""), blobs, codes)),
        value=draw(st.one_of(st.just(0), st.sampled_from(EDGES), st.integers(0, 2**256 + 9))),
        error=draw(st.one_of(st.none(), errors)),
        gas_used=draw(st.one_of(st.none(), st.integers(0, 30_000_000))),
        steps=tuple(draw(st.lists(step, max_size=1 if inner is None else 4))),
    )


trees = st.recursive(frames(None), frames, max_leaves=8)


def transaction(root: Call) -> Transaction:
    return Transaction(
        chain="ethereum",
        hash="0x01",
        block_number=1,
        block_hash=None,
        index=0,
        time=None,
        sender=root.caller,
        ok=root.ok,
        gas_used=None,
        root=root,
        source=TraceSource.CALL_TRACER_LOGS,
        log_order=LogOrder.EXACT,
    )


def fit(aliases: int) -> TxTokenizer:
    def seen(place: int) -> Transaction:
        log = Log(VANITY, (KNOWN_TOPIC,), KNOWN_WORD)
        create = Call(CallKind.CREATE, KNOWN[1], KNOWN[0], KNOWN_CODE, KNOWN_CODE, 0, None, None, ())
        data = KNOWN_SELECTOR + b"insufficient funds".ljust(32, b"\0")
        return transaction(
            Call(CallKind.CALL, KNOWN[0], KNOWN[1], data, b"", place, None, None, (create, log))
        )

    config = TokenizerConfig(aliases=aliases, buckets=5, text_pieces=40)
    tokenizer = TxTokenizer.fit(map(seen, range(3)), config)
    for piece in (f"A:{VANITY}", "S:a9059cbb", "T:" + "dd" * 32, "W:" + "9a" * 32):
        assert piece in tokenizer.vocabulary
    assert list(tokenizer.vocabulary.codes.values()) == [KNOWN_CODE]
    return tokenizer


@pytest.fixture(scope="module")
def fitted() -> TxTokenizer:
    """So few aliases that most generated trees need more."""
    return fit(aliases=3)


@pytest.fixture(scope="module")
def roomy() -> TxTokenizer:
    """More aliases than any generated tree needs."""
    return fit(aliases=400)


thorough = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@thorough
@given(root=trees)
def test_linear_form_is_exact(root: Call) -> None:
    linear = linearize(root, word_classifier({VANITY}))
    rebuilt = rebuild(linear.values)
    assert rebuilt == without_gas(root)
    assert len(linear.depths) == sum(isinstance(visit.step, Call) for visit in walk(root))


@thorough
@given(data=blobs)
def test_values_of_data_are_exact(data: bytes) -> None:
    assert blob_bytes(blob_values(data, word_classifier({VANITY}))) == data


def test_calls_inside_of_data_are_entered() -> None:
    """A multicall of two transfers, one of them a multicall itself."""
    classify = word_classifier(frozenset())
    transfer = KNOWN_SELECTOR + as_word(UNKNOWN[0]) + (7).to_bytes(32)
    inner = len(transfer).to_bytes(32) + transfer + bytes(28)
    outer = KNOWN_SELECTOR + inner
    data = len(outer).to_bytes(32) + outer + bytes(28) + inner
    seen = [content for _, content in blob_values(data, classify)]
    assert seen == [
        *(4 + len(inner), KNOWN_SELECTOR, 68, KNOWN_SELECTOR, UNKNOWN[0], 7),
        *(68, KNOWN_SELECTOR, UNKNOWN[0], 7),
    ]


def test_a_call_whose_selector_is_printable_is_entered_and_short_text_is_text() -> None:
    classify = word_classifier(frozenset())
    deposit = bytes.fromhex("6e553f65") + (7).to_bytes(32) + as_word(UNKNOWN[0])
    data = (68).to_bytes(32) + deposit + bytes(28)
    seen = [content for _, content in blob_values(data, classify)]
    assert seen == [68, b"nU?e", 7, UNKNOWN[0]]
    text = (4).to_bytes(32) + b"nU?e" + bytes(28) + (68).to_bytes(32) + b"letters".ljust(96, b"\0")
    assert [content for _, content in blob_values(text, classify)] == [4, "nU?e", 68, "letters", 0, 0]


def without_gas(root: Call) -> Call:
    steps = tuple(without_gas(step) if isinstance(step, Call) else step for step in root.steps)
    return replace(root, gas_used=None, steps=steps)


@thorough
@given(root=trees)
def test_decode_of_encode_is_canonical(fitted: TxTokenizer, roomy: TxTokenizer, root: Call) -> None:
    for tokenizer in (fitted, roomy):
        sequence = tokenizer.encode(transaction(root))
        assert tokenizer.decode(sequence) == tokenizer.canonical(transaction(root))


@thorough
@given(root=trees)
def test_encoding_is_idempotent(roomy: TxTokenizer, root: Call) -> None:
    left = roomy.canonical(transaction(root))
    ids = roomy.encode(transaction(root)).ids
    assert np.array_equal(roomy.encode(transaction(left)).ids, ids)
    assert roomy.canonical(transaction(left)) == left


@thorough
@given(root=trees)
def test_arrays_describe_the_tree(fitted: TxTokenizer, root: Call) -> None:
    sequence = fitted.encode(transaction(root))
    depths = [visit.depth for visit in walk(root) if isinstance(visit.step, Call)]
    assert set(sequence.node.tolist()) == set(range(len(depths)))
    assert [depths[node] for node in sequence.node] == sequence.depth.tolist()
    steps = np.diff(sequence.unit)
    assert sequence.unit[0] == 0
    assert set(steps.tolist()) <= {0, 1}
    assert len(fitted.unit_texts(transaction(root))) == sequence.unit[-1] + 1
    first_of_unit = np.concatenate([[0], 1 + np.flatnonzero(steps)])
    split = np.cumsum([0] + [len(pieces) for _, pieces in fitted.split(sequence)])[:-1]
    assert np.array_equal(first_of_unit, split)
    assert all(text.isprintable() and len(text) <= 120 for text in fitted.unit_texts(transaction(root)))
    assert all(fitted.describe([one]).isprintable() for one in sequence.ids)


@thorough
@given(root=trees, longest=st.integers(1, 60))
def test_windows_cover_every_token_once(fitted: TxTokenizer, root: Call, longest: int) -> None:
    sequence = fitted.encode(transaction(root))
    cuts = list(windows(sequence, longest))
    covered = [place for window in cuts for place in range(*window.indices(len(sequence)))]
    assert covered == list(range(len(sequence)))
    assert all(window.stop - window.start <= longest for window in cuts)


@thorough
@given(first=addresses, second=addresses)
def test_equal_addresses_and_only_they_share_an_alias(fitted: TxTokenizer, first: str, second: str) -> None:
    inner = [Call(CallKind.CALL, UNKNOWN[0], one, b"", b"", 0, None, None, ()) for one in (first, second)]
    root = Call(CallKind.CALL, KNOWN[0], UNKNOWN[0], b"", b"", 0, None, None, tuple(inner))
    sequence = fitted.encode(transaction(root))
    targets = sequence.ids[sequence.field == Field.TARGET]
    groups = sequence.group[sequence.field == Field.TARGET]
    assert (targets[1] == targets[2]) == (first == second)
    if groups[1] >= 0:
        assert (groups[1] == groups[2]) == (first == second)


def test_rounded_numbers_are_never_taken_for_anything_else() -> None:
    """Every canonical number is classified as that number again: what makes encoding idempotent."""
    classify = word_classifier({VANITY})
    for exponent in range(2, 78):
        for digits in range(100, 1000):
            value = digits * 10 ** (exponent - 2)
            if value < NEGATIVE_FROM:
                assert classify(value.to_bytes(32)) == (Modality.NUMBER, value)
            if 2 < value <= 2**256 - NEGATIVE_FROM:
                assert classify((2**256 - value).to_bytes(32)) == (Modality.NUMBER, -value)


def test_stand_ins_are_of_the_class_that_they_stand_for() -> None:
    classify = word_classifier(frozenset())
    for place in range(2**12):
        word = word_stand_in(place)
        assert classify(word) == (Modality.BYTES, word)
        for kind in ("SENDER", "NEW", "A"):
            name = address.stand_in(kind, place)
            assert classify(as_word(name)) == (Modality.ADDRESS, name)


@given(value=st.integers(-(2**256), 2**257))
def test_numbers_lose_only_digits_after_the_third(fitted: TxTokenizer, value: int) -> None:
    held = max(min(value, number.MAX_UINT), number.MIN_INT)
    left = cut(value)
    assert abs(left) <= abs(held)
    assert abs(held - left) * 100 < max(abs(held), 1)
    pieces = number.pieces(value, Names(fitted.vocabulary, KNOWN[0], ()))
    assert number.value(pieces, fitted.vocabulary) == left


@thorough
@given(root=trees)
def test_what_is_lost_is_counted_and_nothing_else_is(roomy: TxTokenizer, root: Call) -> None:
    one = transaction(root)
    lost = roomy.lost(one)
    assert (roomy.decode(roomy.encode(one)) == without_gas(root)) == (not lost)
    values = linearize(root, word_classifier({VANITY})).values
    long_numbers = sum(isinstance(content, int) and cut(content) != content for _, content in values)
    surrogates = sum(
        isinstance(content, str) and any(0xD800 <= ord(letter) < 0xE000 for letter in content)
        for _, content in values
    )
    assert lost[Modality.STRUCTURE] == 0
    assert lost[Modality.NUMBER] == long_numbers
    assert lost[Modality.TEXT] == surrogates
