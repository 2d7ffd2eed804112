"""Bytes that are nothing else: opaque words, what is left over behind the last word, and code.

A word (32 bytes) is whole if frequent, else an alias `[W1]`.. numbered by first mention; a long run of
opaque words (compressed batches, proofs) is `[RUN]` and the number of words; a left-over (1 to 31 bytes) is
spelled byte by byte; a code is whole if frequent, else `[CODE]` and its length.
Declared loss: which unknown word it is, and all of a run or of an unknown code but its (rounded) length;
constructor arguments cannot be told from the code that they follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from blockscan.config import TokenizerConfig
from tokenizer.modalities import number
from tokenizer.vocabulary import Names, Vocabulary, code_piece

CODE = "[CODE]"
RUN = "[RUN]"
WORD = "W:"
BYTE = "b:"
WORD_BYTES = 32
# 0xfe is the opcode INVALID: a contract made of it can do nothing, so nobody deploys one twice.
_CODE_FILLER = b"\xfe"


@dataclass(frozen=True, slots=True)
class Code:
    """Init code with its arguments, or deployed code; never empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Run:
    """Many opaque words behind one another."""

    data: bytes


def alphabet(config: TokenizerConfig) -> list[str]:
    """The unknown code, the 256 bytes and the aliases."""
    aliases = [f"[W{place}]" for place in range(1, config.aliases + 1)]
    return [CODE, RUN, *(f"{BYTE}{byte:02x}" for byte in range(256)), *aliases]


def pieces(value: bytes | Code | Run, names: Names) -> tuple[str, ...]:
    """One piece for a word or a known code, one per byte for a left-over."""
    if isinstance(value, Code):
        piece = code_piece(value.data)
        if piece in names.vocabulary:
            return (piece,)
        return (CODE, *number.pieces(len(value.data), names))
    if isinstance(value, Run):
        return (RUN, *number.pieces(len(value.data) // WORD_BYTES, names))
    if len(value) != WORD_BYTES:
        return tuple(f"{BYTE}{byte:02x}" for byte in value)
    whole = WORD + value.hex()
    return (whole if whole in names.vocabulary else names.word(value),)


def value(pieces: Sequence[str], vocabulary: Vocabulary) -> bytes | Code | Run:
    """The bytes, or the stand-in of an alias or a code."""
    first = pieces[0]
    if first == CODE:
        return code_stand_in(number.value(pieces[1:], vocabulary))
    if first == RUN:
        return run_stand_in(number.value(pieces[1:], vocabulary))
    if first in vocabulary.codes:
        return Code(vocabulary.codes[first])
    if first.startswith(WORD):
        return bytes.fromhex(first.removeprefix(WORD))
    if first.startswith(BYTE):
        return bytes.fromhex("".join(piece.removeprefix(BYTE) for piece in pieces))
    return word_stand_in(int(first[2:-1]))


def word_stand_in(place: int) -> bytes:
    """The reserved word that an alias reads back as; number 0 fills the runs."""
    return bytes([0x9D] * (WORD_BYTES - 2)) + place.to_bytes(2)


def code_stand_in(length: int) -> Code:
    """The reserved code of a length that an unknown code reads back as."""
    return Code(_CODE_FILLER * length)


def run_stand_in(words: int) -> Run:
    """The reserved run of a number of words that a run reads back as."""
    return Run(word_stand_in(0) * words)
