"""What is carried over to an account's next transactions: how much, how long, to whom, up to thresholds."""

import math

import numpy as np
import pytest

from blockscan.chains.entry_points import ENTRY_POINTS
from blockscan.detect.accounts import (
    AT_MOST,
    CARRIED_SECONDS,
    MOST_DEALINGS,
    SECONDS,
    Recent,
    account_of,
    actor_of,
)
from blockscan.detect.calibrate import fit_calibration, judge
from blockscan.detect.dealings import Dealing
from blockscan.detect.facts import FACTS

WHOM = "0xa"


def test_a_share_of_the_highest_value_is_carried_over_for_a_while():
    recent = Recent(0.25)
    assert recent.carried(WHOM, 1000)(9.0, 0.0) == 0.0
    for time, value in ((1000, 4.0), (1000, 2.0), (1020, 3.0)):
        recent.add(WHOM, time, value)
    assert recent.carried(WHOM, 1000 + CARRIED_SECONDS)(9.0, 0.0) == 1.0
    assert recent.carried(WHOM, 1001 + CARRIED_SECONDS)(9.0, 0.0) == 0.75
    assert recent.carried(WHOM, 1021 + CARRIED_SECONDS)(9.0, 0.0) == 0.0
    assert recent.carried("0xb", 1000)(9.0, 0.0) == 0.0
    recent.add("0xb", 1010 + SECONDS, 1.0)
    assert recent.carried(WHOM, 1010 + CARRIED_SECONDS)(9.0, 0.0) == 0.75, "the oldest are forgotten first"


def test_what_earlier_transactions_say_is_not_counted_twice():
    """Half of what they add by what was taken and given together is taken off what is carried over."""
    recent = Recent(0.5)
    recent.add(WHOM, 1000, 2.0)
    carried = recent.carried(WHOM, 1000)
    assert carried(2.1, 0.0) == 1.0 and carried(2.5, 0.4) == 0.8 and carried(9.0, 2.0) == 0.0
    assert carried(9.0, 5.0) == 0.0, "never less than nothing"
    assert carried(2.4, 0.4) == carried(1.9, 0.4) == AT_MOST / 2 - 0.2, "its height is that of its own"


def test_who_repeats_himself_does_not_push_himself_up():
    recent = Recent(0.5)
    recent.add(WHOM, 1000, 2.0)
    assert recent.carried(WHOM, 1000)(2.1, 0.0) == 1.0, "the first of its height"
    for _ in range(3):
        recent.add(WHOM, 1000, 8.0)
    carried = recent.carried(WHOM, 1000)
    assert carried(8.1, 0.0) == AT_MOST < 0.5 * 8.0, "no more than that, whatever it was"
    assert carried(8.0, 0.0) == AT_MOST / 4 and carried(1.0, 0.0) == AT_MOST / 5
    recent.add(WHOM, 1000 + CARRIED_SECONDS, 0.5)
    assert recent.carried(WHOM, 1001 + CARRIED_SECONDS)(0.0, 0.0) == 0.25, "a share where that is less"


def test_nothing_is_carried_back_in_time():
    recent = Recent(0.5)
    recent.add(WHOM, 1000, 4.0)
    assert recent.carried(WHOM, 999)(9.0, 0.0) == 0.0


def test_what_is_old_is_forgotten():
    recent = Recent(0.5)
    for time in range(5000):
        recent.add(account_of("ethereum", f"0x{time}"), time, 1.0)
    (oldest,) = recent._oldest.values()
    assert len(recent._known) <= SECONDS + 1 and len(oldest) <= SECONDS + 1


def test_another_chain_has_times_of_its_own():
    recent, account = Recent(0.5), account_of("ethereum", WHOM)
    recent.add(account, 1000, 4.0)
    recent.add(account_of("base", WHOM), 10**9, 4.0)
    assert recent.carried(account, 1010)(9.0, 0.0) > 0


def test_of_a_busy_account_the_latest_dealings_are_added_up():
    recent = Recent(0.5)
    dealings = [Dealing(frozenset(), frozenset({str(i)}), ()) for i in range(MOST_DEALINGS + 1)]
    for time, dealing in enumerate(dealings):
        recent.add(WHOM, time, 0.0, dealing)
    assert recent.dealings(WHOM, MOST_DEALINGS) == dealings[1:]


