"""What contracts hold and who put it there, and who gets what others put in.

An analyst who is told that a contract was emptied first asks whether the money was the taker's. Books are
kept of contracts that were created while somebody looked, since of others nobody knows what they held before:
what each holds of each asset, and what each account has put into it, less what it took out. They begin with
those of the history and go on with what is calibrated on and scored, for whoever puts something in tomorrow
may take it out the day after. Beside them is noted what long input was sent to whom: a message that counts
twice is one of the oldest mistakes of a contract.
"""

import math
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockscan.detect.fact import (
    ESTABLISHED,
    Fact,
    Pairs,
    amount_in_words,
    by_value,
    known_to_others,
    pays,
    share_in_words,
)
from blockscan.detect.flow import ZERO, entries_of
from blockscan.detect.habits import in_words
from blockscan.detect.history import AGAIN, History, Sent, latest
from blockscan.detect.tally import Sums, key_of

if TYPE_CHECKING:  # which asks the books what they know
    from blockscan.detect.dealings import Dealing

MOST = 1 << 20
"""Entries since the history that are remembered; the contract that changed longest ago is forgotten.

As many contracts that were created, and as many long inputs, of all chains together.
"""
UNDONE = 1 << 16
"""Transactions that can be taken back."""

Place = tuple[str, int | None]
"""Chain and block number."""
_SENDER = ""
"""All that act for the sender, as one party."""
_OWN = 64
"""Accounts of the sender's own that are asked for what they put in; how many he has is his choice."""


@dataclass(frozen=True, slots=True, eq=False)
class Entered:
    """What came after the history, up to the last block by chain of `until`, to go on from elsewhere.

    `sums` changes those of the history; `made` uint64 (M,) are keys of contracts and of who had them created,
    `sent` uint64 (S,) of what was sent.
    `whole`: nothing is missing in between; else the history's books say nothing any more.
    """

    sums: Sums
    made: NDArray[np.uint64]
    sent: NDArray[np.uint64]
    until: Mapping[str, int]
    whole: bool = True


NOTHING = Entered(Sums.of({}), np.empty(0, np.uint64), np.empty(0, np.uint64), {})


class _Booked(NamedTuple):
    """What one transaction entered, to be taken back: contract, entry and amount; keys of what it created.

    `sent`: the key of what it sent, if nobody had before.
    """

    block: int
    entries: tuple[tuple[int, int, int], ...]
    made: tuple[int, ...]
    sent: int | None


