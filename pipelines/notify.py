"""Alerts leave the machine: each is told to a webhook as it is raised, and what corrects it.

It reads the store beside whoever scores into it and holds no lock while it sends, so that a slow or failing
receiver delays nobody. A status of 2xx is taken for delivered. No answer, 408, 429 and 5xx are tried again,
after the other alerts; all else is refused: set aside, said, and sent again only if asked for. No alert is in
the way of others: those raised meanwhile are tried at the next look, no sooner than the receiver asked for.
See docs/notify.md for those who receive.
"""

import json
import logging
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from blockscan.chains.limits import backoff
from blockscan.errors import ReceiverError, StoreError
from blockscan.file_lock import hold
from blockscan.findings import Alert
from blockscan.safetext import safe_text
from blockscan.store import ScoreStore, Search
from blockscan.store_notices import Notice, Outbox
from pipelines.render import alert_facts, p_text
from pipelines.webhook import Answer, NoAnswer

log = logging.getLogger("blockscan.notify")

TOGETHER = 20
"""Notices that are sent before what was raised meanwhile is looked for."""
ATTEMPTS = 5
"""Failures in a row after which a run that does not follow gives up."""
PAUSE = 1.0
"""Seconds before the second attempt, doubled for each further one; see blockscan.chains.limits.backoff."""
_STEEPEST = 10
_PASSING = (408, 429)
_LONGEST = 400
_HEADINGS = {
    "raised": "{} alert",
    "orphaned": "withdrawn, its block left the chain: {} alert",
    "restored": "on the chain again: {} alert",
}
# Of what is left no chat makes a link, a mention, an entity, mark-up or a picture: URLs need a slash, domains
# a dot before a letter, emoji names a colon before one, and italics an underscore at the edge of a word.
_MARKUP = re.compile(r"[^\w ,;:=+%()'…·.-]|\.(?!\d|\s|$)|:(?!\s|$)|(?<![^\W_])_|_(?![^\W_])")

Send = Callable[[bytes, str], Answer]
"""Sends a body under an idempotency key once; raises NoAnswer."""
Wait = Callable[[float], bool]
"""Waits for some seconds; True where it is time to end."""


def message(notice: Notice, alert: Alert, lapsed: Collection[str]) -> dict[str, Any]:
    """What is told of an alert: the facts of `blockscan alerts --json`, the event, and a line for a chat."""
    line = _line(notice, alert, lapsed=alert.unique_key in lapsed)
    facts = {"event": notice.event, **alert_facts(alert, lapsed), "text": line}
    return {
        name: safe_text(fact, limit=_LONGEST) if isinstance(fact, str) else fact
        for name, fact in facts.items()
    }


def _line(notice: Notice, alert: Alert, *, lapsed: bool) -> str:
    score = alert.score
    known = [alert.status] * (alert.status not in ("open", notice.event)) + ["lapsed"] * lapsed
    heading = _HEADINGS[notice.event].format(alert.severity) + (f" ({', '.join(known)})" if known else "")
    where = score.chain if score.block_number is None else f"{score.chain} block {score.block_number:,}"
    line = f"{heading}: {where}, p {p_text(score.p_value)}, transaction {score.tx_hash}: {score.reason}"
    return _MARKUP.sub("·", safe_text(line, limit=_LONGEST))


def begin(outbox: Outbox, severities: Collection[str], *, everything: bool, refused: bool) -> None:
    """Decide what a run is to send besides what comes; a new receiver gets none of the alerts of before.

    Args:
        outbox: of the receiver.
        severities: of the alerts to tell of.
        everything: also those that were left out until now, and for a new receiver all that there are.
        refused: also what the receiver has refused.
    """
    left_out = 0 if outbox.begun else outbox.begin(everything=everything)
    if left_out:
        log.warning("a new receiver: %s alerts of before are left out; --all sends them", f"{left_out:,}")
    outbox.put(outbox.plan(severities, everything=everything, refused=refused))


def preview(
    outbox: Outbox, store: ScoreStore, severities: Collection[str], *, everything: bool, refused: bool
) -> list[dict[str, Any]]:
    """What a run would send at first, read and not written; see `begin`."""
    planned = outbox.plan(severities, everything=everything, refused=refused)
    if not (outbox.begun or everything):
        planned = []
    waiting = [each for each in planned if each.state == "waiting"]
    return [_message_of(each, store) for each in (*outbox.waiting(limit=sys.maxsize), *waiting)]


