"""The command line: parses arguments, calls one step, prints its result. Heavy imports wait for a command.

Results go to stdout, talk to stderr. Exit status: 0 done, 1 an error in one line, 2 wrong usage, 3 done
but some input was rejected or all of it degraded, 4 the traffic has drifted, 130 interrupted.
"""

import os
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from blockscan.errors import BlockScanError, ConfigError
from pipelines.cli_alerts import alerts
from pipelines.cli_baselines import baselines
from pipelines.cli_calibration import AlertsPerDay, TransactionsPerDay, bundle, drift, recalibrate, verify
from pipelines.cli_data import Rpc, coverage, ingest_ethereum, reported, watch
from pipelines.cli_import import labels_app, signatures_app
from pipelines.cli_notify import notify
from pipelines.cli_prune import prune
from pipelines.cli_recount import recount
from pipelines.cli_results import dashboard, evaluate, explain
from pipelines.cli_simulate import simulate
from pipelines.cli_solana import ingest_solana
from pipelines.cli_tokenizer import tokenizer_balance
from pipelines.options import (
    ADAPTED,
    AsJson,
    Blocks,
    ChainFamily,
    Device,
    DryRun,
    Exclude,
    ModelOption,
    OnDevice,
    Preset,
    Replace,
    Set,
    Source,
    StoreOption,
    preset_config,
)

INTERRUPTED = 130
ROAD = (
    "demo", "ingest", "coverage", "tokenizer", "pretrain", "recount", "calibrate", "score", "watch",
    "alerts", "notify", "prune", "drift", "recalibrate", "explain", "bundle", "verify", "evaluate",
    "baselines", "dashboard", "simulate", "signatures", "labels",
)  # fmt: skip


class _Commands(TyperGroup):
    """Turns the errors that users cause into one line and an exit status; lists commands along the road."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=ROAD.index)

    def invoke(self, ctx: Any) -> Any:
        # Idle threads of torch spin by default; on a busy machine that costs a factor of six in scoring.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            return super().invoke(ctx)
        except BlockScanError as error:
            _fail(str(error), 1)
        except KeyboardInterrupt:
            again = "run the same command again to go on (pretrain: with --resume)"
            _fail(f"interrupted; what is finished is kept, {again}", INTERRUPTED)


def _fail(message: str, status: int) -> NoReturn:
    from blockscan.safetext import safe_text

    typer.echo(f"blockscan: {safe_text(message, limit=1000)}", err=True)
    raise typer.Exit(status)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Learn what normal transactions of a chain look like, and find those that are not, with reasons and "
    "a calibrated p-value.\n\nThe road: `ingest` → `tokenizer fit` → `pretrain` → `calibrate` → `score` → "
    "`dashboard`. See it run: `blockscan demo`.",
)
ingest_app = typer.Typer(no_args_is_help=True, help="Bring chain data into an archive.")
tokenizer_app = typer.Typer(no_args_is_help=True, help="Fit a tokenizer on an archive.")
app.add_typer(ingest_app, name="ingest")
app.add_typer(tokenizer_app, name="tokenizer")
app.add_typer(signatures_app, name="signatures")
app.add_typer(labels_app, name="labels")
ingest_app.command("ethereum")(ingest_ethereum)
ingest_app.command("solana")(ingest_solana)
tokenizer_app.command("balance")(tokenizer_balance)


@tokenizer_app.command("fit")
def tokenizer_fit(
    source: Source,
    model: ModelOption,
    blocks: Blocks = None,
    exclude: Exclude = None,
    preset: Preset = "small",
    set_: Set = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Learn a vocabulary: which addresses, functions and words are kept whole.

    Example:

        blockscan tokenizer fit archive --model model --blocks :18M
    """
    from blockscan.artifact import require_empty
    from pipelines import commands
    from pipelines.model_dir import ModelDir

    config = preset_config(preset, set_)
    shards, rejects = commands.shards_of(source, blocks)
    if dry_run:
        require_empty(ModelDir(model).tokenizer)
        _say(f"would fit a tokenizer on up to {sum(shard.rows for shard in shards):,} transactions")
        return
    with reported(rejects):
        commands.show(commands.fit(shards, model, config, exclude), "Tokenizer", as_json=as_json)


