"""Progress bars for long work, on stderr, so that stdout stays data."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True, highlight=False)
"""Where people are told things; results a program may read go to stdout."""

Advance = Callable[[int], None]


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Advance]:
    """Show a bar for the work inside; call what is yielded with the number of units done.

    On a terminal the bar moves; elsewhere one line is written when the work ends.
    """
    columns = (
        TextColumn("{task.description:<34}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(what, total=total, note="")

        def advance(count: int, note: str = "") -> None:
            bars.update(task, advance=count, note=note)

        yield advance
