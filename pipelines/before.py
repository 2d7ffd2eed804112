"""What is known of the time before the first transaction that is to be scored.

A run goes on where another ended: what accounts did in the last minutes, and how large the last transactions
were. Values and sizes are those that the store holds of the same calibration, what was taken and given is
read from the transactions themselves, where they are at hand.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from blockscan.detect.accounts import SECONDS, Recent, actor_of
from blockscan.detect.books import Books
from blockscan.detect.dealings import Dealing, dealing_in
from blockscan.detect.mix import LAST, Mixes
from blockscan.store import ScoreStore
from blockscan.store_chain import LastValue
from blockscan.transaction import CallKind, Transaction
from pipelines.model_dir import Detector
from pipelines.progress import progress
from pipelines.ranges import BlockRange

Reread = Callable[[BlockRange], Iterable[Transaction]]
"""The transactions of some blocks, as far as they are at hand."""


REREAD = 100_000
"""Transactions before a range after which no older ones are read for the books of contracts."""
_BLOCKS = 250
"""How many blocks are read for them at first, and how many may be missing; then four times as many."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What accounts did, how large transactions were, what contracts hold; all are kept up to date."""

    recent: Recent
    mixes: Mixes
    books: Books


def nothing_yet(detector: Detector) -> Earlier:
    """What is known at the very beginning."""
    return Earlier(
        detector.calibration.recent(), Mixes(), Books(detector.history, detector.calibration.books)
    )


def catch_up(books: Books, chain: str, block: int, reread: Reread) -> None:
    """Enter what came between where the books have come to and a block, as far as it is at hand.

    Where that is too much, or not at hand, they begin anew: somebody's deposit may be among what is missing.
    Where they began later than the block, there is nothing to enter, see Books.ahead_of. No books are kept of
    Solana, whose records do not say who gave to whom.
    """
    first, stop, blocks, known = books.reached.get(chain, block - 1) + 1, block, _BLOCKS, 0
    if first >= stop:
        return
    chunks: list[list[Dealing]] = []  # traces are too large to be kept
    with progress("earlier (books)", None) as bar:
        while first < stop and known < REREAD:
            start, here = max(first, stop - blocks), list[Dealing]()
            for each in reread(BlockRange(start, stop)):
                if each.root.kind is CallKind.INSTRUCTION:
                    return
                if each.chain == chain:
                    here.append(dealing_in(each, books.history))
                    bar.advance(1)
            chunks.append(here)
            known += len(here)
            stop, blocks = start, 4 * blocks
        bar.to(known, known)
    if first != stop or not (known or block - first < _BLOCKS):
        books.forget()
    for dealing in (one for here in reversed(chunks) for one in here):
        books.add(dealing)


def remember(
    recent: Recent, chain: str, known: Sequence[LastValue], earlier: Iterable[Transaction], detector: Detector
) -> None:
    """Give what was judged of a chain, oldest first, to `recent`, with the dealings of `earlier` ones."""
    hashes = {each.tx_hash for each in known}
    here = (each for each in earlier if each.chain == chain and each.hash in hashes)
    dealings = {each.hash: dealing_in(each, detector.history) for each in here}
    for each in known:
        actor = actor_of(chain, each.sender, each.target)
        recent.add(actor, each.time, each.value, dealings.get(each.tx_hash))


def remember_sizes(mixes: Mixes, chain: str, block: int, store: ScoreStore, detector: Detector) -> None:
    """Give how large the last transactions before a block were, as far as the store has them."""
    for source in detector.calibration.values:
        for calls in store.sizes_before(chain, source, block=block, most=LAST):
            mixes.add(chain, source, math.log(max(calls, 1)))


def remember_before(
    known: Earlier,
    first: Sequence[Transaction],
    store: ScoreStore,
    reread: Reread,
    detector: Detector,
    *,
    begun: Collection[str],
) -> set[str]:
    """What the store holds of the time before the first blocks of `first`, by chain.

    Chains that have `begun` before are left out. Returns those that begin here.
    """
    blocks: dict[str, int] = {}
    times: dict[str, int] = {}
    for each in first:
        if each.chain not in begun and each.block_number is not None:
            blocks[each.chain] = min(blocks.get(each.chain, each.block_number), each.block_number)
            if each.time is not None:
                times[each.chain] = min(times.get(each.chain, each.time), each.time)
    for chain, block in blocks.items():
        remember_sizes(known.mixes, chain, block, store, detector)
        catch_up(known.books, chain, block, reread)
        since = times.get(chain, SECONDS) - SECONDS
        last = store.values_before(chain, detector.calibrated_as, block=block, since=since)
        numbers = [each.block_number for each in last if each.block_number is not None]
        if numbers and chain in times:
            remember(known.recent, chain, last, reread(BlockRange(min(numbers), block)), detector)
    return set(blocks)
