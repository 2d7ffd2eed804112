"""What is known of the time before the first transaction that is to be scored.

A run goes on where another ended: what accounts did in the last minutes, and how large the last transactions
were. Values and sizes are those that the store holds of the same calibration, what was taken and given is
read from the transactions themselves, where they are at hand.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from blockscan.detect.accounts import SECONDS, Recent, account_of
from blockscan.detect.calibrate import Calibration
from blockscan.detect.dealings import dealing_in
from blockscan.detect.mix import LAST, Mixes
from blockscan.store import ScoreStore
from blockscan.store_chain import LastValue
from blockscan.transaction import Transaction
from pipelines.model_dir import Detector
from pipelines.ranges import BlockRange

Reread = Callable[[BlockRange], Iterable[Transaction]]
"""The transactions of some blocks, as far as they are at hand."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the accounts did, and how large transactions were; both are kept up to date."""

    recent: Recent
    mixes: Mixes


def nothing_yet(calibration: Calibration) -> Earlier:
    """What is known at the very beginning."""
    return Earlier(calibration.recent(), Mixes())


def remember(
    recent: Recent, chain: str, known: Sequence[LastValue], earlier: Iterable[Transaction], detector: Detector
) -> None:
    """Give what was judged of a chain, oldest first, to `recent`, with the dealings of `earlier` ones."""
    hashes = {each.tx_hash for each in known}
    here = (each for each in earlier if each.chain == chain and each.hash in hashes)
    dealings = {each.hash: dealing_in(each, detector.history) for each in here}
    for each in known:
        recent.add(account_of(chain, each.sender), each.time, each.value, dealings.get(each.tx_hash))


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
    starts: dict[str, tuple[int, int]] = {}
    for each in first:
        if each.block_number is not None and each.time is not None and each.chain not in begun:
            place = each.block_number, each.time
            starts[each.chain] = min(starts.get(each.chain, place), place)
    for chain, (block, time) in starts.items():
        remember_sizes(known.mixes, chain, block, store, detector)
        last = store.values_before(chain, detector.calibrated_as, block=block, since=time - SECONDS)
        numbers = [each.block_number for each in last if each.block_number is not None]
        if numbers:
            remember(known.recent, chain, last, reread(BlockRange(min(numbers), block)), detector)
    return set(starts)
