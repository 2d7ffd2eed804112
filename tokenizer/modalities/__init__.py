"""The plug board: one module per modality, each with the three functions of `Plug`."""

from collections.abc import Sequence
from typing import Any, Protocol

from blockscan.config import TokenizerConfig
from blockscan.tokens import Modality
from tokenizer.modalities import address, bytes, number, selector, structure, text
from tokenizer.vocabulary import Names, Vocabulary


class Plug(Protocol):
    """How the values of one modality are written as pieces of the vocabulary, and read back."""

    def alphabet(self, config: TokenizerConfig) -> list[str]:
        """The pieces that every vocabulary has, whatever it was fitted on, in a fixed order."""

    def pieces(self, value: Any, names: Names) -> tuple[str, ...]:
        """The pieces of one value."""

    def value(self, pieces: Sequence[str], vocabulary: Vocabulary) -> Any:
        """The canonical value that the pieces of one value stand for."""


PLUGS: dict[Modality, Plug] = {
    Modality.STRUCTURE: structure,
    Modality.ADDRESS: address,
    Modality.SELECTOR: selector,
    Modality.NUMBER: number,
    Modality.TEXT: text,
    Modality.BYTES: bytes,
}