class Books:
    """What the history knows, and what came since."""

    def __init__(self, history: History, entered: Entered = NOTHING) -> None:
        """Begin where the history ends, or where others have come to since."""
        self.history = history
        self.reached = latest(history.until, entered.until)
        self._until: Mapping[str, int] = dict(self.reached)
        self._begun: Mapping[str, int] = self._until
        self._whole = entered.whole
        self._before = entered.sums
        self._old = frozenset(entered.made.tolist())
        self._made: OrderedDict[int, None] = OrderedDict()  # a set, the newest at the end
        self._sent = OrderedDict[int, None].fromkeys(entered.sent.tolist())
        # Entries by contract, the one that changed last at the end.
        self._since: OrderedDict[int, dict[int, int]] = OrderedDict()
        self._number = 0
        self._lost: set[int] = set()
        self._last: deque[_Booked] = deque()
        self._undoable = 0

    def known(self, contract: str) -> bool:
        """Whether all that a contract ever got and gave is in the books."""
        key = key_of(contract)
        return key not in self._lost and self._was_made(contract)

    def made_by(self, contract: str, account: str) -> bool:
        """Whether an account had the contract created."""
        return self._was_made(contract, account)

    def held(self, contract: str, asset: str) -> float:
        """What a contract holds of an asset."""
        return self._total(contract, "held", contract, asset)

    def put(self, account: str, contract: str, asset: str) -> float:
        """What an account has put into a contract, less what it took out."""
        return self._total(contract, "put", account, contract, asset)

    def sent(self, sent: Sent) -> bool:
        """Whether the same input was sent to the same contract of the same chain before."""
        return key_of(*sent) in self._sent or self.history.seen("sent", *sent) > 0

    def ahead_of(self, place: Place) -> bool:
        """Whether they held a transaction of this place, and what came after it, already when they began."""
        chain, block = place
        return block is not None and block <= self._begun.get(chain, -1)

    def add(self, dealing: "Dealing") -> None:
        """Enter a transaction: which contracts the sender had created, what moved, what was sent.

        What had been entered when these books began is in them already.
        """
        chain, block = dealing.place
        if block is not None:
            if block <= self._until.get(chain, -1):
                return
            self.reached[chain] = max(block, self.reached.get(chain, block))
        made, maker = sorted(dealing.made), dealing.sender
        keys = [key for one in made for key in (key_of(one), key_of(one, maker))]
        new = tuple(key for key in keys if key not in self._made)
        self._made |= dict.fromkeys(new)
        while len(self._made) > MOST:
            self._made.popitem(last=False)
        entries = entries_of(dealing.transfers)
        booked = [(key_of(who), key_of(*entry), amount) for who, entry, amount in entries if self.known(who)]
        self._enter(booked)
        fresh = self._note(dealing.sent)
        if block is not None and (booked or new or fresh is not None):
            self._last.append(_Booked(block, tuple(booked), new, fresh))
            self._undoable += len(booked)
            while self._undoable > MOST or len(self._last) > UNDONE:
                self._undoable -= len(self._last.popleft().entries)

    def take_back(self, chain: str, block: int) -> None:
        """Forget what came last, from a block on: it has left the chain."""
        while self._last and self._last[-1].block >= block:
            gone = self._last.pop()
            self._undoable -= len(gone.entries)
            self._enter([(who, key, -amount) for who, key, amount in gone.entries])
            for key in gone.made:
                self._made.pop(key, None)
            if gone.sent is not None:
                self._sent.pop(gone.sent, None)
        self.reached[chain] = min(block - 1, self.reached.get(chain, block - 1))

    def forget(self) -> None:
        """Know nothing but what is entered from now on: what came before is not known without a gap."""
        self._whole, self._before, self._old = False, NOTHING.sums, frozenset()
        self._until, self.reached, self._number, self._undoable = {}, {}, 0, 0
        for memory in (self._made, self._since, self._lost, self._last):
            memory.clear()

    def entered(self) -> Entered:
        """All that came since the history."""
        sums = Sums.of({key: total for own in self._since.values() for key, total in own.items()})
        made = np.array(sorted((self._old | self._made.keys()) - self._lost), np.uint64)
        whole, sent = self._whole and not self._lost, np.fromiter(self._sent, np.uint64, len(self._sent))
        return Entered(self._before.plus(sums), made, sent, dict(self.reached), whole)

    def _note(self, sent: Sent | None) -> int | None:
        """Remember what was sent; its key, if nobody had sent it since the history."""
        key = None if sent is None else key_of(*sent)
        if key is None or key in self._sent:
            return None
        self._sent[key] = None
        if len(self._sent) > MOST:
            self._sent.popitem(last=False)
        return key

    def _was_made(self, *parts: str) -> bool:
        key = key_of(*parts)
        in_history = self._whole and self.history.seen("made", *parts) > 0
        return key in self._made or key in self._old or in_history

    def _enter(self, entries: Iterable[tuple[int, int, int]]) -> None:
        for contract, key, amount in entries:
            own = self._since.setdefault(contract, {})
            self._number -= len(own)
            own[key] = own.get(key, 0) + amount
            self._number += len(own)
            self._since.move_to_end(contract)
        while self._number > MOST:
            contract, own = self._since.popitem(last=False)
            self._number -= len(own)
            if contract in self._made:
                del self._made[contract]
            else:
                self._lost.add(contract)

    def _total(self, contract: str, *entry: str) -> float:
        key = key_of(*entry)
        since = self._before.total(key) + self._since.get(key_of(contract), {}).get(key, 0)
        return since + (self.history.books.total(key) if self._whole else 0.0)


