"""The options that several commands share, so that they are named and explained the same everywhere."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Source = Annotated[
    Path, typer.Argument(help="An archive, a .jsonl[.gz] file, or a .parquet part of an archive.")
]
ModelOption = Annotated[
    Path, typer.Option("--model", help="Model directory: tokenizer, checkpoint, calibration.")
]
StoreOption = Annotated[Path, typer.Option("--store", help="Result store, a SQLite file.")]
Blocks = Annotated[
    str | None,
    typer.Option(help="Only these blocks: 16M:17M, -1000:, 15M:+1000, :5000 (end excluded).", metavar="A:B"),
]
Preset = Annotated[str, typer.Option(help="Preset name (debug, demo, small, base) or a TOML file.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override: section.key=value.", metavar="S.K=V")]
OnDevice = Annotated[Device, typer.Option(help="Where to compute.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Exclude = Annotated[
    Path | None,
    typer.Option(help="File of transaction hashes to leave out (known attacks), one per line."),
]
