"""Bring in what others know: names of functions and events, labels of addresses."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blockscan.artifact import file_sha256, write_whole
from blockscan.chains.anchor import load_idl
from blockscan.chains.base58 import read_key
from blockscan.errors import ArtifactError, ConfigError
from blockscan.safetext import safe_text
from blockscan.store import open_store
from pipelines.label_exports import Defaults, Entry, entries_of
from pipelines.signature_exports import candidates_of
from tokenizer import signature_file


@dataclass(frozen=True, slots=True)
class SignaturesImported:
    """What an import of signatures did, and what the file holds now; `lines` are the first rejected."""

    added: int
    known: int
    rejected: int
    functions: int
    events: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelsImported:
    """What an import of labels did."""

    given: int
    changed: int
    withdrawn: int
    rejected: tuple[str, ...]


def import_idls(files: Sequence[Path], folder: Path, *, program: str | None) -> dict[str, int]:
    """Put Anchor IDLs into a model directory's folder, one file per program; on an error, none of them.

    Args:
        files: JSON files as `anchor build` or `anchor idl fetch` writes them.
        folder: `ModelDir.idls`.
        program: base58 address, for an IDL that does not say where its program is.

    Returns:
        Number of instructions by program address.

    Raises:
        ConfigError: an IDL names no program and `program` is not given, or it is given for several files.
        ParseError: a file is no IDL, or the address is none.
        ArtifactError: the folder cannot be written.
    """
    if program is not None and len(files) > 1:
        raise ConfigError("--program names one program; import one file at a time with it")
    found = {}
    for path in files:
        idl = load_idl(path)
        address = program or idl.address
        if address is None:
            raise ConfigError(f"{path} does not say where its program is; give --program ADDRESS")
        found[read_key(address, "--program")] = (path, len(idl.instructions))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for address, (path, _) in found.items():
            write_whole(folder / f"{address}.json", path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"cannot write {folder}: {error.strerror}; import again") from error
    return {address: count for address, (_, count) in found.items()}


def import_signatures(files: Sequence[Path], out: Path, *, date: str) -> SignaturesImported:
    """Add the signatures of exports to a file, new or existing; all files or, on an error, none.

    Args:
        files: 4byte or OpenChain exports, JSON ABIs, build artifacts.
        out: file of signatures.
        date: ISO 8601 day that is recorded with each source.

    Raises:
        ArtifactError: a file cannot be read or holds no signature, or `out` is something else.
        ParseError: a file of JSON is damaged.
    """
    before = signature_file.load(out) if out.exists() else signature_file.EMPTY
    held = before
    lines: list[str] = []
    for path in files:
        if not path.is_file():
            raise ArtifactError(f"no such file: {path}; nothing was imported")
        held, rejected = signature_file.add(
            held, candidates_of(path), name=path.name, sha256=file_sha256(path), date=date
        )
        lines += rejected
        latest = held.sources[-1]
        if not latest.added and not latest.known and latest not in before.sources:
            raise ArtifactError(f"{path} holds no signature that can be read; nothing was imported")
    if held != before:
        signature_file.save(out, held)
    new = held.sources[len(before.sources) :]
    return SignaturesImported(
        added=sum(source.added for source in new),
        known=sum(source.known for source in new),
        rejected=sum(source.rejected for source in new),
        functions=sum(map(len, held.functions.values())),
        events=sum(map(len, held.events.values())),
        lines=tuple(lines),
    )


def import_labels(
    files: Sequence[Path], store: Path, *, date: str, source: str | None, confidence: float | None
) -> LabelsImported:
    """Write the labels of exports into a store; importing the same again changes nothing.

    Args:
        files: CSV, JSON or JSON lines.
        store: result store, made where there is none.
        date: ISO 8601 day for labels without one.
        source: who says so, for labels without a source; else the file's name.
        confidence: from 0 to 1, for labels without one.

    Raises:
        ArtifactError: a file cannot be read or holds no label.
        StoreError: the store cannot be written; what was written before stays, so import again.
    """
    entries: list[Entry] = []
    rejected: list[str] = []
    for path in files:
        found = list(entries_of(path, Defaults(safe_text(source or path.name), date, confidence)))
        if not any(isinstance(each, Entry) for each in found):
            raise ArtifactError(f"{path} holds no label that can be read; nothing was imported")
        entries += [each for each in found if isinstance(each, Entry)]
        rejected += [each for each in found if isinstance(each, str)]
    with open_store(store) as results:
        written = results.put_labels(
            (each.label for each in entries if not each.withdrawn),
            withdrawn=[each.label for each in entries if each.withdrawn],
        )
    return LabelsImported(written.given, written.changed, written.withdrawn, tuple(rejected))
