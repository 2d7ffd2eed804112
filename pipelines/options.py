"""The options that several commands share, so that they are named and explained the same everywhere."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blockscan.errors import ConfigError

if TYPE_CHECKING:
    from blockscan.config import Config


ADAPTED = (
    "tokenizer",
    "model",
    "train.steps",
    "train.learning_rate",
    "train.optimizer",
    "train.replaced_weight",
)
"""What `pretrain --adapt` has from the base and from the section `adapt`, see pipelines.adapt."""
SEEDS = 2**32 - 1
"""The largest seed that every library takes."""


class Device(StrEnum):
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class ChainFamily(StrEnum):
    """Which kind of chain is simulated, or was recorded."""

    ETHEREUM = "ethereum"
    SOLANA = "solana"


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
Preset = Annotated[str, typer.Option(help="debug, demo, tiny, small, base, large, or a TOML file.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override: section.key=value.", metavar="S.K=V")]
OnDevice = Annotated[Device, typer.Option(help="Where to compute.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Replace = Annotated[
    bool,
    typer.Option(
        "--replace",
        help="Calibrate a model again: the new one counts from now on, the old one stays beside it.",
    ),
]
Exclude = Annotated[
    Path | None,
    typer.Option(
        help="File of transaction hashes to leave out (known attacks): one per line, or a CSV with a column "
        "tx_hash, of which every row is left out."
    ),
]


def preset_config(preset: str, overrides: list[str] | None, *, unread: Sequence[str] = ()) -> "Config":
    """The configuration of a preset, named or a file, with `section.key=value` overrides.

    Args:
        preset: its name, or the path of a TOML file, which may set anything.
        overrides: of the command line.
        unread: sections and keys (`section.key`) that the command does not read, so that no override has any.

    Raises:
        ConfigError: there is no such preset, a key or value does not fit, or an override would do nothing.
    """
    from blockscan.config import load_config

    for override in overrides or []:
        key = override.partition("=")[0].strip()
        if key in unread or key.partition(".")[0] in unread:
            raise ConfigError(
                f"--set {key} would change nothing: this command does not read it; leave it out"
            )
    named = Path(__file__).parent / "presets" / f"{preset}.toml"
    known = sorted(path.stem for path in named.parent.glob("*.toml"))
    if preset in known:
        return load_config(named, overrides or [])
    if not preset.endswith(".toml"):
        raise ConfigError(f"unknown preset {preset!r}; give one of {', '.join(known)}, or a .toml file")
    return load_config(Path(preset), overrides or [])
