"""What contracts hold and who put it there, and who gets what others put in.

An analyst who is told that a contract was emptied first asks whether the money was the taker's. Books are
kept of contracts that were created while somebody looked, since of others nobody knows what they held before:
what each holds of each asset, and what each account has put into it, less what it took out. They begin with
those of the history and go on with what is calibrated on and scored, for whoever puts something in tomorrow
may take it out the day after.
"""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockscan.detect.fact import Fact, Pairs, amount_in_words, by_value, known_to_others, pays
from blockscan.detect.flow import ZERO, Transfer, entries_of
from blockscan.detect.history import History, latest
from blockscan.detect.tally import Sums, key_of

MOST = 1 << 20
"""Entries since the history that are remembered, those that changed last, and contracts."""
UNDONE = 1 << 15
"""Transactions that can be taken back."""


Place = tuple[str, int | None]
"""Chain and block number."""


_SENDER = ""
"""All that act for the sender, as one party."""


class _Booked(NamedTuple):
    block: int
    entries: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Entered:
    """What came after the history, up to the last block by chain of `until`, to go on from elsewhere.

    `sums` changes those of the history; `made` uint64 (M,) are keys of contracts and of who had them created.
    """

    sums: Sums
    made: NDArray[np.uint64]
    until: Mapping[str, int]


NOTHING = Entered(Sums.of({}), np.empty(0, np.uint64), {})


class Books:
    """What the history knows, and what came since."""

    def __init__(self, history: History, entered: Entered = NOTHING) -> None:
        """Begin where the history ends, or where others have come to since."""
        self.history = history
        self.until = latest(history.until, entered.until)
        self._before = entered.sums
        self._since: dict[int, int] = {}
        self._made = dict.fromkeys(entered.made.tolist())  # a set that keeps its order
        self._last: deque[_Booked] = deque(maxlen=UNDONE)

    def known(self, contract: str) -> bool:
        """Whether all that a contract ever got and gave is in the books."""
        return key_of(contract) in self._made or self.history.seen("made", contract) > 0

    def made_by(self, contract: str, account: str) -> bool:
        """Whether an account had the contract created."""
        return key_of(contract, account) in self._made or self.history.seen("made", contract, account) > 0

    def held(self, contract: str, asset: str) -> float:
        """What a contract holds of an asset."""
        return self._total("held", contract, asset)

    def put(self, account: str, contract: str, asset: str) -> float:
        """What an account has put into a contract, less what it took out."""
        return self._total("put", account, contract, asset)

    def add(self, place: Place, sender: str, made: Set[str], moved: Sequence[Transfer]) -> None:
        """Enter a transaction: which contracts the sender had created, and what moved.

        What had been entered when these books began is in them already.
        """
        chain, block = place
        if block is not None and block <= self.until.get(chain, -1):
            return
        self._made |= dict.fromkeys(key for one in made for key in (key_of(one), key_of(one, sender)))
        while len(self._made) > MOST:
            del self._made[next(iter(self._made))]
        entries = entries_of(moved)
        booked = [(key_of(*entry), amount) for holder, entry, amount in entries if self.known(holder)]
        self._enter(booked)
        if booked and block is not None:
            self._last.append(_Booked(block, tuple(booked)))

    def take_back(self, block: int) -> None:
        """Forget what came last, from a block on: it has left the chain."""
        while self._last and self._last[-1].block >= block:
            self._enter([(key, -amount) for key, amount in self._last.pop().entries])

    def entered(self, until: Mapping[str, int]) -> Entered:
        """All that came since the history, up to the last block by chain of `until`."""
        made = np.array(sorted(self._made), np.uint64)
        return Entered(self._before.plus(Sums.of(self._since)), made, latest(self.until, until))

    def _enter(self, entries: list[tuple[int, int]]) -> None:
        for key, amount in entries:
            self._since[key] = self._since.pop(key, 0) + amount
        while len(self._since) > MOST:
            del self._since[next(iter(self._since))]

    def _total(self, *entry: str) -> float:
        key = key_of(*entry)
        return self.history.books.total(key) + self._before.total(key) + self._since.get(key, 0)


def withdrawn(moved: Sequence[Transfer], noticed: Pairs, sender: str, own: Set[str], books: Books) -> Fact:
    """The largest share of what a contract had that went to somebody who had not put it in.

    Whoever it went to, for a thief has more than one address; the sender's own are one party. 0 where the
    taker, or anybody, pays for it in the same transaction, and where the sender had the contract created.

    Args:
        moved: what moved in the transaction.
        noticed: (holder, asset), see blockscan.detect.flow.noticed_by.
        sender: whose transaction it is.
        own: who acts for him.
        books: of all that was before.
    """
    party = dict.fromkeys(own, _SENDER)
    got: dict[tuple[str, str, str], int] = defaultdict(int)  # by giver, taker and asset
    first: dict[tuple[str, str, str], int] = {}
    for each in moved:
        giver, taker = party.get(each.giver, each.giver), party.get(each.taker, each.taker)
        if giver != taker:
            got[giver, taker, each.asset] += each.amount
            got[taker, giver, each.asset] -= each.amount
            first.setdefault((giver, taker, each.asset), each.node)
    net: dict[tuple[str, str], int] = defaultdict(int)
    for (_, taker, asset), amount in got.items():
        net[taker, asset] += amount
    known = known_to_others(noticed, [pair for pair, amount in net.items() if amount < 0], {*own, _SENDER})
    buyers, paid = set[str](), set[str]()
    for (who, asset), amount in net.items():
        if amount < 0 and pays(asset, books.history, noticed=asset in known):
            buyers.add(who)
        elif amount > 0 and pays(asset, books.history, noticed=who == asset or (who, asset) in noticed):
            paid.add(who)
    # What is new has put nothing anywhere; to ask of each of his contracts would be his choice of work.
    his_own = [one for one in own if one == sender or books.history.seen("caller", one)]
    found = [Fact(0.0)]
    for (who, taker, asset), node in first.items():
        mine = who == _SENDER or any(books.made_by(who, one) for one in his_own)
        if mine or who in paid or taker in buyers or ZERO in (who, taker) or asset in (who, taker):
            continue
        takers = his_own if taker == _SENDER else (taker,)
        his = sum(books.put(one, who, asset) for one in takers)
        surplus = got[who, taker, asset]
        taken, had = min(surplus - his, surplus, -net[who, asset]), books.held(who, asset)
        if taken > 0 and had > 0:  # of contracts that are not in the books nothing is known to be held
            share = min(taken / had, 1.0)
            to = "the sender" if taker == _SENDER else taker
            text = f"{share:.0%} of what {who} had, {amount_in_words(int(taken), asset)} to {to}"
            found.append(Fact(share, node, text))
    return max(found, key=by_value)
