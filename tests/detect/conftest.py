"""Synthetic tokens and losses: fields of different difficulty, benign lengths over three decades."""

from collections.abc import Callable

import numpy as np
import pytest

from blockscan.detect.calibrate import Observed
from blockscan.detect.facts import FACTS
from blockscan.tokens import NAMES, Field, Modality, TokenLosses, TokenSequence

KINDS = [
    (Field.EMITTER, Modality.ADDRESS, 0.2),
    (Field.TARGET, Modality.ADDRESS, 2.0),
    (Field.SELECTOR, Modality.SELECTOR, 0.8),
    (Field.VALUE, Modality.NUMBER, 3.0),
    (Field.TOPIC, Modality.ADDRESS, 2.5),
    (Field.TOPIC0, Modality.SELECTOR, 0.5),
]


def make_observed(
    rng: np.random.Generator,
    tokens: int,
    *,
    extremes: int = 0,
    extreme: float = 16.0,
    source: str = "callTracer",
    status: str = "complete",
) -> Observed:
    """One transaction with its own mood: its tokens are correlated, as real ones are.

    `extremes` of those that name something get a surprise of `extreme` times the mean of their field.
    """
    kind = rng.integers(len(KINDS), size=tokens)
    mood = np.exp(0.2 * rng.standard_normal())
    surprise = rng.exponential(np.array([mean for _, _, mean in KINDS])[kind] * mood).astype(np.float32)
    scored = rng.random(tokens) > 0.1
    if tokens:
        scored[0] = True
    is_name = np.array([field in NAMES for field, _, _ in KINDS])[kind]
    scored &= is_name
    names = np.flatnonzero(is_name)
    places = rng.choice(names, size=extremes, replace=False)
    scored[places] = True
    surprise[places] = extreme * np.array([mean for _, _, mean in KINDS])[kind[places]]
    surprise[~scored] = np.nan
    name = f"0x{rng.integers(2**62):064x}"
    sequence = TokenSequence(
        tx_hash=name,
        ids=np.full(tokens, 7, np.int32),
        modality=np.array([modality for _, modality, _ in KINDS], np.uint8)[kind],
        field=np.array([field for field, _, _ in KINDS], np.uint8)[kind],
        node=np.zeros(tokens, np.int32),
        depth=np.zeros(tokens, np.int16),
        unit=np.arange(tokens, dtype=np.int32),
        group=np.full(tokens, -1, np.int32),
        scored=scored,
    )
    rank = np.where(scored, 0, -1).astype(np.int32)
    expected = np.where(scored[:, None], [[7, 8, 9]], -1).astype(np.int32)
    losses = TokenLosses(name, surprise, rank, expected, 1)
    return Observed(sequence, losses, make_facts(tokens), source, status)


def make_facts(tokens: int) -> np.ndarray:
    """A transaction of so many tokens about which nothing is worth telling but its size."""
    facts = np.zeros(len(FACTS))
    facts[FACTS.index("calls")] = np.log(max(tokens, 1))
    return facts


def benign_lengths(rng: np.random.Generator, n: int) -> np.ndarray:
    """A third of all have exactly nine tokens, like plain transfers; the rest reach thousands."""
    lengths = np.minimum(np.exp(4.5 + 1.2 * rng.standard_normal(n)), 4000).astype(int) + 9
    lengths[rng.random(n) < 0.33] = 9
    return lengths


@pytest.fixture(scope="session")
def observe() -> Callable[..., Observed]:
    return make_observed


@pytest.fixture(scope="session")
def benign() -> list[Observed]:
    """2,600 benign transactions of one source, in time order."""
    rng = np.random.default_rng(11)
    return [make_observed(rng, int(tokens)) for tokens in benign_lengths(rng, 2600)]
