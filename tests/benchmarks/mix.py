"""Does the alarm level hold on what comes next? False alarms with and without allowing for the mix of sizes.

    blockscan score archive --model model --store scores.sqlite
    python tests/benchmarks/mix.py --store scores.sqlite --exclude attacks.txt

The stored values of benign transactions, in order of their blocks, are cut into windows that overlap by half:
the first part of each gives the held-out values, the next as many are judged by them. Prints a Markdown
table, asserts nothing. Values that the model was trained or calibrated on are no worse for this: the question
is whether one part foretells the next.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blockscan.detect.mix import Mixes, at_least, size_class
from blockscan.findings import TxScore
from blockscan.store import open_store
from pipelines.exclude import hashes_of
from pipelines.labels import hash_key

SIZES = (1000, 2000, 4000)
LEVELS = (0.01, 0.003)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--exclude", type=Path, help="hashes of known attacks")
    given = parser.parse_args()
    attacks = hashes_of(given.exclude)
    with open_store(given.store, read_only=True) as store:
        scores = [each for each in store.iter_scores() if hash_key(each.tx_hash) not in attacks]
    scores = [each for each in scores if each.block_number is not None]
    print(f"{len(scores):,} benign transactions; mean (largest) share of alarms\n")
    columns = [f"{level:.1%} {how}" for level in LEVELS for how in ("plain", "mix")]
    print("| windows | " + " | ".join(columns) + " |")
    print("|---" * (1 + 2 * len(LEVELS)) + "|")
    for size in SIZES:
        starts = range(0, len(scores) - 2 * size + 1, size // 2)
        found = np.array([_shares(scores[start : start + 2 * size], size) for start in starts])
        if len(found):
            cells = [f"{x:.4f} ({y:.3f})" for x, y in zip(found.mean(0), found.max(0), strict=True)]
            print(f"| {len(found)} of {size:,} | " + " | ".join(cells) + " |")


def _shares(window: list[TxScore], size: int) -> list[float]:
    """Shares of alarms at each of LEVELS, plain and allowing for the mix."""
    values = np.array([each.value for each in window])
    sizes = np.log([max(each.calls, 1) for each in window])
    order = np.argsort(values[:size])
    held, classes = values[:size][order], np.array([size_class(x) for x in sizes[:size][order]], np.uint8)
    mixes, p = Mixes(), np.empty((size, 2))
    for row, (value, x) in enumerate(zip(values[size:], sizes[size:], strict=True)):
        place, mix = int(np.searchsorted(held, value)), mixes.add("", "", float(x))
        p[row] = (1 + size - place) / (1 + size), (1 + at_least(classes, place, mix)) / (1 + size)
    return [float(share) for level in LEVELS for share in _at(p, level)]


def _at(p: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = (p <= level).mean(axis=0)
    return shares


if __name__ == "__main__":
    main()
