"""Imported signatures on disk: one JSON file with its sources, checked against its own hash when opened.

A file only grows: an import adds what is new and writes the whole under a temporary name first. Selectors
and topics are stored with their signatures, so opening a million of them hashes the file once and no more.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from blockscan.artifact import write_whole
from blockscan.errors import ArtifactError, ParseError
from tokenizer.abi import parse_signature
from tokenizer.signatures import Signatures, selector_of, topic_of

KIND, VERSION = "signatures", 1
_STYLE = orjson.OPT_SORT_KEYS
_SELECTOR_DIGITS, _TOPIC_DIGITS = 8, 64
_LINES = 100


@dataclass(frozen=True, slots=True)
class Candidate:
    """A signature as some export states it: `stated` is its selector (8 digits) or topic (64), if given.

    `kind` is "function" or "event" where the export says so, else "": then `stated` decides, and without
    it both are meant.
    """

    text: str
    stated: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """One imported file: its name, SHA-256 and date (ISO 8601), and what became of its entries."""

    name: str
    sha256: str
    date: str
    added: int
    known: int
    rejected: int


@dataclass(frozen=True, slots=True)
class SignatureFile:
    """Imported signatures by hexadecimal selector or topic, and where they are from."""

    functions: Mapping[str, tuple[str, ...]]
    events: Mapping[str, tuple[str, ...]]
    sources: tuple[Source, ...]

    def signatures(self) -> Signatures:
        """These and the well-known ones."""
        return Signatures(self.functions, self.events)


EMPTY = SignatureFile({}, {}, ())


def load(path: Path) -> SignatureFile:
    """Open a file that `save` wrote.

    Raises:
        ArtifactError: there is none, it is something else, or it was changed since.
    """
    try:
        content = orjson.loads(path.read_bytes())
        stated = content.pop("sha256")
        if (content["kind"], content["version"]) != (KIND, VERSION):
            raise ArtifactError(f"{path} is no file of signatures of version {VERSION}; import them again")
        if stated != _digest(content):
            raise ArtifactError(f"{path} was changed since it was written; import the signatures again")
        return SignatureFile(
            functions=_table(content["functions"]),
            events=_table(content["events"]),
            sources=tuple(Source(**each) for each in content["sources"]),
        )
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read ({error.strerror}); make it with `blockscan signatures import`"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} is no file of signatures; import them again") from error


def _table(content: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {code: tuple(texts) for code, texts in content.items()}


def save(path: Path, file: SignatureFile) -> None:
    """Write the whole file, or leave the old one as it is.

    Raises:
        ArtifactError: it cannot be written.
    """
    content: dict[str, Any] = {"kind": KIND, "version": VERSION}
    content |= {"functions": dict(file.functions), "events": dict(file.events)}
    content["sources"] = [asdict(source) for source in file.sources]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, orjson.dumps(content | {"sha256": _digest(content)}, option=_STYLE))
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written ({error.strerror}); nothing was imported") from error


def add(
    file: SignatureFile, candidates: Iterable[Candidate], *, name: str, sha256: str, date: str
) -> tuple[SignatureFile, tuple[str, ...]]:
    """The file with the candidates of one source added, and the first hundred rejected, one line each.

    A source that the file already has (the same SHA-256) changes nothing.
    """
    if any(source.sha256 == sha256 for source in file.sources):
        return file, ()
    functions, events = dict(file.functions), dict(file.events)
    added = known = rejected = 0
    lines: list[str] = []
    for candidate in candidates:
        try:
            places = _places(candidate)
        except ParseError as error:
            rejected += 1
            if len(lines) < _LINES:
                lines.append(f"{name}: {error}")
            continue
        for code in places:
            table = functions if len(code) == _SELECTOR_DIGITS else events
            before = table.get(code, ())
            if candidate.text in before:
                known += 1
            else:
                added += 1
                table[code] = (*before, candidate.text)
    source = Source(name, sha256, date, added, known, rejected)
    return SignatureFile(functions, events, (*file.sources, source)), tuple(lines)


def _places(candidate: Candidate) -> list[str]:
    """The selector and topic under which a candidate is filed.

    Raises:
        ParseError: not a canonical signature, or not the one of the selector or topic that is stated.
    """
    indexed = parse_signature(candidate.text).indexed
    codes = [selector_of(candidate.text), topic_of(candidate.text)]
    if candidate.stated:
        codes = [code for code in codes if code == candidate.stated]
        if not codes:
            raise ParseError(f"{candidate.text!r} does not hash to 0x{candidate.stated}")
    if candidate.kind == "function" and any(indexed):
        raise ParseError(f"{candidate.text!r}: a function has no indexed parameters")
    digits = {"function": _SELECTOR_DIGITS, "event": _TOPIC_DIGITS}.get(candidate.kind)
    return [code for code in codes if digits is None or len(code) == digits]


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
