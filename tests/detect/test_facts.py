"""Facts of a transaction against a history: flows by hand, novelty, reentry, and what must not count."""

import math
from dataclasses import replace

import pytest

from blockscan.chains.entry_points import ENTRY_POINTS
from blockscan.chains.solana_layouts import SYSTEM
from blockscan.chains.solana_layouts import TOKEN as SPL_TOKEN
from blockscan.detect.explain import fact_evidence, reason
from blockscan.detect.fact import ESTABLISHED, amount_in_words, share_in_words
from blockscan.detect.facts import FACTS, fact_values, facts_of
from blockscan.detect.flow import ETHER, LARGEST, ZERO, frames_of
from blockscan.detect.gains import possible_tool
from blockscan.detect.habits import function_of, in_words
from blockscan.detect.history import history_of, merged
from blockscan.detect.tally import Tally, amount_bin, count_all, key_of, signed_bin
from blockscan.findings import Evidence
from blockscan.findings_wording import evidence_name
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceSource, Transaction

USER, OTHER, POOL, TOKEN, THIEF, JUNK = ("0x" + letter * 40 for letter in "abcde9")
TRANSFER = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
WITHDRAWAL = bytes.fromhex("7fcf532c15f0a6db0bd6d0e038bea71d30d808c7d98cb3bf7268a95bf5081b65")
SWAP, SKIM, BALANCE_OF = b"swap", b"skim", bytes.fromhex("70a08231")


def word(value: int | str) -> bytes:
    return value.to_bytes(32) if isinstance(value, int) else bytes.fromhex(value[2:]).rjust(32, b"\0")


def moved(giver: str, taker: str, amount: int) -> Log:
    return Log(TOKEN, (TRANSFER, word(giver), word(taker)), word(amount))


def call(caller, target, data=b"", *steps, kind=CallKind.CALL, value=0, error=None, output=b""):
    return Call(kind, caller, target, data, output, value, error, None, tuple(steps))


def transaction(root: Call, *, logs: LogOrder = LogOrder.EXACT) -> Transaction:
    where = {"chain": "ethereum", "hash": "0x1", "block_number": 1, "block_hash": None, "index": 0, "time": 1}
    return Transaction(
        **where, sender=root.caller, ok=root.ok, gas_used=None, root=root,
        source=TraceSource.CALL_TRACER_LOGS, log_order=logs,
    )  # fmt: skip


def swap(amount: int, user: str = USER, selector: bytes = SWAP) -> Transaction:
    """The pool pays a user, who paid ether for it."""
    return transaction(
        call(user, POOL, selector, call(POOL, TOKEN, b"move", moved(POOL, user, amount)), value=10**18)
    )


@pytest.fixture(scope="module")
def history():
    return history_of([swap(1000 + i, user) for i in range(50) for user in (USER, OTHER)])


def test_amounts_are_counted_from_above():
    counts: dict[int, int] = {}
    key = key_of("x")
    count_all(counts, (key + amount_bin(amount) for amount in (1, 10, 10, 100)))
    tally = Tally.of(counts)
    assert tally.amounts(key) == 4 and tally.amounts(key_of("y")) == 0
    assert tally.log10_p(key, amount_bin(1)) == pytest.approx(0.0)
    assert tally.log10_p(key, amount_bin(10)) == pytest.approx(math.log10(4 / 5))
    assert tally.log10_p(key, amount_bin(50)) == pytest.approx(math.log10(2 / 5))
    assert tally.log10_p(key, amount_bin(10**5)) == pytest.approx(math.log10(1 / 5) - 3 * 4 / 20)
    assert tally.log10_p(key_of("y"), amount_bin(10**5)) == 0.0


