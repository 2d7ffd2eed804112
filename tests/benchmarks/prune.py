"""What forgetting costs: size of a store before and after, time, and the longest that a writer waits for it.

    python tests/benchmarks/prune.py --out /tmp/prune --rows 200000

Rows are synthetic: random bytes in trees of as many as a million take 3.8 GB, one alert in two hundred, a
block of 150 every twelve seconds. The older half is forgotten while another process writes a row twice a
second. A store that is there already is taken as it is. Asserts nothing.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from blockscan.findings import Evidence, Frame, TxScore
from blockscan.store import Row, ScoredBlock, open_store
from blockscan.store_db import Database
from blockscan.store_prune import forget, give_back, size_of

ROOT = Path(__file__).resolve().parents[2]
BLOCK, SECONDS, BEGIN = 150, 12, 1_700_000_000
CALLS, BYTES = 3, 180
TURN = 0.12
_WRITER = """
import sys, time
from blockscan.store import open_store
from tests.benchmarks.prune import rows
longest = 0.0
with open_store(sys.argv[1]) as store:
    for row in rows(10_000_000, 10_100_000):
        began = time.perf_counter()
        store.write([row])
        longest = max(longest, time.perf_counter() - began)
        print(f"{longest:.3f}", flush=True)
        time.sleep(0.5)
"""


def rows(first: int, stop: int) -> Iterator[Row]:
    """Scores with trees; the same number gives the same row."""
    for number in range(first, stop):
        rng = np.random.default_rng(number)
        name, other = (f"0x{rng.bytes(20).hex()}" for _ in range(2))
        evidence = tuple(Evidence(1, "target", name, (other, name), 9.5, 0.004) for _ in range(4))
        frames = tuple(
            Frame(i, i - 1, i, "CALL", name, other, rng.bytes(BYTES).hex(), "0", "", 0.5, evidence[:1])
            for i in range(CALLS)
        )
        score = TxScore(
            "ethereum", "0x" + rng.bytes(32).hex(), number // BLOCK, number % BLOCK,
            BEGIN + number // BLOCK * SECONDS, name, other, rng.random(), rng.random(),
            f"calls {other}, which nobody has called before", evidence, CALLS, 900, 1,
            "callTracer+logs", "complete", "m" * 64, "c" * 64,
        )  # fmt: skip
        yield score, None if number % 200 else "high", frames


def build(path: Path, count: int) -> None:
    """Write a store."""
    with open_store(path) as store:
        for first in range(0, count, BLOCK):
            block = list(rows(first, min(count, first + BLOCK)))
            store.write(block)
            hashes = tuple(score.tx_hash for score, _, _ in block)
            store.put_blocks([ScoredBlock("ethereum", first // BLOCK, f"0x{first:064x}", hashes)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--out", type=Path, required=True, help="directory of the store")
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)
    path = given.out / "scores.sqlite"
    if not path.exists():
        began = time.perf_counter()
        build(path, given.rows)
        print(f"{given.rows:,} rows written in {time.perf_counter() - began:.0f} s", flush=True)
    print(f"{path.stat().st_size / 1e6:,.0f} MB", flush=True)
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    time.sleep(3)
    db, begin = Database(path, read_only=False), BEGIN + given.rows // 2 // BLOCK * SECONDS
    for name, steps in (("forget", forget(db, "ethereum", begin)), ("give back", give_back(db))):
        locked, began = [], time.perf_counter()
        last = began
        for _ in steps:
            locked.append(time.perf_counter() - last)
            time.sleep(TURN)
            last = time.perf_counter()
        size, free = size_of(db)
        print(
            f"{name}: {len(locked):,} steps in {last - began:.0f} s, {np.mean(locked) * 1e3:.0f} ms each, "
            f"the longest {max(locked) * 1e3:.0f} ms; {size / 1e6:,.0f} MB, {free / 1e6:,.0f} of them free",
            flush=True,
        )
    writer.terminate()
    print(f"a writer waited {writer.communicate()[0].split()[-1]} s at the longest")
    db.close()
    print(f"{path.stat().st_size / 1e6:,.0f} MB on disk afterwards")


if __name__ == "__main__":
    main()
