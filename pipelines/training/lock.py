"""One training at a time in a model directory: two would overwrite each other's state."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blockscan.errors import ConfigError
from blockscan.file_lock import hold
from pipelines.training.processes import first_process


@contextmanager
def only_run(directory: Path) -> Iterator[None]:
    """Hold a directory, a new one too; a lock ends with its process and leaves no file.

    What was made for the lock and is still empty in the end is removed.

    Raises:
        ConfigError: another run holds it.
    """
    if not first_process():
        yield
        return
    new = [each for each in (directory, *directory.parents) if not each.exists()]
    with suppress(OSError):  # who writes there says what is wrong
        directory.mkdir(parents=True, exist_ok=True)
    if not directory.is_dir():
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            hold(descriptor)
        except BlockingIOError as error:
            raise ConfigError(
                f"another run is at work in {directory}; wait for it, or give another --model"
            ) from error
        try:
            yield
        finally:
            with suppress(OSError):  # not empty, as it should be
                for each in new:
                    each.rmdir()
    finally:
        os.close(descriptor)
