"""A finished directory: its files, and a manifest.json that says what they are and hashes every one.

Artifacts (tokenizer, checkpoint, calibration) are immutable: written under a temporary name, renamed
when complete, checked when opened. Only JSON, safetensors, Parquet and NumPy files go in; never pickle.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blockscan.errors import ArtifactError

MANIFEST = "manifest.json"
VERSION = 1
_MADE_BY = {
    "tokenizer": "`blockscan tokenizer fit`",
    "checkpoint": "`blockscan pretrain`",
    "history": "`blockscan pretrain`",
    "calibration": "`blockscan calibrate`",
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an artifact is. `files` maps names to SHA-256; `parents` maps roles to fingerprints."""

    kind: str
    version: int
    config: dict[str, Any]
    parents: dict[str, str]
    files: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the whole manifest, hence over every file: equal exactly for equal artifacts."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def require_empty(path: Path) -> None:
    """Refuse an output directory that already holds something.

    Raises:
        ArtifactError: the path is a file, or a directory with files in it.
    """
    if path.is_file():
        raise ArtifactError(f"{path} is a file; give a directory that is new or empty as output")
    if path.is_dir() and any(path.iterdir()):
        raise ArtifactError(f"{path} is not empty; give a new directory, or remove this one first")


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """Yield where to make a directory and fill it; on success it gets the name `path`, else it goes.

    Raises:
        ArtifactError: `path` already holds something.
        OSError: the disk refused.
    """
    require_empty(path)
    draft = path.with_name(f".{path.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        yield draft
        if path.is_dir():
            path.rmdir()
        draft.rename(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def create(path: Path, kind: str, *, config: Mapping[str, Any], parents: Mapping[str, str]) -> Iterator[Path]:
    """Yield a temporary directory to fill; on success it gets its manifest and the name `path`.

    Raises:
        ArtifactError: `path` already holds something, or the disk refused (full, read-only).
    """
    try:
        with drafted(path) as draft:
            draft.mkdir(parents=True)
            yield draft
            files = {entry.name: file_sha256(entry) for entry in sorted(draft.iterdir())}
            manifest = Manifest(kind, VERSION, dict(config), dict(parents), files)
            (draft / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise ArtifactError(
            f"cannot write the {kind} {path}: {error}; free some space or give another directory, "
            "and run the same command again"
        ) from error


def sync(path: Path) -> None:
    """Wait until a file's bytes are on the disk, or a directory's names where its file system can tell.

    Raises:
        OSError: the disk refused a file.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError) if path.is_dir() else nullcontext():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name first: it is there whole, or what was there before.

    The name is this call's own: of two processes that write one file, the later one's is there, whole.
    What cannot be replaced is written to: /dev/stdout, a pipe, a file whose directory takes no other.

    Raises:
        OSError: the disk refused.
    """
    fixed = path.is_file() and os.access(path, os.W_OK) and not os.access(path.parent, os.W_OK)
    if fixed or path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(content)
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.draft")
    try:
        with draft.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def read_manifest(path: Path, kind: str) -> Manifest:
    """Read an artifact's manifest and check its kind, its version and the hash of every file.

    Raises:
        ArtifactError: there is none, it is of another kind, or a file is missing, changed or unreadable.
    """
    try:
        manifest = Manifest(**json.loads((path / MANIFEST).read_text(encoding="utf-8")))
        _check_types(manifest)
    except OSError as error:
        raise ArtifactError(
            f"{path} holds no {kind}: {MANIFEST} cannot be read ({error.strerror}); run "
            f"{_MADE_BY.get(kind, 'what makes it')} first, or give another directory"
        ) from error
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{path / MANIFEST} is damaged: {error}; make the {kind} again") from error
    if manifest.kind != kind:
        raise ArtifactError(f"{path} holds a {manifest.kind}, where a {kind} is needed")
    if manifest.version != VERSION:
        raise ArtifactError(f"{path} was written in format {manifest.version}; this program reads {VERSION}")
    for name, digest in manifest.files.items():
        if "/" in name or _digest(path / name) != digest:
            raise ArtifactError(
                f"{path / name} is missing or was changed since it was made; make the {kind} again"
            )
    return manifest


def _digest(path: Path) -> str | None:
    """SHA-256 of a file; None where there is none."""
    try:
        return file_sha256(path) if path.is_file() else None
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read ({error.strerror}); let this user read it, or check the disk"
        ) from error


def _check_types(manifest: Manifest) -> None:
    if not all(isinstance(each, dict) for each in (manifest.config, manifest.parents, manifest.files)):
        raise TypeError("config, parents and files must be objects")
    texts = (manifest.kind, *manifest.parents.values(), *manifest.files.values())
    if not all(isinstance(each, str) for each in texts):
        raise TypeError("its kind, parents and hashes must be texts")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
