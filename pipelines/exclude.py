"""Lists of transactions that nothing may learn from, such as known attacks."""

import csv
from pathlib import Path

from blockscan.errors import ConfigError
from blockscan.safetext import safe_text
from pipelines.labels import HASH, hash_key


def hashes_of(path: Path | None) -> frozenset[str]:
    """The transaction hashes of a file, each as its `hash_key`: one a line, or the column tx_hash of a CSV.

    What follows a # is a comment.

    Raises:
        ConfigError: unreadable, or a line without a hash: what it names would be learnt from as benign.
    """
    if path is None:
        return frozenset()
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream, strict=True)
            numbered = [(rows.line_num, [cell.partition("#")[0].strip() for cell in row]) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read the hashes to exclude from {path}: {error}") from error
    filled = [(line, cells) for line, cells in numbered if any(cells)]
    names = [cell.lower() for cell in filled[0][1]] if filled else []
    headed = "tx_hash" in names
    column = names.index("tx_hash") if headed else 0
    found: set[str] = set()
    for line, cells in filled[headed:]:
        given = cells[column] if column < len(cells) else ""
        if not HASH.fullmatch(hash_key(given)):
            raise ConfigError(
                f"{path} line {line}: '{safe_text(given)}' is no transaction hash to exclude; give one a "
                "line (hexadecimal, base58, or a record's name), or a CSV with a column tx_hash"
            )
        found.add(hash_key(given))
    return frozenset(found)
