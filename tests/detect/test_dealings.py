"""What several transactions of an account show together: takings beyond what was put in, and joint gains."""

import math
from dataclasses import replace

import pytest

from blockscan.detect.accounts import MOST_DEALINGS, SECONDS, Recent
from blockscan.detect.books import Books
from blockscan.detect.dealings import (
    JOINT,
    MOST_TRANSFERS,
    dealing_in,
    dealings_facts,
    joint_of,
    with_joint,
)
from blockscan.detect.fact import EACH, MEASURED, Fact
from blockscan.detect.facts import facts_of
from blockscan.detect.flow import ZERO
from blockscan.detect.history import history_of
from blockscan.findings import Joint
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceSource, Transaction

USER, THIEF, VAULT, OTHER, TOKEN, GOLD, TOOL = ("0x" + letter * 40 for letter in "abcdef8")
TRANSFER = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
DEPOSIT = b"\1\2\3\4"


def word(value: int | str) -> bytes:
    return value.to_bytes(32) if isinstance(value, int) else bytes.fromhex(value[2:]).rjust(32, b"\0")


def moved(giver: str, taker: str, amount: int, asset: str = TOKEN) -> Log:
    return Log(asset, (TRANSFER, word(giver), word(taker)), word(amount))


def call(caller, target, *steps, kind=CallKind.CALL, value=0):
    return Call(kind, caller, target, DEPOSIT, b"", value, None, None, steps)


def transaction(root: Call, *, logs: LogOrder = LogOrder.EXACT) -> Transaction:
    where = {"chain": "ethereum", "hash": "0x1", "block_number": 1, "block_hash": None, "index": 0, "time": 1}
    return Transaction(
        **where, sender=root.caller, ok=True, gas_used=None, root=root,
        source=TraceSource.CALL_TRACER_LOGS, log_order=logs,
    )  # fmt: skip


def at(target: str, *logs: Log, user: str = THIEF, value: int = 0) -> Transaction:
    """A transaction with what it moves."""
    return transaction(call(user, target, *logs, value=value))


@pytest.fixture(scope="module")
def history():
    """Forty users put 1,000 and more into a vault; amounts of both tokens and of ether are known."""
    return history_of(
        at(VAULT, moved(user, VAULT, 1000 + n), moved(user, OTHER, 1000 + n, GOLD), user=user, value=1000 + n)
        for n in range(40)
        for user in (USER, f"0x{n:040x}")
    )


def together(history, *transactions: Transaction):
    """The joint facts of the last one after the others."""
    *earlier, last = (dealing_in(each, history) for each in transactions)
    return dealings_facts(earlier, last, Books(history))


def put(amount: int, *others: Log) -> Transaction:
    return at(VAULT, moved(THIEF, VAULT, amount), *others)


def take(amount: int, *others: Log) -> Transaction:
    return at(VAULT, moved(VAULT, THIEF, amount), *others)


def test_who_takes_out_more_than_he_put_in(history):
    found = together(history, put(1000), take(10**6))["overdrawn"]
    surplus = history.rarity("amount", TOKEN, amount=10**6 - 1000)
    assert found.value == EACH + surplus and surplus > 3
    assert found.found == f"9.99e+05 units of {TOKEN} more out of {VAULT} than put in"
    assert together(history, put(1000), take(400), take(601))["overdrawn"].value >= EACH
    for harmless in ((put(1000), take(1000)), (put(1000), take(400)), (take(1000),), (take(9), take(9))):
        assert together(history, *harmless)["overdrawn"].value == 0.0
    assert together(history, take(1000), put(400))["overdrawn"].value == 0.0, "it takes nothing itself"


@pytest.mark.parametrize(("known", "said"), [(MEASURED - 1, False), (MEASURED, True)])
def test_of_a_token_that_hardly_moved_nobody_knows_what_is_much(known, said):
    few = history_of([at(VAULT, moved(USER, VAULT, 1000 + n), user=USER) for n in range(known)])
    assert (together(few, put(1000), take(10**9))["overdrawn"].value > EACH) is said


def test_within_one_transaction_it_is_a_fact_of_that_one(history):
    facts = facts_of(at(VAULT, moved(THIEF, VAULT, 10), moved(VAULT, THIEF, 10**6)), history)
    assert facts["overdrawn"].value > 3 and math.isnan(facts["joint_gain"].value)


