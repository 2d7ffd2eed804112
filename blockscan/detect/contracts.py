"""p-values within contracts: Mondrian conformal prediction (Vovk, Gammerman and Shafer 2005, section 4.5).

Values to different contracts are distributed differently. A p-value among transactions to the same contract
is valid for that contract alone: of its benign transactions at most a share alpha raises an alarm. Contracts
with too few held-out transactions to ever raise one share one pool, so a contract that nobody has called
before is compared with other rare ones. Every category being valid, so is the whole.

Which contracts stand alone must not depend on which transaction is the new one, or exchangeability is lost.
So the new one is counted in: with it, a contract needs `needed + 1` transactions to stand alone, and where
the pool is smaller than that, the smallest contract joins it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

REST = ""
"""The contracts that can never stand alone. Transactions to no contract are among them."""


def split(
    values: NDArray[np.float64], contracts: Sequence[str], needed: int
) -> dict[str, NDArray[np.float64]]:
    """Values (n,) by contract, each ascending; those with fewer than `needed` are together in REST."""
    sizes = Counter(contracts)
    names = np.array([each if sizes[each] >= needed else REST for each in contracts], dtype=object)
    return {str(name): np.sort(values[names == name]) for name in sorted({REST, *names})}


def comparable(groups: Mapping[str, NDArray[np.float64]], contract: str, needed: int) -> NDArray[np.float64]:
    """The held-out values, ascending, that a new transaction to `contract` is compared with.

    Args:
        groups: what `split` made with the same `needed`.
        contract: what the transaction is addressed to, "" for nothing.
        needed: held-out transactions without which no alarm is possible.
    """
    own = contract if contract in groups else REST
    sizes = {name: len(values) + (name == own) for name, values in groups.items()}
    alone = _alone(sizes, needed + 1)
    if own in alone:
        return groups[own]
    return np.sort(np.concatenate([values for name, values in groups.items() if name not in alone]))


def standing_alone(groups: Mapping[str, NDArray[np.float64]], needed: int) -> frozenset[str]:
    """The contracts whose transactions are compared with none but their own; arguments as of `comparable`."""
    sizes = {name: len(values) for name, values in groups.items()}
    alone = _alone(sizes, needed + 1)
    # Who stands alone without its new transaction does so with it; few others can.
    others = [name for name, size in sizes.items() if size >= needed and name not in alone]
    with_it = (name for name in others if name in _alone(sizes | {name: sizes[name] + 1}, needed + 1))
    return frozenset(alone.union(with_it))


def _alone(sizes: Mapping[str, int], fewest: int) -> set[str]:
    """Contracts of at least `fewest` transactions, less the smallest where the pool has too few."""
    alone = {name for name, size in sizes.items() if size >= fewest and name != REST}
    pooled = sum(size for name, size in sizes.items() if name not in alone)
    if alone and 0 < pooled < fewest:
        alone.remove(min(alone, key=lambda name: (sizes[name], name)))
    return alone
