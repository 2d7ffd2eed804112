"""What a training step minimises: the masked-LM loss, and whatever a config adds to it.

Legend: T tokens, M hidden tokens, J judged tokens, E width.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from blockscan.config import ModelConfig, TrainConfig
from blockscan.errors import ConfigError
from blockscan.model.compactness import compactness
from blockscan.model.embed import pooled
from blockscan.model.encoder import MaskedLM, autocast
from blockscan.model.losses import masked_cross_entropy
from blockscan.model.masking import Example
from blockscan.model.replaced import replaced_logits


class Loss(NamedTuple):
    """A batch's share of the losses of its step; shares of all batches add up to means over the step.

    total: with gradient, what is minimised. masked: nats per hidden token. replaced: nats per judged token,
    before its weight; 0 without such tokens. compactness: see that module, before its weight; 0 where off.
    The last three carry no gradient.
    """

    total: Tensor
    masked: Tensor
    replaced: Tensor
    compactness: Tensor


def training_loss(
    model: MaskedLM, example: Example, config: TrainConfig, *, hidden: int, judged: int
) -> Loss:
    """Masked-LM loss + the other losses of `config` times their weights, from one pass of the model.

    Args:
        model: with a replaced-token head, if the example has judged tokens.
        example: one batch.
        config: weights of the losses, and whether to compute in bfloat16.
        hidden: hidden tokens of all batches of the step, on all processes.
        judged: likewise the judged tokens; not looked at where the example has none.
    """
    with autocast(model.device, bf16=config.bf16):
        x_TE = model(example.batch)
        masked = masked_cross_entropy(model, x_TE.index_select(0, example.place_M), example.target_M) / hidden
        total, replaced, compact = masked, torch.zeros_like(masked), torch.zeros_like(masked)
        if len(example.label_J):
            odds_J = replaced_logits(model, x_TE.index_select(0, example.judged_J))
            replaced = F.binary_cross_entropy_with_logits(odds_J, example.label_J, reduction="sum") / judged
            total = total + config.replaced_weight * replaced
        if config.compactness:
            compact = _compactness(x_TE, example) * (len(example.target_M) / hidden)
            total = total + config.compactness * compact
    return Loss(total, masked.detach(), replaced.detach(), compact.detach())


def _compactness(x_TE: Tensor, example: Example) -> Tensor:
    """Of the segments with hidden tokens, which are the real ones: corrupted copies hide nothing."""
    layout = example.batch.layout
    segment_M = torch.bucketize(example.place_M, layout.cu_seqlens.long(), right=True) - 1
    real_N = torch.bincount(segment_M, minlength=len(layout.cu_seqlens) - 1) > 0
    return compactness(pooled(x_TE, layout)[real_N])


def check_objective(model: ModelConfig, train: TrainConfig) -> None:
    """Refuse weights that the model cannot be trained with.

    Raises:
        ConfigError: says which key, and what to do.
    """
    if not 0.0 <= train.replaced_weight < float("inf"):
        raise ConfigError(f"train.replaced_weight must not be negative, not {train.replaced_weight}")
    if not 0.0 <= train.compactness < float("inf"):
        raise ConfigError(f"train.compactness must not be negative, not {train.compactness}")
    if train.replaced_weight and not model.replaced_head:
        raise ConfigError(
            f"train.replaced_weight = {train.replaced_weight} needs model.replaced_head = true; set it, or "
            "the weight to 0"
        )
    if model.replaced_head and not train.replaced_weight:
        raise ConfigError(
            "model.replaced_head = true would never be trained with train.replaced_weight = 0; set the "
            "weight above 0, or the head to false"
        )