def test_numbers_of_either_sign_are_counted_from_both_ends():
    counts: dict[int, int] = {}
    key = key_of("x")
    count_all(counts, (key + signed_bin(number) for number in (-10, 0, 10, 10, 10**6)))
    tally = Tally.of(counts)
    bins = [signed_bin(number) for number in (1 - (1 << 128), -10, 0, 10, 10**6, (1 << 128) - 1)]
    assert bins == sorted(set(bins)) and bins[0] >= 0 and bins[-1] < 1024 and bins[2] == 512
    assert tally.log10_p(key, signed_bin(10)) == pytest.approx(math.log10(4 / 6))
    assert tally.log10_p_below(key, signed_bin(10)) == pytest.approx(math.log10(5 / 6))
    far = (signed_bin(-10) - signed_bin(-(10**9))) / 12
    found = tally.log10_p_below(key, signed_bin(-(10**9)), per_decade=12)
    assert found == pytest.approx(math.log10(1 / 6) - far * 5 / 20) and far == pytest.approx(8, abs=0.1)


def test_the_largest_key_and_amount_do_not_overflow():
    counts = {(1 << 63) - 1: 2}
    assert Tally.of(counts).count((1 << 63) - 1) == 2
    assert amount_bin((1 << 256) - 1) == 1023
    assert Tally.of({}).count(5) == 0


def test_a_swap_like_those_before_has_no_fact(history):
    facts = facts_of(swap(1010), history)
    assert set(facts) == set(FACTS)
    for name in (
        "new_edges",
        "rare_callee",
        "rare_functions",
        "new_caller",
        "free_gain",
        "reentry",
    ):
        assert facts[name].value == 0.0, name
    assert facts["gain"].value < 1 and facts["loss"].value < 1


def test_flows_of_logs_and_of_calls_agree():
    asks = bytes.fromhex("a9059cbb") + word(USER) + word(77)
    inner = call(POOL, TOKEN, asks, moved(POOL, USER, 77))
    seen = frames_of(transaction(call(USER, POOL, SWAP, inner))).balances()
    bare = replace(inner, steps=())
    told = frames_of(transaction(call(USER, POOL, SWAP, bare), logs=LogOrder.ABSENT)).balances()
    assert seen == told == {(POOL, TOKEN): -77, (USER, TOKEN): 77}


def test_who_unwraps_ether_gives_the_token_back():
    log = Log(TOKEN, (WITHDRAWAL, word(USER)), word(5))
    seen = transaction(call(USER, TOKEN, b"abcd", log))
    asks = bytes.fromhex("2e1a7d4d") + word(5)
    told = transaction(call(USER, TOKEN, asks), logs=LogOrder.ABSENT)
    for each in (seen, told):
        assert frames_of(each).balances() == {(USER, TOKEN): -5, (TOKEN, TOKEN): 5}


def test_what_is_too_large_to_be_a_sum_moves_nothing():
    sums = moved(USER, POOL, LARGEST - 1), moved(USER, POOL, LARGEST)
    (found,) = frames_of(transaction(call(USER, TOKEN, b"abcd", *sums))).transfers
    assert found.amount == LARGEST - 1


def test_what_failed_moves_nothing():
    """The innermost frame succeeded, but the one that called it did not."""
    inner = call(OTHER, THIEF, b"move", moved(POOL, USER, 5), value=3)
    below = call(USER, POOL, SWAP, call(POOL, OTHER, b"", inner, error="reverted"), value=9)
    assert frames_of(transaction(below)).balances() == {(USER, ETHER): -9, (POOL, ETHER): 9}


@pytest.mark.parametrize("change", [-7, 7])
def test_a_change_of_a_solana_balance_is_a_flow_between_owner_and_mint(change):
    data = b"".join(part.to_bytes(32, signed=True) for part in (change, 100, 6))
    log = Log("mint", (), data, accounts=("account", "owner"))
    root = call("payer", "payer", b"", log, kind=CallKind.INSTRUCTION)
    assert frames_of(transaction(root)).balances()["owner", "mint"] == change


def test_callers_are_counted_once(history):
    assert history.seen("callers", POOL) == 2 and history.seen("callee", POOL) == 100


