"""Frames of single executions, worked out by hand from geth's callTracer."""

import pytest
import rlp
from eth_keys.datatypes import Signature
from eth_utils.crypto import keccak

from pipelines.simulation import bytecode as evm
from pipelines.simulation.bytecode import Assembler, contract_code, deploy_code
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account, Tx
from pipelines.simulation.pyevm import PyEvm

ETH = 10**18
GAS_PRICE = 50 * 10**9
ALICE = Account.from_seed(b"alice")
BOB = Account.from_seed(b"bob")
NUMBERS = {
    "gas",
    "gasPrice",
    "maxFeePerGas",
    "maxPriorityFeePerGas",
    "nonce",
    "r",
    "s",
    "v",
    "value",
    "yParity",
}
SELECTOR = b"\x01\x02\x03\x04"


@pytest.fixture
def chain():
    engine = PyEvm(chain_id=1234, timestamp=1_700_000_000)
    engine.fund(ALICE.address, 1000 * ETH, 5)
    engine.fund(BOB.address, 10 * ETH, 0)
    return engine


def make(engine, code):
    return engine.tx(Tx(ALICE, None, code, 0, 3_000_000, GAS_PRICE, 10**9)).made


def root(engine):
    """Return (root frame, receipt) of the last transaction of the pending block."""
    sealed = engine.next_block()
    return sealed["traces"][-1]["result"], sealed["receipts"][-1]


def do(engine, to, data=b"", *, value=0, gas=500_000, sender=ALICE, tip=10**9):
    return engine.tx(Tx(sender, to, data, value, gas, GAS_PRICE, tip))


def hexed(data):
    return "0x" + data.hex()


def test_a_plain_transfer(chain):
    before = chain.call(ALICE.address, BOB.address, b"", 999 * ETH)
    assert before.ok
    do(chain, BOB.address, value=7, gas=21_000)
    frame, receipt = root(chain)
    assert frame == {
        "from": hexed(ALICE.address),
        "gas": "0x5208",
        "gasUsed": "0x5208",
        "to": hexed(BOB.address),
        "input": "0x",
        "value": "0x7",
        "type": "CALL",
    }
    assert receipt["status"] == "0x1"


