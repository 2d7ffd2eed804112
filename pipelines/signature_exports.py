"""What others export of signatures -> candidates: 4byte and OpenChain lists, JSON ABIs, build artifacts.

Read are: lines (CSV with or without quotes, bare lists) that hold a signature and perhaps its selector or
topic; JSON or JSON lines in which signatures stand as keys, values or under a selector (4byte pages,
OpenChain answers, method identifiers); and lists of ABI entries, bare or as the `abi` of a foundry or hardhat
artifact.
"""

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blockscan.chains.decode import decode
from blockscan.errors import ArtifactError, ParseError
from tokenizer.signature_file import Candidate

_SIGNATURE = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\([A-Za-z0-9_,()\[\]]*\)")
_IN_LINE = re.compile(r"(?<![A-Za-z0-9_$])[0-9]*+([A-Za-z_$][A-Za-z0-9_$]*+\([A-Za-z0-9_,()\[\]]*+)")
"""A name and all that a signature may hold after it; no character is looked at twice."""
_CODE = re.compile(r"0[xX]((?:[0-9a-fA-F]{8})|(?:[0-9a-fA-F]{64}))(?![0-9a-fA-F])")
_BARE_CODE = re.compile(r"[0-9a-fA-F]{8}|[0-9a-fA-F]{64}")
_LARGEST_JSON = 512 * 1024 * 1024
_LONGEST_LINE = 1024 * 1024
_FILED_AS = {"function": "function", "error": "function", "event": "event"}


def candidates_of(path: Path) -> Iterator[Candidate]:
    """Every signature of an export.

    Raises:
        ArtifactError: the file cannot be read.
        ParseError: it looks like JSON and is not.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            start = stream.read(1 << 16).lstrip(b"\xef\xbb\xbf \t\r\n")
            stream.seek(0)
            if not start.startswith((b"{", b"[")):
                while line := stream.readline(_LONGEST_LINE):
                    yield from _in_line(line.decode("utf-8", "replace"))
                return
            content = stream.read(_LARGEST_JSON + 1).removeprefix(b"\xef\xbb\xbf")
    except (OSError, EOFError, zlib.error) as error:
        raise ArtifactError(f"signatures {path} cannot be read: {error}") from error
    if len(content) > _LARGEST_JSON:
        raise ArtifactError(f"signatures {path}: JSON above {_LARGEST_JSON:,} bytes; give it as lines")
    for document in _documents(content, path):
        yield from _in_document(document)


def _documents(content: bytes, path: Path) -> Iterator[Any]:
    """The one JSON document of a file, or that of each line."""
    try:
        yield decode(content)
        return
    except ParseError as error:
        lines = content.splitlines()
        if len(lines) < 2 or not lines[0].rstrip().endswith((b"}", b"]")):
            raise ParseError(f"{path.name}: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield decode(line)
            except ParseError as error:
                raise ParseError(f"{path.name}:{number}: {error}") from error


def _in_line(line: str) -> Iterator[Candidate]:
    """The signatures of one line; a selector or topic with 0x in it is what they must hash to."""
    signatures, rest, done = [], [], 0
    for found in _IN_LINE.finditer(line):
        if end := found[1].rfind(")") + 1:
            signatures.append(found[1][:end])
            rest.append(line[done : found.start(1)])
            done = found.start(1) + end
    code = _CODE.search(" ".join([*rest, line[done:]]))
    for signature in signatures:
        yield Candidate(signature, code[1].lower() if code else "")


def _in_document(document: Any) -> Iterator[Candidate]:
    """Signatures anywhere in a document, and ABI entries; walked without recursion."""
    if isinstance(document, Mapping) and isinstance(document.get("abi"), list):
        document = document["abi"]
    pending: list[tuple[Any, str]] = [(document, "")]
    while pending:
        value, code = pending.pop()
        if isinstance(value, str) and _SIGNATURE.fullmatch(value):
            yield Candidate(value, code)
        elif isinstance(value, list):
            pending += [(item, code) for item in reversed(value)]
        elif isinstance(value, Mapping) and isinstance(value.get("inputs"), list):
            yield from _abi_entry(value)
        elif isinstance(value, Mapping):
            yield from _signature_keys(value)
            beside = next(filter(None, map(_code_in, value.values())), code)
            pending += [(item, _code_in(key) or beside) for key, item in value.items()]


def _signature_keys(value: Mapping[str, Any]) -> Iterator[Candidate]:
    """Names as keys with their selectors as values, as compilers write them."""
    for key, item in value.items():
        if _SIGNATURE.fullmatch(key):
            yield Candidate(key, _code_in(item))


def _code_in(text: Any) -> str:
    """A selector or topic, with or without 0x, as bare digits; "" for anything else."""
    if not isinstance(text, str):
        return ""
    digits = text.lower().removeprefix("0x")
    return digits if _BARE_CODE.fullmatch(digits) and (digits != text or not digits.isdecimal()) else ""


def _abi_entry(entry: Mapping[str, Any]) -> Iterator[Candidate]:
    """A function, event or error of a JSON ABI; constructors and anonymous events have no code."""
    kind = _FILED_AS.get(str(entry.get("type", "function")))
    if kind is None or entry.get("anonymous") is True:
        return
    parts = []
    for parameter in entry["inputs"]:
        marked = kind == "event" and isinstance(parameter, Mapping) and parameter.get("indexed") is True
        parts.append(_abi_type(parameter) + " indexed" * marked)
    yield Candidate(f"{str(entry.get('name'))[:1000]}({','.join(parts)})", kind=kind)


def _abi_type(parameter: Any, depth: int = 0) -> str:
    """A parameter's canonical type, tuples spelt out; "?" (which no signature may hold) where it has none."""
    if not isinstance(parameter, Mapping) or depth > 20:
        return "?"
    name = str(parameter.get("type", "?"))
    if not name.startswith("tuple"):
        return name
    components = parameter.get("components")
    if not isinstance(components, list):
        return "?"
    inner = ",".join(_abi_type(component, depth + 1) for component in components)
    return f"({inner}){name.removeprefix('tuple')}"
