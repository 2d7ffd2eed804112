"""Neighbours of a transaction and what sets it apart, on swaps of one pool."""

import pytest

from blockscan.detect.history import history_of
from blockscan.detect.neighbours import SENDER, differences, entry_of, nearest, portrait_of
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceSource, Transaction

USER, OTHER, POOL, TOKEN, VAULT = ("0x" + letter * 40 for letter in "abcde")
TRANSFER = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")


def word(value: int | str) -> bytes:
    return value.to_bytes(32) if isinstance(value, int) else bytes.fromhex(value[2:]).rjust(32, b"\0")


def call(caller, target, data=b"", *steps, kind=CallKind.CALL, value=0):
    return Call(kind, caller, target, data, b"", value, None, None, tuple(steps))


def swap(number: int, amount: int, *more: Call, user: str = USER, selector: bytes = b"swap") -> Transaction:
    """The pool pays a user, and does what else is asked."""
    log = Log(TOKEN, (TRANSFER, word(POOL), word(user)), word(amount))
    root = call(user, POOL, selector, call(POOL, TOKEN, b"move", log), *more)
    return Transaction(
        chain="ethereum", hash=f"0x{number}", block_number=number, block_hash=None, index=0, time=number,
        sender=user, ok=True, gas_used=None, root=root, source=TraceSource.CALL_TRACER_LOGS,
        log_order=LogOrder.EXACT,
    )  # fmt: skip


PAST = [swap(number, 1000 + number, user=(USER, OTHER)[number % 2]) for number in range(40)]


@pytest.fixture(scope="module")
def history():
    return history_of(PAST)


def test_the_same_thing_again_is_at_distance_nought_and_the_latest_comes_first(history):
    one = portrait_of(swap(50, 1000), history)
    past = [portrait_of(swap(number, 1000), history) for number in range(4)]
    near = nearest(one, past, 2)
    assert [(each.portrait.tx_hash, each.distance) for each in near] == [("0x3", 0.0), ("0x2", 0.0)]
    found = differences(one, near, past)
    assert (found.functions, found.missing, found.amounts, found.facts) == ((), (), (), ())


def test_what_runs_the_same_functions_is_nearer_and_distances_stay_below_one(history):
    odd = call(POOL, VAULT, b"peek")
    one = portrait_of(swap(50, 1005, odd), history)
    past = [portrait_of(each, history) for each in (swap(1, 1001), swap(2, 1002, odd), swap(3, 1003))]
    near = nearest(one, past, 3)
    assert near[0].portrait.tx_hash == "0x2"
    assert 0 <= near[0].distance < near[1].distance <= near[2].distance < 1
    assert nearest(one, [], 3) == []


def test_what_sets_a_transaction_apart_is_named(history):
    past = [portrait_of(each, history) for each in PAST]
    drain = swap(50, 10**12, call(POOL, VAULT, b"open"), call(POOL, VAULT, b"take"))
    one = portrait_of(drain, history)
    found = differences(one, nearest(one, past, 5), past)
    assert [(each.function, each.node, each.elsewhere) for each in found.functions] == [
        ((VAULT, b"open"), 2, 0),
        ((VAULT, b"take"), 3, 0),
    ]
    (amount,) = found.amounts
    assert (amount.asset, amount.node, amount.amount) == (TOKEN, 1, 10**12)
    assert 1000 <= amount.most < 1040
    names = [each.name for each in found.facts]
    assert "largest_transfer" in names and "new_edges" in names
    largest = next(each for each in found.facts if each.name == "largest_transfer")
    assert "1e+12" in largest.found and "e+03 units of" in largest.usual and largest.reached == 0


def test_what_all_neighbours_run_and_this_one_does_not_is_named(history):
    more = call(POOL, VAULT, b"note")
    past = [portrait_of(swap(number, 1000, more), history) for number in range(5)]
    one = portrait_of(swap(50, 1000), history)
    found = differences(one, nearest(one, past, 3), past)
    assert found.missing == ((VAULT, b"note"),)
    assert found.functions == ()


def test_what_only_some_candidates_run_says_in_how_many(history):
    odd = call(POOL, VAULT, b"peek")
    past = [portrait_of(swap(number, 1000, *[odd] * (number == 0)), history) for number in range(5)]
    one = portrait_of(swap(50, 1000, odd), history)
    near = [each for each in nearest(one, past, 5) if each.portrait.tx_hash != "0x0"]
    (function,) = differences(one, near, past).functions
    assert (function.function, function.elsewhere) == ((VAULT, b"peek"), 1)


def test_money_back_to_the_sender_is_the_same_whoever_he_is(history):
    one, other = (
        portrait_of(swap(number, 1000, call(POOL, user, value=5), user=user), history)
        for number, user in ((1, USER), (2, OTHER))
    )
    assert one.functions == other.functions
    assert one.functions[SENDER, b""] == 1


def test_the_entry_is_contract_and_function():
    assert entry_of(swap(1, 5)) == (POOL, (POOL, b"swap"))
    assert entry_of(swap(1, 5, selector=b"skim")) == (POOL, (POOL, b"skim"))


def test_the_entry_of_a_solana_message_is_its_first_working_instruction():
    budget = call("payer", "ComputeBudget111111111111111111111111111111", b"\x02", kind=CallKind.INSTRUCTION)
    work = call("payer", "Program", b"12345678rest", kind=CallKind.INSTRUCTION)
    message = call("payer", "payer", b"", budget, work, kind=CallKind.INSTRUCTION)
    transaction = Transaction(
        chain="solana", hash="s", block_number=1, block_hash=None, index=0, time=1, sender="payer", ok=True,
        gas_used=None, root=message, source=TraceSource.SOLANA, log_order=LogOrder.EXACT,
    )  # fmt: skip
    assert entry_of(transaction) == ("Program", ("Program", b"12345678"))


def test_a_tree_1024_deep_has_a_portrait(history):
    root = call("0x1023", "0x1024", b"deep")
    for depth in reversed(range(1023)):
        root = call(f"0x{depth}", f"0x{depth + 1}", b"deep", root)
    transaction = Transaction(
        chain="ethereum", hash="0x", block_number=1, block_hash=None, index=0, time=1, sender="0x0", ok=True,
        gas_used=None, root=root, source=TraceSource.CALL_TRACER_LOGS, log_order=LogOrder.EXACT,
    )  # fmt: skip
    assert sum(portrait_of(transaction, history).functions.values()) == 1024