def test_a_time_far_ahead_does_not_keep_what_is_old_or_forget_what_comes():
    recent = Recent(0.5)
    recent.add(WHOM, 10**10, 9.0)
    for time in range(5000):
        recent.add(WHOM, time, 1.0)
        recent.add(f"0x{time}", time, 1.0)
    assert len(recent._known) <= SECONDS + 2 and len(recent._known[WHOM]) <= SECONDS + 2
    assert recent.carried(WHOM, 5000)(9.0, 0.0) == 0.5
    assert recent.carried(WHOM, 10**10)(9.0, 0.0) == AT_MOST / 2


def test_the_same_address_on_another_chain_is_another_account():
    assert account_of("ethereum", WHOM) != account_of("base", WHOM)


def test_unknown_times_and_cut_traces_carry_nothing():
    recent = Recent(0.5)
    recent.add(WHOM, None, 9.0)
    recent.add(WHOM, 10, math.inf)
    assert recent.carried(WHOM, 10)(9.0, 0.0) == 0.0
    recent.add(WHOM, 10, 9.0)
    assert recent.carried(WHOM, None)(9.0, 0.0) == 0.0


@pytest.fixture(scope="module")
def busy(benign):
    """The benign transactions as those of twenty accounts, one each second."""
    return [each._replace(account=f"0x{i % 20}", time=i) for i, each in enumerate(benign[:1400])]


def calibrated(items, share):
    return fit_calibration(items, fpr=0.01, parents={}, scoring={"carried": share})


def test_calibration_carries_over_as_scoring_does(busy):
    """Thresholds know of it: benign accounts are active as well."""
    without, made = calibrated(busy, 0.0), calibrated(busy, 0.2)
    recent, values = made.recent(), []
    for each in busy[700:]:
        carried = recent.carried(each.account, each.time)
        values.append(judge(made, each, carried=carried).value)
        recent.add(each.account, each.time, values[-1])
    assert made.values["callTracer"] == pytest.approx(np.sort(values))
    assert without.values["callTracer"] == pytest.approx(
        np.sort([judge(without, each).value for each in busy[700:]])
    )
    assert (made.values["callTracer"] > without.values["callTracer"]).mean() > 0.95


def test_what_is_carried_over_is_part_of_the_value(busy):
    made = calibrated(busy, 0.2)
    given = []
    alone, after = judge(made, busy[0]), judge(made, busy[0], carried=lambda *own: given.append(own) or 3.0)
    assert given == [(alone.value, 0.0)]
    assert after.value == alone.value + 3.0 == pytest.approx(math.fsum(after.views.values()))
    assert after.p_value < alone.p_value


def test_what_a_joint_gain_adds_is_not_carried_over_again(busy):
    """Calibration had pairs of transactions without joint gains; this one has one."""
    place = FACTS.index("joint_gain")

    def paired(each, gain):
        facts = each.facts.copy()
        facts[place] = gain
        return each._replace(facts=facts)

    made = calibrated([paired(each, 0.0) for each in busy], 0.2)
    alone, joint = judge(made, paired(busy[0], 0.0)), judge(made, paired(busy[0], 9.0))
    assert alone.value < joint.value < 6.0
    added = joint.value - alone.value
    assert added > 0.1
    for share, most in ((0.2, AT_MOST / 2), (0.005, 0.03)):
        recent = Recent(share)
        recent.add(WHOM, 1000, 6.0)
        carried = recent.carried(WHOM, 1000)
        after = [judge(made, paired(busy[0], gain), carried=carried) for gain in (0.0, 9.0)]
        assert after[0].value == pytest.approx(alone.value + most)
        assert after[1].value == pytest.approx(joint.value + max(most - added / 2, 0.0))


def test_what_strangers_do_in_bundles_says_nothing_of_who_sends_them():
    """Operations of ERC-4337 are signed by others than the bundler, and so are those of his next bundle."""
    assert actor_of("base", WHOM, "0xpool") == actor_of("base", WHOM, None) == account_of("base", WHOM)
    recent, dealing = Recent(0.5), Dealing(frozenset(), frozenset(), ())
    for entry_point in ENTRY_POINTS:
        bundler = actor_of("base", WHOM, entry_point)
        recent.add(bundler, 1000, 4.0, dealing)
        assert bundler is None and recent.dealings(bundler, 1000) == []
        assert recent.carried(bundler, 1000)(9.0, 0.0) == 0.0
    assert recent.carried(account_of("base", WHOM), 1000)(9.0, 0.0) == 0.0
