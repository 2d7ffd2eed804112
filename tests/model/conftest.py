from collections.abc import Callable

import numpy as np
import pytest
import torch

from blockscan.config import ModelConfig
from blockscan.model.encoder import MaskedLM
from blockscan.tokens import Field, TokenSequence, VocabularyShape

SHAPE = VocabularyShape(size=300, alias_spans=((40, 56), (100, 103)))
SMALL = ModelConfig(layers=4, width=64, heads=4, feed_forward=96, longest=96, window=16, global_every=3)


def draw(name: str, length: int, rng: np.random.Generator) -> TokenSequence:
    unit = np.cumsum(rng.random(length) < 0.6)
    unit = (unit - unit.min(initial=0)).astype(np.int32)
    node = unit // 7
    scored = rng.random(int(unit.max(initial=-1)) + 1) < 0.7
    return TokenSequence(
        tx_hash=name,
        ids=rng.integers(2, SHAPE.size, length).astype(np.int32),
        modality=rng.integers(0, 6, length).astype(np.uint8),
        field=rng.integers(0, len(Field), length).astype(np.uint8),
        node=node.astype(np.int32),
        depth=(node % 40).astype(np.int16),
        unit=unit,
        group=np.where(rng.random(length) < 0.4, rng.integers(0, 90, length), -1).astype(np.int32),
        scored=scored[unit],
    )


@pytest.fixture
def draw_sequence() -> Callable[..., TokenSequence]:
    return draw


@pytest.fixture
def sequences() -> list[TokenSequence]:
    """Ragged, with equal lengths, a single token, and three that need more than one window."""
    rng = np.random.default_rng(7)
    lengths = [30, 30, 1, 55, 96, 97, 250, 30, 12, 2, 400, 7, 7, 64]
    return [draw(f"0x{which:064x}", length, rng) for which, length in enumerate(lengths)]


@pytest.fixture
def model() -> MaskedLM:
    """Untrained, with weights larger than at the start of training, so that the context matters."""
    lm = MaskedLM(SMALL, SHAPE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for name, weight in lm.named_parameters():
            if weight.ndim == 2:
                weight *= 10.0 if name.startswith(("token", "group")) else 1.5
    return lm.eval()
