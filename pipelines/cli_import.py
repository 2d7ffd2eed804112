"""The commands that bring in what others know: signatures and labels. `pipelines.cli` adds them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from blockscan.errors import ConfigError
from pipelines.cli_data import PARTIAL
from pipelines.options import AsJson, ModelOption, StoreOption

_SHOWN = 20
signatures_app = typer.Typer(no_args_is_help=True, help="Names of functions and events.")
labels_app = typer.Typer(no_args_is_help=True, help="Labels of addresses.")
Files = Annotated[list[Path], typer.Argument(help="Files to import.")]
Day = Annotated[str | None, typer.Option(help="Day that is recorded (default: today).", metavar="YYYY-MM-DD")]


@signatures_app.command("import")
def signatures_import(
    files: Files,
    out: Annotated[Path, typer.Option(help="File of signatures, new or to be added to.")],
    date: Day = None,
    as_json: AsJson = False,
) -> None:
    """Add 4byte or OpenChain exports, JSON ABIs or build artifacts to a file of signatures.

    In a model directory, as signatures.json, the file names calls and events in the results of `score` and
    `explain`. Names are for reading: they change no token and no score.

    Examples:

        blockscan signatures import 4byte.csv --out model/signatures.json

        blockscan signatures import out/Vault.sol/Vault.json --out model/signatures.json
    """
    from pipelines.imports import import_signatures

    done = import_signatures(files, out, date=_day(date))
    facts = asdict(done)
    lines = facts.pop("lines")
    _show(facts, "Signatures", as_json=as_json)
    _finish(lines, done.rejected)


@signatures_app.command("idl")
def signatures_idl(
    files: Files,
    model: ModelOption,
    program: Annotated[
        str | None, typer.Option(help="Address of the program, where the IDL does not say it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Name the instructions of Anchor programs (Solana) from their IDLs. Names change no score.

    Examples:

        blockscan signatures idl target/idl/vault.json --model model

        blockscan signatures idl old.json --model model --program 9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin
    """
    from pipelines.imports import import_idls
    from pipelines.model_dir import ModelDir

    made = import_idls(files, ModelDir(model).idls, program=program)
    _show(dict(made), "Instructions by program", as_json=as_json)


@labels_app.command("import")
def labels_import(
    files: Files,
    store: StoreOption,
    source: Annotated[
        str | None, typer.Option(help="Who says so, where a file does not (default: its name).")
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="How sure, where a file does not say.")
    ] = None,
    date: Day = None,
    as_json: AsJson = False,
) -> None:
    """Put address labels with source, date and confidence beside the results.

    Examples:

        blockscan labels import etherscan-labels.csv --store scores.sqlite --source Etherscan

        blockscan labels import forta-labels.json --store scores.sqlite
    """
    from pipelines.imports import import_labels

    done = import_labels(files, store, date=_day(date), source=source, confidence=confidence)
    _show(asdict(done) | {"rejected": len(done.rejected)}, "Labels", as_json=as_json)
    _finish(done.rejected, len(done.rejected))


def _day(given: str | None) -> str:
    from datetime import UTC, date, datetime

    if given is None:
        return datetime.now(UTC).date().isoformat()
    try:
        return date.fromisoformat(given).isoformat()
    except ValueError as error:
        raise ConfigError(f"--date {given}: a day like 2024-05-31 is needed") from error


def _show(facts: dict[str, Any], title: str, *, as_json: bool) -> None:
    from pipelines.render import pairs, print_json, to_stdout

    if as_json:
        print_json(facts)
    else:
        to_stdout(pairs(facts, title))


def _finish(lines: Sequence[str], rejected: int) -> None:
    """Say what could not be read; the exit status says it too."""
    from blockscan.safetext import safe_text

    for line in lines[:_SHOWN]:
        typer.echo(safe_text(f"rejected: {line}", limit=1000), err=True)
    if rejected > _SHOWN:
        typer.echo(f"rejected: {rejected - _SHOWN:,} more", err=True)
    if rejected:
        raise typer.Exit(PARTIAL)