def test_whoever_gives_something_else_has_paid(history):
    paid = put(10, moved(THIEF, VAULT, 50, GOLD))
    assert together(history, paid, take(1000))["overdrawn"].value == 0.0
    assert together(history, paid, take(1000, moved(VAULT, THIEF, 50, GOLD)))["overdrawn"].value > 0
    for burnt, robbed in ((ZERO, True), (VAULT, False)):
        shares = at(VAULT, moved(THIEF, burnt, 5, VAULT), moved(VAULT, THIEF, 1000))
        assert (together(history, put(10), shares)["overdrawn"].value > 0) is robbed, "paid with, or burnt"
    by_another = put(10, moved(USER, VAULT, 50, GOLD))
    assert together(history, by_another, take(1000))["overdrawn"].value == 0.0
    elsewhere = at(OTHER, moved(THIEF, OTHER, 50, GOLD))
    assert together(history, put(10), elsewhere, take(1000))["overdrawn"].value > 0


JUNK = "0x" + "9" * 40


def test_a_token_of_ones_own_pays_nobody(history):
    """Its code says what it likes; whoever gets paid with an unknown token has called it, as pools do."""
    dust = put(10, moved(THIEF, VAULT, 1, JUNK))
    assert together(history, dust, take(10**6))["overdrawn"].value > 3
    looked = transaction(
        call(THIEF, VAULT, moved(THIEF, VAULT, 10), moved(THIEF, VAULT, 1, JUNK), call(VAULT, JUNK))
    )
    assert together(history, looked, take(10**6))["overdrawn"].value == 0.0
    another = transaction(call(THIEF, OTHER, call(OTHER, JUNK)))
    assert together(history, dust, another, take(10**6))["overdrawn"].value > 3, (
        "the one who was paid, nobody else"
    )
    given = at(VAULT, moved(THIEF, VAULT, 5, JUNK))
    assert together(history, given, at(VAULT, moved(VAULT, THIEF, 10**6)))["joint_gain"].value > 3
    for evasion in (call(JUNK, JUNK), moved(JUNK, JUNK, 1, JUNK)):
        looks = transaction(call(THIEF, VAULT, moved(THIEF, VAULT, 5, JUNK), evasion))
        assert together(history, looks, at(VAULT, moved(VAULT, THIEF, 10**6)))["joint_gain"].value > 3
    taken = transaction(call(THIEF, VAULT, moved(THIEF, VAULT, 5, JUNK), call(VAULT, JUNK)))
    assert together(history, taken, at(VAULT, moved(VAULT, THIEF, 10**6)))["joint_gain"].value == 0.0
    shares = at(VAULT, moved(THIEF, ZERO, 5, VAULT), moved(VAULT, THIEF, 10**6))
    assert together(history, at(OTHER), shares)["joint_gain"].value == 0.0, "who gives for it knows it"


def test_many_contracts_and_counterparties_cost_no_more_than_their_number(history, monkeypatch):
    """Every pair of one's own contracts and of who gave something was looked up: his choice."""
    made = [f"0x1{n:039x}" for n in range(60)]
    others = [f"0x2{n:039x}" for n in range(60)]
    logs = [log for each in others for log in (moved(THIEF, each, 1), moved(each, THIEF, 10))]
    creations = [call(THIEF, each, kind=CallKind.CREATE) for each in made]
    asked = []
    monkeypatch.setattr(type(history), "seen", lambda self, *key: asked.append(key) or 0)
    assert together(history, transaction(call(THIEF, OTHER, *creations, *logs)))["overdrawn"].value > 0
    assert 60 < len(asked) < 1000, "not 60 times 60"


