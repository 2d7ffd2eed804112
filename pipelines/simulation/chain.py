"""One simulated chain from its first block to its last: benign history, then traffic with attacks in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipelines.simulation.attacks.catalogue import families
from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import Incident
from pipelines.simulation.driver import Driver
from pipelines.simulation.engine import Engine, Json, SimulationError
from pipelines.simulation.founding import found, populate
from pipelines.simulation.traffic import HARD_BENIGN, OPENINGS, Traffic
from pipelines.simulation.world import Session

CHAIN_ID = 7001
START = 1_700_000_003
"""Unix time of the first block."""
INCIDENT_COLUMNS = (
    "incident",
    "family",
    "tier",
    "variant",
    "gain_ether",
    "damage_ether",
    "exploit_transactions",
    "parties",
    "prices",
)
_FOUNDING_RATE = 20
_TRANSACTIONS = 14.5
_ATTEMPTS = 5
_PATIENCE = 6
"""Turns that an attacker waits when the world offers him no opportunity."""
_LAST_START = 40
_LONGEST_END = 30
"""Blocks: attacks begin no later than so many before the planned end, and must be over so many after it."""


@dataclass(frozen=True)
class Plan:
    """How long a chain is and what happens on it; the same plan gives the same chain."""

    seed: int
    split: str
    """Which families attack: "dev" or "eval"."""
    history: int
    """Benign blocks at the beginning."""
    test: int
    """Blocks after them, in which the attacks happen."""
    incidents: int
    users: int

    @property
    def train_until(self) -> int:
        """The last block meant for training; what follows up to `history` is for calibration."""
        return self.history * 3 // 4


class SimulatedChain:
    """Runs a plan on an engine; every sealed block goes to `keep`, labels stay in `driver.labels`."""

    def __init__(self, plan: Plan, engine: Engine, keep: Callable[[Json], None]) -> None:
        """Create the accounts of the genesis state; `run` makes the blocks."""
        self.plan = plan
        self._keep = keep
        rng = np.random.default_rng(plan.seed)
        self.world = populate(engine, rng, plan.seed, users=plan.users)
        self.driver = Driver(self.world)
        self.height = 0
        self._traffic = Traffic(self.driver)
        self._families = families(plan.split)
        self._tiers = {family.name: family.tier for family in self._families}
        first, last = plan.history + 2, plan.history + plan.test - min(_LAST_START, plan.test // 3)
        self._starts = [first + i * (last - first) // max(1, plan.incidents) for i in range(plan.incidents)]
        self._incidents = 0
        self._due = 0
        self.broken: Counter[str] = Counter()
        """Incidents that came to nothing, by family: no opportunity, or somebody else was faster."""

    def keep(self, sealed: Json) -> None:
        """Count a sealed block and hand it on."""
        self.height += 1
        self._keep(sealed)

    def run(self, stop_after: int | None = None) -> None:
        """Make the blocks; `stop_after` ends early without changing what came before.

        A few blocks are added at the end if incidents are still under way.
        """
        last = self.plan.history + self.plan.test if stop_after is None else stop_after
        self.driver.run(found(self.world, OPENINGS), self.keep, _FOUNDING_RATE, last)
        while self.height < last:
            self.block()
        while stop_after is None and self.driver.hasty and self.height < last + _LONGEST_END:
            self.block()
        self.driver.dismiss()

    def block(self) -> None:
        """Make one block of ordinary traffic and whatever attacks are due."""
        while self._starts and self._starts[0] <= self.height + 1:
            self._starts.pop(0)
            self._due += 1
        while self._due and self.height < self.plan.history + self.plan.test:
            self._due -= 1
            self.attack(self._families[self._incidents % len(self._families)])
        count = max(2, int(self.world.rng.normal(_TRANSACTIONS, 4.0)))
        self._traffic.transactions(count)
        self.keep(self.driver.seal())

    def attack(self, family: Family) -> None:
        """Begin an incident; if it comes to nothing, the next family takes its turn instead."""
        self._incidents += 1
        name = f"{family.name}-{self._incidents:03d}"
        self.driver.add(self._carry_out(family, name), hasty=True)

    def _carry_out(self, family: Family, name: str) -> Session:
        """Carry out one incident; if the world offers no opportunity yet, try again a little later."""
        try:
            for _ in range(_ATTEMPTS):
                incident = Incident(self.world, family.name, name)
                yield from _measured(family.run(self.world, incident), incident)
                if incident.exploits:
                    return
                for _ in range(_PATIENCE):
                    yield None
        except SimulationError:
            return
        finally:
            if not any(incident.name == name for incident in self.world.incidents):
                self.broken[family.name] += 1
                self._due += 1

    def label_rows(self) -> list[tuple[str, ...]]:
        """Return the rows of labels.csv (`pipelines.labels.COLUMNS`), in the order of execution.

        What belongs to an incident that broke off without gain is grey: neither benign nor an attack.
        """
        tiers = self._tiers | {"": ""}
        carried_out = {"", *(incident.name for incident in self.world.incidents)}
        return [
            (
                tx_hash,
                tag.label if tag.incident in carried_out else "grey",
                tag.stage,
                tag.family,
                tag.incident,
                tag.kind,
                tag.kind if tag.label == "benign" and tag.kind in HARD_BENIGN else "",
                tiers[tag.family],
            )
            for tx_hash, tag in self.driver.labels.items()
        ]

    def incident_rows(self) -> list[tuple[str, ...]]:
        """Return the rows of incidents.csv (INCIDENT_COLUMNS), in the order in which they ended.

        Gains can be recomputed from the traces: flows of ether and of the tokens in `prices` (ether per base
        unit) into and out of `parties` over the stages prep and exploit, less gas.
        """
        return [
            (
                incident.name,
                incident.family,
                self._tiers[incident.family],
                " ".join(incident.variant),
                f"{incident.gain:.6f}",
                f"{incident.damage:.6f}",
                str(incident.exploits),
                " ".join(f"0x{party.hex()}" for party in incident.parties),
                " ".join(f"0x{token.hex()}={price!r}" for token, price in incident.prices.items()),
            )
            for incident in self.world.incidents
        ]


def _measured(session: Session, incident: Incident) -> Session:
    """Hand on a session's transactions, each measured even where the family did not ask for it."""
    try:
        wanted = next(session)
        while True:
            own = wanted is not None and wanted.tag.incident == incident.name
            receipt = yield incident.measured(wanted) if wanted is not None and own else wanted
            wanted = session.send(receipt)
    except StopIteration:
        return