def test_the_unknown_says_nothing_about_what_is_usual_there(history):
    """A contract without a past has no usual function, and nobody is new to what anybody may call."""
    facts = facts_of(transaction(call(THIEF, "0x" + "7" * 40, b"what")), history)
    assert facts["rare_function"].value == facts["rare_functions"].value == 0.0
    assert facts["unknown_target"].value > facts_of(swap(1), history)["unknown_target"].value
    crowd = history_of([swap(1000, f"0x{n:040x}") for n in range(1, 101)])
    assert facts_of(swap(1000, THIEF), crowd)["new_caller"].value < 1.0
    assert facts_of(swap(1000, THIEF), history)["new_caller"].value > 3.0
    inner = call(THIEF, POOL, SWAP)
    assert facts_of(transaction(call(USER, THIEF, b"", inner)), history)["new_caller"].value > 3.0


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (1.0, "100%"),
        (0.924, "92%"),
        (0.01, "1%"),
        (0.0034, "0.34%"),
        (0.0001, "0.01%"),
        (1e-9, "under 0.01%"),
    ],
)
def test_a_small_share_is_not_said_to_be_none(history, share, said):
    assert share_in_words(share) == said
    ask = call(POOL, TOKEN, BALANCE_OF + word(POOL), kind=CallKind.STATICCALL, output=word(10**12))
    taken = call(POOL, TOKEN, b"move", moved(POOL, THIEF, int(10**12 * share)))
    found = facts_of(transaction(call(THIEF, POOL, SWAP, ask, taken)), history)["drained"].found
    assert found == f"{said} of the {TOKEN} of {POOL}"


def test_an_unusual_gain_without_payment_stands_out(history):
    drain = transaction(call(THIEF, POOL, SKIM, call(POOL, TOKEN, b"move", moved(POOL, THIEF, 10**9))))
    facts = facts_of(drain, history)
    assert facts["gain"].value > 4 and facts["free_gain"].value == facts["gain"].value
    assert facts["loss"].value > 4 and POOL in facts["loss"].found
    assert facts["rare_function"].value > 4 and facts["rare_function"].node == 0
    assert facts["more_in_than_out"].value == 1.0
    paid = replace(drain, root=replace(drain.root, value=10**18))
    assert facts_of(paid, history)["free_gain"].value == 0.0 < facts_of(paid, history)["gain"].value
    dust = call(THIEF, JUNK, b"move", replace(moved(THIEF, OTHER, 1), emitter=JUNK))
    with_dust = transaction(replace(drain.root, steps=(*drain.root.steps, dust)))
    assert facts_of(with_dust, history)["free_gain"].value == facts["free_gain"].value, "of one's own making"
    for evasion in (call(JUNK, JUNK, b"look"), replace(moved(JUNK, JUNK, 1), emitter=JUNK)):
        evading = transaction(replace(drain.root, steps=(*drain.root.steps, dust, evasion)))
        assert facts_of(evading, history)["free_gain"].value == facts["free_gain"].value, (
            "nor by its own look"
        )
    taken = replace(dust, steps=(*dust.steps, call(OTHER, JUNK, b"look")))
    with_taken = transaction(replace(drain.root, steps=(*drain.root.steps, taken)))
    assert facts_of(with_taken, history)["free_gain"].value == 0.0, "somebody looked at it"
    burnt = replace(moved(THIEF, ZERO, 5), emitter=POOL)
    redeemed = transaction(replace(drain.root, steps=(burnt, *drain.root.steps)))
    assert facts_of(redeemed, history)["free_gain"].value == 0.0, (
        "who gives something for its shares knows them"
    )


def test_who_gained_is_said_where_it_is_not_the_sender(history):
    """A bundle creates an account for one of its users: its gain is not the bundler's."""
    account, tool = "0x" + "4" * 40, "0x" + "7" * 40
    deployed = call(POOL, account, kind=CallKind.CREATE2)

    def found(*logs: Log, target: str = POOL, kind: CallKind = CallKind.CALL) -> str:
        root = call(THIEF, target, b"", deployed, call(POOL, TOKEN, b"move", *logs), kind=kind)
        return facts_of(transaction(root), history)["gain"].found

    to_account = moved(POOL, account, 9000)
    assert found(to_account).endswith(f" gained by {account} (created here)")
    assert found(moved(POOL, THIEF, 9000)).endswith(" gained by the sender")
    both = found(to_account, moved(POOL, THIEF, 1000))
    assert both.startswith("1e+04 units of ")
    assert both.endswith(f" gained by {account} (created here) and 1 more of that side")
    to_tool = moved(POOL, tool, 9000)
    assert found(to_tool, target=tool).endswith(f" gained by the target {tool}")
    assert found(to_tool, target=tool, kind=CallKind.CREATE).endswith(f" gained by {tool} (created here)")
    passed_on = found(to_tool, moved(tool, THIEF, 9000), target=tool)
    assert passed_on.endswith(" gained by the sender")


