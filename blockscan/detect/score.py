"""From token p-values and facts to one value: higher = more anomalous, at any length.

What the language model says is read where a transaction names something: the functions that it calls, their
targets, events. Amounts, outputs and code surprise in any transaction and would drown those few names. The
surprise of each such field, in nats, is summed (a pseudo-log-likelihood, Salazar et al. 2020, of one field at
a time). A sum over a thousand names hides three odd ones, so there is the harmonic mean of their p-values as
well, which the smallest dominate. It only counts beyond what the benign sample shows: below that the sums say
it better. The mean of the strongest few p-values, Fisher's sum and higher criticism (Donoho and Jin 2004:
more small p-values than chance gives) can be switched on. Beside the model stand the facts of
blockscan.detect.facts: novelty against the past, flow of value, structure. Each part is turned into a p-value
among benign transactions of about the same number of calls, which removes the effect of size and makes parts
comparable; size itself is compared with all of them. Beyond what the sample can show a fact counts for little
more: the tail of something that hardly any transaction has is anybody's guess.

The -log10 p of parts are added within each of three views: what the past says (facts), what the language
model says, and how large the transaction is. Parts that rise together count as one: each is weighted by one
over the sum of its correlations with the parts of its view. One fact counts twice (TWICE). What is left of
dependence makes such a sum no chi-square, and a view of two dozen parts would drown one of three; each sum
is therefore turned into a p-value among benign transactions once more. Beyond the largest benign sum it
falls slowly (a Pareto tail): something harmless that is deeper than any call before must not count for more
than all the rest together. The value is the weighted sum of the views' -log10 p (Fisher 1925; the weights,
Good 1955), and is calibrated as a whole.
"""

import difflib
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockscan.detect.facts import FACTS
from blockscan.detect.surprise import SURPRISE_CAP, Survival
from blockscan.errors import ConfigError
from blockscan.tokens import Field, TokenLosses, suspicion

# Benign transactions per size class, and the largest number of classes.
CLASS_SIZE = 50
MOST_CLASSES = 16
# Statistics are in decades or standard deviations; a class whose members are all alike must not turn a
# rounding error into evidence.
PART_SCALE_FLOOR = 0.1
# Nor may such a class claim a tail that is much steeper than the part's spread over all classes.
PART_SCALE_SHARE = 0.3
# Decades beyond 1 / n that n transactions can say of a fact: what none of them shows is rare, no more is
# known. From there on a fact counts for the logarithm of what it claims, but for one whose scale is known:
# of shares of balances (on Solana their sum over all victims) one is a whole balance.
FACT_BEYOND = 1.0
SHARES = ("drained", "withdrawn")
# Of all facts the one that harmless transactions show least: more taken out of a contract than put in.
TWICE = ("overdrawn", "withdrawn")


def strongest(p: NDArray[np.float64]) -> float:
    """Mean of the top m = max(5, 2 %) of -log10 p; p (N,) ascending, N >= 1."""
    m = min(len(p), max(5, math.ceil(0.02 * len(p))))
    return float(-np.log10(p[:m]).mean())


def harmonic(p: NDArray[np.float64]) -> float:
    """-log10 of the harmonic mean of p (N,), which is about a p-value itself (Wilson 2019, PNAS 116:1195)."""
    return float(np.log10(np.mean(1 / p)))


def fisher(p: NDArray[np.float64]) -> float:
    """Fisher's sum of -ln p, standardised: mean 0 and variance 1 were the tokens independent."""
    return float((-np.log(p) - 1).sum() / math.sqrt(len(p)))


