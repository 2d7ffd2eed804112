"""What a family of attacks is: one way of stealing, with the incident that it is modelled on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.simulation.attacks.incident import Incident
from pipelines.simulation.world import Session, World

TIERS = ("structural", "mimicry", "context")
"""structural: the call tree itself is odd; mimicry: it looks like legitimate use with odd values;
context: nearly invisible in one trace, since only the history of the accounts gives it away."""
SPLITS = ("dev", "eval")


@dataclass(frozen=True)
class Family:
    """A family of attacks; `about` (two lines at most) and `modelled_on` are what docs/benchmark.md says."""

    name: str
    tier: str
    split: str
    modelled_on: str
    about: str
    run: Callable[[World, Incident], Session]
    """One incident: chooses its variant, acts, and ends with `incident.finish()`. It may give up before its
    first transaction if the world offers no opportunity."""
