"""The replay server, asked over real HTTP the way a node is asked."""

import json
import lzma
import subprocess
import sys
import urllib.request
from itertools import pairwise

import pytest
from web3 import HTTPProvider, Web3

from blockscan.errors import ArtifactError
from pipelines.simulation.record import FOLDER
from pipelines.simulation.replay import serve

TRACER = {"tracer": "callTracer", "tracerConfig": {"withLog": True}}


@pytest.fixture(scope="module")
def url():
    with serve(FOLDER) as address:
        yield address


def post(url, body):
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.loads(reply.read())


def rpc(url, method, *params):
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
    return post(url, json.dumps(body).encode())


@pytest.fixture(scope="module")
def some_entry():
    with lzma.open(FOLDER / "blocks.jsonl.xz", "rb") as file:
        for _, line in zip(range(31), file, strict=False):
            entry = json.loads(line)
    assert entry["block"]["number"] == "0x1f"
    return entry


def test_web3_reads_blocks_receipts_and_traces(url, some_entry):
    web3 = Web3(HTTPProvider(url))
    assert web3.is_connected()
    meta = json.loads((FOLDER / "meta.json").read_text())
    assert web3.eth.chain_id == meta["chain_id"]
    assert web3.eth.block_number == meta["last_block"]
    assert web3.eth.get_block("earliest")["number"] == meta["first_block"]
    for tag in ("latest", "safe", "finalized"):
        assert web3.eth.get_block(tag)["number"] == meta["last_block"]
    block = web3.eth.get_block(31, full_transactions=True)
    assert block["hash"].to_0x_hex() == some_entry["block"]["hash"]
    assert web3.eth.get_block(some_entry["block"]["hash"])["number"] == 31
    receipts = web3.eth.get_block_receipts(31)
    assert len(receipts) == len(block["transactions"]) == len(some_entry["traces"])
    tx_hash = some_entry["block"]["transactions"][-1]["hash"]
    assert web3.eth.get_transaction(tx_hash)["blockNumber"] == 31
    assert web3.eth.get_transaction_receipt(tx_hash)["transactionHash"].to_0x_hex() == tx_hash
    traced = web3.provider.make_request("debug_traceBlockByNumber", ["0x1f", TRACER])["result"]
    assert traced == some_entry["traces"]
    one = web3.provider.make_request("debug_traceTransaction", [tx_hash, TRACER])["result"]
    assert one == some_entry["traces"][-1]["result"]


def test_a_batch_through_web3_is_answered_in_order(url):
    provider = HTTPProvider(url)
    asked = [("eth_getBlockByNumber", [hex(n), False]) for n in (9, 3, 5)]
    replies = provider.make_batch_request(asked)
    assert [reply["result"]["number"] for reply in replies] == ["0x9", "0x3", "0x5"]
    assert all(isinstance(h, str) for h in replies[0]["result"]["transactions"])


def test_blocks_link_to_their_parents(url):
    numbers = [hex(n) for n in range(1, 12)]
    blocks = [rpc(url, "eth_getBlockByNumber", n, False)["result"] for n in numbers]
    for parent, child in pairwise(blocks):
        assert child["parentHash"] == parent["hash"]
        assert int(child["timestamp"], 16) - int(parent["timestamp"], 16) == 12


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("eth_getBalance", ["0x0", "latest"], -32601),
        ("eth_getBlockByNumber", [], -32602),
        ("eth_getBlockByNumber", ["0xzz", True], -32602),
        ("eth_getBlockByNumber", [12, True], -32602),
        ("debug_traceBlockByNumber", ["0x1"], -32602),
        ("debug_traceBlockByNumber", ["0x1", {"tracer": "prestateTracer"}], -32602),
        ("debug_traceBlockByNumber", ["0x1", {"tracer": "callTracer"}], -32602),
        ("debug_traceBlockByNumber", ["0xffffff", TRACER], -32000),
        ("debug_traceTransaction", ["0x" + "00" * 32, TRACER], -32000),
    ],
)
def test_errors_come_in_an_envelope(url, method, params, code):
    reply = rpc(url, method, *params)
    assert reply["error"]["code"] == code
    assert reply["id"] == 7
    assert "result" not in reply


def test_unknown_blocks_and_transactions_are_null(url):
    assert rpc(url, "eth_getBlockByNumber", "0xffffff", True)["result"] is None
    assert rpc(url, "eth_getBlockReceipts", "0xffffff")["result"] is None
    assert rpc(url, "eth_getTransactionReceipt", "0x" + "11" * 32)["result"] is None


@pytest.mark.parametrize(
    ("body", "code"), [(b"{", -32700), (b"[" * 200_000, -32700), (b"[]", -32600), (b"1", -32600)]
)
def test_malformed_requests(url, body, code):
    assert post(url, body)["error"]["code"] == code


def test_a_folder_without_a_recording_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="not a readable recording"), serve(tmp_path):
        pass
    (tmp_path / "meta.json").write_text('{"chain_id": 1, "first_block": 1}')
    (tmp_path / "blocks.jsonl.xz").write_bytes((FOLDER / "blocks.jsonl.xz").read_bytes()[:5000])
    with pytest.raises(ArtifactError, match="not a readable recording"), serve(tmp_path):
        pass


def test_the_server_needs_neither_an_evm_nor_a_compiler():
    code = (
        "import sys, pipelines.simulation.replay\n"
        "print([m for m in ('eth', 'vyper', 'web3', 'torch', 'eth_abi') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"
