"""The same block told by callTracer, by trace_block and by its receipts alone is the same transactions."""

import gzip
import json
import runpy
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from blockscan.archive import RawBlock
from blockscan.chains.blocks import frame_logs
from blockscan.chains.decode import decode
from blockscan.chains.ethereum import parse
from blockscan.chains.rpc import EthereumNode
from blockscan.chains.transport import Endpoint
from blockscan.transaction import Call, CallKind, LogOrder, TraceSource, Transaction, walk
from pipelines.simulation.replay import Recording

HERE = Path(__file__).resolve().parent
parity = runpy.run_path(str(HERE / "fault_server.py"))["parity"]
ANVIL = runpy.run_path(str(HERE / "anvil_node.py"))
RECORDING = HERE.parents[1] / "pipelines" / "simulation" / "recording"
REAL = HERE.parents[2] / "shared" / "data" / "evm"
GETH, PARITY, RECEIPT = TraceSource.CALL_TRACER_LOGS, TraceSource.TRACE_BLOCK, TraceSource.RECEIPT
Entry = dict[str, Any]


def told(entry: Entry, source: TraceSource, *, singly: bool = False) -> list[Transaction]:
    """The block of an entry {block, receipts, traces} in one dialect, parsed."""
    results = {"block": entry["block"], "receipts": entry["receipts"]}
    if source is PARITY:
        results["traces"] = [
            line for each in entry["traces"] for line in parity(each["result"], each["txHash"])
        ]
    elif source is GETH:
        results["traces"] = entry["traces"]
    bodies = {name: json.dumps({"id": 1, "result": result}).encode() for name, result in results.items()}
    if singly:
        for name, items in (("traces", [each["result"] for each in entry["traces"]]),
                            ("receipts", entry["receipts"])):  # fmt: skip
            answers = [{"id": place, "result": item} for place, item in enumerate(items)]
            bodies[name] = json.dumps(answers[::-1]).encode()
    block = entry["block"]
    hashes = tuple(each["hash"] for each in block["transactions"])
    number = int(block["number"], 16)
    return parse(RawBlock("x", number, block["hash"], None, None, source, "rpc", hashes, bodies))


def calls(transaction: Transaction) -> list[tuple[object, ...]]:
    """The frames in order, without what parity leaves out: output and gas of failed frames, their address."""
    found = []
    for visit in walk(transaction.root):
        if isinstance(call := visit.step, Call):
            lost = not call.ok and call.kind in (CallKind.CREATE, CallKind.CREATE2)
            facts = (call.kind, call.caller, None if lost else call.target, call.data, call.value, call.error)
            found.append((visit.depth, *facts, (call.output, call.gas_used) if call.ok else None))
    return found


def scalars(transaction: Transaction) -> tuple[object, ...]:
    names = "chain", "hash", "block_number", "block_hash", "index", "time", "sender", "ok", "gas_used"
    return *(getattr(transaction, name) for name in (*names, "status")), transaction.root.gas_used


def check(entry: Entry) -> tuple[int, int]:
    """Compare the three dialects of one block; the calls and the logs that were compared."""
    geth, nested, bare = (told(entry, source) for source in (GETH, PARITY, RECEIPT))
    assert told(entry, GETH, singly=True) == geth
    compared = 0
    for one, two, three in zip(geth, nested, bare, strict=True):
        assert scalars(one) == scalars(two) == scalars(three)
        assert calls(one) == calls(two)
        assert frame_logs(two.root) == frame_logs(three.root)
        if one.log_order is LogOrder.FRAME:  # only the emitting frame known: not their order
            assert Counter(frame_logs(one.root)) == Counter(frame_logs(two.root))
        else:
            assert frame_logs(one.root) == frame_logs(two.root)
        root, other = calls(one)[0], calls(three)[0]
        assert root[:6] == other[:6] and (root[6] is None) == (other[6] is None)
        assert three.source is RECEIPT and len(calls(three)) == 1
        assert two.source is TraceSource.TRACE_BLOCK_LOGS
        assert two.log_order is (LogOrder.ROOT if frame_logs(two.root) else LogOrder.EXACT)
        compared += len(calls(one))
    return compared, sum(len(frame_logs(each.root)) for each in geth)


