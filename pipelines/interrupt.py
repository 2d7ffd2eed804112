"""Ctrl-C and SIGTERM (Slurm, Kubernetes, systemd) end a run between two steps, so that its state is whole."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = signal.SIGINT, signal.SIGTERM
NOTE = b"\nstopping after this step, to save the state; once more stops at once and loses it\n"


@contextmanager
def interruptible(*, alone: bool, note: bytes = NOTE) -> Iterator[Callable[[], bool]]:
    """A function that tells whether the process was asked to end; the second such signal acts as ever.

    A signal that is ignored (in the background of a shell script) stays so.

    Args:
        alone: processes of a group must save together, and signals reach them at different steps: there, and
            outside the main thread, which alone gets signals, nothing changes.
        note: what is said on stderr when the first such signal comes.
    """
    if not alone or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: each for number, each in handlers.items() if each not in (None, signal.SIG_IGN)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, _frame: FrameType | None) -> None:
        restore()
        asked.append(number)
        with suppress(OSError):
            os.write(2, note)  # sys.stderr may be in the middle of a write

    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        restore()
