"""A Solana node that skips slots, is old, lies, or fails, behind the transport's `fetch`."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from blockscan.chains import families
from blockscan.chains.base58 import b58encode
from blockscan.chains.checks import InvalidAnswer
from blockscan.chains.pool import Pool
from blockscan.chains.solana_rpc import SolanaNode
from blockscan.chains.transport import AnswerTooLarge, Endpoint, MethodAbsent, MethodRefused, Unanswered
from blockscan.errors import ChainError, ParseError
from blockscan.transaction import TraceSource

A, B = (b58encode(bytes([byte]) * 32) for byte in (0x41, 0x42))
SYSTEM, VOTE = "1" * 32, "Vote111111111111111111111111111111111111111"
MAINNET = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"


class Fake(Endpoint):
    """An endpoint that answers from a table of slots: a block, or the code of an error."""

    def __init__(self, slots: dict[int, Any], newest: int = 1, first: int | None = 0) -> None:
        super().__init__("http://127.0.0.1:1")
        self.slots, self.newest, self.first = slots, newest, first
        self.asked: list[Any] = []

    def fetch(self, method: str, params: Sequence[Any]) -> tuple[Any, bytes]:
        self.asked.append((method, list(params)))
        if method == "getGenesisHash":
            result: Any = MAINNET
        elif method == "getSlot":
            result = max(self.slots)
        elif method == "getFirstAvailableBlock":
            if self.first is None:
                raise MethodAbsent("http://127.0.0.1:1 getFirstAvailableBlock: error -32601: no")
            result = self.first
        elif method == "getBlocks":
            result = [slot for slot in self.slots if params[0] <= slot <= params[1] and self._exists(slot)]
        else:
            result = self.slots[params[0]]
            if params[1]["maxSupportedTransactionVersion"] > self.newest:
                result = -32602
            if isinstance(result, int):
                raise MethodRefused(f"http://127.0.0.1:1 getBlock: error {result}: no")
        return result, json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()

    def _exists(self, slot: int) -> bool:
        return isinstance(self.slots[slot], dict)


def entry(program: str, name: str) -> dict[str, Any]:
    message = {
        "accountKeys": [A, B, program],
        "header": {"numRequiredSignatures": 1},
        "instructions": [{"programIdIndex": 2, "accounts": [0, 1], "data": "3Bxs4NQNnDSisSzK"}],
    }
    meta = {"err": None, "fee": 5000, "logMessages": [], "innerInstructions": None}
    return {"version": 0, "transaction": {"signatures": [name], "message": message}, "meta": meta}


def block(name: str, parent: str, *entries: dict[str, Any]) -> dict[str, Any]:
    return {
        "blockhash": name,
        "previousBlockhash": parent,
        "blockTime": 9,
        "parentSlot": 0,
        "transactions": [*entries],
    }


def test_votes_are_left_out_and_skipped_slots_carry_the_hash_before_them() -> None:
    slots = {
        5: block("h5", "h4", entry(VOTE, "v"), entry(SYSTEM, "s")),
        6: -32007,
        7: -32009,
        8: block("h8", "h5"),
    }
    node = SolanaNode(Fake(slots))
    assert (node.chain, node.head(), node.chain_id, node.family) == ("solana", 8, None, "solana")
    first, *skipped, last = (node.fetch(slot) for slot in slots)
    assert (first.tx_hashes, first.hash, first.parent_hash, first.time) == (("s",), "h5", "h4", 9)
    assert {(one.hash, one.parent_hash, one.tx_hashes) for one in skipped} == {("h5", "h5", ())}
    assert last.parent_hash == skipped[-1].hash
    assert [families.parse(one) for one in skipped] == [[], []]
    header = node.header(7)
    assert header is not None and (header.number, header.hash) == (7, "h5")


def test_a_slot_before_the_first_available_is_refused_not_skipped() -> None:
    slots = {3: -32007, 4: -32009, 5: block("h5", "h4"), 6: -32007}
    node = SolanaNode(Fake(slots, first=5))
    for slot in (3, 4):
        with pytest.raises(ChainError, match=rf"has no slot {slot}, its blocks begin at 5; .*--blocks 5:"):
            node.fetch(slot)
    assert (node.fetch(5).hash, node.fetch(6).hash) == ("h5", "h5")
    for first in (None, "nothing"):  # providers that do not say where their blocks begin
        silent = SolanaNode(Fake({3: -32007, 5: block("h5", "h4")}, first=first))
        assert silent.fetch(3).tx_hashes == ()
    longer = Fake({2: block("h2", "h1"), 3: block("h3", "h2"), 4: -32007, 6: -32007}, first=2)
    both = SolanaNode(Pool([Fake(slots, first=5), longer]))
    assert {both.fetch(3).hash for _ in range(20)} == {"h3"}  # whichever is asked first


def test_version_1_is_asked_for_and_an_older_node_falls_back_to_0() -> None:
    modern, old = Fake({5: block("h", "g")}), Fake({5: block("h", "g")}, newest=0)
    for endpoint, versions in ((modern, [1]), (old, [1, 0])):
        node = SolanaNode(endpoint)
        node.fetch(5)
        asked = [
            params[1]["maxSupportedTransactionVersion"]
            for method, params in endpoint.asked
            if method == "getBlock"
        ]
        assert asked == versions
    node.fetch(5)
    assert old.asked[-1][1][1]["maxSupportedTransactionVersion"] == 0


def test_a_block_that_cannot_be_parsed_is_an_invalid_answer_with_its_bytes() -> None:
    broken = entry(SYSTEM, "s") | {"meta": None}
    node = SolanaNode(Fake({5: block("h", "g", broken), 6: ["no block"], 7: -32004}))
    with pytest.raises(InvalidAnswer, match="slot 5: `meta` must be an object") as caught:
        node.fetch(5)
    assert caught.value.raw is not None and b'"blockhash": "h"' in caught.value.raw.bodies["block"]
    for time in (2**63, -(2**64)):
        node = SolanaNode(Fake({5: block("h", "g", entry(SYSTEM, "s")) | {"blockTime": time}}))
        with pytest.raises(InvalidAnswer, match="`blockTime` is not") as caught:
            node.fetch(5)
        assert caught.value.raw is not None and caught.value.raw.time is None
    node = SolanaNode(Fake({6: ["no block"], 7: -32004}))
    with pytest.raises(InvalidAnswer, match="must be an object"):
        node.fetch(6)
    with pytest.raises(MethodRefused, match="-32004"):
        node.fetch(7)
    with pytest.raises(ChainError, match="Solana has no 'pending' slot"):
        node.head("pending")


@pytest.mark.parametrize("failure", [AnswerTooLarge("too long"), Unanswered("no answer")])
def test_a_slot_too_much_for_its_node_is_an_invalid_answer_and_a_node_that_is_down_is_not(
    failure: ChainError, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Fake({5: block("h", "g", entry(SYSTEM, "s")), 6: block("i", "h")})
    node, fetch = SolanaNode(endpoint), endpoint.fetch
    failing = ["full"]

    def failed(method: str, params: Sequence[Any]) -> tuple[Any, bytes]:
        if method == "getBlock" and params[0] == 5 and params[1]["transactionDetails"] in failing:
            raise failure
        return fetch(method, params)

    monkeypatch.setattr(endpoint, "fetch", failed)
    with pytest.raises(InvalidAnswer, match=f"slot 5: {failure}") as caught:
        node.fetch(5)
    assert caught.value.raw is not None and caught.value.raw.hash == "h"
    assert node.fetch(6).hash == "i"
    failing.append("none")
    with pytest.raises(type(failure), match=str(failure)):
        node.fetch(5)


def test_a_slot_with_a_transaction_of_an_unknown_version_is_an_invalid_answer_and_said_loudly(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = Fake({5: block("h", "g", entry(SYSTEM, "s")), 6: block("i", "h")})
    node, fetch = SolanaNode(endpoint), endpoint.fetch
    refusals = [-32015, -32000]

    def refusing(method: str, params: Sequence[Any]) -> tuple[Any, bytes]:
        if method == "getBlock" and params[0] == 5 and params[1]["transactionDetails"] == "full":
            raise MethodRefused(f"http://127.0.0.1:1 getBlock: error {refusals[0]}: no")
        return fetch(method, params)

    monkeypatch.setattr(endpoint, "fetch", refusing)
    for _ in range(3):  # as at the head of the chain, where a refused slot is asked for again
        with pytest.raises(InvalidAnswer, match=r"slot 5: .*error -32015") as caught:
            node.fetch(5)
    assert caught.value.raw is not None and caught.value.raw.hash == "h"
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("ERROR", "slot 5 holds a transaction of a version that is not known here")
    ]
    assert node.fetch(6).hash == "i"
    del refusals[0]
    with pytest.raises(MethodRefused):  # any other refusal says nothing of the slot
        node.fetch(5)


def test_records_and_rows_go_to_the_parser_of_their_family() -> None:
    solana = {"slot": 1, **entry(SYSTEM, "s")}
    evm = {"tx_hash": "0x1", "trace": {"type": "CALL", "from": "0x" + "11" * 20, "to": "0x" + "22" * 20}}
    assert families.family_of(families.parse_record(solana)) == "solana"
    assert families.family_of(families.parse_record({"tx": solana, "signature": "s"})) == "solana"
    assert families.family_of(families.parse_record(evm)) == "evm"
    assert families.parse_record(solana).source is TraceSource.SOLANA
    with pytest.raises(ParseError):
        families.parse_record([])
