"""Fetch raw Solana blocks from nodes: the impure half of the Solana adapter.

A slot that its leader skipped has no block. It is stored as an empty row that carries the hash of the newest
block before it, as hash and as parent hash, so that rows still link by parent hash. A slot before the first
that an endpoint still has may be answered in the same words; it is refused, not stored as empty. So may a
slot that it lacks in between; a later block that names it as its parent tells, see pipelines.block_writer.
"""

import json
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from blockscan.archive import RawBlock
from blockscan.chains.checks import InvalidAnswer
from blockscan.chains.decode import decode
from blockscan.chains.pool import Pool
from blockscan.chains.rpc import Block
from blockscan.chains.solana import parse
from blockscan.chains.solana_meta import count, integer
from blockscan.chains.transport import AnswerTooLarge, Endpoint, Forbidden, MethodRefused, Unanswered
from blockscan.errors import ChainError, ParseError
from blockscan.transaction import TraceSource

log = logging.getLogger("blockscan.solana")

GENESIS = {
    "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d": "solana",
    "EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG": "solana-devnet",
    "4uhcVJyU9pJkvQyS88uRDiswHXSGkY3zQawwpjk2NsNY": "solana-testnet",
}
SKIPPED = ("error -32007", "error -32009")
"""A slot without a block: skipped by its leader, or missing in long-term storage."""
INVALID_PARAMS = "error -32602"
UNKNOWN_VERSION = "error -32015"
"""A transaction of the slot has a version above the one that is asked for."""
NEWEST_VERSION = 1
"""Transaction versions go up to 1 (SIMD-0385); an older node refuses to be asked for more than 0."""
_LOOK_BACK = (64, 5_000, 500_000)
_EMPTY = json.dumps({"jsonrpc": "2.0", "id": 0, "result": None}).encode()
_COMMITMENTS = {"latest": "confirmed", "safe": "confirmed", "finalized": "finalized"}


