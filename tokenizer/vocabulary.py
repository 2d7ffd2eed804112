"""The frozen table of pieces and ids, and the names that one transaction gives to what is not in it."""

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers

from blockscan.config import TokenizerConfig
from blockscan.errors import ArtifactError
from blockscan.tokens import MASK_ID, PAD_ID, VocabularyShape

PAD = "[PAD]"
MASK = "[MASK]"
ALIASES = ("NEW", "A", "W")
BUCKETED = ("S", "T", "D")


def _byte_symbols() -> dict[str, int]:
    """One printable symbol per byte, as in byte-level BPE (GPT-2): Latin-1 where visible, else U+0100.."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = (byte for byte in range(256) if byte not in visible)
    return {chr(byte): byte for byte in sorted(visible)} | {
        chr(0x100 + place): byte for place, byte in enumerate(hidden)
    }


BYTE_OF = _byte_symbols()


def code_piece(code: bytes) -> str:
    """The piece of a code that is known whole: the first 16 bytes of its SHA-256."""
    return f"C:{hashlib.sha256(code).hexdigest()[:32]}"


def _byte_pair_encoder(merges: Sequence[tuple[str, str]]) -> Tokenizer:
    symbols = {symbol: place for place, symbol in enumerate(BYTE_OF)}
    for left, right in merges:
        if left not in symbols or right not in symbols:
            raise ArtifactError(f"the text merge {left!r} + {right!r} joins unknown pieces")
        symbols.setdefault(left + right, len(symbols))
    encoder = Tokenizer(models.BPE(symbols, list(merges)))
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return encoder


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Pieces in id order, the code behind each piece of a known code, and the merges of the text BPE."""

    config: TokenizerConfig
    pieces: tuple[str, ...]
    codes: Mapping[str, bytes]
    merges: tuple[tuple[str, str], ...]
    ids: Mapping[str, int] = field(init=False, repr=False)
    _text: Tokenizer = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the table and index it.

        Raises:
            ArtifactError: a piece occurs twice or is out of place, or codes or merges do not belong to it.
        """
        ids = {piece: place for place, piece in enumerate(self.pieces)}
        if len(ids) != len(self.pieces) or ids.get(PAD) != PAD_ID or ids.get(MASK) != MASK_ID:
            raise ArtifactError("pieces repeat, or [PAD] and [MASK] are out of place")
        if any(piece not in ids or piece != code_piece(code) for piece, code in self.codes.items()):
            raise ArtifactError("a code is not that of its piece")
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "_text", _byte_pair_encoder(self.merges))

    def __contains__(self, piece: str) -> bool:
        """Whether the piece has an id."""
        return piece in self.ids

    def __len__(self) -> int:
        """Number of ids."""
        return len(self.pieces)

    def split(self, text: str) -> list[str]:
        """Byte-level BPE pieces of a text, as strings of byte symbols."""
        tokens: list[str] = self._text.encode(text).tokens
        return tokens

    def shape(self) -> VocabularyShape:
        """Size and alias spans, for the model.

        The buckets of unknown selectors and topics are spans too: which bucket a hash falls into is
        chance, so that only "a rare function" can be expected or not.
        """
        ends = [(f"[{kind}1]", f"[{kind}{self.config.aliases}]") for kind in ALIASES]
        ends += [
            (f"{kind}#0", f"{kind}#{self.config.buckets - 1}") for kind in BUCKETED if f"{kind}#0" in self
        ]
        return VocabularyShape(len(self), tuple((self.ids[a], self.ids[b] + 1) for a, b in ends))

    def to_json(self) -> str:
        """The whole vocabulary as text, the same for equal vocabularies."""
        return json.dumps(
            {
                "config": asdict(self.config),
                "pieces": self.pieces,
                "codes": {piece: code.hex() for piece, code in sorted(self.codes.items())},
                "merges": self.merges,
            },
            indent=0,
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the JSON text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def vocabulary_from(text: str, where: str) -> Vocabulary:
    """Read what `Vocabulary.to_json` wrote; `where` names its origin in errors.

    Raises:
        ArtifactError: the text is not such JSON, or the table in it is damaged.
    """
    try:
        raw: dict[str, Any] = json.loads(text)
        return Vocabulary(
            TokenizerConfig(**raw["config"]),
            tuple(map(_text, raw["pieces"])),
            {piece: bytes.fromhex(code) for piece, code in raw["codes"].items()},
            tuple((left, right) for left, right in raw["merges"]),
        )
    except ArtifactError as error:
        raise ArtifactError(f"{where}: {error}; fit the tokenizer again") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{where} is no vocabulary ({error!r:.120}); fit the tokenizer again") from error


def _text(piece: object) -> str:
    if not isinstance(piece, str):
        raise TypeError(f"the piece {piece!r} is no text")
    return piece


def overflow(raw: bytes, aliases: int) -> int:
    """The alias number (from 1) of a value that comes after the last one: shared, but the same every time."""
    return 1 + zlib.crc32(raw) % aliases


class Names:
    """The aliases of one transaction, numbered per kind by first mention."""

    def __init__(self, vocabulary: Vocabulary, sender: str, created: Iterable[str]) -> None:
        """`sender` is the root's caller; `created` are the contracts made in the transaction."""
        self.vocabulary = vocabulary
        self._created = frozenset(created)
        self._names: dict[str | bytes, str] = {sender: "[SENDER]"}
        self._used = dict.fromkeys(ALIASES, 0)

    def address(self, address: str) -> str:
        """The alias of an address that the vocabulary does not hold."""
        return self._names.get(address) or self._new(
            "NEW" if address in self._created else "A", address, address.encode()
        )

    def word(self, word: bytes) -> str:
        """The alias of an opaque word that the vocabulary does not hold."""
        return self._names.get(word) or self._new("W", word, word)

    def _new(self, kind: str, key: str | bytes, raw: bytes) -> str:
        self._used[kind] += 1
        aliases = self.vocabulary.config.aliases
        number = self._used[kind] if self._used[kind] <= aliases else overflow(raw, aliases)
        self._names[key] = name = f"[{kind}{number}]"
        return name
