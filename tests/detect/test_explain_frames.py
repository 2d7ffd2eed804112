"""Frames in the order of their evidence: values and facts together, each on the frame that shows it."""

import math

import pytest

from blockscan.detect.ranked_frames import ranked_frames
from blockscan.findings import Evidence, Frame


def found(field: str, node: int, p: float) -> Evidence:
    return Evidence(node, field, "x", (), 1.0, p)


def frame(node: int, *evidence: Evidence, kind: str = "CALL", heat: float = 0.0) -> Frame:
    return Frame(node, node - 1, node, kind, "0xa", "0xb", "", "0", "", heat, evidence)


def test_frames_are_ordered_by_the_decades_of_all_their_evidence():
    frames = [
        frame(0, found("value", 0, 1e-4), heat=1.0),
        frame(1),
        frame(2, *(found("argument", 2, 1e-3) for _ in range(3))),
    ]
    ranked = ranked_frames(frames, ())
    assert [each.place for each in ranked] == [2, 0]  # three odd values outweigh one that is odder
    assert [each.decades for each in ranked] == pytest.approx([3 * math.log10(50), math.log10(500)])


def test_a_fact_counts_on_the_call_that_shows_it_and_not_on_its_logs():
    frames = [frame(0, found("value", 0, 1e-3)), frame(1), frame(1, kind="LOG")]
    facts = [found("gain", 1, 1e-5), found("loss", 1, 1e-2), found("value", 0, 1e-3)]
    facts += [found("calls", 0, 1e-9), found("input_bytes", 0, 1e-9)]  # of all calls together
    ranked = ranked_frames(frames, facts)
    assert [each.place for each in ranked] == [1, 0]
    assert [one.field for one in ranked[0].evidence] == ["gain", "loss"]
    assert [one.field for one in ranked[1].evidence] == ["value"]  # not once more from the transaction's list


def test_ties_keep_execution_order_and_impossible_values_are_ranked_first():
    frames = [frame(0, found("value", 0, 0.01)), frame(1, found("value", 1, 0.01)), frame(2)]
    ranked = ranked_frames(frames, [found("reentry", 2, 0.0)])
    assert [each.place for each in ranked] == [2, 0, 1]
    assert math.isfinite(ranked[0].decades) and ranked[0].decades > 300


def test_many_ordinary_values_do_not_outweigh_one_that_is_rare():
    ordinary = [found("argument", 0, (k + 1) / 200) for k in range(10)]  # of 200 values those that are shown
    ranked = ranked_frames([frame(0, *ordinary), frame(1, found("selector", 1, 1e-8))], ())
    assert [each.place for each in ranked] == [1, 0]
