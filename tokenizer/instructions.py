"""Solana instruction data, event data and return data <-> typed values, exactly.

Instructions of well-known programs are named, with typed arguments (`blockscan.chains.solana_layouts`). The
data of other programs begins with an Anchor discriminator (8 bytes) or with a tag (1 byte); little-endian
64-bit words follow. A word below 2^60 is a number; any other opens an opaque word of 32 bytes (a key, say),
and what is too short for one is left over. Data that a well-known program cannot read is spelled out.
"""

from collections.abc import Iterable, Sequence
from typing import cast

from blockscan.chains.solana_layouts import INTEGERS, LAYOUTS, PROGRAMS, Argument, decode_instruction
from blockscan.config import TokenizerConfig
from blockscan.errors import ParseError
from blockscan.tokens import Modality
from blockscan.transaction import Log
from tokenizer.modalities.address import WHOLE
from tokenizer.modalities.bytes import WORD_BYTES
from tokenizer.modalities.selector import INSTRUCTION
from tokenizer.modalities.structure import BALANCES, EVENTS, PRINTS, Mark
from tokenizer.words import Value, raw, with_runs

DISCRIMINATOR = 8
MOST_ACCOUNTS = 255
"""Accounts of one instruction: their places are single bytes."""
_SHORT = 8
_NUMBER_BELOW = 1 << 60
_CREATES = frozenset({"system:createAccount", "system:createAccountWithSeed"})


def alphabet(config: TokenizerConfig) -> list[str]:
    """What a vocabulary has besides, if it was fitted on a Solana transaction."""
    marks = [piece for marks in (PRINTS, EVENTS, BALANCES) for _, piece in marks.values()]
    names = [INSTRUCTION + name for name in LAYOUTS]
    tags = [f"D:{tag:02x}" for tag in range(256)]
    buckets = [f"D#{bucket}" for bucket in range(config.buckets)]
    # The zero address of the EVM is no key; the System program has a piece of its own.
    return [*marks, *names, *tags, *buckets, *(WHOLE + program for program in PROGRAMS)]


def instruction_values(program: str | None, data: bytes) -> list[Value]:
    """The typed values of instruction data; none of empty data."""
    if not data:
        return []
    found = decode_instruction(program, data)
    if found is not None:
        layout, arguments = found
        kinds = _kinds([kind for _, kind in layout.arguments], len(arguments))
        return [(Modality.SELECTOR, layout.name), *zip(kinds, arguments, strict=True)]
    if program in PROGRAMS:
        spelled: list[Value] = [(Modality.SELECTOR, data[:1])]
        return [*spelled, (Modality.BYTES, data[1:])] if data[1:] else spelled
    return event_values(data)


def event_values(data: bytes) -> list[Value]:
    """The typed values of data that begins with a discriminator or a tag."""
    if not data:
        return []
    # The top bytes of a number behind a one-byte tag are zero; a hash rarely ends in them.
    tagged = len(data) < _SHORT or (data[7] == 0 and not any(data[8:9]))
    width = 1 if tagged else DISCRIMINATOR
    return [(Modality.SELECTOR, data[:width]), *word_values(data[width:])]


def word_values(data: bytes) -> list[Value]:
    """The typed values of little-endian 64-bit words."""
    words: list[Value] = []
    place = 0
    while place + _SHORT <= len(data):
        number = int.from_bytes(data[place : place + _SHORT], "little")
        if number < _NUMBER_BELOW:
            words.append((Modality.NUMBER, number))
            place += _SHORT
        elif place + WORD_BYTES <= len(data):
            words.append((Modality.BYTES, data[place : place + WORD_BYTES]))
            place += WORD_BYTES
        else:
            break
    left_over: list[Value] = [(Modality.BYTES, data[place:])] if place < len(data) else []
    return [*with_runs(words), *left_over]


def data_bytes(values: Sequence[Value]) -> bytes:
    """The data that typed values stand for: the inverse of the three functions above.

    Raises:
        ParseError: the values are not those of any data.
    """
    if values and values[0][0] is Modality.SELECTOR and isinstance(values[0][1], str):
        arguments = [cast(Argument, content) for _, content in values[1:]]
        return LAYOUTS[values[0][1]].pack(arguments)
    return b"".join(map(_raw, values))


def _raw(value: Value) -> bytes:
    modality, content = value
    if isinstance(content, int):
        if not 0 <= content < 1 << 64:
            raise ParseError(f"the number {content} does not fit into 64 bits")
        return content.to_bytes(_SHORT, "little")
    if modality in (Modality.SELECTOR, Modality.BYTES):
        return raw(value)
    raise ParseError(f"{modality.name.lower()} cannot be part of the data of an unknown instruction")


def _kinds(kinds: Iterable[str], count: int) -> list[Modality]:
    """The modality of each argument; a list of numbers takes all that are left."""
    modalities: list[Modality] = []
    for kind in kinds:
        if kind == "u16s":
            return [*modalities, *[Modality.NUMBER] * (count - len(modalities))]
        if kind in INTEGERS:
            modalities.append(Modality.NUMBER)
        else:
            modalities.append(Modality.ADDRESS if kind.startswith("key") else Modality.TEXT)
    return modalities


def created_account(program: str | None, data: bytes, accounts: Sequence[str]) -> str | None:
    """The account that a System instruction creates."""
    found = decode_instruction(program, data)
    return accounts[1] if found is not None and found[0].name in _CREATES and len(accounts) > 1 else None


def log_mark(log: Log, *, explicit: bool) -> Mark:
    """The mark that begins a log of a program.

    Raises:
        ParseError: the log mixes text, accounts, topics and data as no program can.
    """
    if log.topics or (log.text and (log.data or log.accounts)):
        raise ParseError(f"a log of {log.emitter[:44]} has what no Solana program can log")
    if log.accounts:
        return BALANCES[explicit]
    return EVENTS[explicit] if log.data or not log.text else PRINTS[explicit]