def run(
    outbox: Outbox,
    store: ScoreStore,
    send: Send,
    severities: Collection[str],
    *,
    poll: float | None = None,
    wait: Wait,
) -> Counter[str]:
    """Send what is to be sent, until nothing is left or, with `poll`, until `wait` says so; what came of it.

    Args:
        outbox: of a receiver that has begun.
        store: the same store.
        send: delivers one body.
        severities: of the alerts to tell of.
        poll: seconds between looks at the store; None ends when nothing is left.
        wait: waits for some seconds; True where it is time to end.

    Raises:
        ReceiverError: without `poll`, the receiver took nothing in ATTEMPTS attempts; or before it took
            anything, from `send`. What is left waits.
        StoreError: the store cannot be read or written.
    """
    counts, failures, jitter = Counter[str](), 0, random.Random()
    while True:
        outbox.put(outbox.plan(severities))
        waiting = outbox.waiting(limit=TOGETHER)
        if not waiting and poll is None:
            return counts
        if waiting:
            outbox.sending()
        pause = turn = 0.0 if len(waiting) == TOGETHER else poll or 0.0
        for notice in waiting:
            # A receiver that took something was set up well: it is the name server that errs for a while.
            settled, after = _tell(notice, store, send, patient=poll is not None and counts["sent"] > 0)
            outbox.put([settled])
            if settled.state == "waiting":
                failures += 1
                pause = backoff(min(failures, _STEEPEST), PAUSE, after, jitter)
                turn = max(poll, after) if poll else pause
                break
            failures = 0
            counts[settled.state] += 1
            if wait(0.0):
                return counts
        if failures == ATTEMPTS and poll is None:
            left = outbox.counts()["waiting"]
            raise ReceiverError(
                f"the receiver took nothing in {ATTEMPTS} attempts, see above; {left:,} alerts wait in the "
                "store: run the same command again"
            )
        if _rest(pause, turn, wait, lambda: _news(outbox, severities)):
            return counts


def _rest(pause: float, turn: float, wait: Wait, news: Callable[[], bool]) -> bool:
    """Wait for some seconds, or until there is news after a turn of so many; True where it is time to end."""
    while not wait(min(pause, turn)):
        pause -= turn
        if pause <= 0.0 or news():
            return False
    return True


def _news(outbox: Outbox, severities: Collection[str]) -> bool:
    """Whether there is something to tell that was not decided on."""
    return any(notice.state == "waiting" for notice in outbox.plan(severities))


def _tell(notice: Notice, store: ScoreStore, send: Send, *, patient: bool) -> tuple[Notice, float]:
    """Send one notice once: it settled, or still waiting, and the seconds that the receiver asks to wait.

    Raises:
        ReceiverError: the receiver is none to be sent to, unless `patient`.
    """
    name = safe_text(f"{notice.event}: {notice.unique_key}", limit=_LONGEST)
    key = f"{notice.unique_key}:{notice.event}:{notice.number}"
    try:
        answer = send(json.dumps(_message_of(notice, store)).encode(), key)
    except (NoAnswer, ReceiverError) as failure:
        if isinstance(failure, ReceiverError) and not patient:
            raise
        passing, said, after = True, str(failure), 0.0
    except StoreError as error:  # one damaged row is in nobody's way
        log.error("%s cannot be sent: %s", name, safe_text(str(error), limit=_LONGEST))
        return replace(notice, state="refused"), 0.0
    else:
        passing = answer.status in _PASSING or answer.status >= 500
        said, after = f"HTTP status {answer.status}", answer.after
    if passing:
        log.warning("%s was not taken: %s; it is tried again", name, said)
        return replace(notice, tries=notice.tries + 1), after
    if 200 <= answer.status < 300:
        log.info("%s was sent", name)
        return replace(notice, state="sent"), 0.0
    log.error("%s was REFUSED: %s; --refused sends it again", name, said)
    return replace(notice, state="refused"), 0.0


def _message_of(notice: Notice, store: ScoreStore) -> dict[str, Any]:
    key = notice.unique_key
    return message(notice, store.alerts(Search(unique_key=key), limit=1)[0], store.lapsed([key]))


@contextmanager
def alone(outbox: Outbox, receiver: str) -> Iterator[None]:
    """Only one process at a time tells a receiver: two would each send what the other is sending.

    Raises:
        ReceiverError: another one is at work.
    """
    store = outbox.path.resolve()  # by whatever link it was given
    path = store.with_name(f"{store.name}-notify-{receiver}.lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ReceiverError(f"{path} cannot be opened: {error.strerror}; check its permissions") from error
    try:
        try:
            hold(descriptor)
        except BlockingIOError as error:
            raise ReceiverError(
                f"another notify is at work for the receiver {receiver!r} of {outbox.path}; wait for it, "
                "or give another --receiver"
            ) from error
        yield
    finally:
        os.close(descriptor)
