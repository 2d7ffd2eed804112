"""Serves a simulated Solana chain, fresh or recorded, as a node would: JSON-RPC over HTTP on loopback.

Needs neither LiteSVM nor anything else of the world that made the chain.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from blockscan.errors import ArtifactError
from pipelines.simulation.engine import Json
from pipelines.simulation.replay import RpcFailure, listening

GENESIS_HASH = "B1ockScanSimu1atedSo1anaC1uster1111111111111"
_PARAMS, _SKIPPED, _UNAVAILABLE, _VERSION = -32602, -32007, -32004, -32015
_MOST_SLOTS = 500_000
Blocks = Mapping[int, bytes]
"""Slot -> the JSON of its getBlock result, in order; skipped slots are absent."""


def recorded_blocks(folder: Path) -> dict[int, bytes]:
    """The blocks of a recording (blocks.jsonl.xz: one object with `slot` and `block` a line).

    Raises:
        ArtifactError: the folder holds no recording.
    """
    try:
        with lzma.open(folder / "blocks.jsonl.xz", "rb") as stream:
            entries = [orjson.loads(line) for line in stream]
        blocks = {int(entry["slot"]): orjson.dumps(entry["block"]) for entry in entries}
    except (OSError, EOFError, ValueError, KeyError, TypeError, lzma.LZMAError) as error:
        raise ArtifactError(f"{folder}: not a readable recording ({error}); record it again") from error
    if not blocks:
        raise ArtifactError(f"{folder}: the recording has no blocks; record it again")
    return blocks


def methods(blocks: Blocks) -> dict[str, Callable[..., Any]]:
    """The JSON-RPC methods that the server answers, each taking its positional parameters."""
    first_slot, last_slot = min(blocks), max(blocks)
    places = {
        name: (slot, index)
        for slot, block in blocks.items()
        for index, name in enumerate(_names(orjson.loads(block)))
    }

    def block(slot: object, options: object = None) -> Json:
        if not isinstance(slot, int):
            raise RpcFailure(_PARAMS, f"invalid slot: {slot!r:.40}")
        if slot > last_slot:
            raise RpcFailure(_UNAVAILABLE, f"Block not available for slot {slot}")
        if slot not in blocks:
            raise RpcFailure(_SKIPPED, f"Slot {slot} was skipped, or missing due to ledger jump")
        found: Json = orjson.loads(blocks[slot])
        if isinstance(options, dict) and options.get("transactionDetails") == "none":
            del found["transactions"]
            return found
        _check(found["transactions"], options)
        return found

    def listed(first: object, last: object = None, _options: object = None) -> list[int]:
        last = last_slot if last is None or isinstance(last, dict) else last
        if not isinstance(first, int) or not isinstance(last, int) or last - first > _MOST_SLOTS:
            raise RpcFailure(_PARAMS, "give the first and the last slot, at most 500,000 apart")
        return [slot for slot in blocks if first <= slot <= last]

    def transaction(name: object, options: object = None) -> Json | None:
        place = places.get(str(name))
        if place is None:
            return None
        content = orjson.loads(blocks[place[0]])
        entry: Json = content["transactions"][place[1]]
        _check([entry], options)
        return entry | {"slot": place[0], "blockTime": content["blockTime"]}

    return {
        "getSlot": lambda _options=None: last_slot,
        "getBlocks": listed,
        "getBlock": block,
        "getTransaction": transaction,
        "getFirstAvailableBlock": lambda: first_slot,
        "getGenesisHash": lambda: GENESIS_HASH,
        "getHealth": lambda: "ok",
        "getVersion": lambda: {"solana-core": "4.2.0", "feature-set": 0},
    }


def _names(block: Json) -> list[str]:
    return [entry["transaction"]["signatures"][0] for entry in block["transactions"]]


def _check(entries: list[Json], options: object) -> None:
    """Refuse what is not kept, and versions that the caller does not know, as a node does."""
    given = options if isinstance(options, dict) else {}
    if given.get("encoding", "json") != "json" or given.get("transactionDetails", "full") != "full":
        raise RpcFailure(_PARAMS, "only encoding json with full transactions is served")
    newest = given.get("maxSupportedTransactionVersion")
    if newest is None and any(entry["version"] != "legacy" for entry in entries):
        raise RpcFailure(_VERSION, "Transaction version (0) is not supported by the requesting client")


@contextmanager
def serve(blocks: Blocks) -> Iterator[str]:
    """Serve a chain on a free port of 127.0.0.1 while the context is open; yield the URL."""
    with listening(methods(blocks)) as url:
        yield url
