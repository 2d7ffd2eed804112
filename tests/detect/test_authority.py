"""Accounts of tokens that change hands, and tokens that are made (Solana)."""

import math
from dataclasses import replace

import pytest

from blockscan.chains.base58 import key_text
from blockscan.chains.solana_layouts import TOKEN, TOKEN_2022
from blockscan.detect.accounts import SECONDS, Recent, account_of
from blockscan.detect.authority import HandedOver, handed_over_in, minted_in
from blockscan.detect.books import Books
from blockscan.detect.dealings import dealing_in, dealings_facts, joint_of
from blockscan.detect.explain import fact_evidence
from blockscan.detect.facts import facts_of
from blockscan.detect.flow import frames_of
from blockscan.detect.history import history_of, merged
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceSource, Transaction

VICTIM, ANOTHER, THIEF, SECOND = (key_text(bytes([n]) * 32) for n in range(1, 5))
NOTHING = history_of([])
_OWNER = 2


def instruction(data: bytes, *accounts: str, program: str = TOKEN, error: str | None = None) -> Call:
    return Call(CallKind.INSTRUCTION, VICTIM, program, data, b"", 0, error, None, (), accounts)


def message(payer: str, *steps: Call | Log, time: int = 1000) -> Transaction:
    root = Call(CallKind.INSTRUCTION, payer, payer, b"", b"", 5000, None, None, steps, (payer,))
    kind = TraceSource.SOLANA_LOGS, LogOrder.EXACT
    return Transaction("solana", f"{payer}{time}", 7, None, 0, time, payer, True, None, root, *kind)


def hands(account: str, giver: str, taker: str, *, kind: int = _OWNER, error: str | None = None) -> Call:
    key = next(bytes([n]) * 32 for n in range(1, 5) if key_text(bytes([n]) * 32) == taker)
    return instruction(bytes([6, kind, 1]) + key, account, giver, error=error)


def mints(amount: int, mint: str = "mint", *, error: str | None = None, program: str = TOKEN) -> Call:
    return instruction(
        b"\7" + amount.to_bytes(8, "little"), mint, "account", THIEF, error=error, program=program
    )


def lost(account: str, owner: str, change: int, left: int) -> Log:
    data = b"".join(x.to_bytes(32, signed=True) for x in (-change, left, 6))
    return Log("mint", (), data, accounts=(account, owner))


def judged(*transactions: Transaction) -> float:
    """`taken_over` of the last of some transactions, each a second after the one before."""
    recent, books, found = Recent(0.0), Books(NOTHING), math.nan
    for second, each in enumerate(transactions):
        account, time = account_of(each.chain, each.sender), 1000 + second
        dealing = dealing_in(each, NOTHING)
        found = dealings_facts(recent.dealings(account, time), dealing, books)["taken_over"].value
        recent.add(account, time, 0.0, dealing)
    return found


def test_what_changes_hands_is_read_from_instructions_that_did_not_fail():
    closing = instruction(bytes([6, 3, 0]), "one", VICTIM)
    steps = (
        hands("one", VICTIM, THIEF),
        hands("one", VICTIM, THIEF, kind=0),
        hands("two", ANOTHER, THIEF, error="failed"),
        closing,
        instruction(bytes([6, _OWNER, 0]), "one", VICTIM),
        instruction(bytes([6, _OWNER]), "cut", VICTIM),
        instruction(b"", "empty", VICTIM),
        replace(hands("three", ANOTHER, SECOND), target=TOKEN_2022),
        replace(hands("four", ANOTHER, SECOND), target="Program"),
    )
    found = handed_over_in(frames_of(message(VICTIM, *steps)))
    assert found == (HandedOver("one", VICTIM, THIEF), HandedOver("three", ANOTHER, SECOND))


