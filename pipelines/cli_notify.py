"""The command that sends alerts to a webhook; `pipelines.cli` adds it."""

import os
import re
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer

from blockscan.errors import ConfigError, ReceiverError
from pipelines.options import AsJson, DryRun, StoreOption

_NAME = re.compile(r"[A-Za-z0-9-]{1,40}")
_NOTE = b"\nstopping after the request under way; once more stops at once, and it may be sent again\n"
_NAP = 0.2
"""Seconds within which a signal is heeded while nothing is to be done."""


class Severity(StrEnum):
    """How unusual an alert is, the most unusual first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


def notify(
    store: StoreOption,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until stopped, beside `watch`.")] = False,
    poll: Annotated[
        float, typer.Option(min=0.1, max=3600, help="With --follow, seconds between looks at the store.")
    ] = 2.0,
    min_severity: Annotated[Severity, typer.Option(help="Leave out alerts below this.")] = Severity.LOW,
    receiver: Annotated[
        str, typer.Option(help="Name by which the store remembers what was sent; give each receiver its own.")
    ] = "webhook",
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Send also what was left out until now: alerts of before the first run or below "
            "--min-severity.",
        ),
    ] = False,
    refused: Annotated[
        bool, typer.Option("--refused", help="Send again what the receiver has refused.")
    ] = False,
    allow_private: Annotated[
        bool,
        typer.Option("--allow-private", help="Permit a receiver on this machine or in a private network."),
    ] = False,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Send alerts to a webhook as they are raised, and what corrects them; docs/notify.md says what arrives.

    The receiver's URL is read from BLOCKSCAN_WEBHOOK_URL and never shown; with BLOCKSCAN_WEBHOOK_SECRET each
    request is signed. The first run leaves out the alerts that there are. The store remembers what was
    delivered: run it again to go on. Exit status 1 where alerts are refused or wait for a receiver that does
    not answer.

    Examples:

        blockscan notify --store scores.sqlite --follow

        blockscan notify --store scores.sqlite --receiver pager --min-severity critical --all --dry-run
    """
    import logging

    from blockscan.store import open_store
    from blockscan.store_notices import open_outbox
    from blockscan.store_schema import SEVERITIES
    from pipelines import notify as step
    from pipelines.interrupt import interruptible
    from pipelines.render import pairs, plain, print_json, to_stdout
    from pipelines.webhook import post, read_webhook

    if not _NAME.fullmatch(receiver):
        raise ConfigError("--receiver is a name of letters, digits and hyphens, 40 at most")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("blockscan").setLevel(logging.INFO)
    to = read_webhook(os.environ, allow_private=allow_private)
    wanted = SEVERITIES[: SEVERITIES.index(min_severity) + 1]
    with open_store(store, read_only=True) as results, open_outbox(store, receiver) as outbox:
        if dry_run:
            events = step.preview(outbox, results, wanted, everything=everything, refused=refused)
            if as_json:
                print_json({"would_send": events})
            else:
                to_stdout(plain(f"would send {len(events):,}:"))
                for each in events:
                    to_stdout(plain(each["text"]))
            return
        with step.alone(outbox, receiver), interruptible(alone=True, note=_NOTE) as asked:
            step.begin(outbox, wanted, everything=everything, refused=refused)
            done = step.run(
                outbox,
                results,
                lambda body, key: post(to, body, key, now=int(time.time())),
                wanted,
                poll=poll if follow else None,
                wait=_until(asked),
            )
            stopped = asked() and not follow
        left = outbox.counts().get("waiting", 0)
    facts: dict[str, object] = {"sent": done["sent"], "refused": done["refused"], "waiting": left}
    if as_json:
        print_json(facts)
    else:
        to_stdout(pairs(facts, "Notified"))
    if stopped:
        raise KeyboardInterrupt
    if done["refused"] and not follow:
        raise ReceiverError(
            f"the receiver refused {done['refused']:,} alerts, see above; mend what is wrong, then --refused"
        )


def _until(asked: Callable[[], bool]) -> Callable[[float], bool]:
    """A function that waits for some seconds, or until the process is asked to end: True in that case."""

    def wait(seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not asked() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _NAP))
        return asked()

    return wait
