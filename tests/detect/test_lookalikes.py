"""Payments to addresses that look like others."""

import math
import time
from collections.abc import Iterable
from dataclasses import replace

import pytest

from blockscan.detect.books import Books
from blockscan.detect.dealings import dealing_in, dealings_facts
from blockscan.detect.fact import MEASURED
from blockscan.detect.facts import facts_of
from blockscan.detect.flow import ETHER, Transfer, ends_of, payees_of
from blockscan.detect.history import history_of, merged
from blockscan.detect.lookalikes import lookalike
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceSource, Transaction

PAYER, FRIEND, TOKEN = ("0x" + letter * 40 for letter in "abc")
DOUBLE, OTHER = "0xbbb" + "1" * 34 + "bbb", "0xbbb" + "1" * 37
TRANSFER = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
CHANCE = 6 * math.log10(16)


def word(value: int | str) -> bytes:
    return value.to_bytes(32) if isinstance(value, int) else bytes.fromhex(value[2:]).rjust(32, b"\0")


def payment(payee: str, *, payer: str = PAYER, amount: int = 5, token: bool = False) -> Transaction:
    """Ether or a token from one account to another."""
    logs = (Log(TOKEN, (TRANSFER, word(payer), word(payee)), word(amount)),) if token else ()
    target, value = (TOKEN, 0) if token else (payee, amount)
    return Transaction(
        chain="ethereum", hash="0x1", block_number=1, block_hash=None, index=0, time=1, sender=payer, ok=True,
        gas_used=None, root=Call(CallKind.CALL, payer, target, b"", b"", value, None, None, logs),
        source=TraceSource.CALL_TRACER_LOGS, log_order=LogOrder.EXACT,
    )  # fmt: skip


@pytest.fixture(scope="module")
def history():
    """The payer paid his friend twice, in ether and in tokens, and one other; others paid whom they liked."""
    strangers = [payment(OTHER, payer=f"0x{n:040x}") for n in range(1, 1 + MEASURED)]
    return history_of([payment(FRIEND), payment(FRIEND, token=True), payment("0x" + "d" * 40), *strangers])


@pytest.mark.parametrize("token", [False, True])
def test_who_pays_the_double_of_a_friend_is_warned(history, token):
    found = facts_of(payment(DOUBLE, token=token), history)["lookalike"]
    assert found.value == pytest.approx(CHANCE - math.log10(1 + 2)), "two different payees were known"
    assert DOUBLE in found.found and PAYER in found.found


def test_nobody_else_is(history):
    for harmless in (
        payment(FRIEND),
        payment(OTHER),
        payment(DOUBLE, payer="0x" + "e" * 40),
        payment(DOUBLE, amount=0, token=True),
    ):
        assert facts_of(harmless, history)["lookalike"].value == 0.0


def balances(*changes: tuple[str, int], signer: str = "payer") -> Transaction:
    """A message on Solana, of which is known what each owner gained or lost of a token."""
    logs = [
        Log(
            "mint",
            (),
            b"".join(x.to_bytes(32, signed=True) for x in (change, 50, 6)),
            accounts=("account", who),
        )
        for who, change in changes
    ]
    root = Call(CallKind.INSTRUCTION, signer, signer, b"", b"", 7, None, None, tuple(logs), (signer,))
    return replace(payment(OTHER, payer=signer), root=root, source=TraceSource.SOLANA_LOGS)


