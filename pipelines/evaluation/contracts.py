"""Per-contract ranks: does the exploit stand out among the transactions of the contract that it attacks?

Who is the victim is not recorded, so every contract counts that an incident's exploits call and at least
LEAST benign transactions call, too: pools, vaults and tokens, never the attacker's own contracts. The rank
of the incident at a contract is that of its best exploit there among the benign transactions that call the
contract; exploits of others are left out, and ties count against the detector.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluation.selection import Case
from pipelines.metrics import Estimate, exact_at_ends

LEAST = 10
TOP = (1, 2, 3)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ContractRanks:
    """How often the exploit is among the first at a contract.

    `detectors`: by detector, `top@k` is the mean over incidents of the share of their contracts at which
    the rank is k or better. `pairs`: of incident and contract; `contracts`: distinct ones.
    """

    incidents: int
    contracts: int
    pairs: int
    detectors: dict[str, dict[str, Estimate]]


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """Places of an incident's exploits at one contract and of its benign transactions."""

    incident: int
    exploits: NDArray[np.intp]
    benign: NDArray[np.intp]


def contract_ranks(
    cases: Sequence[Case], values: Mapping[str, Floats], *, rng: np.random.Generator, resamples: int = 1000
) -> ContractRanks | None:
    """Ranks for values (R, N) of the cases; intervals by bootstrap over incidents. None without any pair."""
    pairs, contracts = _pairs(cases)
    if not pairs:
        return None
    incident = np.array([pair.incident for pair in pairs])
    incidents = int(incident.max()) + 1
    drawn = rng.integers(incidents, size=(resamples, incidents))
    detectors = {}
    for name, rows in values.items():
        ranks = np.array([[_rank(row, pair) for pair in pairs] for row in rows])
        detectors[name] = {f"top@{k}": _estimate(ranks <= k, incident, drawn) for k in TOP}
    return ContractRanks(incidents, contracts, len(pairs), detectors)


def _pairs(cases: Sequence[Case]) -> tuple[list[_Pair], int]:
    """All pairs, and the number of distinct contracts in them."""
    benign: dict[tuple[object, str], list[int]] = defaultdict(list)
    exploits: dict[tuple[str, object, str], list[int]] = defaultdict(list)
    for place, case in enumerate(cases):
        for contract in case.facts.touched if case.facts is not None else ():
            if case.attack:
                exploits[case.cluster, case.set, contract].append(place)
            else:
                benign[case.set, contract].append(place)
    numbers: dict[str, int] = {}
    found, seen = [], set()
    for (incident, group, contract), places in sorted(exploits.items(), key=lambda item: str(item[0])):
        others = benign.get((group, contract), [])
        if len(others) >= LEAST:
            seen.add((group, contract))
            number = numbers.setdefault(incident, len(numbers))
            found.append(_Pair(number, np.array(places), np.array(others)))
    return found, len(seen)


def _rank(values: Floats, pair: _Pair) -> int:
    return 1 + int((values[pair.benign] >= values[pair.exploits].max()).sum())


def _estimate(within: NDArray[np.bool_], incident: NDArray[np.intp], drawn: NDArray[np.intp]) -> Estimate:
    """Mean over incidents of the mean over their pairs; `within` (R, pairs) by training seed."""
    pairs = np.bincount(incident)
    shares = np.array([np.bincount(incident, weights=row) / pairs for row in within])
    runs = shares.mean(axis=1)
    low, high = np.quantile(shares.mean(axis=0)[drawn].mean(axis=1), (0.025, 0.975))
    told = tuple(runs.tolist()) if len(runs) > 1 else ()
    found = Estimate(float(runs.mean()), float(low), float(high), len(pairs), told)
    return exact_at_ends(found, len(pairs))
