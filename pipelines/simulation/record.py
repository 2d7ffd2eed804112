"""Writes a recording: blocks with receipts and traces, labels aside, the split by time.

`python -m pipelines.simulation.record --out DIR` regenerates the committed one; the same seed gives the
same bytes. Attacks begin only after `calibrate_until_block`.
"""

from __future__ import annotations

import argparse
import csv
import json
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pipelines.simulation.attacks.donation import vault_inflation
from pipelines.simulation.attacks.drain import approval_drain
from pipelines.simulation.attacks.incident import Incident
from pipelines.simulation.attacks.initialiser import unprotected_init
from pipelines.simulation.attacks.oracle import oracle_manipulation
from pipelines.simulation.attacks.reentrancy import reentrancy
from pipelines.simulation.driver import Driver
from pipelines.simulation.engine import Json
from pipelines.simulation.founding import found, populate
from pipelines.simulation.pyevm import PyEvm
from pipelines.simulation.traffic import Traffic
from pipelines.simulation.world import Session, World

FOLDER = Path(__file__).parent / "recording"
CHAIN_ID = 7001
SEED = 20251
BLOCKS = 470
INCIDENTS = 40
_START = 1_700_000_003
_FOUNDING_RATE = 12
_TRANSACTIONS = 14.5
FAMILIES: dict[str, Callable[[World, Incident], Session]] = {
    "reentrancy": reentrancy,
    "oracle_manipulation": oracle_manipulation,
    "vault_inflation": vault_inflation,
    "unprotected_init": unprotected_init,
    "approval_drain": approval_drain,
}


class Recorder:
    """Runs the world block by block and writes each as one line of an xz stream."""

    def __init__(self, *, seed: int, blocks: int, incidents: int, users: int = 4200) -> None:
        """Plan a chain of `blocks` blocks with `incidents` attacks in its last fifth."""
        self.blocks = blocks
        self.train_until = int(blocks * 0.6)
        self.calibrate_until = int(blocks * 0.8)
        self.lines: list[bytes] = []
        engine = PyEvm(chain_id=CHAIN_ID, timestamp=_START)
        self.world = populate(engine, np.random.default_rng(seed), seed, users=users)
        self.driver = Driver(self.world)
        self._traffic = Traffic(self.driver)
        first, last = self.calibrate_until + 2, blocks - 8
        self._starts = [first + i * (last - first) // max(1, incidents) for i in range(incidents)]
        self._incidents = 0

    def keep(self, sealed: Json) -> None:
        """Append a sealed block."""
        self.lines.append(json.dumps(sealed, separators=(",", ":"), sort_keys=True).encode() + b"\n")

    def run(self, stop_after: int | None = None) -> None:
        """Make the blocks; `stop_after` ends early without changing what came before."""
        last = self.blocks if stop_after is None else stop_after
        self.driver.run(found(self.world), self.keep, _FOUNDING_RATE, last)
        while len(self.lines) < last:
            self.block()
        while stop_after is None and self.driver.hasty:
            self.block()

    def block(self) -> None:
        """Make one block of ordinary traffic and whatever attacks are due."""
        number = len(self.lines) + 1
        while self._starts and self._starts[0] <= number:
            self._starts.pop(0)
            self.attack()
        count = max(2, int(self.world.rng.normal(_TRANSACTIONS, 4.0)))
        self._traffic.transactions(count)
        self.keep(self.driver.seal())

    def attack(self) -> None:
        """Begin the next incident; the families take turns."""
        family = list(FAMILIES)[self._incidents % len(FAMILIES)]
        self._incidents += 1
        incident = Incident(self.world, family, f"{family}-{self._incidents:03d}")
        self.driver.add(FAMILIES[family](self.world, incident), hasty=True)

    def write(self, out: Path, seed: int) -> None:
        """Write blocks.jsonl.xz, labels.csv, incidents.csv and meta.json into `out`."""
        out.mkdir(parents=True, exist_ok=True)
        stream = b"".join(self.lines)
        (out / "blocks.jsonl.xz").write_bytes(lzma.compress(stream, preset=9 | lzma.PRESET_EXTREME))
        rows = [(h, t.label, t.stage, t.family, t.incident, t.kind) for h, t in self.driver.labels.items()]
        _csv(out / "labels.csv", ["tx_hash", "label", "stage", "family", "incident", "kind"], rows)
        _csv(
            out / "incidents.csv",
            ["incident", "family", "variant", "gain_ether", "exploit_transactions"],
            [
                (i.name, i.family, " ".join(i.variant), f"{i.gain:.6f}", i.exploits)
                for i in self.world.incidents
            ],
        )
        meta = {
            "chain_id": CHAIN_ID,
            "seed": seed,
            "first_block": 1,
            "last_block": len(self.lines),
            "train_until_block": self.train_until,
            "calibrate_until_block": self.calibrate_until,
        }
        (out / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def _csv(path: Path, header: list[str], rows: Sequence[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and write a recording."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.simulation.record", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory to write to")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--blocks", type=int, help="stop after the first N blocks of the same chain")
    args = parser.parse_args(argv)
    if args.blocks is not None and args.blocks < 1:
        parser.error(f"--blocks {args.blocks}: give at least 1")
    recorder = Recorder(seed=args.seed, blocks=BLOCKS, incidents=INCIDENTS)
    recorder.run(args.blocks)
    recorder.write(args.out, args.seed)


if __name__ == "__main__":
    main()
