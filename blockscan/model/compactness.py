"""An optional term that draws the embeddings of ordinary transactions together (off by default).

Deep SVDD (Ruff et al., ICML 2018) pulls all of them to one centre, and a range-partition entropy
(arXiv 2509.03733) into few cells of the space: both are lowest where every transaction has the same
embedding, which says nothing of any. Here the share of the variance that lies within clusters is lowered
instead. Shrinking or moving all embeddings together leaves that share as it is, so collapse earns nothing;
that clusters become points is allowed, and the masked-LM loss beside it speaks against it.

Legend: S transactions (or windows) of a batch, E width, P prototypes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

PROTOTYPES = 8
_EMPTY = 1e-12


def compactness(pooled_SE: Tensor, prototypes: int = PROTOTYPES) -> Tensor:
    """Variance around the nearest of a few prototypes over variance around the mean: a scalar from 0 to 1.

    The prototypes are the batch's own: embeddings that lie far from each other are chosen greedily, every
    embedding joins the nearest, and the means of the groups count (one step of Lloyd's algorithm). No state,
    no randomness. It is 0 for no more embeddings than prototypes, and where all are equal.

    Args:
        pooled_SE: embeddings, see blockscan.model.embed.pooled; S at least 1.
        prototypes: how many groups, at least 1; with 1 the share is 1 by definition.
    """
    pooled_SE = pooled_SE.float()
    if len(pooled_SE) <= prototypes:
        return pooled_SE.sum() * 0.0
    member_SP = F.one_hot(_nearest(pooled_SE.detach(), prototypes), prototypes).to(pooled_SE)
    centre_PE = member_SP.T @ pooled_SE / member_SP.sum(0).clamp(min=1.0)[:, None]
    within = (pooled_SE - member_SP @ centre_PE).square().sum()
    total = (pooled_SE - pooled_SE.mean(0)).square().sum()
    return within / total.clamp(min=_EMPTY)


def _nearest(pooled_SE: Tensor, prototypes: int) -> Tensor:
    """For every embedding the nearest of the prototypes chosen far from each other, int64 (S,)."""
    first = (pooled_SE - pooled_SE.mean(0)).square().sum(1).argmax()
    distance_SP = (pooled_SE - pooled_SE[first]).square().sum(1, keepdim=True)
    for _ in range(prototypes - 1):
        farthest = distance_SP.amin(1).argmax()
        next_S1 = (pooled_SE - pooled_SE[farthest]).square().sum(1, keepdim=True)
        distance_SP = torch.cat((distance_SP, next_S1), dim=1)
    return distance_SP.argmin(1)
