"""The command line: parses arguments, calls one step, prints its result. Heavy imports wait for a command.

Results go to stdout (`--json` for programs), talk to stderr. Exit status: 0 done, 1 a plain error, 2 wrong
usage, 3 done but some input was rejected, 130 interrupted.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from blockscan.errors import BlockScanError, ConfigError
from pipelines.cli_data import PARTIAL, coverage, ingest_ethereum, watch
from pipelines.cli_import import labels_app, signatures_app
from pipelines.cli_results import dashboard, evaluate, explain
from pipelines.cli_simulate import simulate
from pipelines.cli_solana import ingest_solana
from pipelines.options import (
    AsJson,
    Blocks,
    Device,
    DryRun,
    Exclude,
    ModelOption,
    OnDevice,
    Preset,
    Set,
    Source,
    StoreOption,
)

if TYPE_CHECKING:
    from blockscan.config import Config
    from pipelines.sources import Rejects, Shard

INTERRUPTED = 130
ROAD = [
    "demo",
    "ingest",
    "coverage",
    "tokenizer",
    "pretrain",
    "calibrate",
    "score",
    "watch",
    "explain",
    "evaluate",
    "dashboard",
    "simulate",
    "signatures",
    "labels",
]


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
    from pipelines import commands

    config = _config(preset, set_)
    shards, rejects = _shards(source, blocks)
    if dry_run:
        _say(f"would fit a tokenizer on up to {sum(shard.rows for shard in shards):,} transactions")
        return
    commands.show(commands.fit(shards, model, config, exclude), "Tokenizer", as_json=as_json)
    _finish(rejects)


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
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Train the masked language model on past, presumably benign transactions.

    Examples:

        blockscan pretrain archive --model model --blocks :18M --preset small

        blockscan pretrain archive --model model --blocks :18M --set train.steps=500 --resume
    """
    from pipelines import commands

    config = _config(preset, set_)
    shards, rejects = _shards(source, blocks)
    if dry_run:
        _say(f"would train {config.train.steps:,} steps of {config.train.batch_tokens:,} tokens")
        return
    facts = commands.train(shards, model, config, exclude, device=device.value, resume=resume)
    commands.show(facts, "Checkpoint", as_json=as_json)
    _finish(rejects)


@app.command()
def calibrate(
    source: Source,
    model: ModelOption,
    fpr: Annotated[float, typer.Option(help="Accepted share of false alarms.")] = 0.01,
    blocks: Blocks = None,
    exclude: Exclude = None,
    preset: Preset = "small",
    set_: Set = None,
    device: OnDevice = Device.AUTO,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Fit p-values and the alarm level on benign transactions later than the training data.

    Example:

        blockscan calibrate archive --model model --blocks 18M:19M --fpr 1e-3
    """
    from pipelines import commands

    config = _config(preset, set_)
    shards, rejects = _shards(source, blocks)
    if dry_run:
        _say(f"would calibrate FPR {fpr:g} on up to {sum(shard.rows for shard in shards):,} transactions")
        return
    facts = commands.calibrate(shards, model, config, exclude, fpr=fpr, device=device.value)
    commands.show(facts, "Calibration", as_json=as_json)
    _finish(rejects)


@app.command()
def score(
    store: StoreOption,
    model: ModelOption,
    source: Annotated[
        Path | None, typer.Argument(help="An archive, a .jsonl[.gz] file, or a .parquet part; or use --rpc.")
    ] = None,
    rpc: Annotated[
        str | None, typer.Option(envvar="BLOCKSCAN_RPC", help="Score blocks of this node.")
    ] = None,
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

    if source is None and not (rpc and blocks):
        raise ConfigError("give something to score: an archive or a file, or --rpc URL with --blocks A:B")
    if dry_run:
        _say(f"would score {source or 'blocks of a node'} with {model} into {store}")
        return
    with commands.scorable(source, rpc, blocks) as (shards, rejects):
        facts = commands.score(shards, model, store, parquet, device=device.value)
    commands.show(facts, "Scored", as_json=as_json)
    _finish(rejects)


for command in (coverage, watch, explain, evaluate, dashboard, simulate):
    app.command()(command)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="New directory for everything that the demo makes.")] = Path(
        "demo-out"
    ),
    chain: Annotated[str, typer.Option(help="Recorded chain: ethereum or solana.")] = "ethereum",
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

    summary = road.run(out, _config(preset, set_), chain)
    if as_json:
        _print_json(summary)


def _config(preset: str, overrides: list[str] | None) -> "Config":
    from blockscan.config import load_config

    named = Path(__file__).parent / "presets" / f"{preset}.toml"
    known = sorted(path.stem for path in named.parent.glob("*.toml"))
    if preset in known:
        return load_config(named, overrides or [])
    if not preset.endswith(".toml"):
        raise ConfigError(f"unknown preset {preset!r}; give one of {', '.join(known)}, or a .toml file")
    return load_config(Path(preset), overrides or [])


def _shards(source: Path, blocks: str | None) -> "tuple[list[Shard], Rejects]":
    from pipelines.commands import shards_of

    return shards_of(source, blocks)


def _finish(rejects: "Rejects") -> None:
    """Say what could not be read; the exit status says it too."""
    for line in rejects.lines[:20]:
        _say(f"rejected: {line}")
    if rejects.lines:
        raise typer.Exit(PARTIAL)


def _say(message: str) -> None:
    from blockscan.safetext import safe_text

    typer.echo(safe_text(message, limit=1000), err=True)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=1, sort_keys=True))
