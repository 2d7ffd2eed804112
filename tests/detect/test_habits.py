"""Habits of functions by their names: what carries over from one contract to another, and what must not."""

import math
from dataclasses import replace

import pytest

from blockscan.detect.facts import facts_of
from blockscan.detect.flow import LARGEST, TRANSFER, frames_of
from blockscan.detect.habits import (
    CALLER,
    MOST_NAMES,
    PLACES,
    company_of,
    reports_of,
    roles_of,
    sequences_of,
)
from blockscan.detect.history import history_of
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceSource, Transaction

USER, ROUTER, TOKEN, OTHER, VICTIM = ("0x" + letter * 40 for letter in "abcde")
SWAP, PULL, PUSH, ASK = b"\x01swp", b"\x02pul", b"\x03psh", b"\x04ask"
_WHERE = {"chain": "ethereum", "hash": "0x1", "block_number": 1, "block_hash": None, "index": 0, "time": 1}


def word(value):
    return value.to_bytes(32) if isinstance(value, int) else bytes.fromhex(value[2:]).rjust(32, b"\0")


def call(caller, target, data=b"", *steps, kind=CallKind.CALL):
    return Call(kind, caller, target, data, b"", 0, None, None, tuple(steps))


def transaction(root):
    return Transaction(
        **_WHERE, sender=root.caller, ok=root.ok, gas_used=None, root=root,
        source=TraceSource.CALL_TRACER, log_order=LogOrder.ABSENT,
    )  # fmt: skip


def swap(number=0, *, giver=USER, user=USER, order=(PULL, PUSH), token=TOKEN):
    """A router pulls from a user and pushes to it."""
    inner = [call(ROUTER, token, name + word(giver) + word(1000 + number)) for name in order]
    return transaction(call(user, ROUTER, SWAP, *inner))


@pytest.fixture(scope="module")
def history():
    return history_of([swap(i) for i in range(50)])


def test_pairs_sequences_and_roles_by_hand():
    one = frames_of(swap())
    anywhere = [("", name) for name in (SWAP, PULL, PUSH)]
    assert set(company_of(one)) == {(a, b) for i, a in enumerate(anywhere) for b in anywhere[i:]}
    assert company_of(one)[anywhere[0], anywhere[2]] == 2
    assert sequences_of(one) == {(anywhere[1], anywhere[2]): 2}
    assert roles_of(one, swap()) == {
        (anywhere[0], CALLER, "sender"): 0,
        (anywhere[1], CALLER, "entry"): 1,
        (anywhere[1], 0, "sender"): 1,
        (anywhere[2], CALLER, "entry"): 2,
        (anywhere[2], 0, "sender"): 2,
    }


def test_who_an_address_is():
    who = {USER: "sender", ROUTER: "caller", TOKEN: "target", OTHER: "third"}
    for address, role in who.items():
        one = transaction(call(USER, ROUTER, SWAP, call(ROUTER, TOKEN, PULL + word(address))))
        assert (("", PULL), 0, role) in roles_of(frames_of(one), one)
    deep = call(ROUTER, TOKEN, PULL, call(TOKEN, OTHER, ASK + word(ROUTER)))
    one = transaction(call(USER, ROUTER, SWAP, deep))
    roles = roles_of(frames_of(one), one)
    assert (("", ASK), 0, "entry") in roles and (("", ASK), CALLER, "third") in roles


def test_numbers_and_late_words_are_no_addresses():
    data = PULL + word(7) + word(1 << 100) + word(2**256 - 1) + word(USER) * PLACES
    one = transaction(call(USER, ROUTER, data))
    places = sorted(place for _, place, _ in roles_of(frames_of(one), one))
    assert places == [CALLER, 3, 4, 5]


def test_usual_habits_say_nothing(history):
    facts = facts_of(swap(25, token=OTHER), history)
    for name in ("rare_company", "rare_sequence", "rare_caller", "rare_role", "number_high", "number_low"):
        assert facts[name].value < 0.7, name


