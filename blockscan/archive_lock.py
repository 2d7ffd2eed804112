"""One writer at a time: two that fill one archive would each store what the other has just stored."""

import os
import weakref
from pathlib import Path

from blockscan.archive_parts import PartInfo
from blockscan.errors import ArtifactError
from blockscan.file_lock import hold

LOCK = ".lock"
"""An empty file in the archive."""


class WriterLock:
    """The right to write an archive, held by this process for as long as somebody in it keeps this object.

    `parts` is what the archive holds, sorted by path, once it has been listed: as nobody else writes, it need
    not be listed again. Where the file system has no locks (`alone` is False), it must.
    """

    def __init__(self, path: Path) -> None:
        """Take the right; see `writer_lock`."""
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        weakref.finalize(self, os.close, descriptor)
        self.parts: list[tuple[Path, PartInfo]] | None = None
        try:
            self.alone = hold(descriptor)
        except BlockingIOError as error:
            raise ArtifactError(
                f"another process is writing the archive {path}; wait for its end (a watch has "
                "none: stop it), or give another --out"
            ) from error


_held: "weakref.WeakValueDictionary[Path, WriterLock]" = weakref.WeakValueDictionary()


def writer_lock(path: Path) -> WriterLock:
    """The lock of the archive at `path`, the same one for everybody in this process.

    Raises:
        ArtifactError: another process holds it.
        OSError: the lock file cannot be made.
    """
    where = path.resolve()
    lock = _held.get(where)
    if lock is None:
        lock = _held[where] = WriterLock(path)
    return lock
