"""Every token judged in one pass with nothing hidden: does it stand in place of another?

Legend: T tokens, W windows, J judged tokens, S sequences, E width.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from blockscan.config import ScoreConfig
from blockscan.errors import ArtifactError, ConfigError
from blockscan.model.batch import canonical_order, cut_windows, pack, sorted_batches, window_table
from blockscan.model.encoder import MaskedLM, autocast
from blockscan.tokens import TokenSequence, suspicion


def replaced_logits(model: MaskedLM, x_JE: Tensor) -> Tensor:
    """Log-odds in float32, (J,), that encoded tokens stand in place of others.

    Raises:
        ConfigError: the model has no head for it.
    """
    if model.replaced is None:
        raise ConfigError(
            "this model cannot tell replaced tokens; pretrain with model.replaced_head = true and "
            "train.replaced_weight above 0, or use score.mode = 'folds'"
        )
    odds_J: Tensor = model.replaced(x_JE).float()
    return odds_J


def replaced_scores(
    model: MaskedLM,
    sequences: Sequence[TokenSequence],
    config: ScoreConfig,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[NDArray[np.float32]]:
    """Log-odds that each token stands in place of another, float32 (T,) per sequence, in input order.

    Each window passes once. As in `losses.token_losses`, batches are packed in a canonical order: the same
    set in any order gives the same bytes, on the same machine with the same number of threads.

    Args:
        model: on the device that is to compute, with a replaced-token head.
        sequences: in any order; a hash may occur twice.
        config: tokens of a batch, and whether to compute in bfloat16.
        progress: called after each batch with the tokens done and the tokens in all.

    Raises:
        ConfigError: the model has no such head, or the sequences do not fit it.
        ArtifactError: the model answers with numbers that are not finite.
    """
    if not sequences:
        return []
    table = window_table(sequences, model.config.longest, model.vocabulary)
    order_W = canonical_order(table, sequences)
    odds_T = np.zeros(len(table.ids_T), dtype=np.float32)
    done, landmarks = 0, model.config.lca_bias
    for rows in sorted_batches(table.length_W[order_W], config.batch_tokens):
        cut = cut_windows(table, order_W[rows])
        nothing_T = np.zeros(len(cut.place_T), dtype=np.bool_)
        with torch.inference_mode(), autocast(model.device, bf16=config.bf16):
            x_TE = model(pack(table, cut, nothing_T, landmarks=landmarks, device=model.device))
            odds_T[cut.place_T] = replaced_logits(model, x_TE).cpu().numpy()
        done += len(cut.place_T)
        if progress:
            progress(done, len(odds_T))
    if not np.isfinite(odds_T).all():
        raise ArtifactError(
            "the model gives log-odds that are not finite; its weights are damaged, train it again"
        )
    return np.split(odds_T, np.cumsum([len(sequence) for sequence in sequences])[:-1])


def evidence(sequence: TokenSequence, odds_T: NDArray[np.float32]) -> NDArray[np.float32]:
    """-log(1 - p) in nats, p the chance that a token was replaced; NaN where the sequence is not scored."""
    nats_T = F.softplus(torch.from_numpy(odds_T)).numpy()
    return np.where(sequence.scored, nats_T, np.float32(np.nan))


def cascade_threshold(evidences: Sequence[NDArray[np.float32]], share: float) -> float:
    """The suspicion that the most suspicious `share` of these transactions (one at least) reach."""
    ordered = sorted(map(suspicion, evidences), reverse=True)
    return ordered[max(1, math.floor(share * len(ordered))) - 1] if ordered else 0.0
