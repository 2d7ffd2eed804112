"""How fast ingest is beside a bare loop of HTTP requests, and what memory it takes.

`python tests/benchmarks/ingest.py [--blocks 500] [--transactions 20]` starts an anvil, mines the range and
prints both rates, their ratio, and the peak memory of ingesting a quarter, a half and the whole of it.
anvil traces a block in time quadratic in its transactions, so the blocks are kept small.
"""

import argparse
import json
import os
import platform
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import requests

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT))
ANVIL = runpy.run_path(str(HERE.parents[1] / "chains" / "anvil_node.py"))
# Runtime code: log, read its own balance, call the sender with nothing, log again.
RUNTIME = "600760006000a1" + "3031" + "50" + "6000600060006000600033" + "5af150" + "600860006000a1" + "00"
SIZE = len(RUNTIME) // 2
INIT = f"60{SIZE:02x}600c60003960{SIZE:02x}6000f3" + RUNTIME
CHILD = """
import sys, time, resource
from pathlib import Path
from blockscan.chains.rpc import EthereumNode
from blockscan.chains.transport import Endpoint
from pipelines.ingest import ingest_node
from pipelines.ranges import BlockRange
url, out, first, stop = sys.argv[1:]
node = EthereumNode(Endpoint(url))
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
report = ingest_node(node, BlockRange(int(first), int(stop)), Path(out))
seconds = time.perf_counter() - started
assert not report.rejected, report.rejected[0]
print(report.added, seconds, idle, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def mine(anvil: Any, blocks: int, transactions: int) -> None:
    """Mine `blocks` blocks of calls and plain transfers after one that deploys the contract."""
    deployed = anvil.send(data="0x" + INIT)
    anvil.call("evm_mine")
    contract = anvil.call("eth_getTransactionReceipt", deployed)["contractAddress"]
    session = requests.Session()
    for block in range(blocks):
        calls = []
        for place in range(transactions):
            to = {"to": contract, "data": f"0x{place:064x}"} if place % 3 else {"to": ANVIL["SECOND"]}
            fields = {"from": ANVIL["FIRST"], "value": hex(block + 1), "gas": "0x30d40", **to}
            if place % 3:
                fields["value"] = "0x0"
            calls.append({"jsonrpc": "2.0", "id": place, "method": "eth_sendTransaction", "params": [fields]})
        session.post(anvil.url, json=calls, timeout=60).raise_for_status()
        anvil.call("evm_mine")


def bare(url: str, first: int, stop: int) -> float:
    """Seconds of a plain loop: the traces and the receipts of every block, one request after another."""
    session = requests.Session()
    tracer = {"tracer": "callTracer", "tracerConfig": {"withLog": True}}
    started = time.perf_counter()
    for number in range(first, stop):
        for method, params in (
            ("debug_traceBlockByNumber", [hex(number), tracer]),
            ("eth_getBlockReceipts", [hex(number)]),
        ):
            request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            answer = session.post(url, data=json.dumps(request), timeout=60,
                                  headers={"Content-Type": "application/json"})  # fmt: skip
            assert len(answer.content) > 100
    return time.perf_counter() - started


def ingest(url: str, first: int, stop: int) -> tuple[int, float, int, int]:
    """Transactions, seconds, memory before and at the peak (KiB) of an ingest in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-c", CHILD, url, str(Path(scratch) / "a"), str(first), str(stop)]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ}
        )
    added, seconds, idle, peak = done.stdout.split()
    return int(added), float(seconds), int(idle), int(peak)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=500)
    parser.add_argument("--transactions", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=1)
    given = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=ROOT
    ).stdout.strip()
    print(f"commit {commit}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    first, stop = 2, 2 + given.blocks
    with ANVIL["start"]("--block-base-fee-per-gas", "0", "--gas-limit", "300000000") as anvil:
        mine(anvil, given.blocks, given.transactions)
        total = given.blocks * given.transactions
        for _ in range(given.repeat):
            loop = bare(anvil.url, first, stop)
            added, seconds, idle, peak = ingest(anvil.url, first, stop)
            assert added == total, (added, total)
            print(
                f"{total:,} transactions: bare loop {total / loop:,.0f}/s, ingest {added / seconds:,.0f}/s, "
                f"ratio {loop / seconds:.2f}; memory {idle / 1024:.0f} MiB before, {peak / 1024:.0f} at peak"
            )
        for part in (4, 2):
            added, _, idle, peak = ingest(anvil.url, first, first + given.blocks // part)
            print(f"{added:,} transactions: peak {peak / 1024:.0f} MiB, {(peak - idle) / 1024:.0f} over idle")


if __name__ == "__main__":
    main()
