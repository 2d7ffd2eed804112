"""Values and pieces as short text for people: never a control character, never longer than a line.

What stands in a transaction is attacker-written; the result is plain text, not markup.
"""

from collections.abc import Sequence

from blockscan.safetext import safe_text
from blockscan.tokens import Modality
from tokenizer.modalities import address, bytes, number, selector, text
from tokenizer.modalities.bytes import WORD_BYTES, Code, Run
from tokenizer.signatures import Naming, signature
from tokenizer.vocabulary import Vocabulary
from tokenizer.words import Value

LONGEST = 120
_EXACT_BELOW = 10**6
_NAMES = {
    address.NONE: "no address",
    address.SENDER: "the sender",
    bytes.CODE: "an unknown code",
    bytes.RUN: "a run of opaque words",
    text.END: "the end of a text",
}
_KINDS_OF_NAMES = {
    "[A": "an unknown address",
    "[N": "a contract created in this transaction",
    "[W": "an unknown word",
    "S#": "a rare function",
    "T#": "a rare event",
    "D#": "a rare instruction",
}


def value_text(value: Value, name: Naming = signature) -> str:
    """The true value: real address, exact number, quoted text; `name` reads selectors and topics."""
    modality, content = value
    if content is None:
        return _NAMES[address.NONE]
    if isinstance(content, int):
        return _number_text(content)
    if isinstance(content, Code):
        return f"code of {len(content.data)} bytes 0x{content.data[:8].hex()}…"
    if isinstance(content, Run):
        return f"{len(content.data) // WORD_BYTES} opaque words 0x{content.data[:8].hex()}…"
    if modality is Modality.SELECTOR and not isinstance(content, str):
        return safe_text(name(content), limit=LONGEST)
    if not isinstance(content, str):
        return f"0x{content.hex()}"
    if modality is Modality.TEXT:
        return f'"{safe_text(content, limit=LONGEST - 2)}"'
    return safe_text(content.strip("[]") if modality is Modality.STRUCTURE else content, limit=LONGEST)


def piece_text(pieces: Sequence[str], vocabulary: Vocabulary, name: Naming = signature) -> str:
    """What one predicted piece, or all the pieces of one value, say: "≈1.23e18", "an unknown address"."""
    first, label = pieces[0], pieces[0][:2]
    if first == bytes.CODE and len(pieces) > 1:
        return f"an unknown code of {_rounded(pieces[1:])} bytes"
    if first == bytes.RUN and len(pieces) > 1:
        return f"{_rounded(pieces[1:])} opaque words"
    if first in _NAMES or label in _KINDS_OF_NAMES:
        return _NAMES.get(first) or _KINDS_OF_NAMES[label]
    if label == text.PIECE:
        whole = pieces if pieces[-1] == text.END else (*pieces, text.END)
        return value_text((Modality.TEXT, text.value(whole, vocabulary)))
    if label in (address.WHOLE, bytes.WORD):
        known = first[2:] if label == address.WHOLE else f"0x{first[2:]}"
        return safe_text(f"{known} (known)", limit=LONGEST)
    if first in vocabulary.codes:
        return f"a known code of {len(vocabulary.codes[first])} bytes"
    if label in ("S:", "T:", "D:", selector.INSTRUCTION):
        return value_text((Modality.SELECTOR, selector.value(pieces, vocabulary)), name)
    if label == bytes.BYTE:
        return "0x" + "".join(piece[2:] for piece in pieces)
    if label == text.WHOLE:
        return value_text((Modality.TEXT, first[2:]))
    return first.strip("[]") if first.startswith("[") else _rounded(pieces)


def _rounded(pieces: Sequence[str]) -> str:
    """The pieces of a number, or one of them."""
    first = pieces[0]
    if first.startswith("n:"):
        return "2^256-1" if first == "n:max" else first[2:]
    if first.startswith("d"):
        return f"digits {first[1]}.{first[2:]}"
    sign, exponent = first.split("e")
    if len(pieces) == 1:
        return f"about {sign}10^{exponent}"
    return f"≈{sign}{pieces[1][1]}.{pieces[1][2:]}e{exponent}"


def _number_text(content: int) -> str:
    if content == number.MAX_UINT:
        return "2^256-1"
    return str(content) if abs(content) < _EXACT_BELOW else f"{content} (≈{content:.2e})"
