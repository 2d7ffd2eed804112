"""What is left of a call tree after tokenising: the declared losses, value by value.

Written apart from the modalities' `pieces` and `value`, so that `decode(encode(t)) == canonical(t)` is a
statement about both.
"""

from blockscan.tokens import Modality
from blockscan.transaction import Call
from tokenizer.linearize import linearize, rebuild
from tokenizer.modalities import address, selector
from tokenizer.modalities.bytes import WORD, WORD_BYTES, Code, Run, code_stand_in, run_stand_in, word_stand_in
from tokenizer.modalities.number import MAX_UINT, MIN_INT
from tokenizer.vocabulary import ALIASES, Vocabulary, code_piece, overflow
from tokenizer.words import SELECTOR_BYTES, Classify, Content

_KEPT_DIGITS = 3


def canonical(root: Call, vocabulary: Vocabulary, classify: Classify) -> Call:
    """The call tree with every loss that tokenising declares, and no other.

    Unknown addresses, words and codes become reserved stand-ins, numbers keep three digits, unknown
    selectors become the stand-in of their bucket, `gas_used` is None. The result encodes to the same ids
    again, unless more values are unknown than there are aliases: those then share stand-ins.

    Raises:
        ParseError: as `linearize`.
    """
    linear = linearize(root, classify)
    losses = _Losses(vocabulary, root.caller, frozenset(linear.created))
    return rebuild([(modality, losses.of(modality, content)) for modality, content in linear.values])


def cut(number: int) -> int:
    """A number with its first three decimal digits only, held to 256 bits.

    The largest uint256 and numbers up to 999 stay as they are.
    """
    if number >= MAX_UINT:
        return MAX_UINT
    size = abs(max(number, MIN_INT))
    step = 1
    while size // step >= 10**_KEPT_DIGITS:
        step *= 10
    return (size // step * step) * (-1 if number < 0 else 1)


class _Losses:
    """The losses of one transaction, which numbers what is unknown by first mention."""

    def __init__(self, vocabulary: Vocabulary, sender: str, created: frozenset[str]) -> None:
        self._vocabulary = vocabulary
        self._sender = sender
        self._created = created
        self._places: dict[str, dict[str | bytes, int]] = {kind: {} for kind in ALIASES}

    def of(self, modality: Modality, content: Content) -> Content:
        """What is left of one value."""
        if isinstance(content, int):
            return cut(content)
        if isinstance(content, Code):
            return self._code(content)
        if isinstance(content, Run):
            return run_stand_in(cut(len(content.data) // WORD_BYTES))
        if isinstance(content, bytes):
            return self._selector(content) if modality is Modality.SELECTOR else self._bytes(content)
        if isinstance(content, str) and modality is Modality.ADDRESS:
            return self._address(content)
        if isinstance(content, str) and modality is Modality.TEXT:
            return "".join("?" if 0xD800 <= ord(letter) < 0xE000 else letter for letter in content)
        return content

    def _address(self, content: str) -> str:
        if address.WHOLE + content in self._vocabulary:
            return content
        if content == self._sender:
            return address.stand_in("SENDER", 0)
        kind = "NEW" if content in self._created else "A"
        return address.stand_in(kind, self._place(kind, content, content.encode()))

    def _bytes(self, content: bytes) -> bytes:
        if len(content) != WORD_BYTES or WORD + content.hex() in self._vocabulary:
            return content
        return word_stand_in(self._place("W", content, content))

    def _selector(self, content: bytes) -> bytes:
        kind = {SELECTOR_BYTES: "S", WORD_BYTES: "T"}.get(len(content), "D")
        if f"{kind}:{content.hex()}" in self._vocabulary:
            return content
        hashed = content[:-1] if kind == "D" else content
        bucket = int(hashed.hex(), 16) % self._vocabulary.config.buckets
        return selector.stand_in(kind, bucket, self._vocabulary)

    def _code(self, content: Code) -> Code:
        known = self._vocabulary.codes.get(code_piece(content.data)) == content.data
        return content if known else code_stand_in(cut(len(content.data)))

    def _place(self, kind: str, key: str | bytes, raw: bytes) -> int:
        places, aliases = self._places[kind], self._vocabulary.config.aliases
        place = places.setdefault(key, len(places) + 1)
        return place if place <= aliases else overflow(raw, aliases)
