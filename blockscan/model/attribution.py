"""Which values of a transaction made the model surprised: gradients of a surprise by the inputs.

What a token contributes is measured against what the model would see were that token hidden, so a sum over
tokens reads as "so many nats of the surprise come from seeing these". Three methods: gradient x input
(Shrikumar et al. 2017, arXiv 1704.02685), integrated gradients along the straight line from all hidden to
all visible (Sundararajan et al. 2017, arXiv 1703.01365), and SmoothGrad, the gradient averaged over noisy
inputs (Smilkov et al. 2017, arXiv 1706.03825). Only the second is complete: its parts sum to the surprise
less that of the same value with everything else hidden.

Legend: T tokens of the sequence, N of one window, M asked positions, E width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blockscan.errors import ConfigError
from blockscan.model.batch import PackedBatch, WindowTable, cut_windows, pack, window_table
from blockscan.model.encoder import MaskedLM
from blockscan.model.losses import masked_cross_entropy
from blockscan.model.masking import fold_of_tokens
from blockscan.tokens import TokenSequence

METHODS = ("gradient", "integrated", "smooth")
STEPS = 32
NOISE = 0.1
"""Standard deviation of SmoothGrad's noise, as a share of the spread of the inputs."""


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """Nats of a surprise by the tokens that were seen, float64 (T,), 0 for those that were not.

    `surprise`: the surprise that is explained. `unseen`: the same with everything hidden. With integrated
    gradients the parts sum to surprise - unseen, but for the error of the steps.
    """

    token: NDArray[np.float64]
    surprise: float
    unseen: float


@dataclass(frozen=True, slots=True)
class _Pass:
    """One window with something hidden, and what is asked of it."""

    batch: PackedBatch
    place_M: Tensor
    target_M: Tensor


def attribute(
    model: MaskedLM,
    sequence: TokenSequence,
    *,
    method: str,
    unit: int | None = None,
    folds: int = 2,
    steps: int = STEPS,
    generator: torch.Generator | None = None,
) -> Attribution:
    """Share the surprise of one value, or of all scored values, among the tokens that the model saw.

    One value is hidden alone, so that every other is its context. All of them are hidden fold by fold, as in
    scoring; a token then has what it did to the folds in which it was seen. A window sees no other window.

    Args:
        model: on the device that is to compute; in float32.
        sequence: of the transaction.
        method: one of METHODS.
        unit: the value, whether it is scored or not; None for all scored ones.
        folds: as in ScoreConfig.
        steps: points on the line, or noisy copies; "gradient" needs none.
        generator: on the CPU, for the noise of "smooth".

    Raises:
        ConfigError: an unknown method, no such value, a "smooth" without a generator, or the sequence does
            not fit the model.
    """
    _check(sequence, method, unit, steps, generator)
    token_T = np.zeros(len(sequence))
    surprise = unseen = 0.0
    for place_N, one, nothing in _passes(model, sequence, unit, folds):
        seen_NE, seen_nats = _inputs(model, one)
        bare_NE, bare_nats = _inputs(model, replace(one, batch=nothing))
        change_NE = seen_NE - bare_NE
        slope_NE, points = torch.zeros_like(seen_NE), 0
        for point_NE in _points(method, seen_NE, bare_NE, steps, generator):
            slope_NE += _slope(model, one, point_NE)
            points += 1
        token_T[place_N] += (change_NE * slope_NE / points).sum(-1).double().cpu().numpy()
        surprise, unseen = surprise + seen_nats, unseen + bare_nats
    return Attribution(token_T, surprise, unseen)


