"""An alert in one file that anybody with the model can check: gzipped JSON, no pickle, no paths.

It holds the archived row of the transaction verbatim, the judgement on it, the hashes of everything that
took part, and the software and hardware. The judgement in a bundle is of the transaction scored alone, so
that scoring it again, alone, gives the same bits on the same software and hardware. Elsewhere, and against
the stored score, which came from a batch, sums may round differently: values then agree within TOLERANCE.

A bundle is not signed: its hash finds damage, and that its value follows from its transaction is found by
scoring. Who made it is not in it.
"""

import gzip
import hashlib
import json
import math
import platform
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from blockscan.archive import RawBlock
from blockscan.artifact import write_whole
from blockscan.chains.decode import decode
from blockscan.detect.dealings import JOINT
from blockscan.detect.mix import CLASSES
from blockscan.errors import ArtifactError, ParseError
from blockscan.findings import Before, Joint
from blockscan.transaction import TraceSource

FORMAT = "blockscan-bundle-4"
LARGEST = 128 * 1024 * 1024
"""Bytes of a bundle, packed and unpacked; the longest real transaction seen has 32 MB with its trace."""
TOLERANCE = 1e-3
"""On the value, between different software, hardware or batches."""
MOST_EVIDENCE = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """One piece of evidence: pre-order index of its frame, field, surprise in nats, token p-value."""

    node: int
    field: str
    surprise: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement in numbers, as in TxScore: `value` may be infinite, `p_value` None."""

    value: float
    p_value: float | None
    evidence: tuple[Found, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """What the file holds. `alone` is the transaction's judgement by itself, `stored` the store's.

    `hashes` has transaction (the archived row), tokenizer, checkpoint, history, calibration and scoring (its
    settings). `made_with` names software and hardware. `reason` is for people. `before` is what earlier
    transactions add to both judgements: it is taken as it was then.
    """

    tx_hash: str
    row: RawBlock
    hashes: Mapping[str, str]
    alone: Verdict
    stored: Verdict
    reason: str
    made_with: Mapping[str, str]
    before: Before
    intact: bool = True


def write_bundle(bundle: Bundle, path: Path) -> None:
    """Write a bundle; the same bundle gives the same bytes.

    Raises:
        ArtifactError: something lies there, the disk refused, or the transaction is too large.
    """
    content = _content(bundle)
    text = json.dumps(content | {"sha256": _digest(content)}, indent=1, sort_keys=True).encode()
    if len(text) > LARGEST:
        raise ArtifactError(
            f"the block of {bundle.tx_hash} is larger than {LARGEST:,} bytes: no bundle of it"
        )
    if path.exists():
        raise ArtifactError(f"{path} is there already; give a new file, or remove this one first")
    try:
        write_whole(path, gzip.compress(text, mtime=0))
    except OSError as error:
        raise ArtifactError(
            f"cannot write {path}: {error.strerror}; free some space, or give another file"
        ) from error


def read_bundle(path: Path) -> Bundle:
    """Read a bundle that anybody may have made; `intact` says whether it is as it was written.

    Raises:
        ArtifactError: it is none, or larger than LARGEST when unpacked.
    """
    try:
        return _bundle(decode(_unpacked(path)))
    except (ParseError, ValueError, OverflowError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is no bundle this program can read: {str(error)[:200]}") from error


def row_hash(row: RawBlock) -> str:
    """SHA-256 of an archived row, every field and body."""
    return hashlib.sha256(json.dumps(_row_content(row), sort_keys=True).encode()).hexdigest()


def scoring_hash(scoring: Mapping[str, Any]) -> str:
    """SHA-256 of the settings of the model pass."""
    return hashlib.sha256(json.dumps(dict(scoring), sort_keys=True).encode()).hexdigest()


def made_with(device: str) -> dict[str, str]:
    """Software and hardware, as far as they can change the last bits of a sum."""
    return {
        "blockscan": version("blockscan"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor() if device == "cpu" else torch.cuda.get_device_name(),
        "threads": str(torch.get_num_threads()),
    }


def _processor() -> str:
    """The CPU's name and its widest vector instructions, which decide how sums are split."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def _unpacked(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            packed = stream.read(LARGEST + 1)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    inflate = zlib.decompressobj(wbits=31)
    try:
        text = inflate.decompress(packed, LARGEST + 1)
    except zlib.error as error:
        raise ValueError("it is not gzip, or damaged") from error
    if len(text) > LARGEST or len(packed) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST:,} bytes when unpacked")
    if not inflate.eof or inflate.unused_data:
        raise ValueError("it is cut short, or something follows its end")
    return text


def _content(bundle: Bundle) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "tx_hash": bundle.tx_hash,
        "transaction": _row_content(bundle.row),
        "hashes": dict(bundle.hashes),
        "alone": _verdict_content(bundle.alone),
        "stored": _verdict_content(bundle.stored),
        "reason": bundle.reason,
        "made_with": dict(bundle.made_with),
        "carried": repr(bundle.before.carried),
        "joint": [asdict(each) for each in bundle.before.joint],
        "mix": list(bundle.before.mix),
    }


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _row_content(row: RawBlock) -> dict[str, Any]:
    try:
        bodies = {name: body.decode("utf-8") for name, body in sorted(row.bodies.items())}
    except UnicodeDecodeError as error:
        raise ArtifactError(f"block {row.number} is not UTF-8: {error}; ingest it again") from error
    plain = {each.name: getattr(row, each.name) for each in fields(RawBlock)}
    return plain | {"source": row.source.value, "tx_hashes": list(row.tx_hashes), "bodies": bodies}


