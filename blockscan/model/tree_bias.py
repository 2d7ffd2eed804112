"""Attention that knows the call tree: a low-rank bias carried by extra channels of queries and keys.

softmax(q k^T + phi_q phi_k^T) is softmax([q | phi_q] [k | phi_k]^T), so a bias of rank R costs R channels
and no dense matrix, and every attention kernel can carry it (FlashBias, arXiv 2505.12044). Three biases,
each with a learned scale per head that starts at zero:

depth: -(d_i - d_j)^2 over call depths; the term -d_i^2 is the same for all keys of a query and cancels in
    the softmax, which leaves rank 2. Depths are centred so that bfloat16 holds the factors exactly.
role: a table over pairs of fields (who asks, who answers), factorised at the given rank.
lca: how deep the lowest common ancestor of two call frames lies, which is the number of ancestors that
    they share: a Gram matrix, approximated from a few landmark frames (Nystroem).

Legend: T tokens, H heads, D head width, R channels of the bias, F fields, N frames, L landmarks.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blockscan.config import ModelConfig
from blockscan.tokens import Field

_CENTRE, _DEEPEST = 7, 15
_CHANNELS = 8
"""FlashAttention wants head widths that are multiples of this."""
_RELATIVE_RANK = 1e-6


def kernel_width(config: ModelConfig) -> int:
    """Channels of a head as attention kernels see it: with those of the bias, up to a multiple of 8."""
    width, used = config.width // config.heads, _used(config)
    return -(-(width + used) // _CHANNELS) * _CHANNELS if used else width


def _used(config: ModelConfig) -> int:
    return 2 * config.depth_bias + config.role_bias + config.lca_bias


class TreeBias(nn.Module):
    """The biases of one attention layer; `extend` adds their channels."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        heads, rank = config.heads, config.role_bias
        self.used, self.wider = _used(config), kernel_width(config)
        self.depth = nn.Parameter(torch.zeros(heads)) if config.depth_bias else None
        self.lca = nn.Parameter(torch.zeros(heads)) if config.lca_bias else None
        self.role_q = nn.Parameter(torch.zeros(len(Field), heads, rank)) if rank else None
        self.role_k = nn.Parameter(torch.empty(len(Field), heads, rank)) if rank else None

    def extend(
        self,
        q_THD: Tensor,
        k_THD: Tensor,
        v_THD: Tensor,
        depth_T: Tensor,
        field_T: Tensor,
        lca_TL: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values with the bias in further channels; those of the values are zeros.

        A kernel divides by the square root of the new width, so the queries are scaled up accordingly.
        """
        heads, width = q_THD.shape[1:]
        phi_q, phi_k = self._factors(depth_T, field_T, lca_TL, heads)
        wider = self.wider
        q = torch.cat((q_THD * (wider / width) ** 0.5, phi_q.to(q_THD.dtype) * wider**0.5), -1)
        k = torch.cat((k_THD, phi_k.to(k_THD.dtype)), -1)
        spare = wider - width - self.used
        pad = nn.functional.pad
        return pad(q, (0, spare)), pad(k, (0, spare)), pad(v_THD, (0, wider - width))

    def _factors(
        self, depth_T: Tensor, field_T: Tensor, lca_TL: Tensor | None, heads: int
    ) -> tuple[Tensor, Tensor]:
        """phi_q and phi_k, (T, H, R)."""
        of_q: list[Tensor] = []
        of_k: list[Tensor] = []
        if self.depth is not None:
            d_T = depth_T.clamp(0, _DEEPEST).to(self.depth.dtype) - _CENTRE
            q_T2, k_T2 = torch.stack((2 * d_T, -torch.ones_like(d_T)), -1), torch.stack((d_T, d_T**2), -1)
            of_q.append(q_T2[:, None] * self.depth[:, None])
            of_k.append(k_T2[:, None].expand(-1, heads, -1))
        if self.role_q is not None and self.role_k is not None:
            of_q.append(self.role_q[field_T])
            of_k.append(self.role_k[field_T])
        if self.lca is not None and lca_TL is not None:
            of_q.append(lca_TL[:, None] * self.lca[:, None])
            of_k.append(lca_TL[:, None].expand(-1, heads, -1))
        return torch.cat(of_q, -1), torch.cat(of_k, -1)


def common_depth(depth_N: NDArray[np.int64], landmarks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Number of frames that are ancestors (or selves) of both a frame and a landmark, (N, L).

    Args:
        depth_N: call depths of frames in pre-order (root 0); gaps in the numbering do no harm.
        landmarks: (L,) indices into depth_N.
    """
    # The lowest common ancestor of i < j lies one above the shallowest frame strictly after i up to j,
    # or is i itself if all of those are deeper.
    result = np.empty((len(depth_N), len(landmarks)))
    for column, mark in enumerate(landmarks):
        after = np.minimum.accumulate(depth_N[mark + 1 :] - 1)
        result[mark + 1 :, column] = np.minimum(after, depth_N[mark])
        before = np.minimum.accumulate(depth_N[mark:0:-1] - 1)[::-1]
        result[:mark, column] = np.minimum(before, depth_N[:mark])
        result[mark, column] = depth_N[mark]
    return result + 1.0


def lca_factors(node_T: NDArray[np.integer], depth_T: NDArray[np.integer], rank: int) -> NDArray[np.float32]:
    """Factors phi (T, rank) of one window with phi_i phi_j^T close to the depth of the common ancestor.

    Exact where the window has at most `rank` frames. Landmarks are frames at even distances in pre-order.

    Args:
        node_T: pre-order index of each token's frame.
        depth_T: its call depth.
        rank: number of landmarks and channels.
    """
    nodes, first_N, frame_T = np.unique(node_T, return_index=True, return_inverse=True)
    depth_N = depth_T[first_N].astype(np.int64)
    marks = np.unique(np.linspace(0, len(nodes) - 1, min(rank, len(nodes))).round().astype(np.int64))
    shared_NL = common_depth(depth_N, marks)
    values, vectors = np.linalg.eigh(shared_NL[marks])
    keep = values > _RELATIVE_RANK * values.max()
    root = vectors[:, keep] / np.sqrt(values[keep])
    phi_NR = np.zeros((len(nodes), rank))
    phi_NR[:, : keep.sum()] = shared_NL @ root
    return phi_NR[frame_T].astype(np.float32)
