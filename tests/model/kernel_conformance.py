"""What every attention kernel must do, checked against dense attention in float64."""

import numpy as np
import torch
from torch import Tensor

from blockscan.model.attention import Kernel, layout_of

CASES = {
    "ragged": [3, 300, 17, 129, 64],
    "equal neighbours": [20, 20, 20, 5, 5, 40],
    "length one": [1, 1, 7, 1],
    "around the blocks": [15, 16, 17, 31, 32, 33, 33, 47, 48, 49, 64, 65, 8, 9],
    "one long": [1000],
}
WINDOWS = [None, 2, 7, 16, 128]
VERY_LONG = [2500]
# Of a plain head, of heads with the channels of a call-tree bias (16 + 15 and 64 + 15, rounded up to eights).
HEAD_WIDTHS = [8, 32, 80]


def dense(q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, lengths: list[int], window: int | None) -> Tensor:
    """Attention written down from its definition: one matrix of scores over all tokens."""
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
    heads: int = 3,
    head_width: int = 16,
    scale: float = 1.0,
    gradient: bool = True,
) -> None:
    """Output and the gradients of all three inputs agree with dense attention.

    The inputs lie in memory as the model makes them: heads of one larger array, not contiguous.

    Args:
        kernel: to be checked.
        lengths: of the segments.
        window: None or tokens.
        device: where to run both.
        dtype: of the kernel's inputs; dense attention gets the same numbers in float64.
        tolerance: absolute, and relative to the exact value.
        heads: number of heads.
        head_width: channels of a head.
        scale: of queries and keys; large ones let a single key win.
        gradient: compare gradients as well.
    """
    generator = torch.Generator().manual_seed(len(lengths))
    fused = torch.randn(sum(lengths), 4 * heads, head_width, generator=generator).to(device, dtype)
    fused[:, : 2 * heads] *= scale
    *inputs, slope = fused.chunk(4, dim=1)
    exact = [x.double().detach().requires_grad_(gradient) for x in inputs]
    given = [x.detach().requires_grad_(gradient) for x in inputs]
    expected = dense(*exact, lengths, window)
    got = kernel(*given, layout_of(lengths, device), window)
    assert got.shape == given[0].shape
    assert got.dtype == dtype
    pairs = [(got, expected)]
    if gradient:
        expected.backward(slope.double())
        got.backward(slope)
        pairs += [(ours.grad, theirs.grad) for ours, theirs in zip(given, exact, strict=True)]
    for ours, theirs in pairs:
        torch.testing.assert_close(ours.double(), theirs, atol=tolerance, rtol=tolerance)


def check_isolation(kernel: Kernel, window: int | None, *, device: str, dtype: torch.dtype) -> None:
    """A segment of NaN between two others stays where it is: nothing of it is read for them."""
    lengths = [40, 33, 40, 1, 5]
    q, k, v = torch.randn(3, sum(lengths), 2, 16, generator=torch.Generator().manual_seed(0)).to(
        device, dtype
    )
    layout = layout_of(lengths, device)
    clean = kernel(q, k, v, layout, window)
    for x in (q, k, v):
        x[40:73] = torch.nan
    poisoned = kernel(q, k, v, layout, window)
    rest = torch.ones(len(q), dtype=torch.bool)
    rest[40:73] = False
    assert torch.equal(clean[rest], poisoned[rest])
    assert poisoned[40:73].isnan().all()
