"""BlockScan as its authors release and publish it (arXiv 2410.04039), at the size of our model.

Single tokens, structure included, are hidden independently of each other: 15 % of them in training, and
once at random when scoring. The released code counts the hidden tokens whose truth is not among the three
most likely; the paper divides the count by the number of hidden tokens. Beyond the context a transaction is
cut off. The columns "..._again" are the same model under another random mask: how far they disagree is
the score's own noise.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from blockscan.model.batch import cut_windows, pack, sorted_batches, window_table
from blockscan.model.checkpoint import load_checkpoint
from blockscan.model.encoder import MaskedLM
from blockscan.model.losses import logits_of_meanings
from blockscan.tokens import TokenSequence, VocabularyShape
from blockscan.transaction import Transaction
from pipelines.baselines.setting import Score, Setting, Tokenizer
from pipelines.pretrain import StepReport, pretrain
from tokenizer.published import PublishedTokenizer

COLUMNS = ("published_count", "published_ratio", "published_count_again", "published_ratio_again")
OURS_COLUMNS = tuple(name.replace("published", "single_mask") for name in COLUMNS)
HIDDEN = 0.15
TOP = 3
_NO_ARTIFACT = "baseline"  # the checkpoint is read back at once, and belongs to no saved tokenizer


def fit_published(train: Sequence[Transaction], setting: Setting) -> Score:
    """The whole published method: its tokenizer, its training, its score.

    Raises:
        ParseError: a transaction is not of an EVM chain, which that tokenizer reads alone.
    """
    return _fit(train, PublishedTokenizer.fit(train), setting)


def fit_single_mask(train: Sequence[Transaction], setting: Setting) -> Score:
    """The published training and score over our tokenizer."""
    return _fit(train, setting.tokenizer, setting)


def _fit(train: Sequence[Transaction], tokenizer: Tokenizer, setting: Setting) -> Score:
    longest = setting.config.model.longest
    sequences = [single_tokens(tokenizer.encode(transaction), longest) for transaction in train]
    model = _pretrained(sequences, tokenizer.shape, setting)
    seeds = setting.rng.integers(2**31, size=2).tolist()

    def score(transactions: Sequence[Transaction]) -> NDArray[np.float64]:
        new = [single_tokens(tokenizer.encode(transaction), longest) for transaction in transactions]
        batch_tokens = setting.config.score.batch_tokens
        return np.concatenate([misses(model, new, seed, batch_tokens) for seed in seeds], axis=1)

    return score


def _pretrained(sequences: Sequence[TokenSequence], shape: VocabularyShape, setting: Setting) -> MaskedLM:
    seed = int(setting.rng.integers(2**31))
    config = replace(setting.config, train=replace(setting.config.train, mask_rate=HIDDEN, seed=seed))

    def report(step: StepReport) -> None:
        if setting.on_step:
            setting.on_step(step.step, step.steps)

    with TemporaryDirectory(prefix="blockscan-") as scratch:
        out = Path(scratch) / "checkpoint"
        pretrain(
            sequences,
            shape,
            config=config,
            out=out,
            tokenizer_fingerprint=_NO_ARTIFACT,
            device=setting.device,
            on_step=report,
        )
        return load_checkpoint(out, tokenizer_fingerprint=_NO_ARTIFACT, device=setting.device)


def misses(
    model: MaskedLM, sequences: Sequence[TokenSequence], seed: int, batch_tokens: int
) -> NDArray[np.float64]:
    """Hidden tokens not among the TOP guesses, and their share of the hidden ones: (N, 2).

    The mask is a function of the seed and the hash, so that a value does not depend on other transactions.
    Aliases of one span are interchangeable, hence one guess.
    """
    table = window_table(sequences, model.config.longest, model.vocabulary)
    hidden_T = np.concatenate([random_hidden(sequence, seed) for sequence in sequences])
    order_W, first = np.argsort(table.length_W, kind="stable"), model.vocabulary.first_of_span()
    missed_S = np.zeros(len(sequences))
    for rows in sorted_batches(table.length_W[order_W], batch_tokens):
        cut = cut_windows(table, order_W[rows])
        here_T = hidden_T[cut.place_T]
        ask = np.flatnonzero(here_T)
        with torch.inference_mode():
            landmarks = model.config.lca_bias
            x_TE = model(pack(table, cut, here_T, landmarks=landmarks, device=model.device))
            truth_M = torch.from_numpy(first[table.ids_T[cut.place_T[ask]]]).to(model.device)
            logits_MV = logits_of_meanings(model, x_TE[torch.from_numpy(ask).to(model.device)])
            missed_M = (logits_MV.topk(TOP, dim=-1).indices != truth_M[:, None]).all(-1).double()
        sequence_M = table.sequence_W[order_W[rows]][cut.segment_T[ask]]
        missed_S += np.bincount(sequence_M, weights=missed_M.cpu().numpy(), minlength=len(sequences))
    asked_S = np.array([_hidden_count(len(sequence)) for sequence in sequences])
    return np.stack((missed_S, missed_S / np.maximum(asked_S, 1)), axis=1)


def random_hidden(sequence: TokenSequence, seed: int) -> NDArray[np.bool_]:
    """One random mask of HIDDEN of the tokens, at least one, (T,)."""
    digest = hashlib.blake2b(sequence.tx_hash.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    rng = np.random.default_rng([seed, int.from_bytes(digest)])
    hidden = np.zeros(len(sequence), dtype=np.bool_)
    hidden[rng.permutation(len(sequence))[: _hidden_count(len(sequence))]] = True
    return hidden


def _hidden_count(length: int) -> int:
    return min(length, max(1, round(HIDDEN * length)))


def single_tokens(sequence: TokenSequence, most: int) -> TokenSequence:
    """The first `most` tokens, each a value of its own."""
    arrays = {each.name: getattr(sequence, each.name) for each in fields(sequence) if each.name != "tx_hash"}
    first = replace(sequence, **{name: array[:most] for name, array in arrays.items()})
    return replace(first, unit=np.arange(len(first), dtype=np.int32))
