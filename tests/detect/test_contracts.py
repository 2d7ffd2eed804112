"""p-values within contracts are valid in each; who stands alone does not depend on which one is new."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import binom

from blockscan.detect import contracts as module
from blockscan.detect.calibrate import fit_calibration, judge
from blockscan.detect.contracts import REST, comparable, split, standing_alone

SHARES = {"big": 0.55, "odd": 0.3, "new": 0.1, "rare": 0.05}
SHIFT = {"big": 0.0, "odd": 2.0, "new": 1.0, "rare": 4.0}


def draw(rng, n):
    names = rng.choice(list(SHARES), size=n, p=list(SHARES.values()))
    return rng.standard_normal(n) + np.array([SHIFT[name] for name in names]), names.tolist()


def p_value(values, value):
    return (1 + np.sum(values >= value)) / (1 + len(values))


def test_false_alarms_are_bounded_within_every_category():
    """A category is a contract that stands alone, or the pool of all that do not."""
    rng = np.random.default_rng(1)
    alpha, needed, draws = 0.1, 9, 10_000
    seen: dict[str, list[bool]] = {}
    for _ in range(draws):
        values, names = draw(rng, 81)
        held = comparable(split(values[:80], names[:80], needed), names[80], needed)
        alone = len(held) == names[:80].count(names[80]) and names[80] in ("big", "odd")
        seen.setdefault(names[80] if alone else "pool", []).append(p_value(held, values[80]) <= alpha)
    assert sorted(seen) == ["big", "odd", "pool"] and len(seen["pool"]) > 1000
    for alarms in seen.values():
        assert sum(alarms) <= binom.ppf(1 - 1e-4, len(alarms), alpha)
        assert sum(alarms) >= binom.ppf(1e-4, len(alarms), 0.05)  # and it can alarm
    assert sum(map(sum, seen.values())) <= binom.ppf(1 - 1e-4, draws, alpha)


def test_the_global_p_value_is_not_valid_within_contracts():
    """Why per-contract p-values are there: globally "rare" raises far more than its share."""
    rng = np.random.default_rng(2)
    values, names = draw(rng, 20_000)
    rare = np.array(names) == "rare"
    p = np.array([p_value(values[:1000], value) for value in values[1000:]])
    assert np.mean(p[rare[1000:]] <= 0.1) > 0.5 and np.mean(p <= 0.1) < 0.15


@pytest.mark.parametrize("seed", range(30))
def test_the_categories_are_the_same_whichever_transaction_is_the_new_one(seed):
    """Exchangeability: swap the new transaction with a held-out one, and every category stays as it was."""
    rng = np.random.default_rng(seed)
    needed = int(rng.integers(2, 8))
    names = rng.choice(["a", "b", "c", "d", "e"], size=30, p=[0.4, 0.3, 0.15, 0.1, 0.05]).tolist()
    values = np.arange(30.0)

    def category(new):
        held = [i for i in range(30) if i != new]
        groups = split(values[held], [names[i] for i in held], needed)
        return {*comparable(groups, names[new], needed).astype(int), new}

    for new in range(30):
        for other in category(new):
            assert category(other) == category(new)


def test_every_category_can_alarm_if_there_are_transactions_enough():
    rng = np.random.default_rng(3)
    for _ in range(300):
        needed = int(rng.integers(2, 12))
        names = [f"c{i}" for i in rng.zipf(1.6, size=40) if i < 12]
        if len(names) <= needed:
            continue
        groups = split(rng.random(len(names)), names, needed)
        for name in {*names, "never seen"}:
            assert len(comparable(groups, name, needed)) >= needed


@pytest.mark.parametrize(
    ("big", "rest", "alone"),
    [(20, 10, {"big"}), (9, 20, {"big"}), (8, 20, set()), (20, 0, {"big"}), (20, 8, set()), (20, 9, set())],
)
def test_who_stands_alone_is_compared_with_none_but_its_own(big, rest, alone):
    """It needs nine, and as many, with the new one, must be left to those that do not."""
    groups = split(np.arange(big + rest), ["big"] * big + [f"r{i}" for i in range(rest)], 9)
    assert standing_alone(groups, 9) == alone
    assert (len(comparable(groups, "big", 9)) == big) == (alone == {"big"})


@pytest.mark.parametrize("seed", range(30))
def test_of_many_contracts_those_stand_alone_that_are_compared_with_their_own(seed):
    rng = np.random.default_rng(seed)
    needed, contracts = int(rng.integers(2, 8)), int(rng.integers(1, 6))
    sizes = {REST: int(rng.integers(0, 10))} | {
        f"c{i}": needed + int(rng.integers(0, 3)) for i in range(contracts)
    }
    groups = {name: np.zeros(size) for name, size in sizes.items()}
    own = {name for name in sizes if name and len(comparable(groups, name, needed)) == sizes[name]}
    assert standing_alone(groups, needed) == own


def test_contracts_are_not_all_gone_through_for_each_of_them(monkeypatch):
    """With four thousand that took a quarter of a minute."""
    looks, look = [], module._alone
    monkeypatch.setattr(module, "_alone", lambda *given: looks.append(1) or look(*given))
    groups = {f"c{n}": np.zeros(50 + n) for n in range(500)} | {REST: np.zeros(9)}
    assert len(standing_alone(groups, 49)) == 499 and len(looks) < 5


def test_a_contract_nobody_called_is_compared_with_rare_ones():
    values = np.arange(30.0)
    groups = split(values, ["big"] * 20 + [f"r{i}" for i in range(10)], 9)
    assert set(groups) == {"big", REST}
    assert comparable(groups, "big", 9).tolist() == values[:20].tolist()
    for name in ("fresh", "r3", ""):
        assert comparable(groups, name, 9).tolist() == values[20:].tolist()


def test_a_calibration_per_contract_judges_within_the_contract(benign):
    named = [each._replace(contract="a" if i % 2 else "b") for i, each in enumerate(benign)]
    parents = {"checkpoint": "c", "tokenizer": "t"}
    made = fit_calibration(named, fpr=0.01, parents=parents, scoring={}, per_contract=True)
    one = named[-1]
    judged = judge(made, one)
    own = np.sort([judge(made, each).value for each in named[1300:] if each.contract == one.contract])
    assert judged.p_value == pytest.approx(p_value(own, judged.value)) and len(own) == 650
    assert judge(made, one, mix=(0, 0, 1000)).p_value == judged.p_value, "sizes are a whole source's"
    with pytest.raises(ValueError, match="needs the contract"):
        judge(made, one._replace(contract=None))
    with pytest.raises(ValueError, match="needs the contract"):
        fit_calibration(benign, fpr=0.01, parents=parents, scoring={}, per_contract=True)
    everywhere = dataclasses.replace(made, contracts=None)
    assert judge(everywhere, one).p_value == everywhere.p_value(judged.value, "callTracer")
    assert math.isfinite(judged.value)
