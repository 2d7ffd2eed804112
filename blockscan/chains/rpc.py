"""Fetch raw EVM blocks from nodes: the impure half of the Ethereum adapter.

Of several endpoints the healthy ones take turns by weight; a block comes whole from one of them, by the
best plan that any of them offers, and is checked before it is given out.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from blockscan.archive import RawBlock
from blockscan.chains.blocks import Parts, assemble
from blockscan.chains.checks import (
    InvalidAnswer,
    check_block,
    check_receipts,
    check_traces,
    check_transactions,
)
from blockscan.chains.frames import read_count
from blockscan.chains.networks import chain_name
from blockscan.chains.pool import Pool
from blockscan.chains.tracing import (
    Plan,
    Traces,
    fetch_receipts,
    fetch_traces,
    probe,
    require_tracer,
    untraced,
)
from blockscan.chains.transport import AnswerTooLarge, Endpoint, MethodRefused, TracerDown, Untraceable
from blockscan.errors import ChainError, ParseError, RpcError, UnsupportedTrace

log = logging.getLogger("blockscan.rpc")

LEAST = {"callTracer": Plan.TRACE_TRANSACTION, "trace_block": Plan.TRACE_BLOCK, "receipt": Plan.RECEIPTS}
"""What `least` may be: the poorest trace source that is taken."""
PATIENCE = 1800.0
"""Seconds that a tracer which answers nothing, not even for the genesis block, is waited for, while all else
answers. Then blocks are taken with lesser traces of other endpoints, or with none: an outage says nothing of
any transaction."""
ASK_AGAIN = 600.0
"""Seconds after which a tracer that was given up is asked again: each time costs two timeouts."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header as far as following the chain needs it; `time` in Unix seconds."""

    number: int
    hash: str
    parent_hash: str
    time: int