class SolanaNode:
    """One Solana cluster through one endpoint or several."""

    family = "solana"

    def __init__(self, endpoints: Endpoint | Pool, *, votes: bool = False) -> None:
        """Ask which cluster they serve, by its genesis hash.

        Args:
            endpoints: where to fetch from.
            votes: whether validators' votes are taken too.

        Raises:
            RpcError: none of them answers.
        """
        self._pool = Pool([endpoints]) if isinstance(endpoints, Endpoint) else endpoints
        self.genesis = str(self._pool.fetch("getGenesisHash", [])[0])
        self.chain = GENESIS.get(self.genesis, f"solana-{self.genesis[:8]}")
        self.chain_id: int | None = None
        self.concurrent = self._pool.concurrent
        self._version = NEWEST_VERSION
        self._votes = votes
        self._told: deque[int] = deque(maxlen=1000)  # slots of an unknown version that were told of

    def head(self, tag: str = "finalized") -> int:
        """Number of the newest slot: finalized, or confirmed for the tags latest and safe.

        Raises:
            ChainError: the tag is none of these.
        """
        if tag not in _COMMITMENTS:
            raise ChainError(f"Solana has no {tag!r} slot; choose one of {', '.join(_COMMITMENTS)}")
        return integer(self._pool.fetch("getSlot", [{"commitment": _COMMITMENTS[tag]}])[0], "getSlot")

    def header(self, number: int) -> Block | None:
        """A slot's block without its transactions; of a skipped slot, the newest block's before it."""
        block = self._block(number, "none")[0] or self._newest_before(number)
        if block is None:
            return None
        return Block(
            number,
            str(block.get("blockhash")),
            str(block.get("previousBlockhash")),
            count(block.get("blockTime") or 0, "blockTime"),
        )

    def fetch(self, number: int) -> RawBlock:
        """One slot with all its transactions, as a node sent it; unwanted votes are not among `tx_hashes`.

        Raises:
            InvalidAnswer: what the node answered cannot be parsed; with the answer. Or it answers for the
                slot, and not with all of it, or it holds a transaction of a version that is not known
                here: what comes after must not wait for that.
            ChainError: the slot is before the first that the nodes have.
            RpcError: the nodes failed.
        """
        try:
            block, body = self._block(number, "full")
        except (AnswerTooLarge, Unanswered, MethodRefused) as error:
            if isinstance(error, MethodRefused) and UNKNOWN_VERSION not in str(error):
                raise
            header, body = self._block(number, "none")
            kept = None if header is None else self._raw(number, header, body)
            # Louder than one bad answer, as there will be more of them, but once each: a young slot is asked
            # for again.
            if isinstance(error, MethodRefused) and number not in self._told:
                self._told.append(number)
                log.error("slot %s holds a transaction of a version that is not known here", f"{number:,}")
            raise InvalidAnswer(f"slot {number:,}: {error}", kept) from None
        if block is None:
            before = self._newest_before(number) or {}
            known = _text(before.get("blockhash"))
            return self._raw(number, {"blockhash": known, "previousBlockhash": known}, _EMPTY)
        raw = self._raw(number, block, body)
        try:
            return replace(raw, tx_hashes=tuple(one.hash for one in parse(raw, votes=self._votes)))
        except ParseError as error:
            raise InvalidAnswer(f"{self._pool.shown} slot {number:,}: {error}", raw) from None

    def _block(self, number: int, details: str) -> tuple[Mapping[str, Any] | None, bytes]:
        """The result and the body of getBlock; None for a skipped slot."""
        try:
            block, body = self._pool.attempt(partial(self._block_from, number, details))
        except MethodRefused as error:
            if self._version == 0 or INVALID_PARAMS not in str(error):
                raise
            self._version = 0
            return self._block(number, details)
        if block is not None and not isinstance(block, Mapping):
            raise InvalidAnswer(f"{self._pool.shown} slot {number:,}: a block must be an object")
        return block, body

    def _block_from(self, number: int, details: str, endpoint: Endpoint) -> tuple[Any, bytes]:
        """The answer of one endpoint, None for a skipped slot.

        Raises:
            ChainError: the endpoint's blocks begin after the slot; another's may not.
        """
        try:
            return endpoint.fetch("getBlock", [number, self._options(details)])
        except MethodRefused as error:
            if not any(code in str(error) for code in SKIPPED):
                raise
        first = _first_available(endpoint)
        if number < first:
            raise ChainError(
                f"{endpoint.shown} has no slot {number:,}, its blocks begin at {first:,}; "
                f"begin the range there, with --blocks {first}:, or ask another node"
            )
        return None, b""

    def _newest_before(self, number: int) -> Mapping[str, Any] | None:
        """The newest block before a slot, without transactions; None if the node has none."""
        for far in _LOOK_BACK:
            found = self._pool.fetch("getBlocks", [max(number - far, 0), max(number - 1, 0)])[0]
            if isinstance(found, list) and found:
                return self._block(integer(found[-1], "getBlocks"), "none")[0]
        return None

    def _options(self, details: str) -> dict[str, Any]:
        return {
            "encoding": "json",
            "transactionDetails": details,
            "rewards": False,
            "maxSupportedTransactionVersion": self._version,
        }

    def _raw(self, number: int, block: Mapping[str, Any], body: bytes) -> RawBlock:
        return RawBlock(
            chain=self.chain,
            number=number,
            hash=_text(block.get("blockhash")),
            parent_hash=_text(block.get("previousBlockhash")),
            time=_time(block),
            source=TraceSource.SOLANA_LOGS,
            form="rpc",
            tx_hashes=(),
            bodies={"block": body},
        )


def parent_slot(raw: RawBlock) -> int | None:
    """The slot of the block that a block follows, None where it is none of Solana's or does not say."""
    answer = decode(raw.bodies["block"])
    block = answer.get("result") if isinstance(answer, Mapping) else None
    slot = block.get("parentSlot") if isinstance(block, Mapping) else None
    return slot if isinstance(slot, int) else None


def _first_available(endpoint: Endpoint) -> int:
    """The first slot that an endpoint has a block of, which rises as it prunes; 0 where it does not say."""
    try:
        return integer(endpoint.fetch("getFirstAvailableBlock", [])[0], "getFirstAvailableBlock")
    except (MethodRefused, Forbidden, ParseError):
        return 0


def _time(block: Mapping[str, Any]) -> int | None:
    time = block.get("blockTime")
    try:
        return None if time is None else count(time, "blockTime")
    except ParseError:
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
