"""The commands that look at results: explain, evaluate, dashboard. `pipelines.cli` adds them to the app."""

import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from blockscan.chains.networks import canonical
from blockscan.errors import ConfigError
from pipelines.options import SEEDS, AsJson, Device, OnDevice, StoreOption


class Attribution(StrEnum):
    """Which gradients share a surprise among the values that were seen."""

    GRADIENT = "gradient"
    INTEGRATED = "integrated"
    SMOOTH = "smooth"


class Over(StrEnum):
    """Whose surprise is shared."""

    VALUE = "value"
    TRANSACTION = "transaction"


Store = Annotated[Path | None, typer.Option(help="Store that holds its score.")]
Source = Annotated[
    Path | None, typer.Option("--archive", "--source", help="Archive to score it from again, with --model.")
]
Model = Annotated[Path | None, typer.Option(help="Model directory, with --archive.")]
Everything = Annotated[bool, typer.Option("--all", help="Show every frame of the call tree.")]
Neighbours = Annotated[
    int,
    typer.Option("--nearest", min=0, max=50, help="Show so many earlier transactions that are most like it."),
]
Where = Annotated[
    str | None, typer.Option("--blocks", metavar="A:B", help="Blocks to look for them in, with --nearest.")
]
Without = Annotated[
    Path | None,
    typer.Option(
        "--exclude",
        help="File of hashes that are none of them: one per line, or a CSV with a column tx_hash.",
    ),
]
By = Annotated[
    Attribution | None,
    typer.Option(help="Show which values made the strongest one surprising, by these gradients."),
]


def explain(
    tx_hash: Annotated[str, typer.Argument(help="Transaction hash, or its first 8 hex digits or more.")],
    store: Store = None,
    chain: Annotated[str | None, typer.Option(help="Chain, where several have the hash.")] = None,
    source: Source = None,
    model: Model = None,
    nearest: Neighbours = 0,
    blocks: Where = None,
    exclude: Without = None,
    attribution: By = None,
    over: Annotated[Over, typer.Option(help="Whose surprise --attribution shares.")] = Over.VALUE,
    seed: Annotated[
        int, typer.Option(min=0, max=SEEDS, help="Seed of the noise of --attribution smooth.")
    ] = 0,
    everything: Everything = False,
    device: OnDevice = Device.AUTO,
    as_json: AsJson = False,
) -> None:
    """Show why a transaction was judged as it was: evidence, expectations, ranked calls, painted call tree.

    From an archive it is scored again, which shows more: what the value is the sum of, and on request its
    nearest earlier transactions and which values made others surprising. With --store, what its account did
    in the minutes before counts as it did when the transaction was scored.

    Examples:

        blockscan explain 0x1234... --store scores.sqlite

        blockscan explain 0x1234... --store scores.sqlite --archive archive --model model --nearest 5
        --attribution integrated
    """
    from pipelines import commands
    from pipelines.explain import whole_hash

    again = source is not None and model is not None
    if store is None and not again:
        raise ConfigError("give --store FILE, or --archive DIR with --model DIR")
    if not again and (nearest or attribution):
        raise ConfigError("--nearest and --attribution score it again: give --archive DIR and --model DIR")
    tx_hash = whole_hash(tx_hash, store, source if again else None)
    if source is not None and model is not None:
        wanted = commands.wanted_of(
            source,
            blocks,
            exclude,
            nearest=nearest,
            attribution=attribution and attribution.value,
            whole=over is Over.TRANSACTION,
            seed=seed,
        )
        found = commands.explain_again(
            tx_hash, source, model, wanted, device=device.value, store=store, chain=chain and canonical(chain)
        )
    else:
        found = commands.explain_stored(tx_hash, store or Path(), chain=chain and canonical(chain))
    commands.show_explanation(found, everything=everything, as_json=as_json)


class Protocol(StrEnum):
    """What to report."""

    STANDARD = "standard"
    PAPER = "paper"


