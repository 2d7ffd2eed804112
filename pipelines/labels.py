"""The labels side file: evaluation reads it, and nothing that trains, calibrates or scores."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from blockscan.errors import ConfigError
from blockscan.safetext import safe_text

LABELS = ("benign", "attack", "grey")
COLUMNS = ("tx_hash", "label", "stage", "family", "incident", "kind", "hard_benign", "tier")
"""What the simulator writes; of these only the first two are needed."""
_OPTIONAL = (*COLUMNS[2:], "source")
HASH = re.compile(r"0[xX](?![0-9a-fA-F]{40}$)[0-9a-fA-F]+|[1-9A-HJ-NP-Za-km-z]{80,90}|[^\s:/]+:[^\s/]+")
"""Of an EVM chain (40 digits are an address), Solana's base58 of 64 bytes, or a record's name, as poc:bec."""
_BARE = re.compile("[0-9a-fA-F]{64}")
"""A hash of an EVM chain as some tables write it, without its 0x; a Solana signature is longer."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a person says a transaction was; empty strings where the file does not say.

    label: benign, attack or grey (neither; never evaluated). stage: of an attack, "exploit" or a step
    around it. family: sort of attack. incident: groups the transactions of one attack. kind: sort of
    benign transaction. hard_benign: the kind again where it is known to look like an attack. tier: how much
    of the attack one trace shows (structural, mimicry, context). source: who says so.
    """

    label: str
    stage: str = ""
    family: str = ""
    incident: str = ""
    kind: str = ""
    hard_benign: str = ""
    tier: str = ""
    source: str = ""


def hash_key(tx_hash: str) -> str:
    """The hash as it is compared: hexadecimal in either case, with 0x or without; base58 as it stands."""
    stripped = tx_hash.strip()
    if _BARE.fullmatch(stripped):
        return f"0x{stripped.lower()}"
    return stripped.lower() if stripped[:2].lower() == "0x" else stripped


def read_labels(path: Path) -> dict[str, Label]:
    """Labels by `hash_key`. The header names the columns; two bare columns need no header.

    Raises:
        ConfigError: unreadable, no such columns or one twice, or a line with an unknown label, without a
            hash (what it names would count as not labelled), or at odds with an earlier line; the message
            names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream, strict=True)
            # line_num first becomes right when its row has been read.
            numbered = [(row, rows.line_num) for row in rows if any(cell.strip() for cell in row)]
    except OSError as error:
        raise ConfigError(f"labels {path} cannot be read ({error.strerror})") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"labels {path} are not a UTF-8 CSV file: {error}") from error
    if not numbered:
        raise ConfigError(f"labels {path} are empty; give a CSV with columns {','.join(COLUMNS[:2])}")
    columns = _columns(numbered[0][0], path)
    labels: dict[str, Label] = {}
    for row, line in numbered[columns is not None :]:
        key, label = _label(row, columns or list(COLUMNS[:2]), where=f"{path} line {line}")
        if labels.setdefault(key, label) != label:
            raise ConfigError(f"{path} line {line}: {key} already has another label; keep one line of it")
    if not labels:
        raise ConfigError(f"labels {path} hold a header and no label")
    return labels


def _columns(first: list[str], path: Path) -> list[str] | None:
    """The header's columns, or None if the first line is already data."""
    names = [cell.strip().lower() for cell in first]
    if "tx_hash" in names and "label" in names:
        if twice := [name for name in (*COLUMNS[:2], *_OPTIONAL) if names.count(name) > 1]:
            raise ConfigError(f"labels {path} line 1: column {twice[0]} comes twice; keep one of them")
        return names
    if len(names) == 2 and names[1] in LABELS:
        return None
    raise ConfigError(
        f"labels {path} line 1: columns tx_hash and label are needed, found {safe_text(', '.join(names))}"
    )


def _label(row: list[str], columns: list[str], *, where: str) -> tuple[str, Label]:
    cells = dict(zip(columns, (cell.strip() for cell in row), strict=False))
    label = cells.get("label", "").lower()
    if label not in LABELS:
        raise ConfigError(
            f"{where}: unknown label '{safe_text(label)}'; one of {', '.join(LABELS)} is needed"
        )
    given = cells.get("tx_hash", "")
    key = hash_key(given)
    if not HASH.fullmatch(key):
        raise ConfigError(
            f"{where}: '{safe_text(given)}' is no transaction hash; give 0x and hexadecimal, or base58"
        )
    optional = {name: cells.get(name, "") for name in _OPTIONAL}
    return key, Label(label, **(optional | {"stage": optional["stage"].lower()}))