@app.command()
def pretrain(
    source: Source,
    model: ModelOption,
    blocks: Blocks = None,
    exclude: Exclude = None,
    preset: Preset = "small",
    set_: Set = None,
    device: OnDevice = Device.AUTO,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    adapt: Annotated[
        Path | None,
        typer.Option(
            help="Model directory to adapt to these transactions (LoRA+). The new model keeps its tokenizer: "
            "addresses that it never saw stay aliases."
        ),
    ] = None,
    tensorboard: Annotated[Path | None, typer.Option(help="Directory for TensorBoard logs.")] = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Train the masked language model on past, presumably benign transactions.

    Examples:

        blockscan pretrain archive --model model --blocks :18M --preset small

        blockscan pretrain archive --model model --blocks :18M --set train.steps=500 --resume

        torchrun --nproc-per-node 8 --no-python blockscan pretrain archive --model model
    """
    from pipelines import commands
    from pipelines.model_dir import ModelDir
    from pipelines.prepare import prepared
    from pipelines.training.lock import only_run
    from pipelines.training.processes import first_process

    config = preset_config(preset, set_, unread=ADAPTED if adapt else ("adapt", "tokenizer"))
    shards, rejects = commands.shards_of(source, blocks)
    if dry_run:
        to, base, on = ModelDir(model), ModelDir(adapt) if adapt else None, device.value
        ready = prepared(to, config, exclude, device=on, resume=resume, base=base, tensorboard=tensorboard)
        train = ready.config.train
        _say(f"would train {train.steps:,} steps of {train.batch_tokens * train.accumulate:,} tokens")
        return
    with reported(*[rejects] if first_process() else []), only_run(model):
        facts = commands.train(
            shards,
            model,
            config,
            exclude,
            device=device.value,
            resume=resume,
            source=source,
            preset=preset,
            adapt=adapt,
            tensorboard=tensorboard,
        )
        if first_process():
            commands.show(facts, "Checkpoint", as_json=as_json)


@app.command()
def calibrate(
    source: Source,
    model: ModelOption,
    fpr: Annotated[
        float | None, typer.Option(help="Accepted share of false alarms; 0.01 if nothing is given.")
    ] = None,
    alerts_per_day: AlertsPerDay = None,
    transactions_per_day: TransactionsPerDay = None,
    per_contract: Annotated[
        bool, typer.Option("--per-contract", help="Compare transactions to the same contract only.")
    ] = False,
    blocks: Blocks = None,
    exclude: Exclude = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Score as this preset says; if not given, as the one that the model was trained with."
        ),
    ] = None,
    set_: Set = None,
    replace: Replace = False,
    device: OnDevice = Device.AUTO,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Fit p-values and the alarm level on benign transactions later than the training data.

    Examples:

        blockscan calibrate archive --model model --blocks 18M:19M --fpr 1e-3

        blockscan calibrate archive --model model --blocks 18M:19M --alerts-per-day 20
    """
    from pipelines import commands
    from pipelines.calibrate import place_for
    from pipelines.model_dir import ModelDir, load_model, trained_config
    from pipelines.traffic import Target

    target = Target(fpr, alerts_per_day, transactions_per_day)
    shards, rejects = commands.shards_of(source, blocks)
    place_for(ModelDir(model), replace=replace)
    if preset is None:
        config = trained_config(ModelDir(model), set_ or [])
    else:
        config = preset_config(preset, set_)
    if dry_run:
        load_model(ModelDir(model), device.value)
        goal = f"{alerts_per_day:g} alerts a day" if alerts_per_day else f"FPR {fpr or 0.01:g}"
        _say(f"would calibrate {goal} on up to {sum(shard.rows for shard in shards):,} transactions")
        return
    with reported(rejects):
        facts = commands.calibrate(
            shards,
            model,
            config,
            exclude,
            target=target,
            source=source,
            per_contract=per_contract,
            replace=replace,
            device=device.value,
        )
        commands.show(facts, "Calibration", as_json=as_json)


@app.command()
def score(
    store: StoreOption,
    model: ModelOption,
    source: Annotated[
        Path | None, typer.Argument(help="An archive, a .jsonl[.gz] file, or a .parquet part; or use --rpc.")
    ] = None,
    rpc: Rpc = None,
    blocks: Blocks = None,
    parquet: Annotated[
        Path | None, typer.Option(help="Also write one Parquet file per input shard into this directory.")
    ] = None,
    device: OnDevice = Device.AUTO,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Score transactions and store scores, alerts and reasons. A rerun changes nothing.

    Examples:

        blockscan score archive --model model --store scores.sqlite --blocks 19M:

        blockscan score --rpc http://127.0.0.1:8545 --blocks -100: --model model --store scores.sqlite

        blockscan score archive --model model --store scores.sqlite --parquet out/
    """
    from pipelines import commands
    from pipelines.model_dir import ModelDir, load_detector

    if source is None and not (rpc and blocks):
        raise ConfigError("give something to score: an archive or a file, or --rpc URL with --blocks A:B")
    if dry_run:
        load_detector(ModelDir(model), device.value)
        rows = 0 if source is None else sum(shard.rows for shard in commands.shards_of(source, blocks)[0])
        what = f"up to {rows:,} transactions of {source}" if source else f"blocks {blocks} of a node"
        _say(f"would score {what} with {model} into {store}")
        return
    with commands.scorable(source, rpc or [], blocks) as (shards, rejects), reported(rejects):
        facts = commands.score(shards, model, store, parquet, device=device.value, source=source)
        commands.show(facts, "Scored", as_json=as_json)


for command in (
    recount, coverage, watch, alerts, notify, prune, drift, recalibrate, explain, bundle, verify, evaluate,
    baselines, dashboard, simulate,
):  # fmt: skip
    app.command()(command)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="New directory for everything that the demo makes.")] = Path(
        "demo-out"
    ),
    chain: Annotated[ChainFamily, typer.Option(help="Recorded chain.")] = ChainFamily.ETHEREUM,
    preset: Preset = "demo",
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole road on a recorded chain that comes with BlockScan: no node, no GPU, a few minutes.

    Examples:

        blockscan demo --out demo-out

        blockscan demo --chain solana --out demo-solana
    """
    from pipelines import demo as road
    from pipelines.progress import console
    from pipelines.render import print_json, to_stdout

    summary = road.run(out, preset_config(preset, set_), chain, show=console.print if as_json else to_stdout)
    if as_json:
        print_json(summary)


def _say(message: str) -> None:
    from blockscan.safetext import safe_text

    typer.echo(safe_text(message, limit=1000), err=True)
