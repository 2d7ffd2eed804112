"""Base58 with Bitcoin's alphabet, as Solana writes keys, signatures and instruction data."""

from functools import lru_cache

from blockscan.errors import ParseError

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
KEY_BYTES = 32
LONGEST = 20_000
"""Letters read at all: an instruction called by a program carries at most 10,240 bytes, 13,985 letters."""
_CHUNK = 10
_REMEMBERED = 65_536


def b58decode(text: object, name: str) -> bytes:
    """The bytes of a base58 text; `name` says in errors what it was.

    Raises:
        ParseError: no text, too long, or a letter outside of the alphabet.
    """
    if not isinstance(text, str) or len(text) > LONGEST:
        raise ParseError(f"`{name}` is not base58 text of at most {LONGEST:,} letters: {str(text)[:60]!r}")
    number = 0
    try:
        for begin in range(0, len(text), _CHUNK):
            part = 0
            chunk = text[begin : begin + _CHUNK]
            for letter in chunk:
                part = part * 58 + _VALUES[letter]
            number = number * 58 ** len(chunk) + part
    except KeyError:
        raise ParseError(f"`{name}` is not base58: {text[:60]!r}") from None
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8)


def b58encode(raw: bytes) -> str:
    """Bytes as base58 text."""
    number = int.from_bytes(raw)
    letters = []
    while number:
        number, rest = divmod(number, 58)
        letters.append(_ALPHABET[rest])
    zeros = len(raw) - len(raw.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(letters))


def read_key(text: object, name: str = "key") -> str:
    """A 32-byte key, checked and returned as it stands: case matters.

    Raises:
        ParseError: not base58, or not 32 bytes.
    """
    if not isinstance(text, str) or not _is_key(text):
        raise ParseError(f"`{name}` is not a base58 key of 32 bytes: {str(text)[:60]!r}")
    return text


@lru_cache(_REMEMBERED)
def _is_key(text: str) -> bool:
    in_alphabet = 32 <= len(text) <= 44 and _VALUES.keys() >= set(text)
    return in_alphabet and len(b58decode(text, "key")) == KEY_BYTES


@lru_cache(_REMEMBERED)
def key_bytes(address: str) -> bytes:
    """The 32 bytes of an address; one written as 20 bytes of hexadecimal has twelve zero bytes before them.

    Raises:
        ParseError: the address is neither.
    """
    if address.startswith("0x") and len(address) == 42:
        return bytes(12) + bytes.fromhex(address[2:])
    return b58decode(read_key(address), "key")


@lru_cache(_REMEMBERED)
def key_text(raw: bytes) -> str:
    """The address of 32 bytes: the inverse of `key_bytes`.

    Only the names that a tokenizer gives to unknown addresses begin with twelve zero bytes; the System
    program, which is nothing but zeros, stays base58.
    """
    if not any(raw[:12]) and any(raw[12:]):
        return f"0x{raw[12:].hex()}"
    return b58encode(raw)
