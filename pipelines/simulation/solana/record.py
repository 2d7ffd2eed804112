"""Writes a Solana recording: blocks as getBlock returns them, labels aside, the split by time.

`python -m pipelines.simulation.solana.record --out DIR` regenerates the committed one; the same seed gives
the same bytes. Attacks begin only after `calibrate_until_block`. Blocks are slots.
"""

from __future__ import annotations

import argparse
import json
import lzma
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.labels import COLUMNS
from pipelines.simulation.record import write_csv
from pipelines.simulation.solana.attacks import TIERS

if TYPE_CHECKING:
    from pipelines.simulation.solana_world import SolanaChain

FOLDER = Path(__file__).parent / "recording"
SEED, SPLIT, TRANSACTIONS, INCIDENTS = 20251, "dev", 2600, 24
INCIDENT_COLUMNS = ("incident", "family", "tier", "variant", "unit", "taken", "victims")


def lines_of(chain: SolanaChain) -> list[bytes]:
    """The lines of blocks.jsonl: a slot and its block each."""
    return [b'{"slot":%d,"block":%b}\n' % (slot, block) for slot, block in chain.blocks.items()]


def write(chain: SolanaChain, out: Path, *, seed: int, split: str) -> None:
    """Write blocks.jsonl.xz and the truth (`write_truth`) into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    compressed = lzma.compress(b"".join(lines_of(chain)), preset=9 | lzma.PRESET_EXTREME)
    (out / "blocks.jsonl.xz").write_bytes(compressed)
    write_truth(chain, out, seed=seed, split=split)


def write_truth(chain: SolanaChain, out: Path, *, seed: int, split: str) -> None:
    """Write labels.csv, incidents.csv and meta.json of a chain into `out`."""
    write_csv(out / "labels.csv", COLUMNS, (astuple(row) for row in chain.labels))
    incidents = (
        (one.name, one.family, TIERS[one.family], " ".join(one.variant), one.unit, one.taken, one.victims)
        for one in chain.incidents
    )
    write_csv(out / "incidents.csv", INCIDENT_COLUMNS, incidents)
    meta = {
        "chain": "solana",
        "seed": seed,
        "split": split,
        "first_block": chain.first,
        "last_block": chain.last,
        "train_until_block": chain.train_until,
        "calibrate_until_block": chain.calibrate_until,
    }
    (out / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and write a recording."""
    from pipelines.simulation.solana_world import build

    parser = argparse.ArgumentParser(prog="python -m pipelines.simulation.solana.record", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory to write to")
    args = parser.parse_args(argv)
    chain = build(SEED, transactions=TRANSACTIONS, incidents=INCIDENTS, split=SPLIT)
    write(chain, args.out, seed=SEED, split=SPLIT)


if __name__ == "__main__":
    main()
