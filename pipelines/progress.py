"""Progress bars for long work, on stderr, so that stdout stays data."""

from collections.abc import Iterator
from contextlib import contextmanager

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


class Bar:
    """One bar of a running display."""

    def __init__(self, bars: Progress, task: TaskID) -> None:
        """See `progress`."""
        self._bars = bars
        self._task = task

    def advance(self, count: int, note: str = "") -> None:
        """Move on by `count` units; a note, if given, replaces the one beside the bar."""
        self._bars.advance(self._task, count)
        if note:
            self._bars.update(self._task, note=note)

    def to(self, done: int, total: int) -> None:
        """Set the bar to `done` of `total` units."""
        self._bars.update(self._task, completed=done, total=total)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Bar]:
    """Show a bar for the work inside, which moves what is yielded.

    On a terminal the bar moves; elsewhere one line is written when the work ends.
    """
    whole, rest = Column(no_wrap=True), Column(ratio=1, no_wrap=True, overflow="ellipsis")
    columns = (
        TextColumn("{task.description:<24}", markup=False, table_column=whole),
        BarColumn(bar_width=12),
        MofNCompleteColumn(table_column=whole),
        TimeElapsedColumn(table_column=whole),
        TimeRemainingColumn(table_column=whole),
        TextColumn("{task.fields[note]}", markup=False, table_column=rest),  # only the note may be cut
    )
    with Progress(*columns, console=console, expand=True) as bars:
        yield Bar(bars, bars.add_task(what, total=total, note=""))