def test_who_neither_sends_nor_is_called_is_a_bystander(history):
    pulled = call(THIEF, TOKEN, b"pull", moved(OTHER, THIEF, 1020))
    assert facts_of(transaction(pulled), history)["bystander_loss"].value >= 0.3
    assert facts_of(swap(1020), history)["bystander_loss"].value == 0.0


def test_a_bystander_may_be_paid_so_its_name_says_no_more_than_that_it_makes_no_call(history):
    filled = call(THIEF, POOL, SWAP, call(POOL, TOKEN, b"pull", moved(OTHER, THIEF, 1020)))
    paid = transaction(replace(filled, steps=(*filled.steps, call(POOL, OTHER, value=10**18))))
    found = facts_of(paid, history)["bystander_loss"]
    assert found.value >= 0.3 and found.found.endswith(f"from {OTHER}")
    evidence = Evidence(found.node, "bystander_loss", found.found, (), 9.0, 1e-4)
    assert reason(paid, (evidence,)).startswith("unusual loss of an account that makes no call itself, ")
    assert evidence_name("bystander_loss") == "loss of accounts that make no call themselves"


def test_a_contract_entered_while_at_work(history):
    again = call(THIEF, POOL, SWAP)
    facts = facts_of(transaction(call(USER, POOL, SWAP, call(POOL, THIEF, b"", again))), history)
    assert facts["reentry"].value == pytest.approx(math.log(2)) and facts["reentry"].node == 2
    own = call(USER, POOL, SWAP, call(POOL, POOL, SWAP))
    assert facts_of(transaction(own), history)["reentry"].value == 0.0
    in_vain = replace(again, error="execution reverted")
    tried = facts_of(transaction(call(USER, POOL, SWAP, call(POOL, THIEF, b"", in_vain))), history)["reentry"]
    assert tried.value == pytest.approx(math.log(2)) and tried.found == f"{POOL}, which failed"
    both = transaction(call(USER, POOL, SWAP, call(POOL, THIEF, b"", in_vain, again)))
    assert facts_of(both, history)["reentry"][1:] == (3, POOL)


def test_a_drained_balance_is_told_by_the_trace(history):
    ask = call(POOL, TOKEN, BALANCE_OF + word(POOL), kind=CallKind.STATICCALL, output=word(1))
    emptied = call(THIEF, POOL, SWAP, call(POOL, TOKEN, b"move", moved(POOL, THIEF, 99)), ask)
    assert facts_of(transaction(emptied), history)["drained"].value == pytest.approx(0.99)


@pytest.mark.parametrize(("balance", "share"), [(100, 0.99), (990, 0.1), (40, 1.0)])
def test_a_balance_read_before_the_loss_is_what_there_was(history, balance, share):
    """Of a token that says less than what was taken it is all."""
    ask = call(POOL, TOKEN, BALANCE_OF + word(POOL), kind=CallKind.STATICCALL, output=word(balance))
    take = call(POOL, TOKEN, b"move", moved(POOL, THIEF, 99))
    found = facts_of(transaction(call(THIEF, POOL, SWAP, ask, take)), history)["drained"]
    assert found.value == pytest.approx(share) and found.found == f"{share:.0%} of the {TOKEN} of {POOL}"


