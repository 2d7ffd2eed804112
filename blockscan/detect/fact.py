"""A fact: a number that grows with suspicion, and where it shows; blockscan.detect.facts has all of them."""

from collections.abc import Iterable, Set
from typing import NamedTuple

from blockscan.chains.solana_layouts import SYSTEM
from blockscan.detect.flow import ETHER
from blockscan.detect.history import History

ESTABLISHED = 3
"""Transactions that must have shown something before its not doing what it did says anything."""
MEASURED = 10
"""Amounts that must be known of something before another one can be large or small."""
EACH = 0.3
"""Decades; what an ordinary amount counts where having it at all is odd."""


_COINS = {ETHER: (18, "ether"), SYSTEM: (9, "SOL")}


class Fact(NamedTuple):
    """A value, the frame (pre-order index) that shows it best, and what was found there."""

    value: float
    node: int = 0
    found: str = ""


Facts = dict[str, Fact]
Pairs = Iterable[tuple[str, str]]


def by_value(fact: Fact) -> float:
    """What facts are ordered by."""
    return fact.value


def amount_in_words(amount: int, asset: str) -> str:
    """For people; how many decimals a token has, nobody asks it here."""
    decimals, name = _COINS.get(asset, (0, ""))
    return f"{amount / 10**decimals:.4g} {name}" if name else f"{amount:.3g} units of {asset}"


def share_in_words(share: float) -> str:
    """For people, who would take a small share that is rounded to 0 % for nothing."""
    if 0 < share < 0.0001:
        return "under 0.01%"
    return f"{share:.0%}" if share >= 0.01 else f"{100 * share:.2g}%"


def worst_of(readings: Iterable[Facts]) -> Facts:
    """Of several readings of one transaction the larger value of each fact."""
    first, *others = readings
    return {name: max((fact, *(each[name] for each in others)), key=by_value) for name, fact in first.items()}


def pays(asset: str, history: History, *, noticed: bool) -> bool:
    """Whether an asset that was given can be a payment.

    A token's own code writes what it says has moved, so that anybody can seem to pay anybody with a token of
    his own. One that the past does not know counts where it was noticed: by whoever is paid where that is
    asked, as a pool does, else by anybody but the sender's side and itself; or where it gave something.
    """
    return noticed or asset == ETHER or history.amounts("amount", asset) >= MEASURED


def known_to_others(noticed: Pairs, gave: Pairs, own: Set[str]) -> set[str]:
    """Assets that anybody but the sender's side and the asset itself called, or that gave something else.

    Args:
        noticed: (holder, asset), see blockscan.detect.flow.noticed_by.
        gave: (holder, asset) of who gave what.
        own: who acts for the sender.
    """
    called = {asset for who, asset in noticed if who not in own and who != asset}
    return called | {who for who, asset in gave if who != asset}


def rarity_of(asset: str, amount: int, history: History) -> float:
    """How rare so large a transfer of the token is, in decades of probability; 0 where few are known."""
    known = history.amounts("amount", asset) >= MEASURED
    return history.rarity("amount", asset, amount=amount) if known else 0.0
