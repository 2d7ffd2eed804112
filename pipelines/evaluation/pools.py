"""The protocol of the BlockScan paper: the k highest of a pool of 709 benign transactions and 10 attacks.

The paper shows one pool. Here many are drawn, without replacement, from the same test transactions: benign
ones of at least two calls (the paper's are transactions with contracts; plain transfers would make it
easier), and one exploit of each of ten incidents. Source of the published figures: arXiv 2410.04039 v5,
Ethereum. They are of other transactions, so they say how hard the tasks are, not who is better.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockscan.errors import ConfigError
from pipelines.evaluation.selection import Case
from pipelines.metrics import TOP_K, Estimate

BENIGN, ATTACKS = 709, 10
LEAST_CALLS = 2
CAVEAT = "the paper's transactions are other ones"
PUBLISHED: dict[str, dict[int, tuple[float, float, float]]] = {
    "length": {5: (0.14, 40, 80), 10: (0.42, 70, 70), 15: (1.13, 70, 47)},
    "BlockGPT, re-implemented": {5: (0.14, 40, 80), 10: (0.42, 70, 70), 15: (0.99, 80, 53)},
    "Doc2Vec + GMM": {5: (0.56, 10, 20), 10: (1.12, 20, 20), 15: (1.83, 20, 13)},
    "GPT-4o": {5: (0.28, 30, 60), 10: (0.98, 30, 30), 15: (1.55, 40, 27)},
    "BlockScan": {5: (0.0, 50, 100), 10: (0.28, 80, 80), 15: (0.97, 80, 53)},
}
"""FPR, recall and precision at k, in percent."""
_CHUNK = 50

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Pools:
    """Mean over all pools, and the interval in which 95 % of single pools lie.

    `detectors`: by detector fpr@k, recall@k and precision@k, as shares. `published`: the paper's figures,
    see PUBLISHED.
    """

    pools: int
    benign: int
    incidents: int
    detectors: dict[str, dict[str, Estimate]]
    published: dict[str, dict[int, tuple[float, float, float]]]
    caveat: str = CAVEAT


def paper_pools(
    cases: Sequence[Case],
    values: Mapping[str, Floats],
    *,
    rng: np.random.Generator,
    pools: int = 1000,
    left_out: int = 0,
) -> Pools:
    """Draw pools and rank each; values (R, N) of the cases. Ties count against the detector.

    `left_out`: how many repeated skeletons are not among the cases.

    Raises:
        ConfigError: too few benign transactions or incidents for one pool.
    """
    large = [place for place, case in enumerate(cases) if case.row.calls >= LEAST_CALLS]
    benign = np.array([place for place in large if not cases[place].attack], dtype=np.intp)
    incidents: dict[str, list[int]] = defaultdict(list)
    for place in large:
        if cases[place].attack:
            incidents[cases[place].cluster].append(place)
    if len(benign) < BENIGN or len(incidents) < ATTACKS:
        raise ConfigError(
            f"the paper's pools need {BENIGN} benign transactions and {ATTACKS} incidents with at least "
            f"{LEAST_CALLS} calls; here are {len(benign):,} and {len(incidents):,}; score more of them"
            + (", or give --keep-duplicates" if left_out else "")
        )
    groups = [np.array(places) for _, places in sorted(incidents.items())]
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in values}
    for start in range(0, pools, _CHUNK):
        ordinary, attacks = _draw(benign, groups, min(_CHUNK, pools - start), rng)
        for name, rows in values.items():
            found[name].append(np.array([_caught(row[ordinary], row[attacks]) for row in rows]))
    detectors = {name: _figures(np.concatenate(each, axis=1)) for name, each in found.items()}
    return Pools(pools, len(benign), len(groups), detectors, PUBLISHED)


def _draw(
    benign: Places, groups: Sequence[Places], pools: int, rng: np.random.Generator
) -> tuple[Places, Places]:
    """Places of the benign transactions (pools, BENIGN) and of the attacks (pools, ATTACKS)."""
    ordinary = np.array([rng.choice(benign, BENIGN, replace=False) for _ in range(pools)])
    attacks = [
        [rng.choice(groups[each]) for each in rng.choice(len(groups), ATTACKS, replace=False)]
        for _ in range(pools)
    ]
    return ordinary, np.array(attacks)


def _caught(benign: Floats, attacks: Floats) -> Floats:
    """Attacks among the k highest of each pool, (pools, len(TOP_K)), from values (pools, n)."""
    false = np.sort((benign[:, :, np.newaxis] >= attacks[:, np.newaxis, :]).sum(axis=1), axis=1)
    place = false + np.arange(attacks.shape[1])
    return np.stack([(place < k).sum(axis=1) for k in TOP_K], axis=1).astype(np.float64)


def _figures(caught: Floats) -> dict[str, Estimate]:
    """From attacks caught (R, pools, len(TOP_K)) by training seed."""
    figures = {}
    for number, k in enumerate(TOP_K):
        hits = caught[:, :, number]
        for name, each in (
            ("fpr", (k - hits) / BENIGN),
            ("recall", hits / ATTACKS),
            ("precision", hits / k),
        ):
            low, high = np.quantile(each, (0.025, 0.975))
            runs = tuple(each.mean(axis=1).tolist())
            figures[f"{name}@k={k}"] = Estimate(
                float(each.mean()), float(low), float(high), hits.shape[1], runs if len(runs) > 1 else ()
            )
    return figures