def test_a_balance_read_between_two_losses_counts_what_was_gone_already(history):
    ask = call(POOL, TOKEN, BALANCE_OF + word(POOL), kind=CallKind.STATICCALL, output=word(60))
    first, second = (call(POOL, TOKEN, b"move", moved(POOL, THIEF, part)) for part in (40, 59))
    found = facts_of(transaction(call(THIEF, POOL, SWAP, first, ask, second)), history)["drained"]
    assert found.value == pytest.approx(0.99)


def test_a_balance_is_as_it_was_when_it_was_asked_for(history):
    """A log of the frame that asks comes after the calls that it made before."""
    ask = call(POOL, TOKEN, BALANCE_OF + word(POOL), kind=CallKind.STATICCALL, output=word(100))
    entry = call(THIEF, POOL, SWAP, ask, moved(POOL, THIEF, 25))
    assert facts_of(transaction(entry), history)["drained"].value == pytest.approx(0.25)


def test_functions_are_in_words():
    assert in_words(("0xaa", b"\xa9\x05\x9c\xbb")) == "0xa9059cbb of 0xaa"
    assert in_words((SPL_TOKEN, b"initializeAccount3")) == f"initializeAccount3 of {SPL_TOKEN}"
    assert in_words(("0xaa", b"CREATE2")) == "CREATE2 of 0xaa" and in_words(("", b"CREATE")) == "CREATE"
    assert in_words(("0xaa", b"")) == "a call of 0xaa without a function"
    assert in_words(("", b"")) == "a call without a function"


@pytest.mark.parametrize(
    ("target", "code"),
    [("0xaa", b"mint"), ("", b"swap"), ("0xaa", b"CALL"), ("prog", b"transfer"), ("prog", b"CREATE")],
)
def test_letters_of_the_chain_are_no_name(target: str, code: bytes) -> None:
    """Who writes a contract chooses its selectors, and a program its first bytes."""
    assert in_words((target, code)).startswith(f"0x{code.hex()}")


def test_amounts_are_in_words():
    assert amount_in_words(12 * 10**18 + 5 * 10**17, ETHER) == "12.5 ether"
    assert amount_in_words(54_600 * 10**9, "1" * 32) == "5.46e+04 SOL"
    assert amount_in_words(123456, TOKEN) == f"1.23e+05 units of {TOKEN}"


def test_a_contract_that_the_sender_creates_and_empties_is_no_victim(history):
    ask = call(THIEF, TOKEN, BALANCE_OF + word(THIEF), output=word(0))
    give = call(THIEF, TOKEN, b"move", moved(THIEF, POOL, 10))
    created = call(POOL, THIEF, b"code", give, ask, kind=CallKind.CREATE)
    facts = facts_of(transaction(call(USER, POOL, b"abcd", created)), history)
    assert facts["drained"].value == 0.0


def test_a_token_loses_nothing_by_its_own_supply(history):
    minted = call(USER, TOKEN, b"mint", moved(TOKEN, USER, 10**6))
    assert facts_of(transaction(minted), history)["loss"].value == 0.0


def test_what_only_one_ever_called_may_be_the_tool_of_another(history):
    of_one = history_of([swap(1000 + i) for i in range(100)])
    assert possible_tool(swap(1, OTHER), of_one) == frozenset({POOL})
    users = [f"0x{n:040x}" for n in range(1, ESTABLISHED)]
    assert possible_tool(swap(1), history_of([swap(1000, user) for user in users])) == frozenset()


def test_how_rare_a_new_caller_is_follows_from_calls_and_callers(history):
    """Two users made a hundred calls, so that (2 + 1/2) in 103 came from somebody new."""
    found = facts_of(swap(1000, THIEF), history)["new_caller"].value
    assert found == pytest.approx(-math.log(2.5 / 103))


def test_thousand_frames_deep_and_hostile_names(history):
    root = call("\ud800", "0x", b"\0" * 3)
    for depth in range(1024):
        root = call(f"0x{depth:040x}", "0x" + "z" * 40, b"deep", root)
    values = fact_values(facts_of(transaction(root), history))
    assert values.shape == (len(FACTS),)
    assert [name for name, x in zip(FACTS, values, strict=True) if not math.isfinite(x)] == ["joint_gain"]
    assert values[FACTS.index("depth")] == 1024


