"""A Solana chain with ordinary life and labelled attacks, executed by LiteSVM.

`build` gives the same bytes for the same arguments. Attacks begin only after the slots that a detector may
train and be calibrated on. Needs PyPI's `solders` (it contains LiteSVM and the SPL programs).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import orjson

from blockscan.errors import ConfigError
from pipelines.simulation.engine import Json, SimulationError
from pipelines.simulation.solana.actors import Label, User
from pipelines.simulation.solana.attacks import DEV, EVAL, TIERS
from pipelines.simulation.solana.habits import HABITS, HARD
from pipelines.simulation.solana.incident import Family, Incident
from pipelines.simulation.solana.tokens import distribute, launch
from pipelines.simulation.solana.trading import found_markets
from pipelines.simulation.solana.world import SOL, Session, World

SPLITS = {"dev": DEV, "eval": EVAL}
TRAIN, CALIBRATE = 0.6, 0.8
"""Shares of the transactions before the end of training and of calibration data."""
_PER_SLOT = 8.5
_SKIPPED = 0.03
_TOKENS_AT_FIRST = 18
_MOST_FOILED = 20
_HASTE = 4
"""Attacks wait so many times less than people do, so that a short chain can hold whole ones."""


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One line of labels.csv, with the columns that `pipelines.labels` reads."""

    tx_hash: str
    label: str
    stage: str
    family: str
    incident: str
    kind: str
    hard_benign: str
    tier: str


@dataclass(frozen=True)
class SolanaChain:
    """A finished chain. `blocks` maps a slot to the JSON of its getBlock result; skipped slots are absent.

    `train_until` and `calibrate_until` are slots (the last of each part).
    """

    blocks: dict[int, bytes]
    labels: tuple[LabelRow, ...]
    incidents: tuple[Incident, ...]
    train_until: int
    calibrate_until: int

    @property
    def first(self) -> int:
        """The first slot."""
        return min(self.blocks)

    @property
    def last(self) -> int:
        """The newest slot."""
        return max(self.blocks)

    def records(self) -> Iterator[Json]:
        """Every transaction as `blockscan ingest solana --from` takes it: a getTransaction result each."""
        for slot, block in self.blocks.items():
            content = orjson.loads(block)
            for entry in content["transactions"]:
                result = entry | {"slot": slot, "blockTime": content["blockTime"]}
                yield {
                    "signature": entry["transaction"]["signatures"][0],
                    "slot": slot,
                    "block_time": content["blockTime"],
                    "network": "litesvm",
                    "encoding": "json",
                    "tx": result,
                }


def build(seed: int, *, transactions: int, incidents: int, split: str) -> SolanaChain:
    """Make a chain.

    Args:
        seed: decides everything that chance decides.
        transactions: at least so many; the chain ends when they are made and every attack is over.
        incidents: attacks, spread over the last fifth; the families take turns.
        split: "dev" or "eval": which families.

    Raises:
        ConfigError: an unknown split, or too few transactions for a chain.
        SimulationError: an attack did not do the damage that it must do.
    """
    if split not in SPLITS:
        raise ConfigError(f"split {split!r} is not known; give one of {', '.join(SPLITS)}")
    if transactions < 200 or not 0 <= incidents <= transactions // 10:
        raise ConfigError("a Solana chain needs 200 transactions, and ten for each incident")
    chain = _Builder(seed, transactions, incidents, SPLITS[split])
    chain.run()
    return chain.finished()