def test_on_solana_who_gains_what_the_payer_loses_is_paid() -> None:
    friend, double, other = "4Nd1" + "m" * 36 + "xYz9", "4Nd1" + "Q" * 36 + "xYz9", "4Nd1" + "Q" * 40
    chance = 8 * math.log10(58)
    past = history_of([balances(("payer", -5), (friend, 5)), balances(("payer", -5), ("another", 5))])
    found = facts_of(balances(("payer", -5), (double, 5)), past)["lookalike"]
    assert found.value == pytest.approx(chance - math.log10(1 + 2)) and double in found.found
    harmless = balances(("payer", -5), (other, 5)), balances(("payer", 5), (double, -5))
    stranger = balances(("stranger", -5), (double, 5), signer="stranger")
    for each in (*harmless, stranger, balances((double, 5), (friend, -5))):
        assert facts_of(each, past)["lookalike"].value == 0.0
    nothing = history_of([])
    earlier, now = (dealing_in(balances(("payer", -5), (to, 5)), nothing) for to in (friend, double))
    lately = dealings_facts([earlier], now, Books(nothing))
    assert lately["lookalike"].value == pytest.approx(chance - math.log10(2))
    assert lately["overdrawn"].value == lately["withdrawn"].value == lately["joint_gain"].value == 0.0


def test_what_was_paid_minutes_ago_counts_as_well():
    nothing = history_of([])
    earlier, now = (dealing_in(payment(payee), nothing) for payee in (FRIEND, DOUBLE))
    books = Books(nothing)
    assert dealings_facts([earlier], now, books)["lookalike"].value == pytest.approx(CHANCE - math.log10(2))
    assert dealings_facts([now, earlier], now, books)["lookalike"].value == 0.0, "it was paid before"
    assert dealings_facts([], now, books)["lookalike"].value == 0.0


def test_the_more_one_pays_the_less_a_likeness_says():
    payees = [f"0x{n:040x}" for n in range(1000)]
    busy = history_of(payment(payee) for payee in (*payees, FRIEND))
    found = facts_of(payment(DOUBLE), busy)["lookalike"].value
    assert found == pytest.approx(CHANCE - math.log10(1 + 1001 - 1)), "the zero address is nobody"
    twice = merged(busy, history_of([payment("0x" + "d" * 40)]))
    assert facts_of(payment(DOUBLE), twice)["lookalike"].value < found


def paid_by(payees: Iterable[str]) -> list[Transfer]:
    return [Transfer(ETHER, PAYER, payee, 1, 0) for payee in payees]


def test_the_more_are_paid_at_once_the_less_a_likeness_says():
    others, nothing = [f"0x{n:040x}" for n in range(1, 10)], history_of([])

    def found(before: Iterable[str], now: Iterable[str]) -> float:
        return lookalike(paid_by(before), paid_by(now), {PAYER}, nothing).value

    assert found([FRIEND], [DOUBLE]) == pytest.approx(CHANCE - math.log10(2))
    assert found([FRIEND], [DOUBLE, *others]) == pytest.approx(CHANCE - math.log10(2 * 10))
    assert found([FRIEND, *others], [DOUBLE, *others]) == pytest.approx(CHANCE - math.log10(11)), "one is new"


def test_large_payouts_one_after_the_other_take_no_longer_than_they_are():
    """The most that is remembered of an account: pairs of 32,000 and 1,000 payees would take seconds."""
    payees = [f"0x{n:08x}{'0' * 24}{n:08x}" for n in range(1, 33001)]
    before, now, nothing = paid_by(payees[1000:]), paid_by(payees[:1000]), history_of([])
    begun = time.process_time()
    lookalike(before, now, {PAYER}, nothing)
    assert time.process_time() - begun < 1


def test_burning_and_giving_to_the_token_itself_pay_nobody():
    moves = [Transfer(ETHER, PAYER, "0x" + "0" * 40, 1, 0), Transfer(TOKEN, PAYER, TOKEN, 1, 0)]
    assert payees_of(moves, {PAYER}) == {}
    moves += [Transfer(TOKEN, PAYER, FRIEND, 1, 3), Transfer(TOKEN, FRIEND, PAYER, 1, 4)]
    assert payees_of(moves, {PAYER}) == {(PAYER, FRIEND): 3}
    assert ends_of(DOUBLE) == ends_of(FRIEND) != ends_of(OTHER)
