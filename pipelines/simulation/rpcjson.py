"""What a node answers about blocks, transactions and receipts (Ethereum JSON-RPC, geth's fields)."""

from __future__ import annotations

from typing import Any

import rlp  # type: ignore[import-untyped]  # rlp ships no annotations
from eth_utils.crypto import keccak

from pipelines.simulation.engine import Json, Tx
from pipelines.simulation.tracing import RawLog, hexed

_EMPTY_UNCLES = keccak(rlp.encode([]))


def transaction(tx: Tx, signed: Any, nonce: int, chain_id: int, price: int) -> Json:
    """Return a transaction's body without its place in the block; `price` is the effective gas price."""
    body: Json = {
        "chainId": hex(chain_id),
        "from": hexed(tx.sender.address),
        "gas": hex(tx.gas),
        "gasPrice": hex(price),
        "hash": hexed(signed.hash),
        "input": hexed(tx.data),
        "nonce": hex(nonce),
        "r": hex(signed.r),
        "s": hex(signed.s),
        "to": None if tx.to is None else hexed(tx.to),
        "type": "0x0" if tx.tip is None else "0x2",
        "value": hex(tx.value),
    }
    if tx.tip is None:
        return body | {"v": hex(signed.v)}
    parity = hex(signed.y_parity)
    return body | {
        "accessList": [],
        "maxFeePerGas": hex(tx.max_fee),
        "maxPriorityFeePerGas": hex(tx.tip),
        "v": parity,
        "yParity": parity,
    }


def receipt(
    tx: Tx,
    signed: Any,
    logs: list[RawLog],
    contract: bytes | None,
    *,
    ok: bool,
    used: int,
    price: int,
    bloom: int,
) -> Json:
    """Return a receipt without its place in the block and its cumulative gas."""
    tx_hash = hexed(signed.hash)
    return {
        "contractAddress": None if contract is None else hexed(contract),
        "effectiveGasPrice": hex(price),
        "from": hexed(tx.sender.address),
        "gasUsed": hex(used),
        "logs": [
            {
                "address": hexed(address),
                "topics": [hexed(topic) for topic in topics],
                "data": hexed(data),
                "transactionHash": tx_hash,
                "removed": False,
            }
            for address, topics, data in logs
        ],
        "logsBloom": hexed(bloom.to_bytes(256, "big")),
        "status": hex(ok),
        "to": None if tx.to is None else hexed(tx.to),
        "transactionHash": tx_hash,
        "type": "0x0" if tx.tip is None else "0x2",
    }


def receipt_rlp(receipt: Json, bloom: int, logs: list[RawLog]) -> bytes:
    """Return the consensus encoding of a receipt (EIP-658, EIP-2718)."""
    payload = rlp.encode(
        [
            int(receipt["status"], 16),
            int(receipt["cumulativeGasUsed"], 16),
            bloom.to_bytes(256, "big"),
            [[address, list(topics), data] for address, topics, data in logs],
        ]
    )
    return bytes(payload) if receipt["type"] == "0x0" else b"\x02" + bytes(payload)


def header(header: Any) -> Json:
    """Return a Cancun block's fields but for its size and its transactions."""
    return {
        "baseFeePerGas": hex(header.base_fee_per_gas),
        "blobGasUsed": "0x0",
        "difficulty": "0x0",
        "excessBlobGas": "0x0",
        "extraData": "0x",
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "hash": hexed(header.hash),
        "logsBloom": hexed(header.bloom.to_bytes(256, "big")),
        "miner": hexed(header.coinbase),
        "mixHash": hexed(header.mix_hash),
        "nonce": "0x0000000000000000",
        "number": hex(header.block_number),
        "parentBeaconBlockRoot": hexed(header.parent_beacon_block_root),
        "parentHash": hexed(header.parent_hash),
        "receiptsRoot": hexed(header.receipt_root),
        "sha3Uncles": hexed(_EMPTY_UNCLES),
        "stateRoot": hexed(header.state_root),
        "timestamp": hex(header.timestamp),
        "transactionsRoot": hexed(header.transaction_root),
        "uncles": [],
        "withdrawals": [],
        "withdrawalsRoot": hexed(header.withdrawals_root),
    }
