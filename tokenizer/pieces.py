"""What the pieces of a vocabulary are: modality, whether they are scored, where one value ends."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from blockscan.errors import ArtifactError
from blockscan.tokens import Modality
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
_MARKERS = frozenset((text.END, address.NONE))
_NO_ALIASES = _MARKERS | {bytes.CODE, bytes.RUN}


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
        self._vocabulary = vocabulary
        self.modality: NDArray[np.uint8] = np.array(modalities, np.uint8)
        self.scored: NDArray[np.bool_] = np.array(
            [
                not _is_marker(piece, modality)
                for piece, modality in zip(vocabulary.pieces, modalities, strict=True)
            ]
        )
        self.named_by_transaction = frozenset(
            vocabulary.ids[piece]
            for piece, modality in zip(vocabulary.pieces, modalities, strict=True)
            if _is_alias(piece, modality)
        )

    def split(self, ids: Iterable[int]) -> Iterator[tuple[Modality, tuple[str, ...]]]:
        """Group ids into the pieces of one value each, from the ids alone."""
        pieces = [self._vocabulary.pieces[one] for one in ids]
        begin = 0
        while begin < len(pieces):
            end = begin + _length(pieces, begin)
            yield Modality(self.modality[self._vocabulary.ids[pieces[begin]]]), tuple(pieces[begin:end])
            begin = end


def _is_marker(piece: str, modality: Modality) -> bool:
    return piece in _MARKERS or (modality is Modality.STRUCTURE and piece not in _KINDS)


def _is_alias(piece: str, modality: Modality) -> bool:
    return piece.startswith("[") and modality is not Modality.STRUCTURE and piece not in _NO_ALIASES


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
