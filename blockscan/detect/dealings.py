"""What an account took and gave over its transactions of the last minutes together.

The steps of an attack may each be ordinary: put in a little, wait, take out a lot; buy, sell elsewhere. What
they come to is not: whoever takes more out of a contract than he put in, and leaves it nothing else, has
robbed it, unless he left something there before. Nor has he if he bought something there before and sells it
back now: others' trades move a price in between, and whoever sandwiches them or is early gains by it. Within
one transaction nobody else can. See blockscan.detect.accounts for how long is remembered.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from blockscan.detect.authority import HandedOver, handed_over_in
from blockscan.detect.books import Books, Place, replayed, withdrawn
from blockscan.detect.fact import (
    EACH,
    Fact,
    Facts,
    amount_in_words,
    by_value,
    known_to_others,
    pays,
    rarity_of,
    share_in_words,
    worst_of,
)
from blockscan.detect.flow import (
    ZERO,
    Frames,
    ShareLost,
    Transfer,
    created_by,
    frames_of,
    noticed_by,
    shares_lost,
)
from blockscan.detect.gains import Side, own_side, possible_tool
from blockscan.detect.history import History, Sent, sent_in
from blockscan.detect.lookalikes import lookalike
from blockscan.findings import Joint
from blockscan.transaction import CallKind, Transaction

JOINT_GAIN = "joint_gain"
JOINT = ("overdrawn", JOINT_GAIN, "lookalike", "withdrawn", "replayed", "taken_over")
"""The facts that a transaction shows together with earlier ones."""
MOST_TRANSFERS = 1000
"""Transfers of a transaction that are remembered; the rest is forgotten, not the transaction."""


@dataclass(frozen=True, slots=True)
class Dealing:
    """One transaction's part: who acted for the sender for sure, who perhaps, and what moved.

    `noticed` has (holder, asset) for each holder that called the asset, `made` what `sender` had created,
    `sent` what it sent, if that is long, in the block at `place`.
    `balances`: nobody knows who gave to whom, but what everybody gained or lost (Solana), of which `lost`;
    `handed` are accounts that changed hands.
    """

    own: Side
    tools: Side
    transfers: tuple[Transfer, ...]
    noticed: frozenset[tuple[str, str]] = frozenset()
    made: frozenset[str] = frozenset()
    sender: str = ""
    sent: Sent | None = None
    place: Place = ("", None)
    balances: bool = False
    lost: tuple[ShareLost, ...] = ()
    handed: tuple[HandedOver, ...] = ()

    def shortened(self) -> "Dealing":
        """What is remembered of it: not every transfer."""
        return replace(self, transfers=self.transfers[:MOST_TRANSFERS], lost=())

    def to_heirs(self) -> dict[str, "Dealing"]:
        """What is remembered of it for those that were handed something, whoever they are."""
        heirs: dict[str, list[HandedOver]] = defaultdict(list)
        for each in self.handed:
            heirs[each.taker].append(each)
        nothing = Dealing(frozenset(), frozenset(), ())
        return {heir: replace(nothing, handed=tuple(own)) for heir, own in heirs.items()}


def dealing_of(frames: Frames, transaction: Transaction, history: History) -> Dealing:
    """What is to be remembered of a transaction."""
    own = own_side(frames, transaction)
    tools = possible_tool(transaction, history) - own
    noticed, made = noticed_by(frames), created_by(frames)
    balances = transaction.root.kind is CallKind.INSTRUCTION
    sender, sent = transaction.sender, sent_in(transaction)
    place = transaction.chain, transaction.block_number
    moved, lost, handed = (
        tuple(frames.transfers),
        tuple(shares_lost(transaction.root)),
        handed_over_in(frames),
    )
    return Dealing(own, tools, moved, noticed, made, sender, sent, place, balances, lost, handed)


def dealing_in(transaction: Transaction, history: History) -> Dealing:
    """The same of a transaction that nobody has walked yet."""
    return dealing_of(frames_of(transaction), transaction, history)


def with_joint(facts: Facts, joint: Iterable[Joint]) -> Facts:
    """The facts of a transaction with those that it shows together with earlier ones."""
    return facts | {each.name: Fact(each.value, each.node, each.found) for each in joint}


def joint_of(facts: Facts, earlier: Sequence[Dealing], now: Dealing, books: Books) -> tuple[Joint, ...]:
    """What a transaction shows together with earlier ones, and by itself, as `facts` say, does not."""
    found = dealings_facts(earlier, now, books).items()
    differ = (
        (name, fact)
        for name, fact in found
        if fact.value != facts[name].value or (name == "withdrawn" and fact != facts[name])
    )
    return tuple(Joint(name, *fact) for name, fact in differ if not math.isnan(fact.value))


def dealings_facts(earlier: Sequence[Dealing], now: Dealing, books: Books) -> Facts:
    """overdrawn: more taken out of somebody than put in, who got nothing else, by transactions until now.

    joint_gain: a gain without a payment of the transactions together; NaN for one alone, whose `free_gain`
    says as much, for what several show is rare or not among several. Both count what this transaction takes
    part in, in decades of how rare such an amount is. lookalike: see blockscan.detect.lookalikes.
    withdrawn, replayed: see blockscan.detect.books, which the earlier transactions are to be in. taken_over:
    see blockscan.detect.authority.
    """
    history = books.history
    every = (*earlier, now)
    own = frozenset[str]().union(*(each.own for each in every))
    sides = dict.fromkeys((own, own.union(*(each.tools for each in every))))
    moved = [transfer for each in every for transfer in each.transfers]
    noticed = frozenset[tuple[str, str]]().union(*(each.noticed for each in every))
    before = moved[: len(moved) - len(now.transfers)]
    looks = {
        "lookalike": lookalike(before, now.transfers, own, history),
        "replayed": replayed(now, books),
    }
    if now.balances:  # prices move: who gave little and got much may have traded
        over = _taken_over((handed for each in every for handed in each.handed), now.lost)
        nothing = dict.fromkeys(("overdrawn", "withdrawn"), Fact(0.0))
        return looks | nothing | {"taken_over": over, JOINT_GAIN: Fact(0.0 if earlier else math.nan)}
    all_of_it = Dealing(own, frozenset(), tuple(moved), noticed)
    taken = worst_of(
        _seen_from(replace(all_of_it, own=side), now, history, together=bool(earlier)) for side in sides
    )
    others = (withdrawn(now, side, books) for side in sides)
    return taken | looks | {"withdrawn": max(others, key=by_value), "taken_over": Fact(0.0)}


def _seen_from(every: Dealing, now: Dealing, history: History, *, together: bool) -> Facts:
    """The same of all transactions as one, `every`, whose own side acts for the sender and nobody else."""
    own, moved = every.own, every.transfers
    got: dict[tuple[str, str], int] = defaultdict(int)
    gave: dict[tuple[str, str], int] = defaultdict(int)
    total: dict[str, int] = defaultdict(int)
    net: dict[tuple[str, str], int] = defaultdict(int)
    for each in moved:
        net[each.giver, each.asset] -= each.amount
        net[each.taker, each.asset] += each.amount
        if each.taker in own and each.giver not in own:
            got[each.giver, each.asset] += each.amount
            total[each.asset] += each.amount
        elif each.giver in own and each.taker not in own:
            gave[each.taker, each.asset] += each.amount
            total[each.asset] -= each.amount
    paid = {
        who
        for (who, asset), amount in net.items()
        if amount > 0 and pays(asset, history, noticed=who == asset or (who, asset) in every.noticed)
    }
    known = known_to_others(every.noticed, got, own)
    at_a_loss = any(
        amount < 0 and pays(asset, history, noticed=asset in known) for asset, amount in total.items()
    )
    received = {(each.giver, each.asset): each.node for each in reversed(now.transfers) if each.taker in own}
    sold_back = _sold_back(own, moved[: len(moved) - len(now.transfers)], now)
    sales = Counter(who for who, _ in sold_back)
    came_before = [one for one in own if history.seen("caller", one)]
    overdrawn, gains = [Fact(0.0)], [Fact(0.0 if together else math.nan)]
    for (who, asset), node in received.items():
        # Who passes on what others give, as routers do, loses nothing.
        surplus = min(got[who, asset] - gave[who, asset], -net[who, asset])
        traded = sales[who] > ((who, asset) in sold_back)  # for something else than this asset
        robbed = gave[who, asset] and who not in paid and not traded
        if surplus > 0 and robbed and not _may_own_part(came_before, who, history):
            text = f"{amount_in_words(surplus, asset)} more out of {who} than put in"
            overdrawn.append(Fact(EACH + rarity_of(asset, surplus, history), node, text))
        if together and not at_a_loss and who not in own and total[asset] > 0:
            text = f"{amount_in_words(total[asset], asset)} over several transactions"
            gains.append(Fact(EACH + rarity_of(asset, total[asset], history), node, text))
    return {"overdrawn": max(overdrawn, key=by_value), "joint_gain": max(gains, key=by_value)}


def _sold_back(own: Side, before: Sequence[Transfer], now: Dealing) -> set[tuple[str, str]]:
    """Pairs of holder and asset: bought from the holder in earlier transactions, and sold back to it now."""
    held: dict[tuple[str, str], int] = defaultdict(int)
    for each in before:
        if each.taker in own and each.giver not in own:
            held[each.giver, each.asset] += each.amount
        elif each.giver in own and each.taker not in own:
            held[each.taker, each.asset] -= each.amount
    given = {(each.taker, each.asset) for each in now.transfers if each.giver in own}
    return {pair for pair in given if held[pair] > 0}


def _taken_over(handed: Iterable[HandedOver], lost: Sequence[ShareLost]) -> Fact:
    """The shares of balances together, lost now, that are moved by who was handed the account until now.

    Not by who had it before: what comes back to him, as from an escrow, is his own.
    """
    givers, owners = dict[tuple[str, str], str](), set[tuple[str, str]]()
    for account, giver, taker in handed:
        owners.add((account, giver))
        if (account, taker) not in owners:
            givers.setdefault((account, taker), giver)
    facts = []
    for each in lost:
        if before := givers.get((each.account, each.owner)):
            what = f"{share_in_words(each.share)} of the {each.token} in {each.account}"
            facts.append(Fact(each.share, 0, f"{what}, handed over by {before}"))
    return max(facts, key=by_value, default=Fact(0.0))._replace(value=sum(fact.value for fact in facts))


def _may_own_part(own: Iterable[str], who: str, history: History) -> bool:
    """Whether they dealt with it before what is remembered; minted tokens come from nobody."""
    return who == ZERO or any(history.seen("edge", one, who) for one in own)
