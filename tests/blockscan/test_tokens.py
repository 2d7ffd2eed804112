"""Windows: every token once, cut at frame boundaries where possible."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blockscan.tokens import TokenSequence, windows


def sequence(units_per_frame: list[list[int]]) -> TokenSequence:
    """A sequence whose frames hold values of the given token counts."""
    node, unit = [], []
    for frame, values in enumerate(units_per_frame):
        for tokens in values:
            node += [frame] * tokens
            unit += [(unit[-1] + 1) if unit else 0] * tokens
    size = len(node)
    zeros = np.zeros(size)
    return TokenSequence(
        tx_hash="0x1",
        ids=zeros.astype(np.int32),
        modality=zeros.astype(np.uint8),
        field=zeros.astype(np.uint8),
        node=np.array(node, np.int32),
        depth=zeros.astype(np.int16),
        unit=np.array(unit, np.int32),
        group=zeros.astype(np.int32),
        scored=zeros.astype(np.bool_),
    )


@given(
    st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=8), min_size=1, max_size=20),
    st.integers(6, 40),
)
def test_windows_cover_every_token_once_and_never_cut_a_value(frames: list[list[int]], longest: int) -> None:
    tokens = sequence(frames)
    cuts = list(windows(tokens, longest))
    covered = np.concatenate([np.arange(cut.start, cut.stop) for cut in cuts])
    assert covered.tolist() == list(range(len(tokens)))
    assert all(0 < cut.stop - cut.start <= longest for cut in cuts)
    assert all(tokens.unit[cut.start - 1] != tokens.unit[cut.start] for cut in cuts[1:])


def test_cuts_fall_on_frame_boundaries() -> None:
    tokens = sequence([[1] * 7, [1] * 7, [1] * 7])
    assert [(cut.start, cut.stop) for cut in windows(tokens, 10)] == [(0, 7), (7, 14), (14, 21)]


def test_a_value_longer_than_a_window_is_cut_inside() -> None:
    tokens = sequence([[25]])
    assert [(cut.start, cut.stop) for cut in windows(tokens, 10)] == [(0, 10), (10, 20), (20, 25)]
