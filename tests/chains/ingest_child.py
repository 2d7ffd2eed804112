"""Ingest in child processes, in trouble: `python ingest_child.py URL OUT BLOCKS RUNS SEED`.

Each run begins an archive anew and goes on with it, killed at a random moment after a random number of new
parts, until one child finishes. Prints one line per run: how many kills left some parts and no whole
archive. With RUNS 0 no file may grow past 8,000 bytes, as on a
full disk; the error is printed.
"""

import os
import random
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

from blockscan import archive_parts
from blockscan.chains.rpc import EthereumNode
from blockscan.chains.transport import Endpoint
from blockscan.errors import BlockScanError
from pipelines import block_writer
from pipelines.ingest import ingest_node
from pipelines.ranges import BlockRange

SLOW_DISK = 0.01
PEEK = os.WEXITED | os.WNOHANG | os.WNOWAIT


def ingest(url: str, out: Path, blocks: int, rows: int = 3) -> None:
    block_writer.PART_ROWS = rows
    # A killed process loses nothing that it has written; a slow disk lets kills fall between parts.
    archive_parts.sync = lambda path: time.sleep(SLOW_DISK)
    node = EthereumNode(Endpoint(url, pause=0.01))
    ingest_node(node, BlockRange(1, blocks), out)


def begin(url: str, out: Path, blocks: int) -> int:
    """Fork a child that ingests; its process id."""
    child = os.fork()
    if child == 0:
        try:
            ingest(url, out, blocks)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def survive(url: str, out: Path, blocks: int, rng: random.Random) -> int:
    kills = midway = 0
    while True:
        before = count_parts(out)
        child = begin(url, out, blocks)
        if kills < 6:
            wanted = before + rng.randint(0, 4)
            while count_parts(out) < wanted and os.waitid(os.P_PID, child, PEEK) is None:
                time.sleep(0.001)
            time.sleep(rng.uniform(0.0, 0.05))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            return midway
        if os.waitstatus_to_exitcode(status) == 1:
            raise SystemExit("a child failed")
        kills += 1
        midway += count_parts(out) > before


def count_parts(out: Path) -> int:
    return len(list(out.glob("part-*.parquet")))


if __name__ == "__main__":
    url, out, blocks, runs, seed = sys.argv[1:]
    rng = random.Random(int(seed))
    if runs == "0":
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
        try:
            ingest(url, Path(out), int(blocks), rows=1000)
        except BlockScanError as error:
            sys.exit(str(error))
    for run in range(int(runs)):
        print(survive(url, Path(out) / str(run), int(blocks), rng), flush=True)  # noqa: T201 (its output)