def test_only_rare_facts_are_evidence(history):
    facts = facts_of(swap(10**9), history)
    rarities = {"gain": 3.0, "loss": 1.31, "depth": 1.29, "fisher": 9.0}
    told = fact_evidence(facts, rarities, dict.fromkeys(rarities, 0.01))
    assert [each.field for each in told] == ["gain", "loss"]
    assert [each.extrapolated for each in told] == [True, False]
    assert told[0].p_value == pytest.approx(1e-3) and told[0].surprise == pytest.approx(math.log(1000))


def test_order_of_the_past_changes_nothing():
    past = [swap(1000 + i, (USER, OTHER)[i % 2]) for i in range(9)]
    one, two = history_of(past), history_of(past[::-1])
    for kind, tally in one.tallies.items():
        assert (tally.keys == two.tallies[kind].keys).all()
        assert (tally.before == two.tallies[kind].before).all()


PAY = bytes.fromhex("aabbccdd")


def pay(amount: int, *more: int, target: str = POOL) -> Transaction:
    return transaction(call(USER, target, PAY + b"".join(map(_signed, (amount, *more)))))


def _signed(number: int) -> bytes:
    return number.to_bytes(32, signed=True)


def test_an_argument_beyond_what_a_function_is_called_with_stands_out_on_its_side():
    known = history_of([pay(10**6 + 10**4 * i, 5) for i in range(100)])
    usual, high, low, negative = (facts_of(pay(n, 5), known) for n in (10**6, 10**12, 10, -(10**6)))
    assert max(usual["number_high"].value, usual["number_low"].value) < 2.1
    assert high["number_high"].value > 6 and high["number_low"].value < 0.1
    assert low["number_low"].value > 5 and low["number_high"].value < 0.1
    assert negative["number_low"].value > low["number_low"].value
    assert facts_of(pay(10**6, 10**9), known)["number_high"].found.startswith("1e+09 as argument 2 of ")
    assert high["number_high"].found == "1e+12 as argument 1 of 0xaabbccdd"


def test_arguments_that_are_no_amounts_and_functions_without_a_past_say_nothing():
    known = history_of([pay(10**6, 5) for _ in range(100)])
    address, mask = int(THIEF, 16), (1 << 255) - 1
    without_past = transaction(call(USER, POOL, SWAP + _signed(10**12)))
    for unknown in (pay(address, 5), pay(mask, 5), without_past):
        facts = facts_of(unknown, known)
        assert facts["number_high"].value < 0.1 and facts["number_low"].value < 0.1


def test_a_transfer_is_large_for_the_function_that_asks_for_it():
    """What one function of the pool pays out every day is much for another."""
    small, large = bytes.fromhex("11111111"), bytes.fromhex("22222222")
    seen = [
        swap(amount, selector=name) for amount, name in ((10**3, small), (10**9, large)) for _ in range(99)
    ]
    known = history_of(seen)
    assert facts_of(swap(10**9, selector=large), known)["largest_transfer"].value < 0.1
    assert facts_of(swap(10**9, selector=small), known)["largest_transfer"].value > 5
    other = facts_of(swap(10**9, selector=PAY), known)["largest_transfer"]
    assert other.value == pytest.approx(math.log10(199 / 100), abs=1e-9), "among all transfers of the token"


def test_a_token_of_a_collection_is_a_flow_of_one():
    topics = TRANSFER, word(POOL), word(USER), word(77)
    seen = transaction(call(USER, POOL, SWAP, call(POOL, TOKEN, b"", Log(TOKEN, topics, b""))))
    asks = bytes.fromhex("42842e0e") + word(POOL) + word(USER) + word(77)
    told = transaction(call(USER, POOL, SWAP, call(POOL, TOKEN, asks)), logs=LogOrder.ABSENT)
    for each in (seen, told):
        assert frames_of(each).balances() == {(POOL, TOKEN): -1, (USER, TOKEN): 1}


MINT, VAULT, VICTIM, PROGRAM = "Mint", "Vault", "Victim", "Program"


