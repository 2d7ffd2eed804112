"""Log messages of a Solana transaction -> what each instruction printed, returned, used and failed with.

The runtime writes one flat list: `Program X invoke [n]`, what X prints, `Program X consumed n of m compute
units`, `Program return: X base64`, `Program X success` or `Program X failed: why`. A program can print
anything, but only behind `Program log: ` or, in base64, `Program data: `, so it cannot forge these lines.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from blockscan.transaction import Call, Log, LogOrder

TRUNCATED = "Log truncated"
_PROGRAM = re.compile(
    r"Program (\w{32,44}) (invoke \[\d{1,3}\]|success|failed: .*|consumed (\d{1,18}) of .*)", re.DOTALL
)
_PRINTED, _DATA, _RETURN = "Program log: ", "Program data: ", "Program return: "
_LONGEST_ERROR = 200
# Signature checks that the runtime makes itself: they leave no lines.
SILENT = frozenset(
    {
        "Ed25519SigVerify111111111111111111111111111",
        "KeccakSecp256k11111111111111111111111111111",
        "Secp256r1SigVerify1111111111111111111111111",
    }
)


@dataclass(slots=True)
class Frame:
    """An instruction under construction: what the message says of it, and what the logs add."""

    program: str
    data: bytes
    accounts: tuple[str, ...]
    parent: int
    """Place of the calling instruction; -1 for one of the message itself."""
    error: str | None = None
    output: bytes = b""
    units: int | None = None
    steps: list[Call | Log | int] = field(default_factory=list)
    """Logs, and the places of inner frames, in execution order."""


def attach(frames: list[Frame], messages: Sequence[str], owner: str) -> tuple[LogOrder, list[Log]]:
    """Fill the frames' steps, errors, outputs and compute units from the log messages.

    Args:
        frames: all instructions in execution order.
        messages: the `logMessages` of the transaction's meta; empty where the source has none.
        owner: the address to which lines are ascribed that cannot be given to an instruction.

    Returns:
        How far the places of the logs are known, and the logs that belong to no known instruction.
    """
    reader = _Reader(frames)
    if not messages:
        reader.enter_before(len(frames))
        return LogOrder.ABSENT, []
    lines = [" ".join(line.split()) if "\n" in line else line for line in messages]
    cut = TRUNCATED in lines
    whole = lines[: lines.index(TRUNCATED)] if cut else lines
    if all(reader.line(line) for line in whole):
        reader.enter_before(len(frames))
        return LogOrder.CUT if cut else LogOrder.EXACT, []
    for frame in frames:
        frame.steps, frame.error, frame.output, frame.units = [], None, b"", None
    _Reader(frames).enter_before(len(frames))
    loose = [log for line in whole if not _PROGRAM.fullmatch(line) for log in _printed(line, owner)]
    return LogOrder.ROOT, loose


class _Reader:
    """Lines read one after the other, beside the frames in execution order."""

    def __init__(self, frames: list[Frame]) -> None:
        self._frames = frames
        self._next = 0
        self._stack: list[int] = []

    def enter_before(self, place: int) -> None:
        """Hang the frames before a place under their callers."""
        for inner in range(self._next, place):
            caller = self._frames[inner].parent
            if caller >= 0:
                self._frames[caller].steps.append(inner)
        self._next = max(self._next, place)

    def line(self, line: str) -> bool:
        """Take one line; False where the lines and the instructions do not belong together."""
        match = _PROGRAM.fullmatch(line)
        if match is None:
            return self._content(line)
        program, what, units = match.groups()
        if what.startswith("invoke"):
            return self._enter(program, int(what[8:-1]))
        if not self._stack or self._frames[self._stack[-1]].program != program:
            return False
        frame = self._frames[self._stack[-1]]
        if units is not None:
            frame.units = int(units)
            return True
        if what != "success":
            frame.error = what.removeprefix("failed: ")[:_LONGEST_ERROR]
        self._stack.pop()
        return True

    def _enter(self, program: str, level: int) -> bool:
        place = self._next
        while place < len(self._frames) and self._frames[place].program in SILENT:
            place += 1
        if place >= len(self._frames) or self._frames[place].program != program:
            return False
        if len(self._stack) != level - 1:
            return False
        self.enter_before(place + 1)
        self._stack.append(place)
        return True

    def _content(self, line: str) -> bool:
        if not self._stack:
            return False
        frame = self._frames[self._stack[-1]]
        if line.startswith(_RETURN):
            frame.output = _decoded(line.split(" ")[-1])
        else:
            frame.steps.extend(_printed(line, frame.program))
        return True


def _printed(line: str, emitter: str) -> list[Log]:
    """One log for a printed line, one for each field of a `Program data` line."""
    if line.startswith(_DATA):
        return [Log(emitter, (), _decoded(one)) for one in line.removeprefix(_DATA).split(" ")]
    return [Log(emitter, (), b"", text=line.removeprefix(_PRINTED))]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text.encode("utf-8", "replace")