def test_who_buys_and_sells_back_later_takes_his_chance(history):
    """What he gives for gold and gets for it later depends on others; within one transaction it does not."""
    buy, sell = put(10, moved(VAULT, THIEF, 50, GOLD)), take(10**6, moved(THIEF, VAULT, 50, GOLD))
    assert together(history, buy, sell)["overdrawn"].value == 0.0
    assert together(history, at(OTHER), buy, at(OTHER), sell)["overdrawn"].value == 0.0
    bought, sold = (moved(THIEF, VAULT, 10), moved(VAULT, THIEF, 50, GOLD)), moved(THIEF, VAULT, 50, GOLD)
    at_once = at(VAULT, *bought, sold, moved(VAULT, THIEF, 10**6))
    assert together(history, at_once)["overdrawn"].value > 3
    assert together(history, at(OTHER), at_once)["overdrawn"].value > 3, "whatever he did before"
    assert together(history, buy, sell, put(10), at_once)["overdrawn"].value > 3, "and bought and sold"
    elsewhere = put(10, moved(OTHER, THIEF, 50, GOLD))
    assert together(history, elsewhere, take(10**6, moved(THIEF, OTHER, 50, GOLD)))["overdrawn"].value > 3
    minted = put(10, moved(ZERO, THIEF, 50, VAULT))
    assert together(history, minted, take(10**6, moved(THIEF, ZERO, 50, VAULT)))["overdrawn"].value > 3, (
        "shares that it makes and takes back are not bought"
    )
    itself = at(OTHER, moved(THIEF, VAULT, 10), moved(VAULT, THIEF, 5), moved(VAULT, THIEF, 10**6))
    assert together(history, at(OTHER), itself)["overdrawn"].value > 3, "nor is what he takes out of it"
    kept = put(10, moved(VAULT, THIEF, 50, GOLD))
    assert together(history, kept, take(10**6))["overdrawn"].value > 3, "who keeps it has sold nothing"
    by_another = take(10**6, moved(OTHER, VAULT, 20, GOLD))
    assert together(history, kept, by_another)["overdrawn"].value > 3, "nor has he what another sells"
    pledge = put(10, moved(THIEF, VAULT, 50, GOLD))
    pledged = moved(THIEF, VAULT, 10, GOLD), moved(VAULT, THIEF, 60, GOLD)
    assert together(history, pledge, take(10**6, *pledged))["overdrawn"].value > 3, "he never bought it"


def test_who_passes_on_what_others_give_is_not_robbed(history):
    """A router takes ether for one swap and hands out more of it for another."""
    route = take(1000, moved(OTHER, VAULT, 995))
    assert together(history, put(10), route)["overdrawn"].value == 0.0
    part = together(history, put(10), take(10**6, moved(OTHER, VAULT, 400_000)))["overdrawn"]
    assert part.value == EACH + history.rarity("amount", TOKEN, amount=600_000 - 10)
    spilt = together(history, put(10), take(1000, moved(VAULT, OTHER, 10**9)))["overdrawn"]
    assert spilt.value == EACH + history.rarity("amount", TOKEN, amount=990), "what others got is not his"


def test_who_dealt_with_it_before_may_have_left_something_there(history):
    ins, outs = at(VAULT, moved(USER, VAULT, 10), user=USER), at(VAULT, moved(VAULT, USER, 10**6), user=USER)
    assert together(history, ins, outs)["overdrawn"].value == 0.0


def test_tokens_from_nobody_are_taken_from_nobody(history):
    burnt, minted = at(TOKEN, moved(THIEF, ZERO, 10)), at(TOKEN, moved(ZERO, THIEF, 1000))
    assert together(history, burnt, minted)["overdrawn"].value == 0.0


def test_the_contracts_that_an_account_made_are_its_own(history):
    born = call(VAULT, TOOL, moved(VAULT, TOOL, 10**6), kind=CallKind.CREATE2)
    made = transaction(call(THIEF, VAULT, born))
    assert facts_of(made, history)["gain"].value > 3
    fed = at(TOKEN, moved(THIEF, TOOL, 500))
    deep = transaction(call(THIEF, OTHER, call(TOOL, VAULT, moved(TOOL, VAULT, 10), moved(VAULT, TOOL, 900))))
    assert together(history, made, fed, deep)["overdrawn"].value > 0
    assert together(history, fed, deep)["overdrawn"].value == 0.0, "another's contract, as far as one knows"


def test_an_unknown_target_may_be_tool_or_victim(history):
    young = "0x" + "9" * 40
    ins, outs = at(young, moved(THIEF, young, 10)), at(young, moved(young, THIEF, 10**6))
    assert together(history, ins, outs)["overdrawn"].value > 0
    through = [
        transaction(call(THIEF, TOOL, call(TOOL, VAULT, moved(*pair, amount))))
        for pair, amount in (((TOOL, VAULT), 10), ((VAULT, TOOL), 10**6))
    ]
    assert together(history, *through)["overdrawn"].value > 0
    assert facts_of(through[1], history)["gain"].value > facts_of(ins, history)["gain"].value == 0.0
    assert facts_of(outs, history)["loss"].value > 0
    assert facts_of(at(VAULT, moved(USER, VAULT, 10**6)), history)["gain"].value == 0.0, "many call it"