def by_unit(sequence: TokenSequence, token_T: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum over the tokens of each value, (U,), indexed by `sequence.unit`."""
    units = int(sequence.unit.max(initial=-1)) + 1
    return np.bincount(sequence.unit, weights=token_T, minlength=units).astype(np.float64)


def _check(
    sequence: TokenSequence, method: str, unit: int | None, steps: int, generator: torch.Generator | None
) -> None:
    if method not in METHODS:
        raise ConfigError(f"there is no attribution {method!r}; choose {', '.join(METHODS)}")
    if steps < 1:
        raise ConfigError(f"an attribution needs at least 1 step, not {steps}")
    if method == "smooth" and generator is None:
        raise ConfigError("the noise of a smooth attribution needs a generator")
    if unit is not None and not (sequence.unit == unit).any():
        raise ConfigError(f"transaction {sequence.tx_hash} has no value {unit}")


def _passes(
    model: MaskedLM, sequence: TokenSequence, unit: int | None, folds: int
) -> Iterator[tuple[NDArray[np.int64], _Pass, PackedBatch]]:
    """For each look at a window: its tokens' places (N,), the pass, and its batch with everything hidden."""
    if not len(sequence):
        return
    table = window_table([sequence], model.config.longest, model.vocabulary)
    if unit is None:
        asked_T, looks = sequence.scored, range(folds)
        fold_T = fold_of_tokens(sequence, folds, asked_T=asked_T)
    else:
        fold_T, looks = np.where(sequence.unit == unit, 0, 1), range(1)
        asked_T = sequence.scored if sequence.scored[sequence.unit == unit].any() else sequence.unit == unit
    for window in range(len(table.length_W)):
        for look in looks:
            made = _pass(model, table, window, fold_T == look, asked_T)
            if made is not None:
                yield made


def _pass(
    model: MaskedLM,
    table: WindowTable,
    window: int,
    hidden_T: NDArray[np.bool_],
    asked_T: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], _Pass, PackedBatch] | None:
    cut = cut_windows(table, np.array([window]))
    hidden_N = hidden_T[cut.place_T]
    ask = np.flatnonzero(hidden_N & asked_T[cut.place_T])
    if not len(ask):
        return None

    def packed(hidden_N: NDArray[np.bool_]) -> PackedBatch:
        return pack(table, cut, hidden_N, landmarks=model.config.lca_bias, device=model.device)

    target = table.ids_T[cut.place_T][ask].astype(np.int64)
    place_M, target_M = (torch.from_numpy(each).to(model.device) for each in (ask, target))
    return cut.place_T, _Pass(packed(hidden_N), place_M, target_M), packed(np.ones_like(hidden_N))


def _inputs(model: MaskedLM, one: _Pass) -> tuple[Tensor, float]:
    """The summed input embeddings of a pass, (N, E), and its surprise in nats."""
    caught: list[Tensor] = []

    def catch(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        caught.append(given[0].detach())

    with torch.no_grad():
        nats = _surprise(model, one, catch)
    return caught[0], float(nats)


def _slope(model: MaskedLM, one: _Pass, inputs_NE: Tensor) -> Tensor:
    """The gradient of the surprise at given input embeddings, (N, E)."""
    point_NE = inputs_NE.detach().requires_grad_()

    def put(_: nn.Module, __: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (point_NE,)

    with torch.enable_grad():
        return torch.autograd.grad(_surprise(model, one, put), point_NE)[0]


def _surprise(model: MaskedLM, one: _Pass, at_inputs: Callable[..., Any]) -> Tensor:
    """Summed nats of what a pass asks; `at_inputs` sees, and may replace, what enters the first norm."""
    hook = model.embedding_norm.register_forward_pre_hook(at_inputs)
    try:
        encoded_NE = model(one.batch)
    finally:
        hook.remove()
    return masked_cross_entropy(model, encoded_NE[one.place_M], one.target_M)


def _points(
    method: str, seen_NE: Tensor, bare_NE: Tensor, steps: int, generator: torch.Generator | None
) -> Iterator[Tensor]:
    """Where the gradient is taken, each (N, E)."""
    if method == "gradient":
        yield seen_NE
        return
    for step in range(steps):
        if method == "integrated":  # the middle of each piece of the line
            yield bare_NE + (step + 0.5) / steps * (seen_NE - bare_NE)
        else:
            noise_NE = torch.randn(seen_NE.shape, generator=generator).to(seen_NE)
            yield seen_NE + NOISE * seen_NE.std() * noise_NE
