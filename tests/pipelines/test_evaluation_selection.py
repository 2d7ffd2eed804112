"""Which transactions are evaluated: time split, repeated skeletons, chains and trace sources, seeds."""

import numpy as np
import pytest

from blockscan.errors import ConfigError
from pipelines.evaluation.facts import TxFacts
from pipelines.evaluation.selection import Rules, ScoredRow, select
from pipelines.labels import Label

BENIGN = Label("benign")


def row(name, *, block=10, chain="a", source="s", value=0.0, p=0.5):
    return ScoredRow(name, value, p, tokens=5, calls=1, block=block, chain=chain, source=source)


def facts(skeleton, target="0xdd"):
    return TxFacts(np.zeros(13), skeleton.encode(), target, frozenset())


def attack(incident=""):
    return Label("attack", "exploit", incident=incident)


def names(cases):
    return [case.row.tx_hash for case in cases]


def test_transactions_at_or_before_the_training_range_are_counted_and_left_out():
    rows = [row("b1", block=9), row("b2", block=10), row("b3", block=11), row("b4", block=None)]
    rows += [row("x1", block=10), row("x2", block=12)]
    labels = {f"b{n}": BENIGN for n in range(1, 5)} | {"x1": attack(), "x2": attack()}
    found = select([rows], labels, Rules(after=10))
    assert names(found.cases) == names(found.ranked) == ["b3", "x2"]
    coverage = found.coverage
    assert (coverage.earlier_benign, coverage.earlier_attacks, coverage.earlier_kept) == (3, 1, 0)
    assert (coverage.benign, coverage.attacks, coverage.after, coverage.blocks) == (1, 1, 10, (11, 12))
    kept = select([rows], labels, Rules(after=10, keep_earlier_attacks=True))
    assert names(kept.cases) == ["b3", "x1", "x2"]
    assert (kept.coverage.earlier_benign, kept.coverage.earlier_attacks, kept.coverage.earlier_kept) == (
        3,
        0,
        1,
    )


def test_if_the_split_leaves_nothing_it_says_so():
    with pytest.raises(ConfigError, match="after 1 benign and 1 exploits at or before the training range"):
        select([[row("b"), row("x")]], {"b": BENIGN, "x": attack()}, Rules(after=10))


def test_a_block_splits_one_chain_only():
    rows = [row("b"), row("x", chain="other")]
    with pytest.raises(ConfigError, match="are of 2: a, other; give --chain"):
        select([rows], {"b": BENIGN, "x": attack()}, Rules(after=1))


def test_a_hash_on_two_chains_is_that_of_the_chain_asked_for():
    rows = [row("b", value=1.0), row("x", value=2.0), row("x", chain="other", value=9.0)]
    labels = {"b": BENIGN, "x": attack()}
    with pytest.raises(ConfigError, match="transaction x is on chains a, other; give --chain"):
        select([rows], labels, Rules())
    for order in (rows, rows[::-1]):
        found = select([order], labels, Rules(chain="a"))
        assert [case.values for case in found.cases] == [(1.0,), (2.0,)]
        assert found.coverage.not_asked_for == 0
        with pytest.raises(ConfigError, match="of --chain third; there is a, other"):
            select([order], labels, Rules(chain="third"))


def test_of_equal_skeletons_the_earliest_is_ranked():
    rows = [row("b1", block=7), row("b2", block=5), row("b3"), row("b4"), row("x1"), row("x2"), row("x3")]
    labels = {f"b{n}": BENIGN for n in range(1, 5)}
    labels |= {"x1": attack("one"), "x2": attack("one"), "x3": attack("two")}
    trees = {
        "b1": facts("same"), "b2": facts("same"), "b3": facts("same", target="0xee"), "b4": facts("other"),
        "x1": facts("same"), "x2": facts("same"), "x3": facts("same"),
    }  # fmt: skip
    found = select([rows], labels, Rules(), trees)
    assert names(found.ranked) == ["b2", "b3", "b4", "x1", "x3"]
    assert len(found.cases) == 7
    assert (found.coverage.duplicate_benign, found.coverage.duplicate_attacks) == (1, 1)
    for kept in (
        select([rows], labels, Rules(keep_duplicates=True), trees),
        select([rows], labels, Rules()),
    ):
        assert len(kept.ranked) == 7
        assert kept.coverage.duplicate_benign is kept.coverage.duplicate_attacks is None


def test_of_equal_skeletons_one_without_a_block_is_the_last():
    rows = [row("b1", block=None), row("b2", block=7), row("x")]
    trees = {name: facts("same") for name in ("b1", "b2", "x")}
    found = select([rows], {"b1": BENIGN, "b2": BENIGN, "x": attack()}, Rules(), trees)
    assert names(found.ranked) == ["b2", "x"]


def test_attacks_without_an_incident_are_no_duplicates_of_each_other():
    rows = [row("b"), row("x1"), row("x2")]
    trees = {name: facts("same") for name in ("b", "x1", "x2")}
    found = select([rows], {"b": BENIGN, "x1": attack(), "x2": attack()}, Rules(), trees)
    assert names(found.ranked) == ["b", "x1", "x2"]


def test_each_class_needs_the_other_of_its_own_chain_and_source():
    rows = [row("b1"), row("x1"), row("b2", source="t"), row("x2", chain="c"), row("b3")]
    labels = {"b1": BENIGN, "b2": BENIGN, "b3": BENIGN, "x1": attack(), "x2": attack()}
    found = select([rows], labels, Rules())
    assert names(found.ranked) == ["b1", "b3", "x1"] and len(found.cases) == 5
    assert (found.coverage.unmatched_benign, found.coverage.unmatched_attacks) == (1, 1)
    assert {case.set for case in found.ranked} == {("a", "s")}
    mixed = select([rows], labels, Rules(mixed=True))
    assert len(mixed.ranked) == 5 and {case.set for case in mixed.ranked} == {("", "")}
    only = select([rows], labels, Rules(chain="a", source="s"))
    assert len(only.cases) == 3 and only.coverage.not_asked_for == 2


def test_nothing_to_compare_with_is_refused_and_names_the_way_out():
    rows = [row("b"), row("x", source="other")]
    with pytest.raises(ConfigError, match="would measure the source; give --mixed"):
        select([rows], {"b": BENIGN, "x": attack()}, Rules())


def test_every_seed_must_have_scored_the_same_transactions():
    rows = [row("b", value=1.0), row("x", value=2.0, p=None), row("unlabelled")]
    second = [row("X", value=4.0), row("b", value=3.0), row("x", value=5.0)]
    labels = {"b": BENIGN, "x": attack()}
    found = select([rows, second], labels, Rules())
    assert [case.values for case in found.cases] == [(1.0, 3.0), (2.0, 5.0)]
    assert [case.p_values for case in found.cases] == [(0.5, 0.5), (None, 0.5)]
    assert found.coverage.without_p == 1
    with pytest.raises(ConfigError, match="store 2 lacks 1 of the 2 labelled transactions"):
        select([rows, second[:2]], labels, Rules())


def test_labels_say_where_they_are_from():
    labels = {"b": Label("benign", source="explorer"), "x": attack()}
    found = select([[row("b"), row("x")]], labels, Rules())
    assert found.coverage.label_sources == {"explorer": 1, "not stated": 1}
