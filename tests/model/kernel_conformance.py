"""What every attention kernel must do, checked against dense attention in float64."""

import numpy as np
import torch
from torch import Tensor

from blockscan.model.attention import Kernel, layout_of

CASES = {
    "ragged": [3, 300, 17, 129, 64],
    "equal neighbours": [20, 20, 20, 5, 5, 40],
    "length one": [1, 1, 7, 1],
    "one long": [1000],
}
WINDOWS = [None, 2, 7, 16, 128]


def dense(q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, lengths: list[int], window: int | None) -> Tensor:
    segment = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(segment))
    seen = segment[:, None] == segment
    if window is not None:
        seen &= np.abs(place[:, None] - place) <= window // 2
    scores = torch.einsum("qhd,khd->hqk", q_THD, k_THD) * q_THD.shape[-1] ** -0.5
    scores = scores.masked_fill(~torch.from_numpy(seen).to(scores.device), -torch.inf)
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), v_THD)


def check(
    kernel: Kernel,
    lengths: list[int],
    window: int | None,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    tolerance: float = 2e-5,
) -> None:
    """Output and the gradients of all three inputs agree with dense attention."""
    generator = torch.Generator().manual_seed(len(lengths))
    shape = (4, sum(lengths), 3, 16)
    *inputs, slope = torch.randn(shape, generator=generator).to(device, dtype)
    exact = [x.double().detach().requires_grad_() for x in inputs]
    given = [x.detach().clone().requires_grad_() for x in inputs]
    expected = dense(*exact, lengths, window)
    got = kernel(*given, layout_of(lengths, device), window)
    assert got.shape == given[0].shape
    assert got.dtype == dtype
    expected.backward(slope.double())
    got.backward(slope)
    pairs = [(got, expected), *((ours.grad, theirs.grad) for ours, theirs in zip(given, exact, strict=True))]
    for ours, theirs in pairs:
        torch.testing.assert_close(ours.double(), theirs, atol=tolerance, rtol=tolerance)
