"""What the pieces of a vocabulary are: modality, whether they are scored, where one value ends."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from blockscan.errors import ArtifactError
from blockscan.tokens import Modality, TokenSequence
from tokenizer.modalities import PLUGS, address, bytes, structure, text
from tokenizer.vocabulary import Vocabulary

_LEARNED = {
    address.WHOLE: Modality.ADDRESS,
    "S:": Modality.SELECTOR,
    "T:": Modality.SELECTOR,
    "D:": Modality.SELECTOR,
    "D#": Modality.SELECTOR,
    "I:": Modality.SELECTOR,
    bytes.WORD: Modality.BYTES,
    "C:": Modality.BYTES,
    text.PIECE: Modality.TEXT,
}
_KINDS = frozenset(structure.KIND_OF)
_SHARES = ("markers", "kinds", "aliases", "known addresses", "selectors", "numbers", "text", "bytes")


class PieceTable:
    """Facts about each id of a vocabulary, as arrays of shape (size,)."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Look at every piece once.

        Raises:
            ArtifactError: the vocabulary lacks a piece that every vocabulary has.
        """
        fixed = {
            piece: modality for modality, plug in PLUGS.items() for piece in plug.alphabet(vocabulary.config)
        }
        missing = next((piece for piece in fixed if piece not in vocabulary), None)
        if missing is not None:
            raise ArtifactError(f"the vocabulary lacks {missing!r}; fit the tokenizer again")
        modalities = [
            fixed.get(piece, _LEARNED.get(piece[:2], Modality.STRUCTURE)) for piece in vocabulary.pieces
        ]
        shares = list(map(_share, vocabulary.pieces, modalities))
        self._vocabulary = vocabulary
        self.modality: NDArray[np.uint8] = np.array(modalities, np.uint8)
        self.scored: NDArray[np.bool_] = np.array([share != "markers" for share in shares])
        self.named_by_transaction = frozenset(
            place for place, share in enumerate(shares) if share == "aliases"
        )
        self._share: NDArray[np.intp] = np.array([_SHARES.index(share) for share in shares])

    def composition(self, sequences: Iterable[TokenSequence]) -> dict[str, float]:
        """Share of all tokens by what they are: the shares add up to 1 (all are 0 without tokens)."""
        counts = np.zeros(len(_SHARES), np.int64)
        for sequence in sequences:
            counts += np.bincount(self._share[sequence.ids], minlength=len(_SHARES))
        total = max(int(counts.sum()), 1)
        return {name: float(count) / total for name, count in zip(_SHARES, counts, strict=True)}

    def split(self, ids: Iterable[int]) -> Iterator[tuple[Modality, tuple[str, ...]]]:
        """Group ids into the pieces of one value each, from the ids alone."""
        pieces = [self._vocabulary.pieces[one] for one in ids]
        begin = 0
        while begin < len(pieces):
            end = begin + _length(pieces, begin)
            yield Modality(self.modality[self._vocabulary.ids[pieces[begin]]]), tuple(pieces[begin:end])
            begin = end


def _share(piece: str, modality: Modality) -> str:
    if piece in _KINDS:
        return "kinds"
    if modality is Modality.STRUCTURE or piece in (text.END, address.NONE):
        return "markers"
    if piece.startswith("[") and piece not in (bytes.CODE, bytes.RUN):
        return "aliases"
    names = {Modality.ADDRESS: "known addresses", Modality.SELECTOR: "selectors", Modality.NUMBER: "numbers"}
    return names.get(modality, modality.name.lower())


def _length(pieces: list[str], begin: int) -> int:
    """Number of pieces of the value that begins at a place."""
    first = pieces[begin]
    if first in (bytes.CODE, bytes.RUN):
        return 1 + (_length(pieces, begin + 1) if begin + 1 < len(pieces) else 0)
    if first.startswith(("e", "-e")):
        return 2
    end = begin + 1
    if first.startswith(text.PIECE):
        while end < len(pieces) and pieces[end - 1] != text.END:
            end += 1
    elif first.startswith(bytes.BYTE):
        while end < len(pieces) and pieces[end].startswith(bytes.BYTE):
            end += 1
    return end - begin
