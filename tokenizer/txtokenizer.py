"""Transaction -> TokenSequence and back."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import numpy as np

from blockscan import artifact
from blockscan.config import TokenizerConfig
from blockscan.errors import ArtifactError, ParseError
from blockscan.tokens import NAMES, Field, Modality, TokenSequence, VocabularyShape
from blockscan.transaction import Call, Transaction
from tokenizer.canonical import canonical
from tokenizer.fitting import fit_vocabulary
from tokenizer.linearize import linearize, rebuild
from tokenizer.modalities import PLUGS
from tokenizer.modalities.address import PRECOMPILES, WHOLE, ZERO
from tokenizer.modalities.bytes import WORD_BYTES, Code, Run
from tokenizer.modalities.number import MAX_UINT
from tokenizer.pieces import PieceTable
from tokenizer.readable import piece_text, value_text
from tokenizer.signatures import Naming, signature
from tokenizer.vocabulary import Names, Vocabulary, vocabulary_from
from tokenizer.words import Value, word_classifier

KIND = "tokenizer"
FILE = "vocabulary.json"
# Numbers below this are fees, flags and offsets: two equal ones say nothing.
GROUPED_FROM = 1 << 16
_UNGROUPED = PRECOMPILES | {ZERO}
_REMEMBERED = 1 << 17
_LONGEST_REMEMBERED = 64
_DEEPEST = np.iinfo(np.int16).max
_IS_NAME = np.array([field in NAMES for field in Field])

_GroupKey = str | int | bytes | None
_Named = tuple[tuple[int, ...], _GroupKey]


class TxTokenizer:
    """A frozen vocabulary, and the two directions through it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Use an existing vocabulary; see `fit` and `load`."""
        self.vocabulary = vocabulary
        self.fingerprint = vocabulary.fingerprint
        self._table = PieceTable(vocabulary)
        whole = frozenset(piece.removeprefix(WHOLE) for piece in vocabulary.pieces if piece.startswith(WHOLE))
        self._classify = word_classifier(whole)
        self._remembered: dict[Value, _Named] = {}

    @classmethod
    def fit(cls, transactions: Iterable[Transaction], config: TokenizerConfig) -> "TxTokenizer":
        """Learn a vocabulary in one pass over the transactions.

        Raises:
            ParseError: a transaction holds a log that its chain cannot produce.
            ConfigError: the configuration leaves no alias, no bucket or no count.
        """
        return cls(fit_vocabulary(transactions, config))

    @property
    def shape(self) -> VocabularyShape:
        """What a model needs to know of the vocabulary."""
        return self.vocabulary.shape()

    def encode(self, transaction: Transaction) -> TokenSequence:
        """Write a transaction as tokens, in time linear in its size.

        Raises:
            ParseError: a log has more than four topics, or one that is not 32 bytes long; a Solana
                transaction meets a tokenizer that was fitted without one.
        """
        linear = linearize(transaction.root, self._classify)
        named = self._name(linear.values, Names(self.vocabulary, transaction.root.caller, linear.created))
        places: dict[_GroupKey, int] = {}
        groups = [-1 if key is None else places.setdefault(key, len(places)) for _, key in named]
        lengths = np.array([len(ids) for ids, _ in named])
        ids = np.fromiter(chain.from_iterable(ids for ids, _ in named), np.int32, int(lengths.sum()))
        fields = np.repeat(np.array(linear.fields, np.uint8), lengths)
        nodes = np.array(linear.nodes, np.int32)
        depths = np.minimum(np.array(linear.depths), _DEEPEST).astype(np.int16)
        return TokenSequence(
            tx_hash=transaction.hash,
            ids=ids,
            modality=self._table.modality[ids],
            field=fields,
            node=np.repeat(nodes, lengths),
            depth=np.repeat(depths[nodes], lengths),
            unit=np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
            group=np.repeat(np.array(groups, np.int32), lengths),
            scored=self._table.scored[ids] & _IS_NAME[fields],
        )

    def _name(self, values: list[Value], names: Names) -> list[_Named]:
        """Ids and group of every value; what does not depend on the transaction is remembered."""
        if len(self._remembered) > _REMEMBERED:
            self._remembered.clear()
        remembered, here = self._remembered, dict[Value, _Named]()
        named = []
        for value in values:
            found = remembered.get(value) or here.get(value)
            if found is None:
                ids = self._ids(PLUGS[value[0]].pieces(value[1], names))
                found = ids, _group_key(value)
                lasting = ids[0] not in self._table.named_by_transaction and _is_short(value)
                (remembered if lasting else here)[value] = found
            named.append(found)
        return named

    def _ids(self, pieces: tuple[str, ...]) -> tuple[int, ...]:
        try:
            return tuple([self.vocabulary.ids[piece] for piece in pieces])
        except KeyError as error:
            raise ParseError(
                f"the tokenizer has no piece {error}: it was fitted on EVM transactions only; "
                "fit one on Solana's"
            ) from None

    def decode(self, sequence: TokenSequence) -> Call:
        """The canonical call tree of a sequence, from its ids alone.

        Raises:
            ParseError: the ids are not a whole transaction.
        """
        if any(not 0 <= one < len(self.vocabulary) for one in sequence.ids):
            raise ParseError(
                f"{sequence.tx_hash} has ids outside of the vocabulary; was it encoded with another?"
            )
        values = [
            (modality, PLUGS[modality].value(pieces, self.vocabulary))
            for modality, pieces in self.split(sequence)
        ]
        return rebuild(values)

    def split(self, sequence: TokenSequence) -> Iterator[tuple[Modality, tuple[str, ...]]]:
        """The pieces of each value with its modality, told apart by the ids alone."""
        return self._table.split(sequence.ids.tolist())

    def canonical(self, transaction: Transaction) -> Call:
        """The call tree with the declared losses, and no other: what `decode(encode(t))` gives.

        Raises:
            ParseError: as `encode`.
        """
        return canonical(transaction.root, self.vocabulary, self._classify)

    def lost(self, transaction: Transaction) -> Counter[Modality]:
        """How many values of `encode(transaction)` do not read back as they were, by modality.

        Aliases are among them, although equal values of one transaction stay equal.

        Raises:
            ParseError: as `encode`.
        """
        values = linearize(transaction.root, self._classify).values
        left = self.split(self.encode(transaction))
        return Counter(
            modality
            for (modality, content), (_, pieces) in zip(values, left, strict=True)
            if PLUGS[modality].value(pieces, self.vocabulary) != content
        )

    def unit_texts(self, transaction: Transaction, name: Naming = signature) -> list[str]:
        """The true value of every unit of `encode(transaction)`, readable: real addresses, all digits.

        `name` reads selectors and topics.
        """
        values = linearize(transaction.root, self._classify).values
        return [value_text(value, name) for value in values]

    def unit_text(self, transaction: Transaction, name: Naming = signature) -> Callable[[int], str]:
        """What reads one unit at a time as `unit_texts` does: of most transactions few are ever shown."""
        values = linearize(transaction.root, self._classify).values
        return lambda unit: value_text(values[unit], name)

    def describe(self, ids: Iterable[int], name: Naming = signature) -> str:
        """Readable text of predicted pieces, or of all the pieces of one value; `name` as in `unit_texts`."""
        return piece_text([self.vocabulary.pieces[one] for one in ids], self.vocabulary, name)

    def save(self, path: Path, *, until: Mapping[str, int] | None = None) -> None:
        """Write the tokenizer as an artifact directory; `until` is the last block by chain that it has seen.

        Raises:
            ArtifactError: `path` already holds something.
        """
        config = {**asdict(self.vocabulary.config), "until": dict(until or {})}
        with artifact.create(path, KIND, config=config, parents={}) as draft:
            (draft / FILE).write_text(self.vocabulary.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "TxTokenizer":
        """Read what `save` wrote.

        Raises:
            ArtifactError: there is no tokenizer at `path`, or it was changed.
        """
        manifest = artifact.read_manifest(path, KIND)
        if FILE not in manifest.files:
            raise ArtifactError(f"{path} lacks {FILE}; fit the tokenizer again")
        return cls(vocabulary_from((path / FILE).read_text(encoding="utf-8"), str(path / FILE)))


def fitted_until(path: Path) -> dict[str, int]:
    """The last block by chain that a saved tokenizer was fitted on; empty where an earlier version saved it.

    Raises:
        ArtifactError: there is no tokenizer at `path`, or it was changed.
    """
    until = artifact.read_manifest(path, KIND).config.get("until", {})
    return {str(chain): int(block) for chain, block in until.items()}


def _is_short(value: Value) -> bool:
    content = value[1]
    return not isinstance(content, (Code, Run)) and not (
        isinstance(content, (str, bytes)) and len(content) > _LONGEST_REMEMBERED
    )


def _group_key(value: Value) -> _GroupKey:
    """What equal values share: an address, the size of a number, an opaque word or a code.

    The sign of a number is left out: what one side pays is what the other side gets.
    """
    modality, content = value
    if isinstance(content, int):
        return abs(content) if abs(content) >= GROUPED_FROM and content != MAX_UINT else None
    if isinstance(content, (Code, Run)):
        return content.data
    if modality is Modality.ADDRESS and content not in _UNGROUPED:
        return content
    if modality is Modality.BYTES and isinstance(content, bytes) and len(content) == WORD_BYTES:
        return content
    return None
