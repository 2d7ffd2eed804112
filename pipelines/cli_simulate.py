"""The command that makes labelled benchmarks and reports on them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from blockscan.errors import ConfigError
from pipelines.options import AsJson, ChainFamily, DryRun


class Size(StrEnum):
    """How large a benchmark is."""

    SMALL = "small"
    STANDARD = "standard"
    LARGE = "large"


class Split(StrEnum):
    """Which families attack."""

    DEV = "dev"
    EVAL = "eval"


class EngineName(StrEnum):
    """What executes the transactions of a benchmark on ethereum."""

    PY_EVM = "py-evm"
    ANVIL = "anvil"


Families = Annotated[
    Split, typer.Option(help="Which families attack: dev (to design with) or eval (to judge with).")
]


def simulate(
    out: Annotated[Path | None, typer.Option(help="New directory for archives and labels.")] = None,
    preset: Annotated[Size, typer.Option(help="How large it is.")] = Size.STANDARD,
    split: Families = Split.DEV,
    seed: Annotated[int, typer.Option(help="Same preset, split and seed: same bytes.")] = 1,
    chain: Annotated[ChainFamily, typer.Option(help="Which kind of chain.")] = ChainFamily.ETHEREUM,
    engine: Annotated[
        EngineName | None,
        typer.Option(help="Of ethereum: py-evm (default; nothing to install) or anvil (faster)."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Instead: report on a benchmark made before.")] = None,
    reference: Annotated[
        list[Path] | None, typer.Option(help="With --report: records of a real chain; may be repeated.")
    ] = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Make a labelled benchmark: a simulated chain, benign history first, then attacks among traffic.

    Writes DIR/history and DIR/test (archives), labels.csv, incidents.csv and meta.json.

    Examples:

        blockscan simulate --preset standard --split eval --seed 7 --engine anvil --out bench

        blockscan simulate --chain solana --preset standard --split dev --out bench-solana

        blockscan simulate --report bench --reference blocks.jsonl.gz
    """
    if (out is None) == (report is None):
        raise ConfigError("give --out DIR to make a benchmark, or --report DIR to report on one")
    if report is not None:
        _report(report, reference or [], as_json=as_json)
        return
    if chain is ChainFamily.SOLANA:
        if engine is not None:
            raise ConfigError("--engine is for ethereum; a Solana chain always runs on LiteSVM")
        _solana(out or Path(), preset.value, split.value, seed, as_json=as_json, dry_run=dry_run)
        return
    from blockscan.artifact import require_empty
    from pipelines import simulate as verb
    from pipelines.commands import show

    assert out is not None
    require_empty(out)
    plan = verb.plan(preset.value, split.value, seed)
    if dry_run:
        typer.echo(
            f"would simulate {plan.history + plan.test:,} blocks with {plan.incidents} incidents into {out}",
            err=True,
        )
        return
    show(verb.simulate(plan, out, (engine or EngineName.PY_EVM).value), "Benchmark", as_json=as_json)


def _solana(out: Path, preset: str, split: str, seed: int, *, as_json: bool, dry_run: bool) -> None:
    from blockscan.artifact import require_empty
    from pipelines import simulate_solana as verb
    from pipelines.commands import show

    require_empty(out)
    plan = verb.plan(preset, split, seed)
    if dry_run:
        said = f"would simulate {plan.transactions:,} transactions with {plan.incidents} incidents into {out}"
        typer.echo(said, err=True)
        return
    show(verb.simulate(plan, out), "Benchmark", as_json=as_json)


def _report(folder: Path, reference: list[Path], *, as_json: bool) -> None:
    from pipelines import simulate, simulate_solana
    from pipelines.render import print_json, to_stdout
    from pipelines.render_report import report_tables, solana_report_tables

    if simulate_solana.made(folder):
        if reference:
            raise ConfigError("--reference is for ethereum; a report on a Solana benchmark compares nothing")
        found = simulate_solana.read_report(folder)
        tables = solana_report_tables
    else:
        found = simulate.read_report(folder, reference)
        tables = report_tables
    if as_json:
        print_json(found)
    else:
        to_stdout(tables(found))