def _verdict_content(verdict: Verdict) -> dict[str, Any]:
    return asdict(verdict) | {"value": repr(verdict.value), "evidence": [asdict(x) for x in verdict.evidence]}


def _bundle(stored: Any) -> Bundle:
    """A bundle from decoded JSON of any form; everything is checked before anything is done with it."""
    top = _object(stored, "the bundle")
    if top.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    bundle = Bundle(
        tx_hash=_text(top, "tx_hash"),
        row=_row(_object(top.get("transaction"), "transaction")),
        hashes=_texts(top, "hashes"),
        alone=_verdict(_object(top.get("alone"), "alone")),
        stored=_verdict(_object(top.get("stored"), "stored")),
        reason=_text(top, "reason"),
        made_with=_texts(top, "made_with"),
        before=_before(top),
    )
    return replace(bundle, intact=_text(top, "sha256") == _digest(_content(bundle)))


def _row(item: dict[str, Any]) -> RawBlock:
    hashes = item.get("tx_hashes")
    if not isinstance(hashes, list) or not all(isinstance(each, str) for each in hashes):
        raise ValueError("transaction.tx_hashes is no list of hashes")
    return RawBlock(
        chain=_text(item, "chain"),
        number=_number(item, "number"),
        hash=_optional_text(item, "hash"),
        parent_hash=_optional_text(item, "parent_hash"),
        time=_number(item, "time"),
        source=TraceSource(_text(item, "source")),
        form=_text(item, "form"),
        tx_hashes=tuple(hashes),
        bodies={name: body.encode() for name, body in _texts(item, "bodies").items()},
        degraded=_text(item, "degraded"),
    )


def _verdict(item: dict[str, Any]) -> Verdict:
    value = float(_text(item, "value"))
    if value != value:
        raise ValueError("its value is not a number")
    p_value = item.get("p_value")
    evidence = item.get("evidence")
    if not isinstance(evidence, list) or len(evidence) > MOST_EVIDENCE:
        raise ValueError("its evidence is no list, or too long")
    return Verdict(
        value, None if p_value is None else _share(p_value), tuple(_found(each) for each in evidence)
    )


def _before(item: dict[str, Any]) -> Before:
    carried, joint = float(_text(item, "carried")), item.get("joint")
    if not 0 <= carried < math.inf:
        raise ValueError("carried is no number from 0 on")
    if not isinstance(joint, list) or len(joint) > len(JOINT):
        raise ValueError("joint is no list of facts")
    together = tuple(_joint(_object(each, "joint")) for each in joint)
    if len({each.name for each in together}) < len(together):
        raise ValueError("joint has a fact twice")
    mix = item.get("mix")
    if not isinstance(mix, list) or len(mix) not in (0, CLASSES):
        raise ValueError("mix is no list of counts")
    counts = [_number({"mix": each}, "mix") for each in mix]
    if None in counts:
        raise ValueError("mix is no list of counts")
    known = tuple(each for each in counts if each is not None)
    return Before(carried, together, known)


def _joint(item: dict[str, Any]) -> Joint:
    name, value, node = _text(item, "name"), item.get("value"), _number(item, "node")
    if name not in JOINT or node is None or not isinstance(value, float) or not 0 <= value < math.inf:
        raise ValueError("a joint fact has no such name, value or node")
    return Joint(name, value, node, _text(item, "found"))


def _found(item: Any) -> Found:
    each = _object(item, "evidence")
    node, surprise = _number(each, "node"), each.get("surprise")
    if node is None or not isinstance(surprise, float):
        raise ValueError("a piece of evidence has no node or no surprise")
    return Found(node, _text(each, "field"), surprise, _share(each.get("p_value")))


def _object(item: Any, what: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise ValueError(f"{what} is no object")
    return item


def _texts(item: dict[str, Any], name: str) -> dict[str, str]:
    found = _object(item.get(name), name)
    if not all(isinstance(each, str) for each in found.values()):
        raise ValueError(f"{name} holds something that is no text")
    return found


def _text(item: dict[str, Any], name: str) -> str:
    found = item.get(name)
    if not isinstance(found, str):
        raise ValueError(f"{name} is no text")
    return found


def _optional_text(item: dict[str, Any], name: str) -> str | None:
    return None if item.get(name) is None else _text(item, name)


def _number(item: dict[str, Any], name: str) -> int | None:
    found = item.get(name)
    if found is None:
        return None
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 1 << 63:
        raise ValueError(f"{name} is no number from 0 to 2^63")
    return found


def _share(found: Any) -> float:
    if not isinstance(found, float | int) or isinstance(found, bool) or not 0 <= found <= 1:
        raise ValueError("a p-value is not between 0 and 1")
    return float(found)