def withdrawn(now: "Dealing", own: Set[str], books: Books) -> Fact:
    """The largest share of what a contract had that went to somebody who had not put it in.

    Whoever it went to, for a thief has more than one address; `own`, who act for the sender, are one party.
    0 where the taker, or anybody, pays for it in the same transaction, where the sender had the contract
    created, and for what the books held when they began: of what was before it they know nothing.
    """
    if books.ahead_of(now.place):
        return Fact(0.0)
    party = dict.fromkeys(own, _SENDER)
    got: dict[tuple[str, str, str], int] = defaultdict(int)  # by giver, taker and asset
    first: dict[tuple[str, str, str], int] = {}
    for each in now.transfers:
        giver, taker = party.get(each.giver, each.giver), party.get(each.taker, each.taker)
        if giver != taker:
            got[giver, taker, each.asset] += each.amount
            got[taker, giver, each.asset] -= each.amount
            first.setdefault((giver, taker, each.asset), each.node)
    net: dict[tuple[str, str], int] = defaultdict(int)
    for (_, taker, asset), amount in got.items():
        net[taker, asset] += amount
    buyers, paid = _traders(net, now.noticed, {*own, _SENDER}, books.history)
    # What the transaction creates has put nothing anywhere.
    his_own = [now.sender, *sorted(own - {now.sender} - now.made)[:_OWN]]
    found = [Fact(0.0)]
    for (who, taker, asset), node in first.items():
        if who in paid or taker in buyers or ZERO in (who, taker) or asset in (who, taker):
            continue
        # Whether it is known is asked first: how many give him something is his choice.
        if who == _SENDER or not books.known(who) or any(books.made_by(who, one) for one in his_own):
            continue
        takers = his_own if taker == _SENDER else (taker,)
        his = sum(books.put(one, who, asset) for one in takers)
        surplus = got[who, taker, asset]
        taken, had = min(surplus - his, surplus, -net[who, asset]), books.held(who, asset)
        if taken > 0 and had > 0:
            share = min(taken / had, 1.0)
            to = "the sender" if taker == _SENDER else taker
            much = amount_in_words(int(taken), asset)
            text = f"{share_in_words(share)} of what {who} is known to have, {much} to {to}"
            found.append(Fact(share, node, text))
    return max(found, key=by_value)


def replayed(now: "Dealing", books: Books) -> Fact:
    """How rare it is that input of this name is sent again, in nats, where the same was sent before.

    Whoever sent it then: who has a signature that counts twice needs nobody's consent any more. 0 for a name
    that the past hardly knows: for all that is known its input may be the same every time; and for what the
    books held when they began: it is that itself.
    """
    if now.sent is None or books.ahead_of(now.place) or not books.sent(now.sent):
        return Fact(0.0)
    _, target, name, _ = now.sent
    again, runs = books.history.seen("sent", name, AGAIN), books.history.seen("sent", name)
    if runs < ESTABLISHED:
        return Fact(0.0)
    return Fact(-math.log((again + 0.5) / (runs + 1)), 0, in_words((target, name)))


def _traders(
    net: Mapping[tuple[str, str], int], noticed: Pairs, own: Set[str], history: History
) -> tuple[set[str], set[str]]:
    """Who gives something that can be a payment, and who gets one; `net` by holder and asset."""
    known = known_to_others(noticed, [pair for pair, amount in net.items() if amount < 0], own)
    buyers, paid = set[str](), set[str]()
    for (who, asset), amount in net.items():
        if amount < 0 and pays(asset, history, noticed=asset in known):
            buyers.add(who)
        elif amount > 0 and pays(asset, history, noticed=who == asset or (who, asset) in noticed):
            paid.add(who)
    return buyers, paid