def test_a_log_written_after_a_sub_call_has_its_position(chain):
    weth = make(chain, contract("weth").create())
    do(chain, weth, contract("weth").data("deposit"), value=ETH)
    chain.next_block()
    do(chain, weth, contract("weth").data("withdraw", ETH // 4))
    frame, receipt = root(chain)
    (inner,) = frame["calls"]
    assert (inner["type"], inner["to"], inner["value"]) == ("CALL", hexed(ALICE.address), hex(ETH // 4))
    assert inner["gas"] == "0x" + f"{int(inner['gas'], 16):x}"
    (log,) = frame["logs"]
    assert log["position"] == "0x1"
    assert log["index"] == receipt["logs"][0]["logIndex"] == "0x0"
    assert log["topics"][0] == hexed(keccak(text="Withdrawal(address,uint256)"))


def test_log_indices_count_through_the_block(chain):
    weth = make(chain, contract("weth").create())
    for _ in range(2):
        do(chain, weth, contract("weth").data("deposit"), value=ETH)
    sealed = chain.next_block()
    found = [log["index"] for trace in sealed["traces"] for log in trace["result"].get("logs", [])]
    assert found == ["0x0", "0x1"]


def test_a_revert_carries_its_reason_and_no_logs(chain):
    token = make(chain, contract("token").create("Coin", "C", 18, 100))
    assert not do(chain, token, contract("token").data("transfer", BOB.address, 101)).ok
    frame, receipt = root(chain)
    assert frame["error"] == "execution reverted"
    assert frame["revertReason"] == "ERC20: transfer amount exceeds balance"
    assert frame["output"].startswith("0x08c379a0")
    assert "logs" not in frame
    assert receipt["logs"] == []


def test_logs_below_a_failed_frame_are_dropped_and_the_gas_is_burnt(chain):
    def noisy(asm):
        asm.push(32).op(evm.PUSH0, evm.LOG0)
        asm.op(evm.INVALID)

    inner = make(chain, deploy_code(contract_code([(SELECTOR, noisy)])))

    def outer(asm: Assembler):
        asm.push(SELECTOR + bytes(28)).op(evm.PUSH0, evm.MSTORE)
        asm.op(evm.PUSH0, evm.PUSH0).push(4).op(evm.PUSH0, evm.PUSH0).push(inner).push(50_000).op(evm.CALL)
        asm.push(32).op(evm.PUSH0, evm.LOG0)

    wrapper = make(chain, deploy_code(contract_code([(SELECTOR, outer)])))
    assert do(chain, wrapper, SELECTOR).ok
    frame, receipt = root(chain)
    (child,) = frame["calls"]
    assert child["error"] == "invalid opcode: INVALID"
    assert child["gasUsed"] == child["gas"] == hex(50_000)
    assert "logs" not in child
    assert [log["position"] for log in frame["logs"]] == ["0x1"]
    assert len(receipt["logs"]) == 1


def test_out_of_gas_at_the_root_uses_it_all(chain):
    token = make(chain, contract("token").create("Coin", "C", 18, 100))
    assert not do(chain, token, contract("token").data("transfer", BOB.address, 1), gas=30_000).ok
    frame, receipt = root(chain)
    assert frame["error"] == "out of gas"
    assert "output" not in frame
    assert receipt["gasUsed"] == frame["gasUsed"] == hex(30_000)


def test_delegate_and_static_calls(chain):
    wallet = make(chain, contract("wallet").create())
    factory = make(chain, contract("wallet_factory").create(wallet))
    owners = [ALICE.address, BOB.address]
    do(chain, factory, contract("wallet_factory").data("createWallet", owners, 2), gas=900_000)
    frame, _ = root(chain)
    created, configured = frame["calls"]
    assert created["type"] == "CREATE"
    assert configured["to"] == created["to"]
    (delegated,) = configured["calls"]
    assert delegated["type"] == "DELEGATECALL"
    assert (delegated["from"], delegated["to"]) == (created["to"], hexed(wallet))
    assert delegated["value"] == "0x0"
    assert delegated["logs"][0]["address"] == created["to"]


@pytest.mark.filterwarnings("ignore:SELFDESTRUCT opcode present:DeprecationWarning")  # py-evm's own
def test_selfdestruct_is_a_frame(chain):
    def end(asm):
        asm.push(BOB.address).op(evm.SELFDESTRUCT)

    doomed = make(chain, deploy_code(contract_code([(SELECTOR, end)])))
    do(chain, doomed, value=3)
    do(chain, doomed, SELECTOR)
    frame, _ = root(chain)
    (last,) = frame["calls"]
    assert last == {
        "from": hexed(doomed),
        "gas": "0x0",
        "gasUsed": "0x0",
        "to": hexed(BOB.address),
        "input": "0x",
        "value": "0x3",
        "type": "SELFDESTRUCT",
    }


def test_ether_is_conserved_but_for_the_burnt_base_fee(chain):
    total = 1010 * ETH
    do(chain, BOB.address, value=5 * ETH, gas=21_000)
    do(chain, BOB.address, value=ETH, gas=21_000, tip=None)
    sealed = chain.next_block()
    base, used = (int(sealed["block"][key], 16) for key in ("baseFeePerGas", "gasUsed"))
    reader = make(chain, contract("multicall").create())
    chain.next_block()

    def held(address):
        data = contract("multicall").data("getEthBalance", address)
        return contract("multicall").result("getEthBalance", chain.call(BOB.address, reader, data, 0).output)

    assert held(BOB.address) == 16 * ETH
    tips = sum((int(r["effectiveGasPrice"], 16) - base) * int(r["gasUsed"], 16) for r in sealed["receipts"])
    first = held(bytes.fromhex(sealed["block"]["miner"][2:]))
    assert first >= tips > 0
    assert held(ALICE.address) < total - 16 * ETH - tips - base * used + 1


def test_two_chains_from_the_same_steps_are_equal(chain):
    other = PyEvm(chain_id=1234, timestamp=1_700_000_000)
    other.fund(ALICE.address, 1000 * ETH, 5)
    other.fund(BOB.address, 10 * ETH, 0)
    for engine in (chain, other):
        make(engine, contract("weth").create())
    assert chain.next_block() == other.next_block()


@pytest.mark.parametrize("tip", [10**9, None])
def test_signatures_recover_to_the_sender(chain, tip):
    do(chain, BOB.address, value=1, gas=21_000, tip=tip)
    body = chain.next_block()["block"]["transactions"][0]
    number = {key: int(value, 16) for key, value in body.items() if key in NUMBERS}
    common = (number["gas"], bytes.fromhex(body["to"][2:]), number["value"], b"")
    if tip is None:
        fields = [number["nonce"], number["gasPrice"], *common, 1234, b"", b""]
        message, parity = rlp.encode(fields), number["v"] - 35 - 2 * 1234
    else:
        fees = (number["maxPriorityFeePerGas"], number["maxFeePerGas"])
        message, parity = b"\x02" + rlp.encode([1234, number["nonce"], *fees, *common, []]), number["yParity"]
    signature = Signature(vrs=(parity, number["r"], number["s"]))
    signer = signature.recover_public_key_from_msg_hash(keccak(message)).to_canonical_address()
    assert hexed(signer) == body["from"]