class EthereumNode:
    """One chain through one endpoint or several. Thread-safe."""

    family = "evm"

    def __init__(
        self, endpoints: Endpoint | Pool, *, chain_id: int | None = None, least: str = "receipt"
    ) -> None:
        """Ask every endpoint for its chain id and for the trace methods that it has.

        Args:
            endpoints: where to ask.
            chain_id: the chain that they must serve; None takes what they say.
            least: poorest source taken, a key of LEAST.

        Raises:
            RpcError: none of them answers.
            ChainError: they serve another chain, or not all the same.
            UnsupportedTrace: none of them offers `least`.
        """
        self._pool = Pool([endpoints]) if isinstance(endpoints, Endpoint) else endpoints
        self._offers: dict[Endpoint, frozenset[Plan]] = {}
        self._lock = threading.Lock()
        # Of endpoints that offer a plan, together: since when their tracers have answered nothing, and when
        # they are asked next once they were given up.
        self._silent: dict[tuple[Endpoint, ...], float] = {}
        self._ask_again: dict[tuple[Endpoint, ...], float] = {}
        self._least = LEAST[least]
        self._expected = chain_id
        errors = self._probe_all()
        if self._expected is None:
            raise RpcError("; ".join(errors))
        self.chain_id = self._expected
        self.chain = chain_name(self.chain_id)
        self.concurrent = self._pool.concurrent
        if not self._plans():
            raise UnsupportedTrace(
                f"{self._pool.shown}: no endpoint offers traces of source {least} or better; use an archive "
                "node or a plan with trace methods, or allow a lesser --min-source"
            )

    @property
    def offers(self) -> dict[str, list[str]]:
        """The plans of every endpoint that has answered, best first, by its redacted URL."""
        return {
            endpoint.shown: [plan.name.lower() for plan in sorted(plans, reverse=True)]
            for endpoint, plans in self._offers.items()
        }

    def head(self, tag: str = "latest") -> int:
        """Number of the newest block under a tag: latest, safe or finalized.

        Raises:
            RpcError: the nodes failed, or answered no number.
            ChainError: they know no such block.
        """
        if tag == "latest":
            return self._count(self._pool.fetch("eth_blockNumber", [])[0], "eth_blockNumber")
        block, _ = self._pool.fetch("eth_getBlockByNumber", [tag, False])
        if not isinstance(block, Mapping):
            raise ChainError(f"{self._pool.shown} knows no {tag} block; choose another finality")
        return self._count(block.get("number"), "number")

    def header(self, number: int) -> Block | None:
        """A block's header, or None where there is no such block (yet, or any more).

        Raises:
            RpcError: the nodes failed, or answered something that is no header.
        """
        block, _ = self._pool.fetch("eth_getBlockByNumber", [hex(number), False])
        if not isinstance(block, Mapping):
            return None
        hashes = block.get("hash"), block.get("parentHash")
        if not all(isinstance(each, str) for each in hashes):
            raise RpcError(
                f"{self._pool.shown}: block {number:,} was answered without its hashes; wait for it"
            )
        return Block(number, str(hashes[0]), str(hashes[1]), self._count(block.get("timestamp"), "timestamp"))

    def _count(self, value: object, name: str) -> int:
        """A count that must be there: a node that is starting answers null, "0x" or words."""
        try:
            if value in (None, "0x"):
                raise ParseError(f"`{name}` is missing")
            return read_count(value, name)
        except ParseError as error:
            raise RpcError(f"{self._pool.shown}: {error}; wait until the node has started") from None

    def fetch(self, number: int) -> RawBlock:
        """One block with receipts and traces, as a node sent them, checked.

        Where a node lacks a method or old state, or its tracer is down for long, a lesser plan is taken, in
        the end receipts alone. Where the block itself is too much for a tracer that answers else, none is:
        its transactions are told apart as untraced, which no attacker can hide behind.

        Raises:
            InvalidAnswer: what the nodes answer for the block does not hold together; with the answers.
            ChainError: the block does not exist.
            RpcError: the nodes failed.
        """
        refused: list[str] = []
        for plan in self._plans():
            able = self._able(plan)
            if plan is not Plan.RECEIPTS and self._given_up(able):
                refused = refused or [f"{_shown(able)}: the tracer has answered nothing for long"]
                continue
            try:
                raw = self._best(number, plan, able)
            except (MethodRefused, AnswerTooLarge, TracerDown) as error:
                if isinstance(error, TracerDown):
                    self._wait(error, able)
                refused.append(str(error))
                continue
            lesser = bool(raw.tx_hashes) and plan.rank < self._plans()[0].rank
            reasons = [*(refused if lesser else []), raw.degraded, self._unasked(raw, plan)]
            return replace(raw, degraded="; ".join(filter(None, reasons)))
        raise InvalidAnswer(f"block {number:,}: " + "; ".join(refused))

    def _best(self, number: int, plan: Plan, able: tuple[Endpoint, ...]) -> RawBlock:
        try:
            raw = self._pool.attempt(partial(self._from, number, plan), able)
        except Untraceable as error:
            raw = self._pool.attempt(partial(self._from, number, plan, without=str(error)), able)
        if raw.tx_hashes and plan is not Plan.RECEIPTS and self._silent:
            self._heard(able)
        return raw

    def _unasked(self, raw: RawBlock, plan: Plan) -> str:
        """Which endpoints have never answered, where one of them may have better traces of a block."""
        best = plan.rank == max(each.rank for each in Plan)
        silent = [each for each in self._pool.endpoints if each not in self._offers]
        return f"{_shown(silent)} never answered" if raw.tx_hashes and silent and not best else ""

    def _wait(self, down: TracerDown, able: tuple[Endpoint, ...]) -> None:
        """Pass on that tracers are down, until patience is at an end; that is said once."""
        now = time.monotonic()
        with self._lock:
            if now - self._silent.setdefault(able, now) < PATIENCE:
                raise down
            said, self._ask_again[able] = able in self._ask_again, now + ASK_AGAIN
        if not said:
            log.error("the tracer is down: %s. %s; restart it", down, self._instead())

    def _instead(self) -> str:
        """What becomes of blocks while tracers are given up."""
        traced = [self._able(plan) for plan in self._plans() if plan is not Plan.RECEIPTS]
        if any(able not in self._ask_again for able in traced):
            return (
                "Until it answers, lesser traces of other endpoints are taken: they are judged where the "
                "model is calibrated for them"
            )
        if self._least is Plan.RECEIPTS:
            return (
                "From block to block only receipts are taken until it answers: their transactions cannot be "
                "judged, and an attack among them raises no alert"
            )
        return "Every block is quarantined until it answers, and none of them is judged"

    def _given_up(self, able: tuple[Endpoint, ...]) -> bool:
        """Whether tracers are known to be down; from time to time one caller is told to ask again."""
        with self._lock:
            if able not in self._ask_again:
                return False
            due = time.monotonic() >= self._ask_again[able]
            if due:
                self._ask_again[able] = time.monotonic() + ASK_AGAIN
            return not due

    def _heard(self, able: tuple[Endpoint, ...]) -> None:
        """Forget the silence of endpoints one of which has traced, and of all groups that contain them."""
        with self._lock:
            back = [group for group in self._silent if set(able) <= set(group)]
            for group in back:
                del self._silent[group]
            again = [group for group in back if self._ask_again.pop(group, None) is not None]
        if again:
            log.warning("the tracer answers again; `blockscan ingest --repair` mends the blocks between")

    def _able(self, plan: Plan) -> tuple[Endpoint, ...]:
        """The endpoints that offer a plan."""
        known = list(self._offers.items())  # another thread may be adding one
        return tuple(endpoint for endpoint, offers in known if plan in offers)

    def _plans(self) -> list[Plan]:
        """The plans that some endpoint offers and that are good enough, best first."""
        self._probe_all()
        return sorted(
            {plan for offers in self._offers.values() for plan in offers if plan.rank >= self._least.rank},
            reverse=True,
        )

    def _probe_all(self) -> list[str]:
        """Ask the endpoints that have not answered yet; what was wrong with those that still do not."""
        errors = []
        for endpoint in self._pool.endpoints:
            if endpoint in self._offers or endpoint.breaker.blocked:
                continue
            with self._lock:
                if endpoint in self._offers:
                    continue
                try:
                    self._expected, self._offers[endpoint] = probe(endpoint, self._expected)
                except RpcError as error:
                    errors.append(str(error))
                    endpoint.breaker.rest(5)
        return errors

    def _from(self, number: int, plan: Plan, endpoint: Endpoint, *, without: str = "") -> RawBlock:
        """One block from one endpoint, or all but its traces `without` them, for the reason given.

        Receipts come last: their block hash proves that none changed.
        """
        where = f"{endpoint.shown} block {number:,}"
        try:
            block, body = endpoint.fetch("eth_getBlockByNumber", [hex(number), True])
        except MethodRefused as error:  # says nothing of the block: the endpoint serves nobody now
            raise RpcError(str(error)) from None
        if block is None:
            raise ChainError(f"{endpoint.shown} has no block {number:,}; ask for a smaller range")
        if not isinstance(block, Mapping):
            raise InvalidAnswer(f"{where}: a block must be an object")
        raw = self._raw(number, block, body, plan)
        try:
            check_block(block, number, self.chain_id)
            return self._completed(endpoint, plan, raw, block, without)
        except (ParseError, InvalidAnswer) as error:
            kept = error.raw if isinstance(error, InvalidAnswer) and error.raw else raw
            raise InvalidAnswer(f"{where}: {error}", kept) from None

    def _completed(
        self, endpoint: Endpoint, plan: Plan, raw: RawBlock, block: Mapping[str, Any], without: str
    ) -> RawBlock:
        """The block with traces and receipts, all of which hold together."""
        if not block["transactions"]:
            return raw
        if without:
            traces: Traces | None = untraced(block, without)
        else:
            if plan is not Plan.RECEIPTS and self._able(plan) in self._silent:
                require_tracer(endpoint, plan)
            traces = fetch_traces(endpoint, plan, self._offers[endpoint], block)
        if traces is not None and not isinstance(traces.entries, list):
            raise InvalidAnswer("traces must be lists of objects")
        receipts, body = fetch_receipts(endpoint, block)
        bodies = {**raw.bodies, "receipts": body}
        if traces is not None:
            bodies["traces"] = traces.body
        whole = replace(raw, bodies=bodies, degraded=traces.missing if traces else "")
        try:
            check_receipts(block, receipts)
            parts = Parts(block, receipts, traces.entries if traces else None)
            check_traces(whole, parts)
            check_transactions(whole, parts, assemble(whole, parts))
        except (ParseError, InvalidAnswer) as error:
            raise InvalidAnswer(str(error), whole) from None
        return whole

    def _raw(self, number: int, block: Mapping[str, Any], body: bytes, plan: Plan) -> RawBlock:
        entries = block.get("transactions")
        listed = entries if isinstance(entries, list) else []
        return RawBlock(
            chain=self.chain,
            number=number,
            hash=str(block.get("hash")),
            parent_hash=str(block.get("parentHash")),
            time=_time(block),
            source=plan.source,
            form="rpc",
            tx_hashes=tuple(str(each.get("hash")) for each in listed if isinstance(each, Mapping)),
            bodies={"block": body},
        )


def _shown(endpoints: Sequence[Endpoint]) -> str:
    return ", ".join(endpoint.shown for endpoint in endpoints)


def _time(block: Mapping[str, Any]) -> int | None:
    try:
        return read_count(block.get("timestamp"), "timestamp")
    except ParseError:
        return None