Stores = Annotated[
    list[Path], typer.Option("--store", help="Result store; give one per training seed for their spread.")
]
Labels = Annotated[
    Path,
    typer.Option(
        help="CSV with the columns tx_hash and label (benign, attack or grey) and, where known, stage, "
        "family, incident, tier (of an attack), kind, hard_benign (of a benign one) and source."
    ),
]
Archives = Annotated[
    list[Path] | None,
    typer.Option(help="Archive of the transactions: finds repeated traces and contracts; repeatable."),
]
TrainBlocks = Annotated[
    str | None, typer.Option(help="Blocks that the count baseline is fitted on, in --archive.", metavar="A:B")
]
After = Annotated[
    str | None,
    typer.Option(
        help="Last block of training and calibration; transactions up to it are left out. If not given, "
        "benign ones up to the calibration's last block are, with --train-blocks attacks as well.",
        metavar="BLOCK",
    ),
]
KeepEarlier = Annotated[
    bool, typer.Option("--keep-earlier-attacks", help="With --after, leave out benign transactions only.")
]
RestBenign = Annotated[
    bool, typer.Option("--rest-benign", help="Take every scored transaction without a label for benign.")
]
Baselines = Annotated[
    list[Path] | None,
    typer.Option(
        help="Parquet: tx_hash and a float64 column per baseline; repeat it for other transactions, or for "
        "the same under other seeds."
    ),
]
TraceSource = Annotated[str | None, typer.Option(help="Only this trace source, as callTracer+logs.")]
Mixed = Annotated[bool, typer.Option("--mixed", help="Compare across chains and trace sources, too.")]
KeepDuplicates = Annotated[
    bool, typer.Option("--keep-duplicates", help="Also rank repetitions of a trace skeleton.")
]
ByProtocol = Annotated[
    Protocol, typer.Option(help="paper: also pools of 709 benign transactions and 10 attacks.")
]
Html = Annotated[Path | None, typer.Option(help="Also write a report with plots to this file.")]


def evaluate(
    store: Stores,
    labels: Labels,
    archive: Archives = None,
    train_blocks: TrainBlocks = None,
    after: After = None,
    keep_earlier_attacks: KeepEarlier = False,
    rest_benign: RestBenign = False,
    baselines: Baselines = None,
    chain: Annotated[str | None, typer.Option(help="Only this chain.")] = None,
    trace_source: TraceSource = None,
    mixed: Mixed = False,
    keep_duplicates: KeepDuplicates = False,
    protocol: ByProtocol = Protocol.STANDARD,
    pools: Annotated[int, typer.Option(min=1, help="How many of them.")] = 1000,
    html: Html = None,
    seed: Annotated[
        int, typer.Option(min=0, max=SEEDS, help="Seed of the bootstrap, the pools and the baseline.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Compare stored scores with labels, beside the length baseline. Training and scoring never read labels.

    Of attacks those of stage exploit, or of none, are evaluated; other stages are steps around one. Grey is
    neither class. incident names the transactions of one attack, hard_benign a kind that looks like one.

    Examples:

        blockscan evaluate --store scores.sqlite --labels labels.csv --archive archive --train-blocks :18M
        --after 18.2M --html report.html

        blockscan evaluate --store scores.sqlite --labels known_attacks.csv --rest-benign
    """
    from pipelines.evaluate import Rules
    from pipelines.evaluation import report, tables
    from pipelines.evaluation.run import Request, run
    from pipelines.render import print_json, to_stdout

    rules = Rules(
        keep_earlier_attacks=keep_earlier_attacks,
        keep_duplicates=keep_duplicates,
        mixed=mixed,
        chain=chain and canonical(chain),
        source=trace_source,
    )
    drawn = pools if protocol is Protocol.PAPER else 0
    files = baselines or ()
    result = run(
        Request(store, labels, archive or (), train_blocks, after, files, rules, rest_benign, drawn, seed)
    )
    if html is not None:
        report.write(result, html)
    if as_json:
        print_json(result.to_dict())
    else:
        to_stdout(tables.render(result))


def dashboard(
    store: StoreOption,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    allow_remote: Annotated[
        bool,
        typer.Option("--allow-remote", help="Permit an address that others can reach; there is no login."),
    ] = False,
) -> None:
    """Open the dashboard on a store.

    Example:

        blockscan dashboard --store demo-out/scores.sqlite
    """
    command = [sys.executable, "-m", "dashboard.launch", "--store", str(store), "--port", str(port)]
    command += ["--address", address, *(["--allow-remote"] if allow_remote else [])]
    try:
        status = subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        status = 0
    raise typer.Exit(status)
