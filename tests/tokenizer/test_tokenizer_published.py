"""The published tokenizer, our baseline: what it writes and what it throws away."""

from collections.abc import Callable

import numpy as np
import pytest

from blockscan.errors import ConfigError, ParseError
from blockscan.tokens import Field, Modality, TokenSequence
from blockscan.transaction import Call, CallKind, Log, Transaction, walk
from tokenizer.published import OOV, PublishedTokenizer

SENDER, TOKEN, THIEF = ("0x" + f"{byte:02x}" * 20 for byte in (0x51, 0x70, 0xBA))
TRANSFER = bytes.fromhex("a9059cbb")
TRANSFERRED = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
AMOUNT = 1_234_567_891
MakeCall = Callable[..., Call]
MakeTransaction = Callable[[Call], Transaction]


def word(value: int | str) -> bytes:
    return (int(value, 16) if isinstance(value, str) else value).to_bytes(32)


@pytest.fixture(scope="module")
def transfer(make_call: MakeCall, make_transaction: MakeTransaction) -> Transaction:
    log = Log(TOKEN, (TRANSFERRED, word(SENDER), word(THIEF)), word(AMOUNT))
    data = TRANSFER + word(THIEF) + word(AMOUNT)
    return make_transaction(make_call(SENDER, TOKEN, log, data=data, output=word(1), value=0))


@pytest.fixture(scope="module")
def tokenizer(make_call: MakeCall, make_transaction: MakeTransaction) -> PublishedTokenizer:
    """Knows the sender, the token, the transfer and its event: the thief is seen less often, and is fifth."""
    log = Log(TOKEN, (TRANSFERRED,), b"low balance".ljust(32, b"\0"))
    seen = [make_call(SENDER, TOKEN, log, data=TRANSFER + word(place)) for place in range(300)]
    seen.append(make_call(SENDER, THIEF, data=TRANSFER))
    return PublishedTokenizer.fit(map(make_transaction, seen), whole_values=4, vocabulary=400)


def written(tokenizer: PublishedTokenizer, sequence: TokenSequence) -> list[str]:
    """One text per value; the pieces of one value joined."""
    names = {place: piece for piece, place in tokenizer._ids.items()}
    cut = [
        names.get(one) or (tokenizer._pieces.id_to_token(one - len(names)) or "").removeprefix("##")
        for one in sequence.ids.tolist()
    ]
    units = [np.flatnonzero(sequence.unit == unit) for unit in np.unique(sequence.unit)]
    return ["".join(cut[place] for place in unit) for unit in units]


def test_a_transfer_reads_as_the_paper_writes_it(
    tokenizer: PublishedTokenizer, transfer: Transaction
) -> None:
    sequence = tokenizer.encode(transfer)
    numbers = {number: f"{number:064x}" for number in (0, 1, AMOUNT)}
    assert written(tokenizer, sequence) == [
        *("[START]", "CALL", SENDER, TOKEN, TRANSFER.hex(), numbers[0], numbers[0]),
        *("[INs]", "address", OOV, "data", numbers[AMOUNT]),
        *("[LOG]", TOKEN, TRANSFERRED.hex(), SENDER, OOV, "data", numbers[AMOUNT], "[END]"),
        *("[OUTs]", "data", numbers[1], "[END]"),
    ]
    assert tokenizer.lost(transfer) == {Modality.ADDRESS: 2}


def test_arrays_describe_values(tokenizer: PublishedTokenizer, transfer: Transaction) -> None:
    sequence = tokenizer.encode(transfer)
    assert set(np.diff(sequence.unit).tolist()) == {0, 1}
    assert np.array_equal(sequence.scored, sequence.field != Field.MARK)
    assert 1 < sequence.ids.min() <= sequence.ids.max() < tokenizer.shape.size <= 400
    assert (sequence.group == -1).all()
    assert set(sequence.modality[sequence.field == Field.TARGET].tolist()) == {Modality.ADDRESS}


def test_frames_stand_in_order_with_their_depth(
    tokenizer: PublishedTokenizer, make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    call = make_call(TOKEN, TOKEN)
    for _ in range(1022):
        call = make_call(TOKEN, TOKEN, call)
    transaction = make_transaction(make_call(SENDER, TOKEN, call, make_call(TOKEN, THIEF)))
    sequence = tokenizer.encode(transaction)
    depths = [visit.depth for visit in walk(transaction.root)]
    assert [depths[node] for node in sequence.node] == sequence.depth.tolist()
    assert sequence.depth.max() == 1023


def test_code_is_one_token_and_no_number_is_unknown(
    tokenizer: PublishedTokenizer, make_call: MakeCall, make_transaction: MakeTransaction
) -> None:
    rng = np.random.default_rng(3)
    numbers = b"".join(bytes(16) + rng.bytes(16) for _ in range(200))
    create = make_call(SENDER, THIEF, kind=CallKind.CREATE, data=b"\x60" * 5000, output=b"\x61" * 5000)
    transaction = make_transaction(make_call(SENDER, TOKEN, create, data=TRANSFER + numbers))
    sequence = tokenizer.encode(transaction)
    assert (sequence.field == Field.CODE).sum() == 2
    assert tokenizer.lost(transaction) == {Modality.BYTES: 2, Modality.ADDRESS: 1, Modality.SELECTOR: 1}


def test_what_it_cannot_do_is_refused(make_call: MakeCall, make_transaction: MakeTransaction) -> None:
    with pytest.raises(ConfigError, match="no room"):
        PublishedTokenizer.fit([], whole_values=100, vocabulary=120)
    message = make_transaction(make_call(SENDER, SENDER, kind=CallKind.INSTRUCTION))
    with pytest.raises(ParseError, match="EVM chains"):
        PublishedTokenizer.fit([message])
