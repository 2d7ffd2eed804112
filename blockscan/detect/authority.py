"""What the authorities of Solana's tokens do: an account changes hands, tokens are made.

A token account belongs to whoever its token program calls the owner, and one signature hands it over with all
that is in it: who is made to give that signature loses nothing yet, and whoever takes the balance later moves
what is his own. What is minted comes from nobody, so that nobody seems to lose by a stolen mint authority.
On an EVM chain tokens say themselves who owns and makes them.
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from blockscan.chains.solana_layouts import Argument, decode_instruction
from blockscan.detect.flow import Frames

_SET_AUTHORITY = ("spl-token:setAuthority",)
_MINT = ("spl-token:mintTo", "spl-token:mintToChecked")
_ACCOUNT_OWNER = 2
"""The authority that is the owner of a token account (SPL Token, AuthorityType)."""


class HandedOver(NamedTuple):
    """A token account, whose it was, and whose it is from now on."""

    account: str
    giver: str
    taker: str


def handed_over_in(frames: Frames) -> tuple[HandedOver, ...]:
    """The token accounts that change hands, in order."""
    return tuple(
        HandedOver(account, giver, taker)
        for (kind, taker), (account, giver), _ in _instructions(frames, _SET_AUTHORITY)
        if kind == _ACCOUNT_OWNER and isinstance(taker, str)
    )


def minted_in(frames: Frames) -> dict[str, tuple[int, int]]:
    """How much of each mint is minted, in smallest units, and the first frame that does."""
    found: dict[str, tuple[int, int]] = {}
    for (amount, *_), (mint, _), node in _instructions(frames, _MINT):
        if isinstance(amount, int):
            before, first = found.get(mint, (0, node))
            found[mint] = before + amount, first
    return found


def _instructions(
    frames: Frames, names: Collection[str]
) -> Iterator[tuple[tuple[Argument, ...], tuple[str, str], int]]:
    """Arguments, the first two accounts and the frame of instructions of these names that did not fail."""
    for node, (call, ok) in enumerate(zip(frames.calls, frames.ok, strict=True)):
        known = decode_instruction(call.target, call.data) if ok and len(call.accounts) > 1 else None
        if known is not None and known[0].name in names:
            yield known[1], (call.accounts[0], call.accounts[1]), node
