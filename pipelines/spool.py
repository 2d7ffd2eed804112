"""Encoded transactions on their way into training: in mapped files, once for all processes of a machine.

The files lose their names before anything is written: however a run ends, nothing of them is left (until then
NFS calls them .nfs and a number). The system holds of them what there is room for, and reads the rest when it
is asked for.
"""

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockscan.corpus import COLUMNS, ROW, TOKEN, Corpus
from blockscan.errors import ArtifactError
from pipelines.encode import Encoded
from pipelines.training.processes import World, first_here, machine

FILES = {"tokens": TOKEN, "rows": ROW, "names": np.dtype(np.uint8)}


def spooled(encode: Callable[[], Iterable[Encoded]], directory: Path, world: World) -> Corpus:
    """Transactions in time order, in files of `directory`: 24 bytes a token and about 120 a transaction.

    Args:
        encode: gives each transaction once, in any order; called in the first process of each machine.
        directory: may be new.
        world: the processes, all of which call this.

    Raises:
        ArtifactError: the disk refused (full, read-only, of a kind that cannot be mapped).
    """
    with ExitStack() as opened:
        files = _nameless(directory, world, opened)
        if first_here():
            _write(encode(), directory, *files)
        world.barrier()
        with _disk(directory):
            return Corpus(*[_mapped(file, kind) for file, kind in zip(files, FILES.values(), strict=True)])


def _nameless(directory: Path, world: World, opened: ExitStack) -> list[FileIO]:
    """Empty files that every process of this machine has open, and that end with the last of them."""
    drafts = [directory / f".corpus-{machine()}-{name}.draft" for name in FILES]
    with _disk(directory):
        directory.mkdir(parents=True, exist_ok=True)
        files = [opened.enter_context(FileIO(draft, "w+")) for draft in drafts]
        world.barrier()
        if first_here():
            for draft in drafts:  # in no folder of their own: NFS, where they get names, could not remove it
                draft.unlink()
    return files


def _write(encoded: Iterable[Encoded], directory: Path, tokens: FileIO, rows: FileIO, names: FileIO) -> None:
    """Tokens as they come; then what stayed in memory of each transaction, in time order."""
    facts, hashes, chains, end = array("q"), bytearray(), list[str](), 0
    for each in encoded:
        sequence, (*place, tx_hash, chain) = each.sequence, each.order
        tokens_T = np.zeros(len(sequence), TOKEN)
        for column in COLUMNS:
            tokens_T[column] = getattr(sequence, column)
        with _disk(directory):
            _append(tokens, tokens_T.tobytes())
        begin, end, name_begin = end, end + len(sequence), len(hashes)
        hashes += tx_hash.encode()
        facts.extend((*place, begin, end, name_begin, len(hashes)))
        chains.append(sys.intern(chain))
    rows_S = np.frombuffer(facts, ROW)

    def name(which: int) -> tuple[bytes, str]:
        *_, begin, end = rows_S[which].item()
        return bytes(hashes[begin:end]), chains[which]

    with _disk(directory):
        _append(rows, rows_S[_in_time_order(rows_S, name)].tobytes())
        _append(names, hashes)


def _in_time_order(rows_S: NDArray[np.void], name: Callable[[int], Any]) -> NDArray[np.int64]:
    """The rows as `time_order` sorts them; those of one place in time by name."""
    order_S = np.lexsort((rows_S["index"], rows_S["when"], rows_S["block"]))
    place_S = rows_S[["block", "when", "index"]][order_S]
    edges = np.flatnonzero(np.diff(place_S[1:] == place_S[:-1], prepend=False, append=False))
    for begin, last in edges.reshape(-1, 2):
        order_S[begin : last + 1] = sorted(order_S[begin : last + 1].tolist(), key=name)
    return order_S


def _append(file: FileIO, content: bytes | bytearray) -> None:
    left = memoryview(content)
    while left:  # a disk that fills up takes a part first
        left = left[file.write(left) :]


def _mapped(file: FileIO, kind: np.dtype[Any]) -> NDArray[Any]:
    """All of a file as an array that stays when the file is closed."""
    if not file.seek(0, 2):
        return np.empty(0, kind)
    return np.asarray(np.memmap(file, kind, mode="r"))


@contextmanager
def _disk(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArtifactError(
            f"cannot keep the encoded transactions in {directory}: {error.strerror}; free some space or "
            "take fewer blocks, and run the same command again"
        ) from error