def test_what_transactions_gain_together(history):
    """Bought here, sold there: neither alone is free, and the sum is."""
    buy = at(VAULT, moved(VAULT, THIEF, 7, GOLD), moved(THIEF, USER, 1000))
    sell = at(VAULT, moved(THIEF, USER, 7, GOLD), moved(VAULT, THIEF, 10**6))
    found = together(history, buy, sell)["joint_gain"]
    assert found.value == EACH + history.rarity("amount", TOKEN, amount=10**6 - 1000)
    assert math.isnan(together(history, sell)["joint_gain"].value), "there is nothing to add up"
    assert together(history, at(OTHER), buy)["joint_gain"].value == 0.0
    dear = at(VAULT, moved(THIEF, USER, 8, GOLD), moved(VAULT, THIEF, 10**6))
    assert together(history, buy, dear)["joint_gain"].value == 0.0, "a token was paid with"
    assert together(history, sell, buy)["joint_gain"].value == 0.0, "it takes no part in the gain"
    made = transaction(call(THIEF, TOOL, moved(VAULT, TOOL, 10**6), kind=CallKind.CREATE))
    home = at(VAULT, moved(TOOL, THIEF, 10**6))
    assert together(history, put(1), made)["joint_gain"].value > 0.0
    assert together(history, made, home)["joint_gain"].value == 0.0, "nor does what stays among them"


def test_solana_has_shares_of_balances_not_amounts():
    """Balances say what share was lost, and not who got it."""

    def message(*changes: tuple[str, int]) -> Transaction:
        logs = []
        for mint, change in changes:
            for owner, own in (("payer", change), ("pool", -change)):
                data = b"".join(part.to_bytes(32, signed=True) for part in (own, 10**6, 6))
                logs.append(Log(mint, (), data, accounts=("account", owner)))
        return transaction(call("payer", "payer", *logs, kind=CallKind.INSTRUCTION))

    past = history_of([message(("mint", 1000 + n), ("usdc", -n - 1)) for n in range(40)])
    ins, outs = message(("mint", -1000)), message(("mint", 10**5))
    assert together(past, ins, outs) == dict.fromkeys(JOINT, Fact(0.0))
    found = facts_of(outs, past)
    assert {found[name].value for name in ("gain", "free_gain", "more_in_than_out", "loss")} == {0.0}
    assert found["drained"].value == pytest.approx(10**5 / (10**5 + 10**6))
    assert found["largest_transfer"].value > 1


def test_only_what_others_add_is_joint(history):
    first, last = put(10), take(1000)
    facts, dealing, books = facts_of(last, history), dealing_in(last, history), Books(history)
    joint = joint_of(facts, [dealing_in(first, history)], dealing, books)
    assert [each.name for each in joint] == ["overdrawn", "joint_gain"]
    assert joint[1].value > 0 and math.isnan(facts["joint_gain"].value)
    told = with_joint(facts, joint)
    assert told["overdrawn"].value == joint[0].value > 0 == facts["overdrawn"].value
    assert told["gain"] == facts["gain"]
    assert joint_of(facts, [], dealing, books) == ()
    unrelated = dealing_in(at(OTHER), history)
    assert [each.name for each in joint_of(facts, [unrelated], dealing, books)] == ["joint_gain"]
    nothing = joint_of(facts_of(put(10), history), [unrelated], dealing_in(put(10), history), books)
    assert nothing == (Joint("joint_gain", 0.0, 0, ""),), "it could have been one"


def test_dealings_are_remembered_for_some_minutes(history):
    recent, each = Recent(0.0), dealing_in(put(10), history)
    for time in (100, 150, 200):
        recent.add(THIEF, time, 0.0, replace(each, transfers=each.transfers * (time // 50)))
    recent.add(USER, 210, 0.0)
    recent.add(OTHER, 210, math.inf, each)
    assert recent.dealings(OTHER, 210) == [each] and recent.carried(OTHER, 210)(9.0, 0.0) == 0.0, (
        "cut traces deal, too"
    )
    assert [len(past.transfers) for past in recent.dealings(THIEF, 100 + SECONDS)] == [2, 3, 4]
    assert [len(past.transfers) for past in recent.dealings(THIEF, 101 + SECONDS)] == [3, 4]
    assert [len(past.transfers) for past in recent.dealings(THIEF, 150)] == [2, 3]
    assert recent.dealings(USER, 210) == recent.dealings(THIEF, None) == recent.dealings(VAULT, 210) == []


def test_an_account_that_floods_costs_no_more(history):
    recent = Recent(0.0)
    many = dealing_in(at(VAULT, *[moved(THIEF, VAULT, 1)] * (MOST_TRANSFERS + 9)), history)
    assert len(many.shortened().transfers) == MOST_TRANSFERS
    for time in range(MOST_DEALINGS + 5):
        recent.add(THIEF, time, 0.0, many)
    assert len(recent.dealings(THIEF, 60)) == MOST_DEALINGS
