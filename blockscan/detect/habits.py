"""What functions of one name do on whatever contract: what follows what, what comes together, who is who.

Most contracts of a transaction may be unknown to the past; the names of their functions seldom are. A
selector says what is meant (ERC-20, ERC-4626 and the like share theirs), so habits carry over from one
contract to the next: which function its caller calls next, which others occur in the same transaction,
whether a person or a contract calls it, and what its addresses are to the call: the sender or the caller
itself, say, or a third party. Events have names, too, and what their numbers are to the transaction is a
habit: an amount that moved, say, or an argument. On Solana a program names its own instructions, so
the program is part of the name, and accounts have no places.
"""

from collections.abc import Iterator
from itertools import combinations_with_replacement, pairwise

from blockscan.chains.solana_layouts import LAYOUTS, PROGRAMS, Layout, layout_of
from blockscan.detect.flow import LARGEST, TRANSFER, Frames
from blockscan.transaction import Call, CallKind, Transaction

Function = tuple[str, bytes]
Pair = tuple[Function, Function]
Role = tuple[Function, int, str]
Report = tuple[bytes, int, str]

CALLER = -1
"""The place of a caller among the roles; words of calldata are counted from 0."""
PLACES = 6
MOST_NAMES = 60
"""Names of a transaction that are paired; the number of pairs grows with their square."""
_DISCRIMINATOR = 8
_SELECTOR = 4
_WORD = 32
_TELLING = 1000
"""Smaller numbers equal others by chance."""
_ARGUMENTS = 8


def _instruction(layout: Layout) -> bytes:
    return layout.name.partition(":")[2].encode()


_CREATIONS = {kind.encode() for kind in (CallKind.CREATE, CallKind.CREATE2, CallKind.SELFDESTRUCT)}
_INSTRUCTIONS = {_instruction(layout) for layout in LAYOUTS.values()}


def function_of(call: Call) -> Function:
    """What a frame runs: its target, and the selector (EVM), kind of creation or instruction (Solana).

    An instruction is the name that a well-known program gives it, else its discriminator or tag. A message
    runs nothing of its payer's, nor does a program that calls itself to write an event (Anchor).
    """
    target = call.target or ""
    if call.kind in (CallKind.CREATE, CallKind.CREATE2, CallKind.SELFDESTRUCT):
        return target, call.kind.encode()
    if call.kind is CallKind.INSTRUCTION:
        if call.caller == target:
            return "", b""
        layout = layout_of(target, call.data)
        return target, _instruction(layout) if layout else _head_of(call.data)
    return target, call.data[:_SELECTOR] if len(call.data) >= _SELECTOR else b""


def _head_of(data: bytes) -> bytes:
    """What names an instruction of a program without a layout: Anchor's discriminator, or a tag.

    A discriminator is a hash of eight bytes. Behind a tag, one byte, stand numbers, lengths and flags: two
    bytes next to each other that are all zeros, or all ones, which one hash in five thousand has.
    """
    tagged = len(data) < _DISCRIMINATOR or any(pair in data[1:9] for pair in (b"\0\0", b"\xff\xff"))
    return data[: 1 if tagged else _DISCRIMINATOR]


def in_words(function: Function) -> str:
    """A function, or a name without a contract, for people."""
    target, selector = function
    if not selector:
        return f"a call of {target} without a function" if target else "a call without a function"
    name = spelled(function) or f"0x{selector.hex()}"
    return f"{name} of {target}" if target else name


def spelled(function: Function) -> str:
    """The name that `function_of` gives it; "" for bytes of the chain, which may spell any name there is."""
    target, selector = function
    on_evm = not target or target.startswith("0x")
    known = _CREATIONS if on_evm else _INSTRUCTIONS if target in PROGRAMS else ()
    return selector.decode() if selector in known else ""


def name_of(call: Call) -> Function:
    """What a frame runs, on whatever contract."""
    target, name = function_of(call)
    return target if call.kind is CallKind.INSTRUCTION else "", name


def company_of(frames: Frames) -> dict[Pair, int]:
    """Every pair of names, each with itself too, with the first frame of the later one."""
    names: dict[Function, int] = {}
    for node, call in enumerate(frames.calls):
        name = name_of(call)
        if len(name[1]) == _SELECTOR or (call.kind is CallKind.INSTRUCTION and name[1]):
            names.setdefault(name, node)
    kept = sorted(names)[:MOST_NAMES]
    return {pair: max(map(names.__getitem__, pair)) for pair in combinations_with_replacement(kept, 2)}


def sequences_of(frames: Frames) -> dict[Pair, int]:
    """Every (name, name of what its caller calls next) with the first frame that shows it."""
    called: dict[int, list[int]] = {}
    for node, parent in enumerate(frames.parent):
        if node:
            called.setdefault(parent, []).append(node)
    found: dict[Pair, int] = {}
    for nodes in called.values():
        for before, node in pairwise(nodes):
            found.setdefault((name_of(frames.calls[before]), name_of(frames.calls[node])), node)
    return found


def roles_of(frames: Frames, transaction: Transaction) -> dict[Role, int]:
    """Every (name, place, what the address there is to the call) with the first frame that shows it."""
    found: dict[Role, int] = {}
    sender, entry = transaction.sender, transaction.root.target
    for node, call in enumerate(frames.calls):
        name = name_of(call)
        if call.kind is CallKind.INSTRUCTION:
            if name[1]:
                found.setdefault((name, CALLER, "sender" if call.caller == sender else "program"), node)
        elif len(name[1]) == _SELECTOR:
            who = "sender" if call.caller == sender else "entry" if call.caller == entry else "third"
            found.setdefault((name, CALLER, who), node)
            known = {entry: "entry", call.target: "target", call.caller: "caller", sender: "sender"}
            for place in range(min((len(call.data) - _SELECTOR) // _WORD, PLACES)):
                begin = _SELECTOR + place * _WORD
                word = call.data[begin : begin + _WORD]
                if not any(word[:12]) and any(word[12:16]):
                    found.setdefault((name, place, known.get("0x" + word[12:].hex(), "third")), node)
    return found


def reports_of(frames: Frames) -> dict[Report, int]:
    """Every (event, place in its data, what the number there is) with the first frame that shows it.

    An event that reports what did not happen, as one of a deposit without a transfer, is found so. Transfers
    themselves, which always report what moved, are left out.
    """
    found: dict[Report, int] = {}
    moved = {transfer.amount for transfer in frames.transfers}
    # Of all calls: not every source tells which of them wrote a log.
    arguments = {each for call in frames.calls for _, each in _numbers(call.data[_SELECTOR:], _ARGUMENTS)}
    for log, node in frames.logs:
        if log.topics and log.topics[0] != TRANSFER and not log.accounts:
            for place, number in _numbers(log.data, PLACES):
                found.setdefault((log.topics[0], place, _what(number, moved, arguments)), node)
    return found


def _what(number: int, moved: set[int], arguments: set[int]) -> str:
    if number < _TELLING:
        return "small"
    if number in moved:
        return "moved"
    return "argument" if number in arguments else "nothing"


def _numbers(data: bytes, most: int) -> Iterator[tuple[int, int]]:
    """(place, number) of the first words of `data`; addresses, hashes and ids are no numbers."""
    for place in range(min(len(data) // _WORD, most)):
        number = int.from_bytes(data[place * _WORD : (place + 1) * _WORD])
        if number < LARGEST:
            yield place, number
