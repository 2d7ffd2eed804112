"""Transactions -> Vocabulary: which values are frequent enough to be kept whole."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from blockscan.config import TokenizerConfig
from blockscan.errors import ConfigError
from blockscan.tokens import Modality
from blockscan.transaction import CallKind, Transaction
from tokenizer import instructions
from tokenizer.linearize import linearize
from tokenizer.modalities import PLUGS
from tokenizer.modalities.address import WHOLE, stand_in
from tokenizer.modalities.bytes import WORD, WORD_BYTES, Code, code_stand_in, word_stand_in
from tokenizer.modalities.text import PIECE
from tokenizer.vocabulary import BYTE_OF, MASK, PAD, Vocabulary, code_piece
from tokenizer.words import SELECTOR_BYTES, Value, word_classifier

# Above this many different values of a kind, those seen in the fewest transactions are forgotten.
MOST_COUNTED = 1_000_000
MOST_CODES = 64
MOST_ALIASES = 10_000
"""Each alias and each bucket is a row of the model, however rare; some hundred do."""
_LONGEST_TEXT = 512
_TEXTS_PER_TRANSACTION = 64
_SELECTOR, _TOPIC, _DISCRIMINATOR, _CODE, _TEXT = "S:", "T:", "D:", "C:", "text"

Counts = dict[str, Counter[str]]


def fit_vocabulary(transactions: Iterable[Transaction], config: TokenizerConfig) -> Vocabulary:
    """Count values in one pass and keep the most frequent ones.

    A value counts once per transaction, so that a loop in one transaction buys no place. Addresses with
    many leading zeros count only where the call tree names them.

    Raises:
        ParseError: a transaction cannot be linearised.
        ConfigError: the configuration leaves no alias, no bucket or no count, or one is beyond all use.
    """
    for name, given in asdict(config).items():
        least = 1 if name in ("aliases", "buckets", "min_count") else 0
        most = MOST_ALIASES if name in ("aliases", "buckets") else MOST_COUNTED
        if not least <= given <= most:
            raise ConfigError(f"tokenizer.{name} is {given}; it must be from {least} to {most:,}")
    counts: Counts = {
        kind: Counter() for kind in (WHOLE, _SELECTOR, _TOPIC, WORD, _CODE, _DISCRIMINATOR, _TEXT)
    }
    codes: dict[str, bytes] = {}
    classify = word_classifier(frozenset())
    solana = False
    for transaction in transactions:
        solana = solana or transaction.root.kind is CallKind.INSTRUCTION
        texts = 0
        for value in dict.fromkeys(linearize(transaction.root, classify).values):
            kind, name = _counted_as(value)
            texts += kind == _TEXT
            if not kind or (kind == _TEXT and texts > _TEXTS_PER_TRANSACTION):
                continue
            counts[kind][name] += 1
            if isinstance(value[1], Code) and counts[kind][name] >= config.min_count:
                codes[name] = value[1].data
        if len(codes) > 2 * MOST_CODES:
            codes = {name: codes[name] for name in _most_common(codes, counts[_CODE])}
        for counter in counts.values():
            forget_rare(counter, MOST_COUNTED)
    return _vocabulary(counts, codes, config, instructions.alphabet(config) if solana else [])


def _counted_as(value: Value) -> tuple[str, str]:
    """Kind and piece under which a value is counted; an empty kind for values that are not."""
    modality, content = value
    if isinstance(content, Code):
        return _CODE, code_piece(content.data)
    if isinstance(content, bytes) and modality is Modality.SELECTOR:
        kind = {SELECTOR_BYTES: _SELECTOR, WORD_BYTES: _TOPIC}.get(len(content), _DISCRIMINATOR)
        # One that ends in zero would be taken for a tag after the number behind it was rounded.
        return ("", "") if kind == _DISCRIMINATOR and not content[-1] else (kind, kind + content.hex())
    if isinstance(content, bytes) and len(content) == WORD_BYTES:
        return WORD, WORD + content.hex()
    if isinstance(content, str) and modality is Modality.ADDRESS:
        return WHOLE, WHOLE + content
    if isinstance(content, str) and modality is Modality.TEXT:
        return _TEXT, content[:_LONGEST_TEXT]
    return "", ""


def forget_rare(counter: Counter[str], most: int) -> None:
    """Drop the values with the lowest counts while more than `most` are held."""
    lowest = 1
    while len(counter) > most:
        for name in [name for name, count in counter.items() if count <= lowest]:
            del counter[name]
        lowest += 1


def _vocabulary(
    counts: Counts, codes: dict[str, bytes], config: TokenizerConfig, more: list[str]
) -> Vocabulary:
    fixed = [PAD, MASK]
    for plug in PLUGS.values():
        fixed.extend(plug.alphabet(config))
    fixed.extend(more)
    places = {
        WHOLE: config.addresses,
        _SELECTOR: config.selectors,
        _TOPIC: config.topics,
        WORD: config.words,
        _CODE: MOST_CODES,
        _DISCRIMINATOR: config.selectors,
    }
    taken = _reserved(config).union(fixed)
    kept = {kind: _top(counts[kind], most, config.min_count, taken) for kind, most in places.items()}
    kept[_CODE] = [piece for piece in kept[_CODE] if codes.get(piece, b"").strip(code_stand_in(1).data)]
    merges = _merges(
        sorted(text for text, count in counts[_TEXT].items() if count >= config.min_count), config
    )
    # Two merges can spell the same piece: "a" + "bc" and "ab" + "c".
    learned = dict.fromkeys(PIECE + left + right for left, right in merges)
    pieces = [*fixed, *(piece for kind in places for piece in kept[kind]), *learned]
    return Vocabulary(config, tuple(pieces), {piece: codes[piece] for piece in kept[_CODE]}, tuple(merges))


def _most_common(codes: Iterable[str], counter: Counter[str]) -> list[str]:
    return sorted(codes, key=lambda name: (-counter[name], name))[:MOST_CODES]


def _reserved(config: TokenizerConfig) -> set[str]:
    """Pieces of the stand-ins that unknown values read back as: they must stay unknown."""
    numbers = range(config.aliases + 1)
    addresses = {WHOLE + stand_in(kind, number) for kind in ("SENDER", "NEW", "A") for number in numbers}
    return addresses | {WORD + word_stand_in(number).hex() for number in numbers}


def _top(counter: Counter[str], most: int, min_count: int, taken: set[str]) -> list[str]:
    frequent = ((-count, piece) for piece, count in counter.items() if count >= min_count)
    return [piece for _, piece in sorted(frequent) if piece not in taken][:most]


def _merges(texts: list[str], config: TokenizerConfig) -> list[tuple[str, str]]:
    """Byte-pair merges learned from distinct texts, in the order in which they apply."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=len(BYTE_OF) + config.text_pieces,
        initial_alphabet=list(BYTE_OF),
        show_progress=False,
        min_frequency=2,
    )
    trained.train_from_iterator((text.encode("utf-8", "replace").decode() for text in texts), trainer)
    merges = json.loads(trained.to_str())["model"]["merges"]
    return [(left, right) for left, right in merges]
