"""The model card: what a model was trained on, how well it learned, and what it is not for.

It shows the facts it knows and nothing else, so that no path and no secret gets into it by the way.
"""

import re
from collections.abc import Mapping
from typing import Any

from blockscan.config import TrainConfig
from blockscan.model.encoder import MaskedLM

_PLAIN = re.compile(r"[\w.+:,;()= -]{1,200}", re.ASCII)
_UNKNOWN = "not recorded"

_FACTS = {
    "sequences": "transactions trained on",
    "held_out": "later transactions held out for validation",
    "excluded": "transactions listed to be left out (known attacks and the like)",
    "chain_ids": "chain ids",
    "first_block": "first block",
    "last_block": "last block",
    "digest": "SHA-256 of all encoded transactions in order",
    "tokens_seen": "tokens seen, with repetition",
    "preset": "preset",
    "loss": "training loss of the last 100 steps, nats per hidden token",
    "validation_loss": "validation loss, nats per hidden token",
    "adapted_from": "adapted from",
}

_CARD = """---
library_name: blockscan
tags:
- blockchain
- anomaly-detection
- masked-lm
---

# BlockScan masked language model, {layers} layers of width {width}

{parameters:.1f} M parameters; up to {longest:,} tokens at a time; vocabulary of {size:,} pieces. It reads a
blockchain transaction as the tokens of its call tree and says how surprising each hidden value is.

## Intended use

Ranking transactions of the chain it was trained on by how unusual they are, with `blockscan score`, after
`blockscan calibrate` on later benign transactions. A p-value holds for transactions exchangeable with those.

## What it is not for

It does not see intentions: an attack that looks like ordinary use in every value is not unusual. A surprising
transaction is no proof of an attack. On another chain, another mix of protocols or another trace source its
losses say little before it is adapted and calibrated there. Whoever sends transactions writes training data.
{excluded_note}

## Training

| fact | value |
|---|---|
{rows}
| tokenizer fingerprint | `{tokenizer}` |
| steps of batches of up to {batch_tokens:,} tokens | {steps:,} |
| share of values hidden | {mask_rate:g} |

{parts}
## Files

`config.json`, `model.safetensors`{vocabulary}, `manifest.json` with the whole configuration, `SHA256SUMS`
(check with `sha256sum -c SHA256SUMS`). No file holds code or a pickle. {vocabulary_note}
"""


def model_card(
    model: MaskedLM,
    train: TrainConfig,
    tokenizer_fingerprint: str,
    data: Mapping[str, Any],
    *,
    with_vocabulary: bool,
) -> str:
    """The text of README.md, with YAML front matter as the Hugging Face Hub reads it.

    Args:
        model: whose card it is.
        train: how it was trained.
        tokenizer_fingerprint: of the tokenizer that encoded the training data.
        data: facts by the keys of pretraining (sequences, held_out, excluded, chain_ids, first_block,
            last_block, digest, tokens_seen, preset, loss, validation_loss, adapted_from) and `parts`,
            archive part names to SHA-256. Other keys are left out; a value that is no number and no plain
            word is "not recorded".
        with_vocabulary: whether the tokenizer's files lie beside the weights.
    """
    return _CARD.format(
        layers=model.config.layers,
        width=model.config.width,
        parameters=sum(weight.numel() for weight in model.parameters()) / 1e6,
        longest=model.config.longest,
        size=model.vocabulary.size,
        excluded_note=_excluded(data.get("excluded")),
        rows="\n".join(f"| {label} | {_shown(data.get(key))} |" for key, label in _FACTS.items()),
        tokenizer=_shown(tokenizer_fingerprint),
        batch_tokens=train.batch_tokens,
        steps=train.steps,
        mask_rate=train.mask_rate,
        parts=_parts(data.get("parts")),
        vocabulary=", the vocabulary" if with_vocabulary else "",
        vocabulary_note="" if with_vocabulary else "The tokenizer is not included.",
    )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list | tuple) and value:
        return ", ".join(str(each) if isinstance(each, int) else _UNKNOWN for each in value)
    return value if isinstance(value, str) and _PLAIN.fullmatch(value) else _UNKNOWN


def _excluded(count: object) -> str:
    if not isinstance(count, int):
        return "Whether known attacks were left out of training was not recorded."
    if count == 0:
        return "Nothing was left out of training: attacks among the transactions were learned as normal."
    return f"{count:,} transactions were listed as known or suspected attacks and left out of training."


def _parts(parts: object) -> str:
    """A table of archive parts, or nothing where they were not recorded."""
    if not isinstance(parts, Mapping) or not parts:
        return ""
    rows = "\n".join(f"| {_shown(name)} | `{_shown(digest)}` |" for name, digest in parts.items())
    return f"| archive part | SHA-256 |\n|---|---|\n{rows}\n"