def test_who_empties_accounts_that_were_handed_to_him_takes_them_over():
    given = message(VICTIM, hands("one", VICTIM, THIEF)), message(ANOTHER, hands("two", ANOTHER, THIEF))
    both = message(THIEF, lost("one", THIEF, 10, 0), lost("two", THIEF, 10, 10))
    assert judged(*given, both) == 1.5
    assert judged(given[0], both) == 1.0
    assert judged(both) == judged(*given, message(THIEF, lost("three", THIEF, 10, 0))) == 0.0
    assert judged(*given, message(VICTIM, lost("one", VICTIM, 10, 0))) == 0.0, "not who gave it"
    at_once = message(THIEF, hands("one", VICTIM, THIEF), lost("one", THIEF, 10, 0))
    assert judged(at_once) == facts_of(at_once, NOTHING)["taken_over"].value == 1.0
    found = f"100% of the mint in one, handed over by {VICTIM}"
    assert facts_of(at_once, NOTHING)["taken_over"].found == found


def test_who_gave_an_account_away_is_named_in_full():
    long = key_text(bytes([9]) * 32)
    robbed = replace(lost(long, THIEF, 10, 0), emitter=long)
    facts = facts_of(message(THIEF, hands(long, VICTIM, THIEF), robbed), NOTHING)
    (evidence,) = fact_evidence(facts, {"taken_over": 3.0}, {"taken_over": 0.001})
    assert evidence.found == facts["taken_over"].found and evidence.found.endswith(VICTIM)


def test_what_comes_back_to_its_owner_is_not_taken_over():
    """An escrow that gives an account back, and a thief who passes it through another key of his."""
    there, back = message(VICTIM, hands("one", VICTIM, SECOND)), message(SECOND, hands("one", SECOND, VICTIM))
    assert judged(there, back, message(VICTIM, lost("one", VICTIM, 10, 0))) == 0.0
    assert judged(there, message(SECOND, lost("one", SECOND, 10, 0))) == 1.0
    round_trip = hands("one", VICTIM, THIEF), hands("one", THIEF, SECOND), hands("one", SECOND, THIEF)
    steps = [message(sender, step) for sender, step in zip((VICTIM, THIEF, SECOND), round_trip, strict=True)]
    assert judged(*steps, message(THIEF, lost("one", THIEF, 10, 0))) == 1.0


def test_it_is_remembered_for_minutes_and_among_what_others_add():
    recent, books = Recent(0.5), Books(NOTHING)
    given = dealing_in(message(VICTIM, hands("one", VICTIM, THIEF)), NOTHING)
    recent.add(account_of("solana", VICTIM), 1000, 9.0, given)
    last, thief = message(THIEF, lost("one", THIEF, 10, 0)), account_of("solana", THIEF)
    assert recent.carried(thief, 1001)(0.5, 0.0) == 0.0, "the value was the giver's"
    joint = joint_of(
        facts_of(last, NOTHING), recent.dealings(thief, 1000 + SECONDS), dealing_in(last, NOTHING), books
    )
    assert [(each.name, each.value) for each in joint if each.value] == [("taken_over", 1.0)]
    assert recent.dealings(thief, 1001 + SECONDS) == recent.dealings(account_of("base", THIEF), 1001) == []


def test_a_mint_is_measured_by_all_that_was_minted_before():
    past = history_of([message(ANOTHER, mints(600), mints(50, "other")), message(ANOTHER, mints(400))])
    found = facts_of(message(THIEF, mints(300), mints(200)), past)["minted"]
    assert found.value == pytest.approx(math.log10(1.5)) and found.node == 1
    assert found.found == "500 units of mint, 50% of all minted before"
    for harmless in (mints(9, "new"), mints(500, error="failed"), mints(500, program="Program")):
        assert facts_of(message(THIEF, harmless), past)["minted"].value == 0.0
    twice = merged(past, history_of([message(ANOTHER, mints(1000))]))
    assert facts_of(message(THIEF, mints(500)), twice)["minted"].value == pytest.approx(math.log10(1.25))


def test_what_is_minted_is_summed_over_instructions():
    checked = instruction(b"\x0e" + (7).to_bytes(8, "little") + b"\6", "mint", "account", THIEF)
    assert minted_in(frames_of(message(THIEF, mints(3), checked, mints(2, "other")))) == {
        "mint": (10, 1),
        "other": (2, 3),
    }