def fell(owner: str, change: int, left: int) -> Log:
    data = b"".join(each.to_bytes(32, signed=True) for each in (change, left, 6))
    return Log(MINT, (), data, accounts=(f"account of {owner}", owner))


def message(payer: str, *steps: Call | Log, signers: tuple[str, ...] = ()) -> Transaction:
    root = replace(call(payer, payer, b"fees", *steps, kind=CallKind.INSTRUCTION), accounts=(payer, *signers))
    return replace(transaction(root), source=TraceSource.SOLANA_LOGS)


def instructed(payer: str, data: bytes, program: str = SPL_TOKEN) -> Call:
    return call(payer, program, data, kind=CallKind.INSTRUCTION)


def test_an_instruction_is_known_by_its_name_not_by_its_amount():
    one, other = (instructed("payer", b"\3" + amount.to_bytes(8, "little")) for amount in (1, 2))
    assert function_of(one) == function_of(other) == (SPL_TOKEN, b"transfer")
    assert function_of(instructed("payer", b"12345678rest", PROGRAM)) == (PROGRAM, b"12345678")
    swaps = (b"\x09" + amount.to_bytes(8, "little") + b"\1" * 8 for amount in (1, 10**6, 2**40 - 1))
    assert {function_of(instructed("payer", swap, PROGRAM)) for swap in swaps} == {(PROGRAM, b"\x09")}
    named = b"\x07\5\0\0\0hello and good bye"
    assert function_of(instructed("payer", named, PROGRAM)) == (PROGRAM, b"\7")
    signatures = b"\x07\3" + b"\xff" * 17
    assert function_of(instructed("payer", signatures, PROGRAM)) == (PROGRAM, b"\7")
    assert function_of(instructed("payer", b"\x09\1\2", PROGRAM)) == (PROGRAM, b"\x09")
    first, second = (message(payer, instructed(payer, b"\7")).root for payer in ("payer", "another"))
    assert function_of(first) == function_of(second)


def test_an_instruction_that_a_program_hardly_ever_runs_is_rare():
    transfers = [message(f"payer{i}", instructed(f"payer{i}", b"\3" + bytes([i] * 8))) for i in range(40)]
    history = history_of(transfers)
    usual = message("new", instructed("new", b"\3" + bytes([200] * 8)))
    mint = message("new", instructed("new", b"\7" + bytes([1] * 8)))
    assert facts_of(usual, history)["rare_function"].value < 0.1
    assert facts_of(mint, history)["rare_function"].value == pytest.approx(math.log(41 / 0.5))


@pytest.fixture(scope="module")
def pool():
    """A vault that pays without signing, as the vaults of programs do, and users who sign."""
    return history_of(
        message(f"user{i}", fell(VAULT, -1000 - i, 10**9), fell(f"user{i}", -10, 5)) for i in range(30)
    )


def test_who_loses_without_signing_is_robbed_unless_it_always_does(pool):
    swap = facts_of(message("user", fell(VAULT, -1010, 10**9), fell("user", 1010, 1010)), pool)
    theft = facts_of(message("thief", fell(VICTIM, -(10**6), 0), fell("thief", 10**6, 10**6)), pool)
    signed = facts_of(
        message("thief", fell(VICTIM, -(10**6), 0), fell("thief", 10**6, 10**6), signers=(VICTIM,)), pool
    )
    assert swap["bystander_loss"].value == 0.0 and swap["drained"].value == pytest.approx(0, abs=1e-5)
    assert theft["bystander_loss"].value > 1.0 and VICTIM in theft["bystander_loss"].found
    assert (theft["drained"].value, theft["emptied"].value) == (1.0, 0.0)
    assert signed["bystander_loss"].value == 0.0
    assert (signed["drained"].value, signed["emptied"].value) == (0.0, 1.0)
    assert signed["emptied"].found.startswith(f"100% of the {MINT} in an account of ")


