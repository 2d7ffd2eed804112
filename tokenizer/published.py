"""The tokenizer of the published method (BlockScan, arXiv 2410.04039), as a baseline to measure against.

Every frame is written, depth first, as

    [START] type from to selector gas value [INs] (label word)* (frame | log)* [OUTs] (label word)* [END]

and a log as `[LOG] emitter topic* (label word)* [END]`; a label says `data` or `address`. The most frequent
addresses and hashes (selectors, topics and opaque words are hashes, too) are one token each, all others
[OOV]; a number is 64 hexadecimal digits, and digits and text are cut into WordPieces.

Where the paper is silent this takes what costs the baseline fewest tokens: a code is one hash. Errors and
the success of a frame have no place in the scheme. It cannot be read back.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import chain

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from blockscan.errors import ConfigError, ParseError
from blockscan.tokens import Field, Modality, TokenSequence, VocabularyShape
from blockscan.transaction import Call, CallKind, Log, Transaction
from tokenizer.linearize import Linear
from tokenizer.modalities.bytes import WORD_BYTES, Code
from tokenizer.vocabulary import MASK, PAD, code_piece
from tokenizer.words import SELECTOR_BYTES, Classify, Value, word_classifier

OOV = "[OOV]"
WHOLE_VALUES = 7_000
VOCABULARY = 30_000
MOST_WORDS = 200_000
"""Different words that WordPieces are learned from; more would only take longer."""
_START, _INS, _OUTS, _LOG, _END, _DATA, _ADDRESS = _MARKS = (
    *("[START]", "[INs]", "[OUTs]", "[LOG]", "[END]"),
    *("data", "address"),
)
_CREATES = (CallKind.CREATE, CallKind.CREATE2)
_DIGITS = "0123456789abcdef"
_REMEMBERED = 1 << 17


class PublishedTokenizer:
    """Whole values and WordPieces learned from transactions; see `fit`."""

    def __init__(self, whole: Iterable[str], pieces: Tokenizer) -> None:
        """`whole` are the values that are one token each; `pieces` cuts everything else."""
        fixed = [PAD, MASK, OOV, *_MARKS, *CallKind, *whole]
        self._ids = {piece: place for place, piece in enumerate(fixed)}
        self._pieces = pieces
        self._classify = word_classifier(frozenset())
        self._remembered: dict[Value, tuple[int, ...]] = {}
        self.shape = VocabularyShape(len(fixed) + pieces.get_vocab_size(), ())

    @classmethod
    def fit(
        cls,
        transactions: Iterable[Transaction],
        *,
        whole_values: int = WHOLE_VALUES,
        vocabulary: int = VOCABULARY,
    ) -> "PublishedTokenizer":
        """Learn a vocabulary of at most `vocabulary` pieces in one pass.

        Raises:
            ConfigError: the vocabulary has no room for WordPieces besides the whole values.
            ParseError: a transaction is not of an EVM chain.
        """
        room = vocabulary - whole_values - len(_MARKS) - len(CallKind) - 3
        if whole_values < 0 or room < 64:
            raise ConfigError(f"a vocabulary of {vocabulary} has no room besides {whole_values} whole values")
        classify = word_classifier(frozenset())
        counts, words = Counter[str](), Counter[str]()
        for transaction in transactions:
            for value in _linear(transaction, classify).values:
                name = _whole(value)
                if name is not None:
                    counts[name] += 1
                elif value[0] is not Modality.STRUCTURE:
                    words[_spelled(value)] += 1
        kept = sorted(counts, key=lambda name: (-counts[name], name))[:whole_values]
        return cls(kept, _word_pieces((word for word, _ in words.most_common(MOST_WORDS)), room))

    def encode(self, transaction: Transaction) -> TokenSequence:
        """Write a transaction as tokens. No two values are in one `group`: the scheme has none.

        Raises:
            ParseError: the transaction is not of an EVM chain.
        """
        linear = _linear(transaction, self._classify)
        named = [self._named(value) for value in linear.values]
        lengths = np.array([len(ids) for ids in named])
        nodes = np.array(linear.nodes, np.int32)
        depths = np.array(linear.depths, np.int16)
        marks = np.array([field is Field.MARK for field in linear.fields])
        ids = np.fromiter(chain.from_iterable(named), np.int32, int(lengths.sum()))
        return TokenSequence(
            tx_hash=transaction.hash,
            ids=ids,
            modality=np.repeat(np.array([modality for modality, _ in linear.values], np.uint8), lengths),
            field=np.repeat(np.array(linear.fields, np.uint8), lengths),
            node=np.repeat(nodes, lengths),
            depth=np.repeat(depths[nodes], lengths),
            unit=np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
            group=np.full(len(ids), -1, np.int32),
            scored=np.repeat(~marks, lengths),
        )

    def lost(self, transaction: Transaction) -> Counter[Modality]:
        """How many values became [OOV], by modality; errors and success are lost besides."""
        oov = self._ids[OOV]
        values = _linear(transaction, self._classify).values
        return Counter(value[0] for value in values if oov in self._named(value))

    def _named(self, value: Value) -> tuple[int, ...]:
        if len(self._remembered) > _REMEMBERED:
            self._remembered.clear()
        found = self._remembered.get(value)
        if found is None:
            self._remembered[value] = found = self._new(value)
        return found

    def _new(self, value: Value) -> tuple[int, ...]:
        name = value[1] if value[0] is Modality.STRUCTURE else _whole(value)
        if isinstance(name, str):
            return (self._ids.get(name, self._ids[OOV]),)
        unknown = self._pieces.token_to_id(OOV)
        cut = self._pieces.encode(_spelled(value)).ids
        return tuple(self._ids[OOV] if one == unknown else len(self._ids) + one for one in cut) or (
            self._ids[OOV],
        )


def _whole(value: Value) -> str | None:
    """The name under which an address or a hash may be one token; None of what is cut into WordPieces."""
    modality, content = value
    if modality is Modality.ADDRESS:
        return str(content)
    if isinstance(content, Code):
        return code_piece(content.data)
    if isinstance(content, bytes) and len(content) in (SELECTOR_BYTES, WORD_BYTES):
        return content.hex()
    return None


def _spelled(value: Value) -> str:
    """What WordPieces are cut from."""
    content = value[1]
    if isinstance(content, int):
        return f"{content % (1 << 256):064x}"
    return content.hex() if isinstance(content, bytes) else str(content).encode("utf-8", "replace").decode()


def _word_pieces(words: Iterable[str], size: int) -> Tokenizer:
    words = list(words)
    # Every digit at the beginning of a word and inside of one, so that no number can be unknown.
    alphabet = sorted({*_DIGITS, *chain.from_iterable(words)})
    pieces = Tokenizer(models.WordPiece({OOV: 0}, unk_token=OOV))
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # The trainer numbers letters as it meets them, in an order that changes, and breaks ties by number; what
    # it is told to keep has a fixed one.
    kept = [OOV, *alphabet, *(f"##{letter}" for letter in alphabet)]
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=kept, show_progress=False)
    pieces.train_from_iterator(words, trainer)
    # Built anew, as special tokens would be cut out of a text wherever they stand.
    learnt = Tokenizer(models.WordPiece(pieces.get_vocab(with_added_tokens=False), unk_token=OOV))
    learnt.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return learnt


def _linear(transaction: Transaction, classify: Classify) -> Linear:
    """The values of the published scheme, marks and labels among them.

    Raises:
        ParseError: the transaction is not of an EVM chain.
    """
    if transaction.root.kind is CallKind.INSTRUCTION:
        raise ParseError(f"{transaction.hash} is Solana's; the published tokenizer here reads EVM chains")
    linear = Linear()
    _open(linear, transaction.root, 0, classify)
    stack = [(transaction.root, 0, iter(transaction.root.steps))]
    while stack:
        call, node, steps = stack[-1]
        step = next(steps, None)
        if step is None:
            stack.pop()
            _mark(linear, _OUTS, node)
            _put_data(linear, call.output, Field.OUTPUT, node, classify, code=call.kind in _CREATES)
            _mark(linear, _END, node)
        elif isinstance(step, Log):
            _put_log(linear, step, node, classify)
        else:
            inner = len(linear.depths)
            _open(linear, step, len(stack), classify)
            stack.append((step, inner, iter(step.steps)))
    return linear


def _open(linear: Linear, call: Call, depth: int, classify: Classify) -> None:
    node = len(linear.depths)
    linear.depths.append(depth)
    creates = call.kind in _CREATES
    has_selector = len(call.data) >= SELECTOR_BYTES and not creates
    begin = SELECTOR_BYTES if has_selector else 0
    _mark(linear, _START, node)
    linear.put((Modality.STRUCTURE, call.kind.value), Field.KIND, node)
    linear.put((Modality.ADDRESS, call.caller), Field.CALLER, node)
    linear.put((Modality.ADDRESS, call.target), Field.TARGET, node)
    linear.put((Modality.SELECTOR, call.data[:begin] or bytes(SELECTOR_BYTES)), Field.SELECTOR, node)
    linear.put((Modality.NUMBER, call.gas_used or 0), Field.VALUE, node)
    linear.put((Modality.NUMBER, call.value), Field.VALUE, node)
    _mark(linear, _INS, node)
    _put_data(linear, call.data[begin:], Field.ARGUMENT, node, classify, code=creates)


def _put_log(linear: Linear, log: Log, node: int, classify: Classify) -> None:
    _mark(linear, _LOG, node)
    linear.put((Modality.ADDRESS, log.emitter), Field.EMITTER, node)
    for place, topic in enumerate(log.topics):
        value = classify(topic) if place else (Modality.SELECTOR, topic)
        linear.put(value, Field.TOPIC if place else Field.TOPIC0, node)
    _put_data(linear, log.data, Field.LOG_DATA, node, classify, code=False)
    _mark(linear, _END, node)


def _put_data(
    linear: Linear, data: bytes, field: Field, node: int, classify: Classify, *, code: bool
) -> None:
    """Labelled words, or all of a code as one."""
    if code:
        words: list[Value] = [(Modality.BYTES, Code(data))] if data else []
    else:
        cut = (data[place : place + WORD_BYTES] for place in range(0, len(data), WORD_BYTES))
        words = [classify(word) if len(word) == WORD_BYTES else (Modality.BYTES, word) for word in cut]
    for value in words:
        _mark(linear, _ADDRESS if value[0] is Modality.ADDRESS else _DATA, node)
        linear.put(value, Field.CODE if code else field, node)


def _mark(linear: Linear, mark: str, node: int) -> None:
    linear.put((Modality.STRUCTURE, mark), Field.MARK, node)