def test_habits_carry_over_to_contracts_never_seen(history):
    """A third party's address where the sender's always stands, on a token that the past does not know."""
    odd = facts_of(swap(25, giver=VICTIM, token=OTHER), history)
    assert odd["rare_role"].value == pytest.approx(2 * math.log(51 / 0.5))
    assert odd["rare_role"].found == "another address as argument 1 of 0x0270756c"
    back = facts_of(swap(25, order=(PUSH, PULL), token=OTHER), history)
    assert back["rare_sequence"].value == 0.0  # nothing ever followed a push
    twice = facts_of(swap(25, order=(PULL, PULL), token=OTHER), history)
    assert twice["rare_sequence"].value == pytest.approx(math.log(51 / 0.5))
    assert twice["rare_sequence"].found == "0x0270756c followed by 0x0270756c"
    direct = facts_of(transaction(call(USER, OTHER, PULL + word(USER) + word(1000))), history)
    assert direct["rare_caller"].value == pytest.approx(math.log(51 / 0.5))
    assert direct["rare_caller"].found == "0x0270756c called by the sender"


def test_what_a_name_is_followed_by_twice_in_a_transaction_counts_once():
    past = history_of([swap(i, order=(PULL, PUSH, PULL, ASK)) for i in range(50)])
    facts = facts_of(swap(25, order=(PULL, SWAP), token=OTHER), past)
    assert facts["rare_sequence"].value == pytest.approx(math.log(51 / 0.5))


def test_a_name_alone_has_no_company(history):
    assert facts_of(asked(USER), history)["rare_company"].value == 0.0
    assert facts_of(transaction(call(USER, OTHER, SWAP)), history)["rare_company"].value == 0.0


def test_numbers_are_compared_with_those_of_the_name_where_the_contract_is_new(history):
    usual = facts_of(swap(25, token=OTHER), history)
    large, small = (facts_of(swap(number, token=OTHER), history) for number in (10**15, -999))
    assert large["number_high"].value > 6 > 1 > usual["number_high"].value
    assert small["number_low"].value > 2 > 1 > usual["number_low"].value
    assert large["number_high"].found == "1e+15 as argument 2 of 0x0270756c"


def test_functions_that_never_met(history):
    both = history_of([*[swap(i) for i in range(20)], *[asked(USER) for _ in range(20)]])
    inner = call(ROUTER, TOKEN, PULL + word(USER) + word(1000))
    met = facts_of(transaction(call(USER, ROUTER, SWAP, inner, call(ROUTER, OTHER, ASK))), both)
    assert met["rare_company"].value == pytest.approx(math.log(21 / 0.5))
    assert " beside 0x0461736b" in met["rare_company"].found
    assert facts_of(swap(5), both)["rare_company"].value < 0.1
    unknown = facts_of(transaction(call(USER, ROUTER, SWAP, call(ROUTER, OTHER, ASK))), history)
    assert unknown["rare_company"].value < 0.1  # what was never seen cannot be rarely seen together


def asked(user):
    return transaction(call(user, OTHER, ASK))


def test_an_instruction_belongs_to_its_program():
    """The same tag of two programs is two names; what a program calls is told from what the sender signs."""
    tag = b"\x07" * 8
    inner = [
        call(
            "payer", "one", tag, call("one", "two", tag, kind=CallKind.INSTRUCTION), kind=CallKind.INSTRUCTION
        )
    ]
    root = call("payer", "payer", b"", *inner, kind=CallKind.INSTRUCTION)
    one = replace(transaction(root), chain="solana")
    roles = roles_of(frames_of(one), one)
    assert roles == {(("one", tag), CALLER, "sender"): 1, (("two", tag), CALLER, "program"): 2}
    assert (("one", tag), ("two", tag)) in company_of(frames_of(one))


