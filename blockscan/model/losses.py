"""What the model is surprised by: the masked-LM loss, and one surprise for every scored token.

Legend: T tokens, W windows, S sequences, M hidden positions, E width, V vocabulary,
I items (a window with one fold hidden).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from blockscan.config import ScoreConfig
from blockscan.errors import ArtifactError, ConfigError
from blockscan.model.batch import (
    WindowTable,
    canonical_ranks,
    cut_windows,
    pack,
    sorted_batches,
    window_table,
)
from blockscan.model.encoder import MaskedLM, autocast
from blockscan.model.masking import fold_of_tokens
from blockscan.model.replaced import cascade_threshold, evidence, replaced_scores
from blockscan.tokens import TokenLosses, TokenSequence, VocabularyShape, suspicion, windows

CHUNK = 1 << 21  # logits held at a time: 8 MiB in float32, which stays near the caches of a CPU
MODES = ("folds", "replaced", "both", "cascade")
PACKED_TOLERANCE = 1e-4  # nats; 5e-7 was the most seen with a trained model; see token_losses

Spans = tuple[tuple[int, int], ...]


def masked_cross_entropy(model: MaskedLM, x_ME: Tensor, targets_M: Tensor) -> Tensor:
    """Summed -log p of the targets in nats, where x_ME are the encoded hidden positions.

    A target inside an alias span counts with the probability of the whole span.
    """
    spans, learn = model.vocabulary.alias_spans, torch.is_grad_enabled()
    loss: Tensor = _SpanCrossEntropy.apply(  # type: ignore[no-untyped-call]  # torch does not annotate it
        model.transform(x_ME), model.token.weight, model.decoder_bias, targets_M, spans, learn
    )
    return loss


class _SpanCrossEntropy(torch.autograd.Function):
    """Decoder and cross-entropy in one; logits exist only in chunks, so memory does not grow with M * V.

    With logits z, a target t costs logsumexp(z) - z[t], one in a span s logsumexp(z) - logsumexp(z[s]). The
    gradient is softmax(z) less the one-hot t, or less softmax(z[s]): each chunk of logits is turned into
    its gradient in place, in the forward pass, which halves a training step on a CPU.
    """

    @staticmethod
    def forward(
        ctx: Any,
        h_ME: Tensor,
        weight_VE: Tensor,
        bias_V: Tensor,
        targets_M: Tensor,
        spans: Spans,
        learn: bool,  # noqa: FBT001  # apply() takes positional arguments only
    ) -> Tensor:
        total = bias_V.new_zeros(())
        grad_h_ME, grad_VE, grad_V = (torch.zeros_like(x) for x in (h_ME, weight_VE, bias_V))
        rows = max(1, CHUNK // len(bias_V))
        for i in range(0, len(h_ME), rows):
            h_CE, target_C1 = h_ME[i : i + rows], targets_M[i : i + rows, None]
            z_CV = F.linear(h_CE, weight_VE, bias_V).to(bias_V.dtype)
            log_mass_C1 = z_CV.logsumexp(-1, keepdim=True)
            truth_C1 = z_CV.gather(1, target_C1)
            shares = []
            for start, stop in spans:
                inside_C1 = (target_C1 >= start) & (target_C1 < stop)
                span_C1 = z_CV[:, start:stop].logsumexp(-1, keepdim=True)
                truth_C1 = torch.where(inside_C1, span_C1, truth_C1)
                shares.append((start, stop, inside_C1, (z_CV[:, start:stop] - span_C1).exp() * inside_C1))
            total += (log_mass_C1 - truth_C1).sum()
            if not learn:
                continue
            slope_CV = z_CV.sub_(log_mass_C1).exp_()
            plain_C1 = torch.ones_like(truth_C1)
            for start, stop, inside_C1, share in shares:
                slope_CV[:, start:stop] -= share
                plain_C1.masked_fill_(inside_C1, 0.0)
            slope_CV.scatter_add_(1, target_C1, -plain_C1)
            grad_h_ME[i : i + rows] = slope_CV @ weight_VE
            grad_VE += slope_CV.T @ h_CE
            grad_V += slope_CV.sum(0)
        ctx.save_for_backward(grad_h_ME, grad_VE, grad_V)
        return total

    @staticmethod
    def backward(ctx: Any, *slope: Tensor) -> tuple[Tensor | None, ...]:
        grad_h_ME, grad_VE, grad_V = ctx.saved_tensors
        return grad_h_ME * slope[0], grad_VE * slope[0], grad_V * slope[0], None, None, None


def token_losses(
    model: MaskedLM,
    sequences: Sequence[TokenSequence],
    config: ScoreConfig,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[TokenLosses]:
    """How surprised the model is by every scored token; in input order.

    In mode "folds" each scored value is hidden once and all others are in sight: every window passes once
    per fold of its scored values. For what the other modes give see TokenLosses. In mode "cascade" a
    transaction's numbers depend on no other only if `cascade_from` is set: calibration finds it
    (`replaced.cascade_threshold`) and keeps it with the config.
    A calibration is comparable with scores of its own mode and `cascade_from` alone: transactions that got
    no second look then have no surprise in both, and what did is judged among benign ones that did.

    Batches are packed in a canonical order (length, tx_hash, window, fold), so the same set in any order
    gives the same bytes, on the same machine with the same number of threads. In other company a transaction
    may land elsewhere in a batch, where sums round differently: in float32 (attention sdpa) its surprises
    then stay within PACKED_TOLERANCE nats.

    Args:
        model: on the device that is to compute.
        sequences: in any order; a hash may occur twice.
        config: mode, folds, tokens of a batch, pieces to list, and whether to compute in bfloat16.
        progress: called after each batch with the tokens done and the tokens in all, as far as known.

    Raises:
        ConfigError: the config or the sequences do not fit the model.
        ArtifactError: the model answers with numbers that are not finite.
    """
    _check(config, model.vocabulary)
    if not sequences:
        return []
    if config.mode == "folds":
        return _fold_losses(model, sequences, config, progress)
    odds = replaced_scores(model, sequences, config, progress=progress)
    replaced = [evidence(sequence, odds_T) for sequence, odds_T in zip(sequences, odds, strict=True)]
    if config.mode == "replaced":
        return [
            _without_folds(sequence, model, config, surprise)
            for sequence, surprise in zip(sequences, replaced, strict=True)
        ]
    least = (config.cascade_from or cascade_threshold(replaced, config.cascade)) * (config.mode == "cascade")
    again = [which for which, nats_T in enumerate(replaced) if suspicion(nats_T) >= least]
    before = sum(map(len, sequences))

    def onward(done: int, total: int) -> None:
        if progress:
            progress(before + done, before + total)

    looked = iter(_fold_losses(model, [sequences[which] for which in again], config, onward))
    chosen = set(again)
    return [
        dataclasses.replace(
            next(looked) if which in chosen else _without_folds(sequence, model, config, None),
            replaced=replaced[which],
        )
        for which, sequence in enumerate(sequences)
    ]


def _without_folds(
    sequence: TokenSequence, model: MaskedLM, config: ScoreConfig, surprise_T: NDArray[np.float32] | None
) -> TokenLosses:
    """Of a transaction in which nothing was hidden."""
    none = np.full((len(sequence), 1 + config.expected), -1, dtype=np.int32)
    if surprise_T is None:
        surprise_T = np.full(len(sequence), np.nan, dtype=np.float32)
    count = sum(1 for cut in windows(sequence, model.config.longest) if cut.stop > cut.start)
    return TokenLosses(sequence.tx_hash, surprise_T, none[:, 0].copy(), none[:, 1:].copy(), count)


def _fold_losses(
    model: MaskedLM,
    sequences: Sequence[TokenSequence],
    config: ScoreConfig,
    progress: Callable[[int, int], None] | None,
) -> list[TokenLosses]:
    """Hide each scored value once, with the others of its fold."""
    if not sequences:
        return []
    table = window_table(sequences, model.config.longest, model.vocabulary)
    fold_T = np.concatenate(
        [fold_of_tokens(sequence, config.folds, asked_T=sequence.scored) for sequence in sequences]
    )
    asked_T = np.concatenate([sequence.scored for sequence in sequences])
    surprise_T = np.full(len(asked_T), np.nan, dtype=np.float32)
    rank_T = np.full(len(asked_T), -1, dtype=np.int32)
    expected_TK = np.full((len(asked_T), config.expected), -1, dtype=np.int32)
    window_I, fold_I = _items(table, sequences, fold_T, asked_T, config.folds)
    done, total = 0, int(table.length_W[window_I].sum())
    for rows in sorted_batches(table.length_W[window_I], config.batch_tokens):
        cut = cut_windows(table, window_I[rows])
        hidden_T = fold_T[cut.place_T] == fold_I[rows][cut.segment_T]
        ask = np.flatnonzero(hidden_T & asked_T[cut.place_T])
        place_M = cut.place_T[ask]
        with torch.inference_mode(), autocast(model.device, bf16=config.bf16):
            landmarks = model.config.lca_bias
            x_TE = model(pack(table, cut, hidden_T, landmarks=landmarks, device=model.device))
            surprise_T[place_M], rank_T[place_M], expected_TK[place_M] = _judge(
                model, x_TE[torch.from_numpy(ask).to(model.device)], table.ids_T[place_M], config.expected
            )
        done += len(cut.place_T)
        if progress:
            progress(done, total)
    if not np.isfinite(surprise_T[asked_T]).all():
        raise ArtifactError(
            "the model gives surprises that are not finite; its weights are damaged, train it again"
        )
    return _per_sequence(sequences, table, surprise_T, rank_T, expected_TK)


def _check(config: ScoreConfig, vocabulary: VocabularyShape) -> None:
    if config.mode not in MODES:
        raise ConfigError(f"score.mode must be one of {', '.join(MODES)}, not {config.mode!r}")
    if not (0.0 < config.cascade <= 1.0 and config.cascade_from >= 0.0):
        raise ConfigError("score.cascade is a share above 0, and score.cascade_from is not negative")
    if config.folds < 1 or config.batch_tokens < 1:
        raise ConfigError("score.folds and score.batch_tokens must be at least 1")
    answers = vocabulary.size - sum(stop - start - 1 for start, stop in vocabulary.alias_spans)
    if not 1 <= config.expected <= answers:
        raise ConfigError(f"score.expected must be between 1 and {answers}, not {config.expected}")


def _items(
    table: WindowTable,
    sequences: Sequence[TokenSequence],
    fold_T: NDArray[np.int64],
    asked_T: NDArray[np.bool_],
    folds: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Window and fold of every pass that a scored token needs, in canonical order."""
    window_T = np.repeat(np.arange(len(table.length_W)), table.length_W)
    window_I, fold_I = np.divmod(np.unique(window_T[asked_T] * folds + fold_T[asked_T]), folds)
    rank_S = canonical_ranks(sequences)
    order_I = np.lexsort(
        (fold_I, table.index_W[window_I], rank_S[table.sequence_W[window_I]], table.length_W[window_I])
    )
    return window_I[order_I], fold_I[order_I]


