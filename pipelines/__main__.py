"""Where a process of the command line begins and ends: `blockscan`, or `python -m pipelines`.

Standard output and error are made ready before anything else is imported: neither an early Ctrl-C nor a
terminal without UTF-8, a full disk or a closed descriptor behind them ends in a traceback.
"""

import errno
import io
import os
import sys
from pathlib import Path
from typing import NoReturn, TextIO


def main() -> NoReturn:
    """Run one command and end the process."""
    sys.stdout, sys.stderr = _ready(sys.stdout), _ready(sys.stderr)
    try:
        from pipelines.cli import app

        try:
            app()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        _end("interrupted before it began", 130)
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO, errno.EPIPE):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer must not fail once more
        if error.errno == errno.EPIPE:  # whoever read it has seen enough
            sys.exit(1)
        _end(f"the output cannot be written: {error.strerror}", 1)
    sys.exit(0)


def _ready(stream: TextIO | None) -> TextIO:
    """A stream that takes every character; nowhere, if its descriptor was closed."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _end(message: str, status: int) -> NoReturn:
    sys.stderr.write(f"blockscan: {message}\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
