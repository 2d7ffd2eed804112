"""Metrics against scikit-learn, by hand, with ties, and the coverage of their intervals."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from pipelines import metrics
from pipelines.metrics import compare, rank_metrics, share, without_false_certainty


def metrics_of(values, attack, *, resamples=2, seed=0, clusters=None):
    values, attack = np.asarray(values, dtype=float), np.asarray(attack, dtype=bool)
    return rank_metrics(
        values, attack, rng=np.random.default_rng(seed), resamples=resamples, clusters=clusters
    )


@pytest.mark.parametrize("decimals", [6, 1, 0])
def test_against_scikit_learn(decimals):
    rng = np.random.default_rng(decimals)
    attack = rng.random(3000) < 0.05
    values = np.round(rng.normal(size=3000) + 1.5 * attack, decimals)
    mine = metrics_of(values, attack)
    assert mine["auroc"].value == pytest.approx(roc_auc_score(attack, values))
    assert mine["auprc"].value == pytest.approx(average_precision_score(attack, values))
    false_rate, recall, _ = roc_curve(attack, values, drop_intermediate=False)
    for level in (0.001, 0.005, 0.01):
        oracle = recall[false_rate <= level].max()
        assert mine[f"recall@fpr={level:g}"].value == pytest.approx(oracle)


def test_hand_worked_example():
    """Ranking: A B A A B B A, with 3 benign and 4 attacks."""
    mine = metrics_of([9, 8, 7, 6, 5, 4, 3], [1, 0, 1, 1, 0, 0, 1])
    assert mine["auroc"].value == pytest.approx((3 + 2 + 2 + 0) / 12)
    assert mine["auprc"].value == pytest.approx((1 / 1 + 2 / 3 + 3 / 4 + 4 / 7) / 4)
    assert mine["recall@fpr=0.01"].value == pytest.approx(1 / 4)
    assert mine["recall@k=5"].value == pytest.approx(3 / 4)
    assert mine["precision@k=5"].value == pytest.approx(3 / 5)
    assert mine["fpr@k=5"].value == pytest.approx(2 / 3)
    # Only seven transactions: all of them are among the 15 highest.
    assert mine["recall@k=15"].value == 1.0
    assert mine["precision@k=15"].value == pytest.approx(4 / 7)
    assert (mine["recall@k=5"].n, mine["fpr@k=5"].n, mine["auroc"].n) == (4, 3, 7)


def test_ties_count_against_the_detector():
    """All values equal: no attack is above any benign one, and the k highest are benign first."""
    mine = metrics_of(np.zeros(110), np.arange(110) < 10)
    assert mine["auroc"].value == 0.5
    assert mine["recall@fpr=0.01"].value == 0.0
    assert (mine["recall@k=15"].value, mine["precision@k=15"].value) == (0.0, 0.0)
    assert mine["fpr@k=15"].value == pytest.approx(0.15)


def test_an_attack_tied_with_the_threshold_is_not_caught():
    values = np.concatenate(([50.0, 40.0], 40.0 * np.ones(1), np.arange(99.0) / 10))
    attack = np.arange(102) < 2
    mine = metrics_of(values, attack)
    assert mine["recall@fpr=0.001"].value == 0.5  # none of 100 may pass: only strictly above all
    assert mine["recall@fpr=0.01"].value == 1.0  # one of 100 may pass: the tied one


def test_infinite_values_are_the_highest():
    mine = metrics_of([np.inf, 1.0, np.inf, 0.0], [1, 0, 1, 0])
    assert mine["auroc"].value == mine["recall@fpr=0.01"].value == 1.0


def test_in_a_resample_a_repeated_attack_fills_no_more_places_than_there_are():
    precision = metrics_of(np.arange(110.0), np.arange(110) >= 100, resamples=50)["precision@k=5"]
    assert precision.value == precision.low == precision.high == 1.0


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """AUROC of normal against normal shifted by one is known; percentile intervals of 40 cover it in 93 %."""
    rng = np.random.default_rng(9)
    attack = np.arange(240) < 40
    covered = 0
    for seed in range(250):
        values = rng.normal(size=240) + attack
        interval = metrics_of(values, attack, resamples=150, seed=seed)["auroc"]
        covered += interval.low <= 0.7602 <= interval.high
    assert 0.88 <= covered / 250 <= 0.98


def test_attacks_of_one_incident_make_wider_intervals():
    rng = np.random.default_rng(4)
    attack = np.arange(600) < 100
    incident = np.arange(600) // 20
    values = rng.normal(size=600) + np.where(attack, 3.0 * (incident % 2), 0.0)
    names = [f"i{i}" for i in incident]
    alone, together = (
        metrics_of(values, attack, resamples=300, clusters=each)["auroc"] for each in (None, names)
    )
    assert together.value == alone.value
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_seed_decides_the_interval_and_not_the_figure():
    rng = np.random.default_rng(5)
    values, attack = rng.normal(size=200), np.arange(200) < 30
    first, same, other = (metrics_of(values, attack, resamples=50, seed=s)["auroc"] for s in (1, 1, 2))
    assert first == same and first.value == other.value and first != other


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (7, 2000)])
def test_share_has_the_exact_interval(hits, n):
    interval = binomtest(hits, n).proportion_ci(0.95, method="exact")
    mine = share(hits, n)
    assert (mine.value, mine.n) == (hits / n, n)
    assert (mine.low, mine.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_share_of_nothing_says_so():
    nothing = share(0, 0)
    assert (nothing.value, nothing.low, nothing.high, nothing.n) == (0.0, 0.0, 1.0, 0)


def test_a_resample_is_weighed_like_a_set_in_which_transactions_repeat():
    """Every figure of one bootstrap resample, against the same transactions written out as often as drawn."""
    rng = np.random.default_rng(6)
    attack = np.arange(400) < 60
    values = np.round(rng.normal(size=400) + attack, 1)
    sides = metrics._sides(attack, None, None)
    ranked = metrics._rank(values, sides)
    benign, incident = next(metrics._draws(sides, rng, 3))
    weighed = metrics._metrics(ranked, sides, benign, incident)
    for column in range(3):
        times = np.empty(400, dtype=int)
        times[sides.benign] = benign[:, column]
        times[sides.attacks] = incident[:, column]
        written = metrics_of(np.repeat(values, times), np.repeat(attack, times))
        assert times.sum() == 400 and times.max() > 1
        for name, drawn in weighed.items():
            if not name.startswith("incident"):
                assert drawn[column] == pytest.approx(written[name].value), name


def test_an_incident_is_found_by_any_of_its_exploits():
    """Of the incidents a (9 and 1), b (0) and c (8) two stand above the highest benign value, 7."""
    values = np.array([9.0, 1, 0, 8, 7, 6, 5])
    attack = np.array([1, 1, 1, 1, 0, 0, 0], dtype=bool)
    mine = metrics_of(values, attack, clusters=["a", "a", "b", "c", "", "", ""])
    found = mine["incident_recall@fpr=0.01"]
    assert (found.value, found.n) == (pytest.approx(2 / 3), 3)
    assert (mine["recall@fpr=0.01"].value, mine["recall@fpr=0.01"].n) == (0.5, 4)


def test_recall_of_incidents_is_no_rounder_than_it_is():
    """Of forty incidents twenty-seven: .675 to the last digit."""
    values = np.concatenate((np.where(np.arange(40) < 27, 9.0, -9.0), np.zeros(100)))
    found = metrics_of(values, np.arange(140) < 40)["incident_recall@fpr=0.01"]
    assert found.value == 0.675


def two_sets(values):
    """Set x: benign 1 and 3, attack 2. Set y: benign 10 and 20, attack 30."""
    attack = np.array([0, 0, 1, 0, 0, 1], dtype=bool)
    rng = np.random.default_rng(0)
    return compare({"it": np.array([values])}, attack, rng=rng, resamples=20, match=list("xxxyyy"))


def test_attacks_are_compared_within_their_own_set_only():
    mine = two_sets([1.0, 3, 2, 10, 20, 30]).detectors["it"]
    assert mine["auroc"].value == pytest.approx((0.5 + 1) / 2)
    assert mine["recall@fpr=0.01"].value == 0.5
    shifted = two_sets([101.0, 103, 102, 10, 20, 30]).detectors["it"]
    assert shifted == mine  # a set's own level tells nothing
    assert not any("@k" in name or name == "auprc" for name in mine)


def test_a_difference_is_sure_although_the_intervals_overlap():
    """Both rank by the same noise and one a little better on every attack: paired, the sign is certain."""
    rng = np.random.default_rng(7)
    attack = np.arange(600) < 60
    noise = rng.normal(size=600)
    values = {"better": (noise + 1.15 * attack)[None], "other": (noise + attack)[None]}
    found = compare(values, attack, rng=np.random.default_rng(0), resamples=300)
    one, two = (found.detectors[name]["auroc"] for name in values)
    apart = found.differences["other"]["auroc"]
    assert one.low < two.high
    assert apart.value == pytest.approx(one.value - two.value)
    assert 0 < apart.low < apart.value < apart.high
    turned = compare(dict(reversed(values.items())), attack, rng=np.random.default_rng(0), resamples=300)
    back = turned.differences["better"]["auroc"]
    assert (back.value, back.low, back.high) == pytest.approx((-apart.value, -apart.high, -apart.low))


def test_a_recall_of_all_or_none_has_the_exact_interval_over_incidents():
    """Twelve attacks of six incidents: all above a thousand benign ones, or none."""
    attack = np.arange(1012) < 12
    values = {"all": np.where(attack, 9.0, 0.0)[None], "none": np.where(attack, -9.0, 0.0)[None]}
    names = [f"i{place // 2}" for place in range(1012)]
    drawn = compare(values, attack, rng=np.random.default_rng(0), resamples=50, clusters=names)
    found = without_false_certainty(drawn)
    for name, hits in (("all", 6), ("none", 0)):
        exact = share(hits, 6)
        for metric, n in (("recall@fpr=0.001", 12), ("incident_recall@fpr=0.01", 6)):
            figure = found.detectors[name][metric]
            assert (figure.value, figure.low, figure.high, figure.n) == (hits / 6, exact.low, exact.high, n)
    for figure in (found.detectors["all"]["auroc"], found.differences["none"]["recall@fpr=0.01"]):
        assert figure.value == 1.0 and np.isnan([figure.low, figure.high]).all()


def test_a_figure_at_k_of_all_or_none_has_the_exact_interval_over_what_it_is_a_share_of():
    """Twelve attacks above a thousand benign ones fill the ten highest: no false alarm, nothing missed."""
    attack = np.arange(1012) < 12
    values = {"it": np.where(attack, 9.0, 0.0)[None]}
    found = without_false_certainty(compare(values, attack, rng=np.random.default_rng(0), resamples=50))
    for metric, hits, n in (("precision@k=10", 10, 10), ("fpr@k=10", 0, 1000)):
        figure, exact = found.detectors["it"][metric], share(hits, n)
        assert (figure.value, figure.low, figure.high, figure.n) == (hits / n, exact.low, exact.high, n)
        assert figure.low < figure.high


def test_training_seeds_are_averaged_and_paired():
    attack = np.array([1, 1, 0, 0], dtype=bool)
    ours = np.array([[4.0, 3, 2, 1], [4, 1, 3, 2]])  # AUROC 1 and 1/2
    theirs = np.array([[4.0, 1, 3, 2], [1, 2, 3, 4]])  # AUROC 1/2 and 0
    found = compare({"a": ours, "b": theirs}, attack, rng=np.random.default_rng(0), resamples=9)
    auroc = found.detectors["a"]["auroc"]
    assert (auroc.value, auroc.runs) == (0.75, (1.0, 0.5))
    apart = found.differences["b"]["auroc"]
    assert (apart.value, apart.runs) == (0.5, (0.5, 0.5))
    single = compare({"a": ours, "b": theirs[:1]}, attack, rng=np.random.default_rng(0), resamples=9)
    assert single.differences["b"]["auroc"].runs == (0.5, 0.0)
    assert single.detectors["b"]["auroc"].runs == ()