class _Builder:
    """Runs habits and attacks slot by slot."""

    def __init__(self, seed: int, transactions: int, incidents: int, families: dict[str, Family]) -> None:
        self._world = World(seed, users=max(40, min(400, transactions // 10)))
        self._transactions = transactions
        first, last = int(transactions * (CALIBRATE + 0.01)), int(transactions * 0.95)
        self._starts = [first + place * (last - first) // max(1, incidents) for place in range(incidents)]
        self._families = list(families.items())
        self._incidents: list[Incident] = []
        self._queue: list[tuple[int, int, Incident | None, Session]] = []
        self._foiled = 0
        self.abandoned: list[str] = []
        self._order = itertools.count()
        self._blocks: dict[int, bytes] = {}
        self._ends: list[int] = []
        self._habits = list(HABITS)
        weights = np.array([HABITS[habit] for habit in self._habits])
        self._shares = weights / weights.sum()

    def run(self) -> None:
        """Found the tokens, then live until enough happened and no attack is under way."""
        issuers = self._world.some(self._world.users, _TOKENS_AT_FIRST)
        for place, issuer in enumerate(issuers):
            self._add(self._founding(issuer, clawback=True if place == 0 else None))
        while not self._world.markets:
            self._slot(idle=True)
            if len(self._world.tokens) == _TOKENS_AT_FIRST and not self._queue:
                self._add(found_markets(self._world))
        while self._world.ledger.count < self._transactions or self._attacking:
            self._slot()

    @property
    def _attacking(self) -> bool:
        return bool(self._starts) or any(incident is not None for _, _, incident, _ in self._queue)

    def _founding(self, issuer: User, *, clawback: bool | None) -> Session:
        """One of the first tokens, from its issuer to some of the people."""
        world = self._world
        world.ledger.grant(issuer.address, 10 * SOL)
        token = launch(world, issuer, Label(kind="launch"), clawback=clawback)
        people = world.some(world.users, int(world.rng.integers(8, 20)))
        yield from distribute(world, token, people, Label(kind="distribution"))

    def _slot(self, *, idle: bool = False) -> None:
        world = self._world
        if not idle:
            for _ in range(int(world.rng.poisson(_PER_SLOT))):
                self._add(self._habits[int(world.rng.choice(len(self._habits), p=self._shares))](world))
        while self._starts and self._starts[0] <= world.ledger.count:
            self._starts.pop(0)
            self._attack()
        while self._queue and self._queue[0][0] <= world.ledger.slot:
            _, _, incident, session = heapq.heappop(self._queue)
            try:
                pause = next(session, None)
            except SimulationError as error:
                self._give_up(incident, error)
                continue
            if pause is not None:
                after = pause if incident is None else pause // _HASTE
                self._add(session, after=max(after, 1), incident=incident)
            elif incident is not None and not incident.victims:
                self._give_up(incident, SimulationError(f"{incident.name} did no damage"))
        skipped = int(world.chance(_SKIPPED)) * int(world.rng.integers(1, 5))
        number, block = world.ledger.seal(skipped)
        self._blocks[number] = block
        self._ends.append(world.ledger.count)

    def _add(self, session: Session, *, after: int = 0, incident: Incident | None = None) -> None:
        heapq.heappush(self._queue, (self._world.ledger.slot + after, next(self._order), incident, session))

    def _attack(self, number: int | None = None) -> None:
        number = len(self._incidents) if number is None else number
        name, family = self._families[number % len(self._families)]
        again = f"-again-{self._foiled}" if self._foiled else ""
        incident = Incident(f"{name}-{number + 1:03d}{again}", name)
        self._incidents[number : number + 1] = [incident]
        self._add(family(self._world, incident), after=min(self._foiled, 5), incident=incident)

    def _give_up(self, incident: Incident | None, error: SimulationError) -> None:
        """Something that had to succeed did not, since others acted meanwhile; an attack begins anew.

        What a foiled attack did until then is labelled grey: it is neither an attack nor benign.
        """
        if incident is None:
            self.abandoned.append(str(error))
            return
        self._foiled += 1
        if self._foiled > _MOST_FOILED + len(self._incidents):
            raise SimulationError(f"{self._foiled} attacks failed, at last: {error}") from error
        labels = self._world.labels
        for name, label in labels.items():
            if label.incident == incident.name:
                labels[name] = replace(label, label="grey")
        self._attack(self._incidents.index(incident))

    def finished(self) -> SolanaChain:
        """The chain, with every incident verified."""
        for incident in self._incidents:
            if incident.taken <= 0 or incident.victims <= 0:
                raise SimulationError(f"{incident.name} did no damage")
        slots = list(self._blocks)
        cuts = np.searchsorted(self._ends, [self._transactions * TRAIN, self._transactions * CALIBRATE])
        rows = (
            LabelRow(
                name,
                label.label,
                label.stage,
                label.family,
                label.incident,
                label.kind,
                label.kind if label.label == "benign" and label.kind in HARD else "",
                TIERS.get(label.family, ""),
            )
            for name, label in self._world.labels.items()
        )
        train, calibrate = (slots[int(cut)] for cut in cuts)
        return SolanaChain(self._blocks, tuple(rows), tuple(self._incidents), train, calibrate)
