"""A History on disk: artifact of kind "history", its tallies in one safetensors file.

Array names say what they are: "edge/keys", "edge/before".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from blockscan import artifact
from blockscan.detect.history import KINDS, History
from blockscan.detect.tally import Sums, Tally
from blockscan.errors import ArtifactError

KIND = "history"
ARRAYS = "history.safetensors"


def save_history(history: History, path: Path, parents: Mapping[str, str] | None = None) -> None:
    """Write the artifact; equal histories give equal bytes.

    Raises:
        ArtifactError: `path` already holds something.
    """
    config = {"transactions": history.transactions, "until": dict(sorted(history.until.items()))}
    with artifact.create(path, KIND, config=config, parents=parents or {}) as draft:
        (draft / ARRAYS).write_bytes(_bytes(history))


def history_until(path: Path) -> dict[str, int]:
    """The last block by chain of a history, also of one whose counts this program cannot read.

    Raises:
        ArtifactError: it is missing, changed or of another kind.
    """
    return _until(artifact.read_manifest(path, KIND))


def load_history(path: Path) -> History:
    """Read the artifact back.

    Raises:
        ArtifactError: it is missing, changed or of another kind.
    """
    manifest = artifact.read_manifest(path, KIND)
    try:
        arrays = load_arrays((path / ARRAYS).read_bytes())
        tallies = {kind: Tally(arrays[f"{kind}/keys"], arrays[f"{kind}/before"]) for kind in KINDS}
        books = Sums(arrays["books/keys"], arrays["books/totals"])
        return History(tallies, int(manifest.config["transactions"]), _until(manifest), books)
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{path} is no history this program can read ({error!r:.120}); count it anew: "
            "blockscan recount ARCHIVE --model MODEL --out NEW"
        ) from error


def _until(manifest: artifact.Manifest) -> dict[str, int]:
    return {str(chain): int(block) for chain, block in manifest.config.get("until", {}).items()}


def _bytes(history: History) -> bytes:
    arrays: dict[str, NDArray[Any]] = {"books/keys": history.books.keys, "books/totals": history.books.totals}
    for kind, tally in history.tallies.items():
        arrays |= {f"{kind}/keys": tally.keys, f"{kind}/before": tally.before}
    return bytes(save_arrays(arrays))
