"""Names and arguments on a painted call tree, for people to read; scores and tokens know nothing of them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from re import Match

from blockscan.chains.anchor import Idl, load_idl
from blockscan.errors import ArtifactError, ParseError
from blockscan.findings import Evidence, Frame
from blockscan.safetext import safe_text
from blockscan.transaction import Call, CallKind, Log, Transaction, walk
from tokenizer.signature_file import load
from tokenizer.signatures import BUILT_IN, Naming, Signatures

LONGEST = 300
_WITHOUT_SELECTOR = (CallKind.CREATE, CallKind.CREATE2, CallKind.INSTRUCTION)
_SELECTOR_BYTES = 4
_CODE = re.compile(r"\b0x([0-9a-f]{8}|[0-9a-f]{64})\b")
"""A selector or a topic; an address has forty digits."""


def signatures_in(path: Path) -> Signatures:
    """The well-known signatures, and those of a file of `blockscan signatures import`, if there is one.

    Raises:
        ArtifactError: the file is damaged.
    """
    return load(path).signatures() if path.exists() else BUILT_IN


def idls_in(folder: Path) -> dict[str, Idl]:
    """The Anchor interfaces that `blockscan signatures idl` put into a model directory, by program.

    Raises:
        ArtifactError: a file is damaged.
    """
    try:
        return {path.stem: load_idl(path) for path in sorted(folder.glob("*.json"))}
    except ParseError as error:
        raise ArtifactError(f"{error}; import it again") from error


def name_frames(
    frames: Sequence[Frame],
    transaction: Transaction,
    signatures: Signatures,
    idls: Mapping[str, Idl],
) -> tuple[Frame, ...]:
    """The frames of `paint`, in whose `selector` all candidate names stand with their arguments.

    Args:
        frames: of the transaction.
        transaction: what they were painted from.
        signatures: names of EVM functions and events.
        idls: interfaces of Anchor programs by their address.

    Raises:
        ValueError: the frames are not those of the transaction.
    """
    steps = (visit.step for visit in walk(transaction.root))
    return tuple(_named(*each, signatures, idls) for each in zip(frames, steps, strict=True))


def name_evidence(evidence: Iterable[Evidence], name: Naming) -> tuple[Evidence, ...]:
    """Facts with the names of the functions and events that they speak of."""
    return tuple(replace(each, found=name_codes(each.found, name)) for each in evidence)


def name_codes(text: str, name: Naming) -> str:
    """The text of a fact, which gives functions and events by their codes, with names for those known."""

    def named(found: Match[str]) -> str:
        known = name(bytes.fromhex(found[1]))
        return f"{known[:10]}..." if known == found[0] and len(known) > 10 else known

    return safe_text(_CODE.sub(named, text), limit=LONGEST)


def _named(frame: Frame, step: Call | Log, signatures: Signatures, idls: Mapping[str, Idl]) -> Frame:
    if isinstance(step, Log):
        text = signatures.log_text(step.topics, step.data)
    elif step.kind is CallKind.INSTRUCTION and (idl := idls.get(step.target or "")):
        text = _instruction_text(idl, step.data)
    elif step.kind in _WITHOUT_SELECTOR or len(step.data) < _SELECTOR_BYTES:
        text = ""
    else:
        text = signatures.call_text(step.data)
    return replace(frame, selector=safe_text(text, limit=LONGEST)) if text else frame


def _instruction_text(idl: Idl, data: bytes) -> str:
    """For example `swap(amount_in=5, ...)`; arguments whose types cannot be placed are left out."""
    found = idl.decode(data)
    if found is None:
        return ""
    instruction, values = found
    shown = [f"{name}={value}" for (name, _), value in zip(instruction.arguments, values, strict=False)]
    more = ["..."] if len(values) < len(instruction.arguments) else []
    return f"{instruction.name}({', '.join([*shown, *more])})"