def criticism(p: NDArray[np.float64]) -> float:
    """log10(1 + HC) with HC over the smaller half of p: HC itself is heavy-tailed."""
    n = len(p)
    half = p[: max(1, n // 2)]
    share = np.arange(1, len(half) + 1) / n
    deviation = math.sqrt(n) * (share - half) / np.sqrt(half * np.maximum(1 - half, 1 / n))
    return math.log10(1 + max(float(deviation.max()), 0.0))


TOKEN_PARTS: Mapping[str, Callable[[NDArray[np.float64]], float]] = {
    "harmonic": harmonic,
    "strongest": strongest,
    "fisher": fisher,
    "criticism": criticism,
}
FIELD_PARTS: Mapping[str, Field] = {
    "targets": Field.TARGET,
    "functions": Field.SELECTOR,
    "emitters": Field.EMITTER,
    "events": Field.TOPIC0,
    "topics": Field.TOPIC,
}
PARTS = (*TOKEN_PARTS, *FIELD_PARTS, "replaced", "density", *FACTS)
SIZE_PARTS = ("calls", "depth", "input_bytes")
"""Compared with all benign transactions, not with those of the same size."""
VIEWS: Mapping[str, float] = {"facts": 1.0, "model": 0.1, "size": 0.5}
"""What the value is the sum of, with the weight of each; how they were found is in docs/experiments.md."""


class Summary(NamedTuple):
    """What the score looks at: log of the number of calls, and the statistic of each part."""

    size: float
    parts: Mapping[str, float]


def kept_parts(without: str, *, density: str) -> tuple[str, ...]:
    """PARTS but for those named in `without`, separated by commas, and for density where `density` is "".

    Raises:
        ConfigError: it names what is no part, or every part.
    """
    left_out = {name.strip() for name in without.split(",") if name.strip()}
    for name in sorted(left_out - set(PARTS)):
        near = difflib.get_close_matches(name, PARTS, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"score.without names {name!r}, which is no part of the score; the nearest is {near!r} "
            f"of {', '.join(PARTS)}"
        )
    kept = tuple(part for part in PARTS if part not in left_out and (density or part != "density"))
    if not kept:
        raise ConfigError("score.without leaves no part of the score; name fewer of them")
    return kept


def summarize(
    field: NDArray[np.uint8],
    losses: TokenLosses,
    token_p: NDArray[np.float64],
    facts: NDArray[np.float64],
    density: float | None = None,
) -> Summary:
    """The parts of a transaction from its tokens' losses, p-values and fields (T,), and its facts (F,).

    p-values are NaN where a token has none. Where no token has one, the parts of the tokens are left out, as
    is that of a field without tokens, the oddness that a density found (blockscan.detect.density) where none
    was asked, and facts that a transaction cannot show (NaN). `replaced` is 0 where the model was not asked:
    what is the same for all adds nothing to a value.
    """
    scored = ~np.isnan(token_p)
    p = np.sort(token_p[scored])
    parts = {name: part(p) for name, part in TOKEN_PARTS.items() if len(p)}
    for name, each in FIELD_PARTS.items():
        own = losses.surprise[scored & (field == each)]
        if len(own):
            parts[name] = float(np.minimum(own, SURPRISE_CAP).sum(dtype=np.float64))
    parts["replaced"] = 0.0 if losses.replaced is None else suspicion(losses.replaced)
    if density is not None:
        parts["density"] = density
    parts |= {name: x for name, x in zip(FACTS, facts.tolist(), strict=True) if not math.isnan(x)}
    return Summary(parts["calls"], parts)


def view_of(part: str) -> str:
    """The view, of VIEWS, that a part belongs to."""
    if part in SIZE_PARTS:
        return "size"
    return "facts" if part in FACTS else "model"


@dataclass(frozen=True, slots=True, eq=False)
class ScoreModel:
    """How the parts are distributed over benign transactions, by length, and the views that they add up to.

    `anchors` float64 (A,) ascending: median log number of calls of each class. `tails` holds per
    part one Survival for each class, `weights` what each part counts in the sum of its view, above 0, and
    `views` one Survival for the sum of each view that has parts.
    """

    anchors: NDArray[np.float64]
    tails: Mapping[str, tuple[Survival, ...]]
    weights: Mapping[str, float]
    views: Mapping[str, Survival]

    @classmethod
    def fit(cls, summaries: Sequence[Summary], *, parts: Sequence[str] = PARTS) -> "ScoreModel":
        """Learn from benign transactions; `parts` switches off what it does not name.

        A fact, or a field, that none of them could show says nothing later.

        Raises:
            ValueError: nothing to learn from, an unknown part, or a statistic of all names that nothing has.
        """
        if not summaries:
            raise ValueError("no transaction to fit the score on")
        unknown = set(parts) - set(PARTS)
        if unknown or not parts:
            raise ValueError(f"unknown parts {sorted(unknown)}; there are {', '.join(PARTS)}")
        anchors, classes = _length_classes(np.array([each.size for each in summaries]))
        tails = {}
        for part in parts:
            statistic = np.array([each.parts.get(part, np.nan) for each in summaries])
            known = statistic[~np.isnan(statistic)]
            if not len(known) and (part in FACTS or part in FIELD_PARTS):
                continue
            if not len(known):
                raise ValueError(f"no transaction has the part {part}")
            floor = max(PART_SCALE_FLOOR, PART_SCALE_SHARE * float(known.std()))
            members = [np.arange(len(statistic))] if part in SIZE_PARTS else classes
            of_class = (statistic[each][~np.isnan(statistic[each])] for each in members)
            tails[part] = tuple(
                Survival.fit(own if len(own) else known, scale_floor=floor) for own in of_class
            )
        if not tails:
            raise ValueError(f"no transaction shows anything of {', '.join(parts)}")
        model = cls(anchors, tails, {}, {})
        found = [model.rarities(each) for each in summaries]
        model = replace(model, weights=_weights(found))
        sums = [model._sums(each) for each in found]
        return replace(model, views={view: _survival([each[view] for each in sums]) for view in sums[0]})

    def rarities(self, summary: Summary) -> dict[str, float]:
        """-log10 p of each part among benign transactions of this size; 0 for a part that is left out."""
        return {part: self._rarity(part, summary) if part in summary.parts else 0.0 for part in self.tails}

    def least(self, size: float) -> dict[str, float]:
        """The smallest p-value of each part that benign transactions of this size can show, 1 / (1 + n).

        What is rarer than that is an extrapolation.
        """
        return {
            part: 10 ** self._between(tails, size, lambda tail: -math.log10(1 + tail.count))
            for part, tails in self.tails.items()
        }

    def decades(self, rarities: Mapping[str, float]) -> dict[str, float]:
        """What each view adds to the value, from `rarities`: its weight times -log10 p, >= 0."""
        return {
            view: max(-VIEWS[view] * self.views[view].log10_p_of(total, heavy=True), 0.0)
            for view, total in self._sums(rarities).items()
        }

    def value(self, summary: Summary) -> float:
        """The sum over the views: >= 0."""
        return math.fsum(self.decades(self.rarities(summary)).values())

    def added_by(self, part: str, rarities: Mapping[str, float]) -> float:
        """What one part adds to the value, >= 0; 0 for one that is not rare, or left out."""
        if not rarities.get(part):
            return 0.0
        with_it, without = (
            math.fsum(self.decades(each).values()) for each in (rarities, {**rarities, part: 0.0})
        )
        return max(with_it - without, 0.0)

    def _sums(self, rarities: Mapping[str, float]) -> dict[str, float]:
        """The weighted sums of the views that have parts."""
        return {
            view: math.fsum(self.weights[part] * rarities[part] for part in own)
            for view, own in _by_view(rarities).items()
        }

    def _rarity(self, part: str, summary: Summary) -> float:
        """Of most facts, what is more than FACT_BEYOND beyond the sample counts as its logarithm.

        Of the harmonic mean nothing else counts than what is beyond the sample.
        """
        tails = self.tails[part]
        statistic = summary.parts[part]
        rarity = 0.0 - self._between(tails, summary.size, lambda tail: tail.log10_p_of(statistic))  # never -0
        known = math.log10(1 + sum(tail.count for tail in tails))
        if part == "harmonic":
            return max(rarity - known, 0.0)
        known += FACT_BEYOND
        if view_of(part) != "facts" or part in SHARES or rarity <= known:
            return rarity
        return known + math.log10(1 + rarity - known)

    def _between(
        self, tails: tuple[Survival, ...], size: float, log10_p: Callable[[Survival], float]
    ) -> float:
        """Between two length classes the log p-values are interpolated; outside, the outer class counts."""
        if len(tails) == 1:
            return log10_p(tails[0])
        right = min(max(bisect_left(self.anchors.data, size), 1), len(self.anchors) - 1)
        low, high = map(float, self.anchors[right - 1 : right + 1])
        weight = min(max((size - low) / (high - low), 0.0), 1.0)
        left_p, right_p = (log10_p(tails[i]) for i in (right - 1, right))
        return (1 - weight) * left_p + weight * right_p


def _by_view(parts: Iterable[str]) -> dict[str, list[str]]:
    """The parts of each view that has any, in the order of VIEWS."""
    members = {view: [part for part in parts if view_of(part) == view] for view in VIEWS}
    return {view: own for view, own in members.items() if own}


def _weights(rarities: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """One over the sum of each part's correlations, those above 0, with the parts of its view; of TWICE two.

    Of k parts that always say the same each counts 1 / k. A part that never varied is like no other.
    """
    found: dict[str, float] = {}
    for own in _by_view(rarities[0]).values():
        columns = np.array([[each[part] for part in own] for each in rarities])
        centred = columns - columns.mean(axis=0)
        length = np.sqrt((centred**2).sum(axis=0))
        unit = centred / np.where(length > 0, length, 1.0)
        alike = np.clip(unit.T @ unit, 0.0, 1.0)
        np.fill_diagonal(alike, 1.0)
        counts = np.array([2.0 if part in TWICE else 1.0 for part in own])
        # Rounded, since sums in another order must not make another calibration.
        found |= dict(zip(own, np.round(counts / alike.sum(axis=1), 6).tolist(), strict=True))
    return found


def _survival(sums: Sequence[float]) -> Survival:
    sample = np.array(sums)
    return Survival.fit(sample, scale_floor=max(PART_SCALE_FLOOR, PART_SCALE_SHARE * float(sample.std())))


def _length_classes(sizes: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[NDArray[np.intp]]]:
    """Anchors (A,), strictly ascending, and the members of each class, of about equal number."""
    wanted = min(max(len(sizes) // CLASS_SIZE, 1), MOST_CLASSES)
    classes: dict[float, list[NDArray[np.intp]]] = {}
    for members in np.array_split(np.argsort(sizes, kind="stable"), wanted):
        # Many transactions have the same length exactly; classes with one anchor become one class.
        classes.setdefault(float(np.median(sizes[members])), []).append(members)
    return np.array(list(classes)), [np.concatenate(members) for members in classes.values()]