def test_one_of_a_kind_has_no_shares(pool):
    """Whoever sells an NFT always gives all of it."""
    data = b"".join(each.to_bytes(32, signed=True) for each in (-1, 0, 0))
    sold = Log(MINT, (), data, accounts=("account", VAULT))
    assert facts_of(message("buyer", sold), pool)["drained"].value == 0.0
    half = Log(MINT, (), data[:32] + (1).to_bytes(32) + data[64:], accounts=("account", VAULT))
    assert facts_of(message("buyer", half), pool)["drained"].value == 0.5
    coin = Log(MINT, (), data[:64] + (6).to_bytes(32), accounts=("account", VAULT))
    assert facts_of(message("buyer", coin), pool)["drained"].value == 1.0


def test_who_was_robbed_before_is_still_robbed():
    """A few losses without a signature make no vault."""
    past = [message(f"user{i}", fell(VICTIM, -1000, 10**9)) for i in range(ESTABLISHED)]
    theft = message("thief", fell(VICTIM, -(10**6), 0))
    for before, robbed in ((past[1:], True), (past, False)):
        assert (facts_of(theft, history_of(before))["bystander_loss"].value > 0.0) == robbed


def test_who_pays_by_signature_is_robbed_the_first_time_it_did_not_sign():
    history = history_of(message(VICTIM, fell(VICTIM, -10, 10**6 - i)) for i in range(20))
    theft = message("thief", fell(VICTIM, -(10**6), 0), fell("thief", 10**6, 10**6))
    assert facts_of(theft, history)["bystander_loss"].value > 1.0


def test_each_victim_counts_even_of_a_token_without_a_past(pool):
    victims = [fell(f"victim{i}", -1, 1) for i in range(3)]
    unheard = [replace(each, emitter="Unheard") for each in victims]
    found = facts_of(message("thief", *unheard), pool)
    assert found["bystander_loss"].value == pytest.approx(3 * 0.3)
    assert found["drained"].value == pytest.approx(3 * 0.5)


def test_lamports_that_move_with_accounts_rob_nobody(pool):
    data = b"".join(each.to_bytes(32, signed=True) for each in (-2_039_280, 0, 9))
    closing = message("user", Log(SYSTEM, (), data, accounts=("account of user",)))
    assert facts_of(closing, pool)["bystander_loss"].value == 0.0
    assert facts_of(closing, pool)["drained"].value == 0.0


def test_two_histories_together_are_what_both_saw():
    one, other = (
        history_of([replace(swap(1000), hash=f"0x{n}", block_number=n) for n in blocks])
        for blocks in (range(5, 9), range(3, 6))
    )
    elsewhere = history_of([replace(swap(1000), chain="base", block_number=2)])
    both = merged(merged(one, other), elsewhere)
    assert (both.transactions, both.seen("address", POOL)) == (8, 8)
    assert both.until == {"ethereum": 8, "base": 2} == merged(elsewhere, merged(other, one)).until


def test_what_is_created_in_a_bundle_is_not_its_senders(history):
    """A new user's account gains tokens: the bundler does not."""
    new, point = "0x" + "7" * 40, min(ENTRY_POINTS)
    made = call(point, new, kind=CallKind.CREATE2)
    paid = call(point, POOL, SWAP, call(POOL, TOKEN, b"", moved(POOL, new, 10**6)))
    for target, gains in ((point, False), (OTHER, True)):
        found = facts_of(transaction(call(THIEF, target, b"", made, paid)), history)["gain"]
        assert (found.value > 0) == gains == (new in found.found)


def test_a_gain_and_a_loss_stand_where_they_happened(history):
    """Not where the token first moved between others."""
    others = call(OTHER, TOKEN, b"", moved(OTHER, JUNK, 5))
    taken = call(POOL, TOKEN, b"", moved(POOL, THIEF, 10**6))
    found = facts_of(transaction(call(THIEF, POOL, SWAP, others, taken)), history)
    assert {name: found[name].node for name in ("gain", "loss")} == {"gain": 2, "loss": 2}
    robbed = call(POOL, TOKEN, b"", moved(USER, THIEF, 10**6))
    found = facts_of(transaction(call(THIEF, POOL, SWAP, others, robbed)), history)["bystander_loss"]
    assert (found.node, found.value > 0.3) == (2, True)
