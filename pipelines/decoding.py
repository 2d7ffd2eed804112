"""Names and arguments on a painted call tree, for people to read; scores and tokens know nothing of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from blockscan.findings import Frame
from blockscan.safetext import safe_text
from blockscan.transaction import Call, CallKind, Log, Transaction, walk
from tokenizer.signature_file import load
from tokenizer.signatures import BUILT_IN, Signatures

LONGEST = 300
_WITHOUT_SELECTOR = (CallKind.CREATE, CallKind.CREATE2, CallKind.INSTRUCTION)
_SELECTOR_BYTES = 4


def signatures_in(path: Path) -> Signatures:
    """The well-known signatures, and those of a file of `blockscan signatures import`, if there is one.

    Raises:
        ArtifactError: the file is damaged.
    """
    return load(path).signatures() if path.exists() else BUILT_IN


def name_frames(
    frames: Sequence[Frame], transaction: Transaction, signatures: Signatures
) -> tuple[Frame, ...]:
    """The frames of `paint`, in whose `selector` all candidate names stand with their arguments.

    Raises:
        ValueError: the frames are not those of the transaction.
    """
    steps = (visit.step for visit in walk(transaction.root))
    return tuple(_named(*each, signatures) for each in zip(frames, steps, strict=True))


def _named(frame: Frame, step: Call | Log, signatures: Signatures) -> Frame:
    if isinstance(step, Log):
        text = signatures.log_text(step.topics, step.data)
    elif step.kind in _WITHOUT_SELECTOR or len(step.data) < _SELECTOR_BYTES:
        text = ""
    else:
        text = signatures.call_text(step.data)
    return replace(frame, selector=safe_text(text, limit=LONGEST)) if text else frame
