"""The command that forgets what is old in a store; `pipelines.cli` adds it."""

from typing import Annotated

import typer

from blockscan.chains.networks import canonical
from pipelines.options import AsJson, DryRun, StoreOption


def prune(
    store: StoreOption,
    older_than: Annotated[
        str,
        typer.Option(
            metavar="SPAN",
            help="90m, 12h, 30d or 8w before the newest transaction of the same chain in the store, not "
            "before now. At least 4m: so far back scoring looks.",
        ),
    ],
    chain: Annotated[str | None, typer.Option(help="Only this chain.")] = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Forget old transactions that never raised an alert, with their call trees. Run it again to go on.

    Transactions with an alert stay, whatever became of it, and so do the last 1,000 of each chain and what
    has no time. It works beside `watch`, `notify` and the dashboard. The space goes back to the system; of a
    store begun by an earlier BlockScan it stays in the file, for what comes.

    Examples:

        blockscan prune --store scores.sqlite --older-than 30d --dry-run

        blockscan prune --store scores.sqlite --older-than 8w --chain base --json
    """
    from pipelines import prune as step
    from pipelines.render import pairs, print_json, to_stdout

    seconds = step.seconds_of(older_than)
    facts = step.prune(store, seconds, chain=chain and canonical(chain), dry_run=dry_run)
    if as_json:
        print_json({name.replace(" ", "_"): value for name, value in facts.items()})
    else:
        to_stdout(pairs(facts, "Would forget" if dry_run else "Pruned"))
