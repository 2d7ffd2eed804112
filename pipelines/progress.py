"""Progress bars for long work, on stderr, so that stdout stays data."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

console = Console(stderr=True, highlight=False)
"""Where people are told things; results that a program may read go to stdout."""

LINE_EVERY = 60.0  # seconds between the lines of long work where stderr is no terminal


class Bar:
    """One bar of a running display."""

    def __init__(self, bars: Progress, task: TaskID) -> None:
        """See `progress`."""
        self._bars = bars
        self._task = task
        self._told = time.monotonic()

    def advance(self, count: int, note: str = "") -> None:
        """Move on by `count` units; a note, if given, replaces the one beside the bar."""
        self._bars.advance(self._task, count)
        self._tell(note)

    def to(self, done: int, total: int, note: str = "") -> None:
        """Set the bar to `done` of `total` units; a note as in `advance`."""
        self._bars.update(self._task, completed=done, total=total)
        self._tell(note)

    def _tell(self, note: str) -> None:
        """Keep the note, and print a line now and then where no bar moves: in a log file, in a container."""
        if note:
            self._bars.update(self._task, note=note)
        if console.is_interactive or time.monotonic() - self._told < LINE_EVERY:
            return
        self._told = time.monotonic()
        task = self._bars.tasks[0]
        total = "" if task.total is None else f" of {task.total:,.0f}"
        parts = [f"{task.description} {task.completed:,.0f}{total}", f"{_clock(task.elapsed)} so far"]
        parts += [f"{_clock(task.time_remaining)} left"] if task.time_remaining is not None else []
        line = ", ".join(parts + [task.fields["note"]] * bool(task.fields["note"]))
        console.print(line, markup=False, soft_wrap=True)


def _clock(seconds: float | None) -> str:
    return str(timedelta(seconds=int(seconds or 0)))


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Bar]:
    """Show a bar for the work inside, which moves what is yielded.

    On a terminal the bar moves; elsewhere a line is written about every minute, and when the work ends.
    """
    whole, rest = Column(no_wrap=True), Column(ratio=1, no_wrap=True, overflow="ellipsis")
    columns = (
        TextColumn("{task.description:<18}", markup=False, table_column=whole),
        BarColumn(bar_width=12),
        MofNCompleteColumn(table_column=whole),
        TimeElapsedColumn(table_column=whole),
        TimeRemainingColumn(table_column=whole),
        TextColumn("{task.fields[note]}", markup=False, table_column=rest),  # only the note may be cut
    )
    with Progress(*columns, console=console, expand=True) as bars:
        yield Bar(bars, bars.add_task(what, total=total, note=""))


@contextmanager
def hushed() -> Iterator[None]:
    """Without progress bars: a log of blocks is no place for them."""
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before
