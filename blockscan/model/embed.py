"""One vector per transaction: the mean of its encoded tokens, for densities and neighbours.

Legend: T tokens, W windows (segments), N of them in one batch, S sequences, E width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blockscan.config import ScoreConfig
from blockscan.errors import ArtifactError, ConfigError
from blockscan.model.attention import Layout
from blockscan.model.batch import canonical_order, cut_windows, pack, sorted_batches, window_table
from blockscan.model.encoder import MaskedLM, autocast
from blockscan.tokens import Field, TokenSequence


def pooled(x_TE: Tensor, layout: Layout, weight_T: Tensor | None = None) -> Tensor:
    """Mean of the encoded tokens of every segment, (N, E) float32; differentiable.

    Args:
        x_TE: encoded tokens, of any floating type.
        layout: of the segments.
        weight_T: bool or float, which tokens count and how much; all alike by default. A segment whose
            weights are all zero gives zeros.
    """
    length_N = layout.cu_seqlens.diff().long()
    if weight_T is None:
        weight_T = x_TE.new_ones(len(x_TE), dtype=torch.float32)
    weight_T1 = weight_T.float()[:, None]
    # Sums segment by segment in a fixed order; index_add would use atomics on a GPU.
    sum_NE = torch.segment_reduce(x_TE.float() * weight_T1, "sum", lengths=length_N)
    mass_N1 = torch.segment_reduce(weight_T1, "sum", lengths=length_N)
    return sum_NE / mass_N1.clamp(min=torch.finfo(torch.float32).tiny)


def embeddings(
    model: MaskedLM, sequences: Sequence[TokenSequence], config: ScoreConfig
) -> NDArray[np.float32]:
    """The mean of the encoded tokens of every sequence, over all its windows: (S, E), in input order.

    One pass with nothing hidden. Batches are packed in a canonical order (length, tx_hash, window), so the
    same set in any order gives the same bytes, on the same machine with the same number of threads; in other
    company a transaction moves by rounding only. Brackets count only where there is nothing else; a
    sequence without tokens gives zeros.

    Args:
        model: on the device that is to compute.
        sequences: in any order; a hash may occur twice.
        config: tokens of a batch, and whether to compute in bfloat16.

    Raises:
        ConfigError: the config or the sequences do not fit the model.
        ArtifactError: the model answers with numbers that are not finite.
    """
    if config.batch_tokens < 1:
        raise ConfigError(f"score.batch_tokens must be at least 1, not {config.batch_tokens}")
    total_SE = np.zeros((len(sequences), model.config.width), dtype=np.float64)
    if not sequences:
        return total_SE.astype(np.float32)
    table = window_table(sequences, model.config.longest, model.vocabulary)
    said = (one.field != Field.MARK for one in sequences)
    counted_T = np.concatenate([one_T if one_T.any() else ~one_T for one_T in said])
    order_W = canonical_order(table, sequences)
    for rows in sorted_batches(table.length_W[order_W], config.batch_tokens):
        chosen_N = order_W[rows]
        cut = cut_windows(table, chosen_N)
        hidden_T = np.zeros(len(cut.place_T), dtype=np.bool_)
        landmarks = model.config.lca_bias
        batch = pack(table, cut, hidden_T, landmarks=landmarks, device=model.device)
        weight_T = counted_T[cut.place_T]
        with torch.inference_mode(), autocast(model.device, bf16=config.bf16):
            x_TE = model(batch)
            mean_NE = pooled(x_TE, batch.layout, torch.from_numpy(weight_T).to(model.device))
        weight_N = np.bincount(cut.segment_T, weights=weight_T, minlength=len(chosen_N))
        np.add.at(total_SE, table.sequence_W[chosen_N], mean_NE.double().cpu().numpy() * weight_N[:, None])
    if not np.isfinite(total_SE).all():
        raise ArtifactError(
            "the model gives embeddings that are not finite; its weights are damaged, train it again"
        )
    sequence_T = np.repeat(np.arange(len(sequences)), [len(one) for one in sequences])
    count_S = np.bincount(sequence_T, weights=counted_T, minlength=len(sequences))
    return (total_SE / np.maximum(count_S, 1.0)[:, None]).astype(np.float32)
