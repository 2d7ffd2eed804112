"""P-values allow for how large the transactions of late are: by hand, under a shift, with nothing known."""

import math

import numpy as np
import pytest

from blockscan.detect.calibrate import Calibration
from blockscan.detect.mix import AT_MOST, LAST, Mixes, at_least, size_class

ONE, SOME, MANY = (math.log(calls) for calls in (1, 2, 10))
CLASSES = np.array([0, 0, 0, 0, 0, 0, 1, 1, 0, 1], np.uint8)
"""Of ten held-out values ascending: seven payments, three small ones among the highest."""


def calibration(values: np.ndarray, classes: np.ndarray, **more: object) -> Calibration:
    return Calibration(None, None, {"a": values}, 0.01, {}, {}, sizes={"a": classes}, **more)


def test_classes_begin_where_they_are_said_to():
    assert [size_class(math.log(calls)) for calls in (1, 2, 9, 10, 10**6)] == [0, 1, 1, 2, 2]


def test_the_last_ones_of_a_chain_and_source_count():
    mixes = Mixes()
    for _ in range(LAST):
        mixes.add("ethereum", "callTracer", ONE)
    assert mixes.add("ethereum", "callTracer", MANY) == (LAST - 1, 0, 1)
    assert mixes.add("ethereum", "structLog", MANY) == (0, 0, 1)
    assert mixes.add("base", "callTracer", SOME) == (0, 1, 0)
    for _ in range(LAST):
        last = mixes.add("ethereum", "callTracer", SOME)
    assert last == (0, LAST, 0)


def test_what_held_out_values_count_by_hand():
    """Payments were .7 and are (340 + 20 * .7) / 1,020 now, small ones .3 and (660 + 20 * .3) / 1,020."""
    payments, small = 354 / 1020 / 0.7, 666 / 1020 / 0.3
    assert at_least(CLASSES, 6, (340, 660, 0)) == pytest.approx(3 * small + payments)
    assert at_least(CLASSES, 0, (340, 660, 0)) == pytest.approx(10), "all of them count as many as they are"
    assert at_least(CLASSES, 10, (340, 660, 0)) == 0.0
    assert at_least(CLASSES, 6, (7, 3, 0)) == pytest.approx(4), "the mix of before changes nothing"
    assert at_least(CLASSES, 6, (0, 0, 0)) == pytest.approx(4), "nor does one of which nothing is known"


def test_a_class_of_which_hardly_anything_is_known_does_not_count_for_all():
    classes = np.array([0] * 999 + [2], np.uint8)
    turned = at_least(classes, 999, (0, 0, 1000))
    assert turned == pytest.approx(AT_MOST / (AT_MOST * 0.001 + 0.999 / AT_MOST)), "not all thousand"
    assert at_least(classes, 999, (1000, 0, 0)) == pytest.approx(0.1, rel=0.01), "nor nothing"


def test_a_p_value_never_passes_one_and_never_falls_below_what_the_sample_can_show():
    rng = np.random.default_rng(0)
    values, classes = np.sort(rng.random(500)), rng.integers(0, 3, 500).astype(np.uint8)
    made = calibration(values, classes)
    for mix in ((0, 0, 1000), (1000, 0, 0), (1, 2, 3), (0, 0, 0)):
        assert 1 - 1e-9 < made.p_value(-1.0, "a", None, mix) <= 1.0
        assert made.p_value(2.0, "a", None, mix) == 1 / 501
    assert made.p_value(values[-5], "a") == 6 / 501, "without a mix every value counts one"
    of_before = Calibration(None, None, {"a": values}, 0.01, {}, {})
    assert of_before.p_value(values[-5], "a", None, (0, 0, 9)) == 6 / 501, "nor where sizes are not known"


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_the_level_holds_where_the_mix_of_sizes_changes(share):
    """Values of payments are N(0, 1), of others N(2, 1); one in ten of the calibration's is another."""
    rng = np.random.default_rng(3)

    def draw(n: int, others: float) -> tuple[np.ndarray, np.ndarray]:
        large = rng.random(n) < others
        return rng.normal(2.0 * large), large.astype(np.uint8)

    weighted, plain = [], []
    for _ in range(30):
        values, classes = draw(4000, 0.1)
        order = np.argsort(values)
        made, mixes = calibration(values[order], classes[order]), Mixes()
        for value, large in zip(*draw(1500, share), strict=True):
            mix = mixes.add("ethereum", "a", (ONE, SOME)[large])
            weighted.append(made.p_value(value, "a", None, mix) <= 0.01)
            plain.append(made.p_value(value, "a") <= 0.01)
    assert np.mean(weighted) == pytest.approx(0.01, abs=0.0025)
    assert (abs(np.mean(plain) - 0.01) > 0.005) == (share != 0.1), "without allowing for it the level is lost"
