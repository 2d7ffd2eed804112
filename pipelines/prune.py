"""Forget what is old in a store: at once for `blockscan prune`, a little at a time beside `watch`."""

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from blockscan import store_prune
from blockscan.detect.accounts import SECONDS
from blockscan.errors import ConfigError
from blockscan.findings_wording import utc
from blockscan.safetext import safe_text
from blockscan.store_db import Database, file_of
from pipelines.progress import progress

log = logging.getLogger("blockscan.watch")

EVERY = 3600.0
"""Seconds after which a watch that has forgotten all that was old begins again."""
SHARE = 0.1
"""How much of the time between two looks at the head it forgets for, where one step is not enough."""
_TURN = 0.12
"""Seconds between two steps: a writer who waits for the lock asks for it ten times a second."""
_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"([0-9]{1,5})([mhdw])")


def seconds_of(span: str) -> int:
    """The seconds of 90m, 12h, 30d or 8w.

    Raises:
        ConfigError: it is no such span, or shorter than what scoring looks back at.
    """
    match = _SPAN.fullmatch(span.strip())
    if match is None:
        raise ConfigError(f"{span[:99]!r} is not a span of time; write 90m, 12h, 30d or 8w")
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds < SECONDS:
        raise ConfigError(
            f"{span} is too short: scoring looks back at the last {SECONDS // 60} minutes; give 4m or more"
        )
    return seconds


def prune(store: Path, seconds: int, *, chain: str | None = None, dry_run: bool = False) -> dict[str, object]:
    """`blockscan prune`: forget what is older than `seconds` before the newest of its chain; the facts.

    Args:
        store: path or sqlite:/// URL.
        seconds: see `seconds_of`.
        chain: only this one.
        dry_run: count, and change nothing.

    Raises:
        ConfigError: the store has no scores of that chain.
        StoreError: no store, or it cannot be read or written.
    """
    counts, now = Counter[str](), int(time.time())
    with closing(opened(store, read_only=dry_run)) as db:
        chains = store_prune.chains_of(db)
        if chain is not None and chain not in chains:
            held = safe_text(", ".join(chains)) or "none at all"
            raise ConfigError(f"{store} has no scores of the chain {chain}; it has of {held}")
        for each in chains if chain is None else [chain]:
            counts["without a time"] += store_prune.count_timeless(db, each)
            begin = store_prune.begin_of(db, each, seconds, now=now)
            if begin is None:
                continue
            if dry_run:
                steps = iter([store_prune.count_old(db, each, begin)])
            else:
                steps = store_prune.forget(db, each, begin)
            with progress(f"forget {safe_text(each)}", None) as bar:
                for step in steps:
                    counts["forgotten"] += step.transactions
                    counts["kept for an alert"] += step.kept
                    bar.advance(step.transactions, f"up to {utc(step.until)}")
                    time.sleep(_TURN)
        if not dry_run:
            _give_back(db)
        size, free = store_prune.size_of(db)
    names = ("forgotten", "kept for an alert", "without a time")
    return {**{name: counts[name] for name in names}, "store bytes": size, "free bytes": free}


def beside(
    db: Database, chain: str, seconds: int, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Forget of a chain what gets old, for a moment with each `next`, so that no block has to wait.

    Raises:
        StoreError: disk full, or locked for long.
    """
    paused = resumed = clock()
    while True:
        began, forgotten = clock(), 0
        begin = store_prune.begin_of(db, chain, seconds, now=int(time.time()))
        for step in store_prune.forget(db, chain, begin) if begin is not None else ():
            forgotten += step.transactions
            if clock() - resumed >= SHARE * (resumed - paused):
                paused = clock()
                yield
                resumed = clock()
        if forgotten:
            size, free = store_prune.size_of(db)
            log.info(
                "forgot %s transactions from before %s; the store has %s MB, %s of them free for what comes",
                f"{forgotten:,}",
                utc(begin),
                f"{size / 1e6:,.0f}",
                f"{free / 1e6:,.0f}",
            )
        while True:
            paused = clock()
            yield
            resumed = clock()
            if resumed >= began + EVERY:
                break


def opened(store: Path, *, read_only: bool) -> Database:
    """A store that is there.

    Raises:
        StoreError: there is none, or it cannot be opened.
    """
    return Database(file_of(store, read_only=True), read_only=read_only)


def _give_back(db: Database) -> None:
    """Give the free pages to the system as far as the store can."""
    with progress("give space back", None) as bar:
        for left in store_prune.give_back(db):
            bar.advance(1, f"{left:,} pages left")
            time.sleep(_TURN)
