"""What encode writes, on small transactions that can be read."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import FrameType

import numpy as np
import pytest

from blockscan.config import TokenizerConfig
from blockscan.errors import ConfigError, ParseError
from blockscan.tokens import Field, Modality, TokenSequence
from blockscan.transaction import Call, CallKind, Log, Transaction
from tokenizer.fitting import forget_rare
from tokenizer.modalities.address import stand_in
from tokenizer.modalities.bytes import code_stand_in, word_stand_in
from tokenizer.txtokenizer import TxTokenizer

SENDER, TOKEN, PROXY, LOGIC, THIEF = ("0x" + f"{byte:02x}" * 20 for byte in (0x51, 0x70, 0x9C, 0x1C, 0xBA))
TRANSFER = bytes.fromhex("a9059cbb")
TRANSFERRED = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
MakeCall = Callable[..., Call]
MakeTransaction = Callable[[Call], Transaction]


def word(value: int | str) -> bytes:
    return (int(value, 16) if isinstance(value, str) else value).to_bytes(32)


@pytest.fixture(scope="module")
def tokenizer(make_call: MakeCall, make_transaction: MakeTransaction) -> TxTokenizer:
    """Knows the token, the transfer selector and topic; not the sender, the proxy or the thief."""
    transfers = [
        make_transaction(
            make_call(
                f"0x{place:02x}" + "e1" * 19,
                TOKEN,
                Log(TOKEN, (TRANSFERRED,), word(place)),
                data=TRANSFER + word(place),
            )
        )
        for place in range(2)
    ]
    return TxTokenizer.fit(transfers, TokenizerConfig(aliases=8, buckets=4, text_pieces=8))


def written(tokenizer: TxTokenizer, sequence: TokenSequence) -> list[str]:
    return [tokenizer.vocabulary.pieces[one] for one in sequence.ids]


def pieces(tokenizer: TxTokenizer, sequence: TokenSequence) -> str:
    return " ".join(written(tokenizer, sequence))


def test_a_transfer_reads_as_expected(
    tokenizer: TxTokenizer, make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    log = Log(TOKEN, (TRANSFERRED, word(SENDER), word(THIEF)), word(1_234_567))
    root = make_call(
        SENDER, TOKEN, log, data=TRANSFER + word(THIEF) + word(1_234_567), output=word(1), value=0
    )
    sequence = tokenizer.encode(make_transaction(root))
    assert pieces(tokenizer, sequence) == (
        f"[CALL ok from] [SENDER] A:{TOKEN} n:0 S:a9059cbb [A1] e6 d123"
        f" [LOG3] T:{TRANSFERRED.hex()} [SENDER] [A1] e6 d123 [OUT] n:1 [END]"
    )
    assert sequence.unit.tolist() == [0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11, 11, 12, 13, 14]
    assert sequence.group.tolist() == [-1, 0, 1, -1, -1, 2, 3, 3, -1, -1, 0, 2, 3, 3, -1, -1, -1]
    marks = [
        place for place, one in enumerate(written(tokenizer, sequence)) if one in ("[LOG3]", "[OUT]", "[END]")
    ]
    assert np.flatnonzero(sequence.field == Field.MARK).tolist() == marks
    scored = [written(tokenizer, sequence)[place] for place in np.flatnonzero(sequence.scored)]
    assert scored == [f"A:{TOKEN}", "S:a9059cbb", f"T:{TRANSFERRED.hex()}", "[SENDER]", "[A1]"]
    assert sequence.modality[:5].tolist() == [
        Modality.STRUCTURE,
        Modality.ADDRESS,
        Modality.ADDRESS,
        Modality.NUMBER,
        Modality.SELECTOR,
    ]


def test_an_amount_is_one_group_whoever_pays_it_and_precompiles_are_none(
    tokenizer: TxTokenizer, make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    nobody, identity = f"0x{0:040x}", f"0x{4:040x}"
    steps = [make_call(TOKEN, nobody), make_call(TOKEN, identity), make_call(TOKEN, identity)]
    root = make_call(SENDER, TOKEN, *steps, data=TRANSFER + word(1_234_567) + word(2**256 - 1_234_567))
    sequence = tokenizer.encode(make_transaction(root))
    of = dict(zip(written(tokenizer, sequence), sequence.group.tolist(), strict=True))
    assert of["e6"] == of["-e6"] >= 0
    assert of[f"A:{nobody}"] == of[f"A:{identity}"] == -1


def test_what_a_precompile_is_given_has_no_selector(
    tokenizer: TxTokenizer, make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    for target, told in ((TOKEN, True), (f"0x{1:040x}", False)):
        root = make_call(SENDER, target, data=bytes(128))
        assert (Field.SELECTOR in tokenizer.encode(make_transaction(root)).field) == told


def test_callers_and_emitters_stand_only_where_nothing_implies_them(
    tokenizer: TxTokenizer, make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    inner = make_call(PROXY, TOKEN)
    logic = make_call(PROXY, LOGIC, Log(PROXY, (), b""), inner, kind=CallKind.DELEGATECALL)
    root = make_call(SENDER, PROXY, logic, Log(LOGIC, (), b""))
    sequence = tokenizer.encode(make_transaction(root))
    assert pieces(tokenizer, sequence) == (
        "[CALL ok from] [SENDER] [A1] n:0 [DELEGATECALL ok] [A2] [LOG0]"
        f" [CALL ok] A:{TOKEN} n:0 [END] [END] [LOG0 from] [A2] [END]"
    )
    assert sequence.node.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 1, 0, 0, 0]
    assert sequence.depth.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 1, 0, 0, 0]


def test_a_created_contract_has_one_name_even_before_its_creation(
    tokenizer: TxTokenizer, make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    create = make_call(PROXY, LOGIC, kind=CallKind.CREATE, data=b"\x60" * 300, output=b"\x61" * 200)
    root = make_call(SENDER, PROXY, create, make_call(PROXY, LOGIC), data=TRANSFER + word(LOGIC))
    assert pieces(tokenizer, tokenizer.encode(make_transaction(root))) == (
        "[CALL ok from] [SENDER] [A1] n:0 S:a9059cbb [NEW1]"
        " [CREATE ok] [NEW1] n:0 [CODE] e2 d300 [OUT] [CODE] n:200 [END]"
        " [CALL ok] [NEW1] n:0 [END] [END]"
    )


def test_failure_is_told_by_kind_and_error(
    tokenizer: TxTokenizer, make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    root = make_call(SENDER, TOKEN, error="out of gas")
    assert pieces(tokenizer, tokenizer.encode(make_transaction(root))) == (
        f"[CALL failed from] [SENDER] A:{TOKEN} n:0 [ERR] E:out of gas [END]"
    )


@pytest.mark.parametrize(
    ("error", "output"),
    [("reverted", "S:a9059cbb n:1"), (None, "[W1] b:00 b:00 b:00 b:01")],
)
def test_only_a_failed_frame_returns_a_selector(
    tokenizer: TxTokenizer,
    make_call: MakeCall,
    make_transaction: MakeTransaction,
    error: str | None,
    output: str,
) -> None:
    root = make_call(SENDER, TOKEN, output=TRANSFER + word(1), error=error)
    assert f"[OUT] {output} " in pieces(tokenizer, tokenizer.encode(make_transaction(root)))


def test_text_cannot_forge_brackets(
    tokenizer: TxTokenizer, make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    forged = "[END] [CALL ok] [/TEXT] E:out of gas \0\x1b[31m [A1]"
    root = make_call(SENDER, TOKEN, error=forged, output=b"[END] [END]".ljust(32, b"\0"))
    sequence = tokenizer.encode(make_transaction(root))
    assert [piece for piece in written(tokenizer, sequence) if piece.startswith("[")] == (
        ["[CALL failed from]", "[SENDER]", "[OUT]", "[/TEXT]", "[ERR]", "[/TEXT]", "[END]"]
    )
    assert tokenizer.decode(sequence).error == forged


def test_order_of_calls_and_logs_matters(
    tokenizer: TxTokenizer, make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    call, log = make_call(PROXY, TOKEN), Log(PROXY, (TRANSFERRED,), b"")
    one = tokenizer.encode(make_transaction(make_call(SENDER, PROXY, call, log)))
    other = tokenizer.encode(make_transaction(make_call(SENDER, PROXY, log, call)))
    again = tokenizer.encode(make_transaction(make_call(SENDER, PROXY, call, log)))
    assert not np.array_equal(one.ids, other.ids)
    assert np.array_equal(one.ids, again.ids)


def test_what_was_encoded_before_changes_nothing(
    tokenizer: TxTokenizer, make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    first = make_transaction(make_call(SENDER, PROXY, data=TRANSFER + word(LOGIC) + word(THIEF)))
    second = make_transaction(make_call(THIEF, LOGIC, data=TRANSFER + word(PROXY) + word(SENDER)))
    fresh = TxTokenizer(tokenizer.vocabulary).encode(first)
    tokenizer.encode(second)
    assert np.array_equal(tokenizer.encode(first).ids, fresh.ids)
    assert np.array_equal(tokenizer.encode(second).ids, fresh.ids)


def test_a_loop_in_one_transaction_buys_no_place(
    make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    looping = make_call(SENDER, PROXY, *[make_call(PROXY, THIEF) for _ in range(50)])
    honest = [make_call(PROXY, LOGIC), make_call(PROXY, LOGIC)]
    fitted = TxTokenizer.fit(map(make_transaction, [looping, *honest]), TokenizerConfig(addresses=1))
    assert f"A:{THIEF}" not in fitted.vocabulary
    assert f"A:{PROXY}" in fitted.vocabulary
    assert f"A:{LOGIC}" not in fitted.vocabulary


def test_stand_ins_stay_unknown_however_frequent(
    make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    names = [stand_in("SENDER", 0), stand_in("NEW", 3), stand_in("A", 64)]
    data = TRANSFER + b"".join(map(word, names)) + word_stand_in(0) + word_stand_in(64)
    seen = make_call(names[0], names[1], make_call(names[1], names[2]), data=data)
    create = make_call(SENDER, PROXY, kind=CallKind.CREATE, data=code_stand_in(9).data)
    fitted = TxTokenizer.fit(map(make_transaction, [seen, create, seen, create]), TokenizerConfig())
    assert f"A:{PROXY}" in fitted.vocabulary
    assert not any(f"A:{name}" in fitted.vocabulary for name in names)
    assert not any(piece.startswith("W:") for piece in fitted.vocabulary.pieces)
    assert not fitted.vocabulary.codes


def test_many_texts_hide_nothing_else_from_the_fit(
    make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    texts = b"".join(f"text {place}".encode().ljust(32, b"\0") for place in range(100))
    noisy = make_call(SENDER, PROXY, make_call(PROXY, THIEF), data=TRANSFER + texts)
    fitted = TxTokenizer.fit(map(make_transaction, [noisy, noisy]), TokenizerConfig())
    assert f"A:{THIEF}" in fitted.vocabulary


def test_the_fit_does_not_depend_on_the_order(make_call: MakeCall, make_transaction: MakeTransaction) -> None:
    seen = [
        make_transaction(make_call(SENDER, one, data=bytes([place] * 4), error=f"no {place % 3}: balance"))
        for place, one in enumerate([TOKEN, PROXY, LOGIC, THIEF] * 3)
    ]
    config = TokenizerConfig(min_count=1)
    assert TxTokenizer.fit(seen, config).fingerprint == TxTokenizer.fit(seen[::-1], config).fingerprint


def test_rare_values_are_forgotten_first() -> None:
    counter = Counter({"a": 3, "b": 1, "c": 1, "d": 2})
    forget_rare(counter, 3)
    assert counter == {"a": 3, "d": 2}


def test_a_configuration_without_aliases_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tokenizer\.aliases is 0"):
        TxTokenizer.fit([], TokenizerConfig(aliases=0))
    with pytest.raises(ConfigError, match=r"tokenizer\.addresses is -1; it must be from 0 to 1,000,000"):
        TxTokenizer.fit([], TokenizerConfig(addresses=-1))
    with pytest.raises(ConfigError, match=r"tokenizer\.aliases is 100000000; it must be from 1 to 10,000"):
        TxTokenizer.fit([], TokenizerConfig(aliases=100_000_000))


def test_five_topics_are_refused(
    tokenizer: TxTokenizer, make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    root = make_call(SENDER, PROXY, Log(PROXY, (word(1),) * 5, b""))
    with pytest.raises(ParseError, match="5 topics"):
        tokenizer.encode(make_transaction(root))


def test_ids_that_are_no_transaction_are_refused(
    tokenizer: TxTokenizer, make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    sequence = tokenizer.encode(make_transaction(make_call(SENDER, TOKEN)))
    with pytest.raises(ParseError, match="should be structure"):
        tokenizer.decode(replace(sequence, ids=sequence.ids[:-1]))
    with pytest.raises(ParseError, match="outside of the vocabulary"):
        tokenizer.decode(replace(sequence, ids=sequence.ids + len(tokenizer.vocabulary)))


def test_a_tree_of_1024_frames_in_one_another(
    tokenizer: TxTokenizer, make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    call = make_call(TOKEN, TOKEN)
    for _ in range(1022):
        call = make_call(TOKEN, TOKEN, call)
    transaction = make_transaction(make_call(SENDER, TOKEN, call))
    sequence = tokenizer.encode(transaction)
    assert sequence.depth.max() == 1023
    assert tokenizer.decode(sequence) == tokenizer.canonical(transaction)


@pytest.mark.parametrize("shape", ["opaque", "addresses", "numbers", "logs"])
def test_work_grows_linearly_with_calldata(
    shape: str, tokenizer: TxTokenizer, make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    """Counted in function calls, not in seconds: 220 KB against 110 KB."""
    maker = np.random.default_rng(7)

    def transaction(words: int) -> Transaction:
        if shape == "logs":
            return make_transaction(
                make_call(SENDER, PROXY, *[Log(PROXY, (), maker.bytes(32)) for _ in range(words)])
            )
        prefix = {"opaque": b"", "addresses": b"\0" * 12, "numbers": b"\0" * 20}[shape]
        rest = [prefix + maker.bytes(32 - len(prefix)) for _ in range(words)]
        return make_transaction(make_call(SENDER, PROXY, data=TRANSFER + b"".join(rest) + b"x" * 31))

    half, whole = (calls_during(tokenizer, transaction(words)) for words in (3_500, 7_000))
    assert whole < 2.1 * half + 100


def calls_during(tokenizer: TxTokenizer, transaction: Transaction) -> int:
    counted = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    fresh = TxTokenizer(tokenizer.vocabulary)
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        fresh.encode(transaction)
    finally:
        sys.setprofile(before)
    return counted
