"""What others export of address labels -> labels: CSV, JSON and JSON lines, Etherscan-like or Forta's.

Read are: tables with a column of addresses and one of names (and, where known, source, date, confidence,
chain); objects with the same fields; objects keyed by address; and Forta's labels (entity, entityType, label,
confidence, remove, createdAt, source), alone, inside of findings or of API answers.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from blockscan.chains.base58 import read_key
from blockscan.chains.decode import decode
from blockscan.chains.ethereum import chain_name
from blockscan.errors import ArtifactError, ParseError
from blockscan.safetext import safe_text
from blockscan.store_labels import Label

_EVM = re.compile(r"0[xX][0-9a-fA-F]{40}")
_ADDRESS_NAMES = ("address", "entity", "account", "contract address", "contract_address")
_LABEL_NAMES = ("name", "label", "name tag", "nametag", "name_tag", "tag", "entity_name")
_DATE_NAMES = ("date", "createdat", "created_at", "updated_at", "timestamp")
_LONGEST_NAME, _LONGEST_SOURCE = 200, 200
_LONGEST_CHAIN_ID = 19
"""Digits; ids are below 2^63 (EIP-2294)."""
_LARGEST = 512 * 1024 * 1024
_MILLISECONDS_FROM = 10**11


@dataclass(frozen=True, slots=True)
class Defaults:
    """What an import says of labels whose export does not."""

    source: str
    date: str
    confidence: float | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One label of an export; `withdrawn` where its source took it back."""

    label: Label
    withdrawn: bool


def entries_of(path: Path, defaults: Defaults) -> Iterator[Entry | str]:
    """Every label of an export, or one line on what is wrong with it.

    Raises:
        ArtifactError: the file cannot be read, or is neither CSV with a header nor JSON.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ArtifactError(f"labels {path}: above {_LARGEST:,} bytes; split the file")
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise ArtifactError(f"labels {path} cannot be read ({error.strerror})") from error
    rows = _objects(content, path) if content.lstrip()[:1] in (b"{", b"[") else _lines(content, path)
    for where, row in rows:
        try:
            entry = _entry(row, defaults)
        except ParseError as error:
            yield f"{where}: {error}"
            continue
        if entry is not None:
            yield entry


def _lines(content: bytes, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        table = csv.reader(content.decode("utf-8").splitlines(keepends=True), strict=True)
        header = [cell.strip().lower() for cell in next(table, [])]
        if not _first(dict.fromkeys(header, "x"), _ADDRESS_NAMES) or not _first(
            dict.fromkeys(header, "x"), _LABEL_NAMES
        ):
            found = safe_text(", ".join(header)) or "nothing"
            raise ArtifactError(f"labels {path}: columns address and name are needed, found {found}")
        for cells in table:
            if any(cell.strip() for cell in cells):
                where = f"{path.name}:{table.line_num}"
                yield where, dict(zip(header, (cell.strip() for cell in cells), strict=False))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ArtifactError(f"labels {path} are no UTF-8 CSV file: {error}") from error


def _objects(content: bytes, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every object of a document that names an address, with what stands around a Forta label."""
    try:
        documents = [decode(content)]
    except ParseError as whole:
        try:
            documents = [decode(line) for line in content.splitlines() if line.strip()]
        except ParseError:
            raise ArtifactError(f"labels {path} are no JSON: {whole}") from whole
    count = 0
    pending: list[Any] = documents[::-1]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += reversed(value)
        elif isinstance(value, Mapping):
            rows, inner = _rows_in(value)
            for row in rows:
                count += 1
                yield f"{path.name} label {count}", row
            pending += reversed(inner)


def _rows_in(value: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], list[Any]]:
    """The labels that an object is or holds by address, and what is to be looked at further."""
    lower = {str(key).lower(): item for key, item in value.items()}
    inside = lower.get("label")
    if isinstance(inside, Mapping):
        return [{str(key).lower(): item for key, item in inside.items()} | _around(lower)], []
    if _first(lower, _ADDRESS_NAMES):
        return [lower], []
    by_address = [_keyed(str(key), item) for key, item in value.items() if _EVM.fullmatch(str(key))]
    return by_address, [] if by_address else list(value.values())


def _around(outer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: outer[name] for name in ("createdat", "source", "chainid") if name in outer}


def _keyed(address: str, item: Any) -> Mapping[str, Any]:
    """An object keyed by address holds a name, or fields."""
    fields = {str(key).lower(): cell for key, cell in item.items()} if isinstance(item, Mapping) else {}
    if not fields:
        fields = {"name": item}
    tags = fields.get("labels")
    if not _first(fields, _LABEL_NAMES) and isinstance(tags, list):
        fields["name"] = ", ".join(map(str, tags))
    return fields | {"address": address}


def _entry(row: Mapping[str, Any], defaults: Defaults) -> Entry | None:
    """A row as a label; None for labels of other things than addresses."""
    if str(row.get("entitytype", "address")).lower() not in ("address", "1"):
        return None
    name = safe_text(str(_first(row, _LABEL_NAMES)), limit=_LONGEST_NAME)
    if not name:
        raise ParseError("no name")
    label = Label(
        address=_address(str(_first(row, _ADDRESS_NAMES))),
        name=name,
        source=_source(row.get("source")) or defaults.source,
        date=_date(_first(row, _DATE_NAMES)) or defaults.date,
        confidence=_confidence(row.get("confidence"), defaults.confidence),
        chain=_chain(row),
    )
    return Entry(label, withdrawn=str(row.get("remove", "")).lower() in ("true", "1"))


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "")), "")


def _address(text: str) -> str:
    # Forta writes an address on a chain, or a part of a transaction, behind a comma.
    first = text.strip().split(",")[0]
    if _EVM.fullmatch(first):
        return first.lower()
    try:
        return read_key(first)
    except ParseError as error:
        raise ParseError(f"not an address: {safe_text(text, limit=80)!r}") from error


def _source(value: Any) -> str:
    """A source's name; of Forta's objects the bot."""
    while isinstance(value, Mapping):
        value = value.get("bot") or value.get("id") or value.get("name")
    return safe_text(str(value), limit=_LONGEST_SOURCE) if value else ""


def _date(value: Any) -> str:
    """A day, from ISO 8601 text or Unix seconds or milliseconds."""
    if value == "":
        return ""
    try:
        if isinstance(value, int | float) or str(value).isdecimal():
            seconds = int(value)
            seconds = seconds // 1000 if seconds >= _MILLISECONDS_FROM else seconds
            return datetime.fromtimestamp(seconds, UTC).date().isoformat()
        return date.fromisoformat(str(value)[:10]).isoformat()
    except (ValueError, OverflowError, OSError) as error:
        raise ParseError(f"not a date (YYYY-MM-DD): {safe_text(str(value), limit=40)!r}") from error


def _confidence(value: Any, otherwise: float | None) -> float | None:
    if value in (None, ""):
        return otherwise
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number <= 1:
        raise ParseError(f"the confidence is {safe_text(str(value), limit=40)!r}, not from 0 to 1")
    return number


def _chain(row: Mapping[str, Any]) -> str:
    given = str(row.get("chain") or row.get("chainid") or row.get("chain_id") or "").strip().lower()
    if not given.isdecimal():
        return safe_text(given, limit=40)
    if len(given) > _LONGEST_CHAIN_ID:
        raise ParseError(f"not a chain id: {safe_text(given, limit=40)!r}")
    return chain_name(int(given))
