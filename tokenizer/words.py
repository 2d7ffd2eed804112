"""Call data, return data and log data <-> typed values, exactly.

Data is cut into 32-byte words, each classified from its bytes alone. Calls inside of data (the `bytes`
arguments of multicalls, multisigs and flash loans, as Solidity's ABI encodes them) are entered: a length
4 + 32k, a selector, k words, and 28 zero bytes that are left out.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

from blockscan.errors import ParseError
from blockscan.tokens import Modality
from tokenizer.modalities.bytes import WORD_BYTES, Code, Run
from tokenizer.modalities.number import MAX_UINT

Content: TypeAlias = str | int | bytes | Code | Run | None
Value: TypeAlias = tuple[Modality, Content]
Classify: TypeAlias = Callable[[bytes], Value]

SELECTOR_BYTES = 4
# So many opaque words behind one another are one value: compressed batches, signatures, proofs.
RUN_FROM = 16
# A number with at least this many bits is taken for an address (uint128 and sqrtPriceX96 amounts are
# smaller; a random address is smaller once in 2^24), unless it is as round as a decimal amount.
ADDRESS_FROM = 1 << 136
KNOWN_ADDRESS_FROM = 1 << 64
ROUND = 10**12
NEGATIVE_FROM = (1 << 256) - ADDRESS_FROM
# The lengths, as words, of calls that are entered inside of data: longer ones would not outlive the rounding
# of numbers to three digits, which their inverse needs.
_INNER_LENGTHS = frozenset(length.to_bytes(WORD_BYTES) for length in range(SELECTOR_BYTES, 1000, WORD_BYTES))
_PADDING = bytes(WORD_BYTES - SELECTOR_BYTES)
_MODULUS = 1 << 256
_CLASSIFIED = 65_536


def word_classifier(whole_addresses: Container[str]) -> Classify:
    """A function from a 32-byte word to a typed value, from its bytes alone, with a bounded memory.

    Two's complement of a number below 2^136 -> negative number; printable ASCII padded with zeros on the
    right -> text; up to 2^136, or a multiple of 10^12 -> number; twelve zero bytes and the rest
    -> address; anything else -> an opaque word. Addresses with many leading zeros are told from numbers
    only if they are in `whole_addresses`.
    """

    @lru_cache(_CLASSIFIED)
    def classify(word: bytes) -> Value:
        number = int.from_bytes(word)
        if number < ADDRESS_FROM:
            return _number_or_known_address(number, whole_addresses)
        if number >= NEGATIVE_FROM:
            return Modality.NUMBER, number if number == MAX_UINT else number - _MODULUS
        text = word.rstrip(b"\0")
        if text.isascii() and text.decode().isprintable():
            return Modality.TEXT, text.decode()
        if number % ROUND == 0:
            return Modality.NUMBER, number
        if number >> 160 == 0:
            return Modality.ADDRESS, f"0x{number:040x}"
        return Modality.BYTES, word

    return classify


def _number_or_known_address(number: int, whole_addresses: Container[str]) -> Value:
    if number >= KNOWN_ADDRESS_FROM and number % ROUND:
        name = f"0x{number:040x}"
        if name in whole_addresses:
            return Modality.ADDRESS, name
    return Modality.NUMBER, number


def blob_values(data: bytes, classify: Classify) -> list[Value]:
    """The typed values of some data; what is left over behind the last whole word is one value."""
    whole = len(data) // WORD_BYTES * WORD_BYTES
    words = [data[place : place + WORD_BYTES] for place in range(0, whole, WORD_BYTES)]
    if _INNER_LENGTHS.isdisjoint(words):
        values = list(map(classify, words))
    else:
        values = list(_with_inner_calls(data[:whole], classify))
    if len(values) >= RUN_FROM:
        values = list(with_runs(values))
    if whole < len(data):
        values.append((Modality.BYTES, data[whole:]))
    return values


def _with_inner_calls(data: bytes, classify: Classify) -> Iterator[Value]:
    """The words of some data, with the calls inside of it entered."""
    ends = [len(data)]
    place = 0
    while place < len(data):
        if place == ends[-1]:
            place += len(_PADDING)
            ends.pop()
            continue
        word = data[place : place + WORD_BYTES]
        yield classify(word)
        place += WORD_BYTES
        end = place + int.from_bytes(word) if word in _INNER_LENGTHS else place
        if place < end <= ends[-1] - len(_PADDING) and _is_inner_call(data, place, end, classify):
            yield Modality.SELECTOR, data[place : place + SELECTOR_BYTES]
            place += SELECTOR_BYTES
            ends.append(end)


def _is_inner_call(data: bytes, begin: int, end: int, classify: Classify) -> bool:
    """Whether what stands there is padded, and is neither text nor a number nor an address.

    Four letters and zeros where more was announced are no text, but a selector that happens to be printable
    (deposit(uint256,address) is "nU?e") and a small first argument. The stand-ins of unknown words and
    selectors answer the same: encoding what was decoded enters the same calls again.
    """
    modality, content = classify(data[begin : begin + WORD_BYTES])
    four_letters = isinstance(content, str) and modality is Modality.TEXT and len(content) <= SELECTOR_BYTES
    opens_call = modality is Modality.BYTES or (four_letters and end - begin > SELECTOR_BYTES)
    return opens_call and data[end : end + len(_PADDING)] == _PADDING


def with_runs(values: Iterable[Value]) -> Iterator[Value]:
    """Put long runs of opaque words, the only bytes among words, together."""
    for modality, group in groupby(values, itemgetter(0)):
        run = list(group)
        if modality is Modality.BYTES and len(run) >= RUN_FROM:
            yield modality, Run(b"".join(map(raw, run)))
        else:
            yield from run


def blob_bytes(values: Iterable[Value]) -> bytes:
    """The data that typed values stand for: the inverse of `blob_values`."""
    parts: list[bytes] = []
    written = inner = 0
    ends: list[int] = []
    for value in values:
        content = raw(value)
        if value[0] is Modality.SELECTOR and inner:
            ends.append(written + inner)
        inner = int.from_bytes(content) if content in _INNER_LENGTHS else 0
        step = WORD_BYTES if isinstance(value[1], Run) else max(len(content), 1)
        for begin in range(0, len(content), step):
            parts.append(content[begin : begin + step])
            written += len(parts[-1])
            while ends and written == ends[-1]:
                parts.append(_PADDING)
                written += len(_PADDING)
                ends.pop()
    return b"".join(parts)


def raw(value: Value) -> bytes:
    """The bytes of one value.

    Raises:
        ParseError: the value is an absent address, which cannot be part of data.
    """
    modality, content = value
    if isinstance(content, int):
        return (content % _MODULUS).to_bytes(WORD_BYTES)
    if isinstance(content, (Code, Run)):
        return content.data
    if isinstance(content, bytes):
        return content
    if content is None:
        raise ParseError("an absent address cannot be part of data")
    if modality is Modality.ADDRESS:
        return int(content, 16).to_bytes(WORD_BYTES)
    return content.encode().ljust(WORD_BYTES, b"\0")