def test_recorded_blocks_are_the_same_in_every_dialect() -> None:
    recording = Recording(RECORDING)
    numbers = range(recording.first, recording.last + 1, max(1, recording.last // 40))
    counted = [check(recording.entry(number)) for number in numbers]
    assert sum(calls for calls, _ in counted) > 1000 and sum(logs for _, logs in counted) > 200


def real_entries(path: Path, limit: int) -> Iterator[Entry]:
    """Records of real blocks with full traces and logs, as the answers that a node would have given."""
    with gzip.open(path) as lines:
        records = [decode(line) for _, line in zip(range(limit), lines, strict=False)]
    for number, group in groupby(records, key=lambda record: record["block_number"]):
        usable = [each for each in group if each.get("logs") is not None and "to" in each["trace"]]
        yield as_entry(number, usable)


def as_entry(number: int, records: list[Any]) -> Entry:
    transactions, receipts, traces = [], [], []
    for place, record in enumerate(records):
        tx_hash, trace = record["tx_hash"], record["trace"]
        created = trace["type"].startswith("CREATE")
        entry = {key: trace.get(key) for key in ("from", "to", "value", "input")}
        entry |= {"to": None} if created else {}
        transactions.append(entry | {"hash": tx_hash, "transactionIndex": hex(place)})
        failed = bool(trace.get("error"))
        receipts.append({
            "transactionHash": tx_hash, "status": hex(not failed), "gasUsed": record.get("gas_used") or "0x1",
            "logs": [] if failed else record["logs"], "contractAddress": trace["to"] if created else None,
        })  # fmt: skip
        traces.append({"txHash": tx_hash, "result": trace})
    block = {"number": hex(number), "hash": "0xb", "timestamp": "0x1", "transactions": transactions}
    return {"block": block, "receipts": receipts, "traces": traces}


@pytest.mark.skipif(not REAL.is_dir(), reason="the real mainnet transactions are not at hand")
@pytest.mark.parametrize("name", ["semiotic-ai_flat-files-decoder", "coinbase_chainstorage"])
def test_real_blocks_are_the_same_in_every_dialect(name: str) -> None:
    counted = [check(entry) for entry in real_entries(REAL / f"blocks_{name}.jsonl.gz", 600)]
    assert sum(calls for calls, _ in counted) > 1500 and sum(logs for _, logs in counted) > 500


# Init code: a log, a call of a precompile, a created contract that logs and reverts, one that destroys
# itself, an empty one; then it returns no code. The second logs and reverts.
LOG, REVERT = "600760006000a1", "60006000fd"
INIT = (
    LOG + "600060006000600060006004" + "5af150" + "6b" + LOG + REVERT + "600052" + "600c60146000f050"
    "6132ff600052" + "6002601e6000f050" + "600060006000f050" + LOG + "60006000f3"
)


@pytest.mark.node
@pytest.mark.skipif(ANVIL["BINARY"] is None, reason=ANVIL["WHY"])
def test_a_live_node_tells_the_same_in_its_dialects() -> None:
    with ANVIL["start"]() as anvil:
        for data in (INIT, LOG + REVERT):
            anvil.send(data="0x" + data)
        anvil.send(to=ANVIL["SECOND"], value="0x7", data="0x01")
        anvil.call("evm_mine")
        node = EthereumNode(Endpoint(anvil.url))
        assert node.offers[anvil.url] == ["tracer_block", "trace_block", "trace_transaction", "receipts"]
        geth = parse(node.fetch(1))
        for offers in (["trace_block"], ["trace_transaction"], ["receipts"]):
            other = parse(only(anvil.url, offers).fetch(1))
            for one, two in zip(geth, other, strict=True):
                assert scalars(one) == scalars(two) and frame_logs(one.root) == frame_logs(two.root)
                assert offers == ["receipts"] or calls(one) == calls(two)
    made, reverted, paid = geth
    assert [call[1] for call in calls(made)] == ["CREATE", "CREATE", "CREATE", "SELFDESTRUCT", "CREATE"]
    assert made.ok and len(frame_logs(made.root)) == 2 and made.log_order is LogOrder.EXACT
    assert not reverted.ok and frame_logs(reverted.root) == [] and reverted.root.error == "reverted"
    assert paid.root.value == 7 and paid.root.gas_used == paid.gas_used


def only(url: str, names: list[str]) -> EthereumNode:
    """A node of which only some plans are used."""
    node = EthereumNode(Endpoint(url))
    for endpoint, plans in list(node._offers.items()):
        node._offers[endpoint] = frozenset(plan for plan in plans if plan.name.lower() in names)
    return node
