"""Writes a recording: blocks with receipts and traces, labels aside, the split by time.

`python -m pipelines.simulation.record --out DIR` regenerates the committed one; the same seed gives the
same bytes. Attacks begin only after `calibrate_until_block`.
"""

from __future__ import annotations

import argparse
import csv
import json
import lzma
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipelines.labels import COLUMNS
from pipelines.simulation.chain import CHAIN_ID, INCIDENT_COLUMNS, START, Plan, SimulatedChain
from pipelines.simulation.engine import Json

FOLDER = Path(__file__).parent / "recording"
PLAN = Plan(seed=20251, split="dev", history=376, test=110, incidents=40, users=8000)


def line_of(sealed: Json) -> bytes:
    """Return a sealed block as a line of blocks.jsonl."""
    return json.dumps(sealed, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def write(chain: SimulatedChain, lines: Sequence[bytes], out: Path) -> None:
    """Write blocks.jsonl.xz and the truth (`write_truth`) into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    compressed = lzma.compress(b"".join(lines), preset=9 | lzma.PRESET_EXTREME)
    (out / "blocks.jsonl.xz").write_bytes(compressed)
    write_truth(chain, out)


def write_truth(chain: SimulatedChain, out: Path) -> None:
    """Write labels.csv, incidents.csv and meta.json of a finished chain into `out`."""
    write_csv(out / "labels.csv", COLUMNS, chain.label_rows())
    write_csv(out / "incidents.csv", INCIDENT_COLUMNS, chain.incident_rows())
    meta = {
        "chain_id": CHAIN_ID,
        "seed": chain.plan.seed,
        "split": chain.plan.split,
        "first_block": 1,
        "last_block": chain.height,
        "train_until_block": chain.plan.train_until,
        "calibrate_until_block": chain.plan.history,
    }
    (out / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[tuple[object, ...]]) -> None:
    """Write a header and rows, the same bytes on every system."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and write a recording."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.simulation.record", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory to write to")
    parser.add_argument("--blocks", type=int, help="stop after the first N blocks of the same chain")
    args = parser.parse_args(argv)
    if args.blocks is not None and args.blocks < 1:
        parser.error(f"--blocks {args.blocks}: give at least 1")
    from pipelines.simulation.pyevm import PyEvm  # only recording needs the extra [sim]

    lines: list[bytes] = []
    engine = PyEvm(chain_id=CHAIN_ID, timestamp=START)
    chain = SimulatedChain(PLAN, engine, lambda sealed: lines.append(line_of(sealed)))
    chain.run(args.blocks)
    write(chain, lines, args.out)


if __name__ == "__main__":
    main()