def _judge(
    model: MaskedLM, x_ME: Tensor, ids_M: NDArray[np.int32], expected: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Surprise (M,), rank (M,) and best ids (M, expected) of the true ids at encoded positions."""
    truth_M1 = torch.from_numpy(model.vocabulary.first_of_span()[ids_M]).to(x_ME.device)[:, None]
    rows = max(1, CHUNK // model.vocabulary.size)
    parts = []
    for i in range(0, len(x_ME), rows):
        logits_MV = logits_of_meanings(model, x_ME[i : i + rows])
        truth_logit_M1 = logits_MV.gather(1, truth_M1[i : i + rows])
        surprise_M1 = logits_MV.logsumexp(-1, keepdim=True) - truth_logit_M1
        best_MK = logits_MV.topk(expected, dim=-1).indices
        # Written over the logits: summing floats is ten times as fast as summing booleans.
        rank_M1 = torch.gt(logits_MV, truth_logit_M1, out=logits_MV).sum(-1, keepdim=True)
        parts.append(torch.cat((surprise_M1, rank_M1, best_MK), dim=1).cpu())
    answer = torch.cat(parts).numpy() if parts else np.empty((0, 2 + expected), dtype=np.float32)
    return answer[:, 0], answer[:, 1].astype(np.int32), answer[:, 2:].astype(np.int32)


def logits_of_meanings(model: MaskedLM, x_ME: Tensor) -> Tensor:
    """Logits (M, V) in float32; of an alias span the first id has the probability of all, the others none."""
    logits_MV = model.logits(x_ME).float()
    for start, stop in model.vocabulary.alias_spans:
        whole_M = logits_MV[:, start:stop].logsumexp(-1)
        logits_MV[:, start:stop] = -torch.inf
        logits_MV[:, start] = whole_M
    return logits_MV


def _per_sequence(
    sequences: Sequence[TokenSequence],
    table: WindowTable,
    surprise_T: NDArray[np.float32],
    rank_T: NDArray[np.int32],
    expected_TK: NDArray[np.int32],
) -> list[TokenLosses]:
    windows_S = np.bincount(table.sequence_W, minlength=len(sequences))
    results, begin = [], 0
    for sequence, count in zip(sequences, windows_S.tolist(), strict=True):
        own = slice(begin, begin + len(sequence))
        begin = own.stop
        results.append(
            TokenLosses(
                sequence.tx_hash, surprise_T[own].copy(), rank_T[own].copy(), expected_TK[own].copy(), count
            )
        )
    return results