def test_many_names_are_cut_and_their_order_changes_nothing():
    names = [i.to_bytes(4) for i in range(1, 200)]
    there, back = (
        frames_of(transaction(call(USER, ROUTER, SWAP, *[call(ROUTER, TOKEN, name) for name in some])))
        for some in (names, names[::-1])
    )
    assert len(company_of(there)) == MOST_NAMES * (MOST_NAMES + 1) // 2
    assert set(company_of(there)) == set(company_of(back))


STAKED = b"staked".rjust(32, b"\x07")


def staked(amount, *, moved=None, reported=None, topic=STAKED, ok=True, target=TOKEN):
    """The user stakes: ether moves, and an event reports an amount and a rate that is nothing else."""
    data = word(amount if reported is None else reported) + word(123_456_789)
    log = Log(target, (topic,), data)
    root = Call(
        CallKind.CALL, USER, target, SWAP + word(amount), b"", amount if moved is None else moved,
        None if ok else "reverted", None, (log,),
    )  # fmt: skip
    return replace(transaction(root), log_order=LogOrder.EXACT)


def test_what_an_events_numbers_are():
    def places(one):
        return {(place, what) for _, place, what in reports_of(frames_of(one))}

    assert places(staked(5000)) == {(0, "moved"), (1, "nothing")}
    assert places(staked(5000, moved=0)) == {(0, "argument"), (1, "nothing")}
    assert places(staked(5000, reported=7000)) == {(0, "nothing"), (1, "nothing")}
    assert places(staked(5000, reported=7)) == {(0, "small"), (1, "nothing")}
    assert places(staked(5000, reported=LARGEST)) == {(1, "nothing")}
    assert places(staked(5000, topic=TRANSFER)) == set()
    assert places(staked(5000, ok=False)) == set()


def test_an_event_that_reports_what_did_not_happen():
    """On a contract that the past does not know, as long as it knows the event."""
    past = history_of([staked(5000 + i) for i in range(50)])
    usual = facts_of(staked(9000, target=OTHER), past)["rare_report"]
    assert usual.value == pytest.approx(math.log(51 / 50.5))
    fake = facts_of(staked(9000, moved=0, target=OTHER), past)["rare_report"]
    assert fake.value == pytest.approx(math.log(51 / 0.5))
    said = f"number 1 of event 0x{STAKED.hex()} equals an argument of a call but nothing that moved"
    assert fake.found == said
    assert facts_of(staked(9000, moved=0, topic=b"x" * 32), past)["rare_report"].value == 0.0


def test_the_most_unusual_number_of_an_event_counts():
    past = history_of([staked(5000 + i) for i in range(50)])
    data = word(9000) + word(9000)  # the rate, as nothing else before, is the amount
    root = replace(staked(9000).root, steps=(Log(TOKEN, (STAKED,), data),))
    found = facts_of(replace(staked(9000), root=root), past)["rare_report"]
    assert found.value == pytest.approx(math.log(51 / 0.5))
    assert found.found == f"number 2 of event 0x{STAKED.hex()} equals an amount that moved"


def test_an_event_that_comes_twice_in_a_transaction_counts_once():
    def twice(number):
        logs = tuple(Log(TOKEN, (STAKED,), word(amount)) for amount in (number, 777_777))
        return replace(staked(number), root=replace(staked(number).root, steps=logs))

    past = history_of([twice(5000 + i) for i in range(50)])
    assert past.seen("report", STAKED, 0) == past.seen("report", STAKED, 0, "nothing") == 50


def test_an_argument_of_any_call_is_one():
    """Where a log was written is not always known."""
    inner = call(TOKEN, OTHER, PUSH + word(66_666))
    root = replace(staked(5000).root, steps=(inner, Log(TOKEN, (STAKED,), word(66_666))))
    assert set(reports_of(frames_of(replace(staked(5000), root=root)))) == {(STAKED, 0, "argument")}
