"""At the head of a chain: which blocks are taken, which are asked for again, how late their scores are."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from blockscan.errors import ConfigError
from pipelines.block_writer import Node

YOUNG = 60.0
"""Seconds from a block's time within which an endpoint may lag behind the one that told of the block."""
LOOKS = 5
"""How often a young block is asked for in vain before it is taken as it is."""
TAGS = ("latest", "safe", "finalized")


@dataclass(frozen=True, slots=True)
class Finality:
    """Which blocks are taken: those under a tag of the node, or `confirmations` below the newest."""

    tag: str = "latest"
    confirmations: int = 0

    @staticmethod
    def read(text: str) -> "Finality":
        """`latest`, `safe`, `finalized`, or a number of confirmations.

        Raises:
            ConfigError: none of these.
        """
        if text in TAGS:
            return Finality(text)
        if text.isdecimal() and int(text) <= 100_000:
            return Finality("latest", int(text))
        raise ConfigError(f"unknown finality {text[:40]!r}; give {', '.join(TAGS)} or a number of blocks")

    def head(self, node: Node) -> int:
        """Number of the newest block to take; below 0 where there is none yet."""
        return node.head(self.tag) - self.confirmations


@dataclass(slots=True)
class Looks:
    """How often young blocks were asked for `in_vain`, since the last that came in full."""

    in_vain: int = 0

    def again(self, *, whole: bool, age: float) -> bool:
        """Whether a block, `age` seconds old, is better asked for again than taken as it is.

        What never gets better costs LOOKS once: the blocks after it are taken at once, until one is whole.
        """
        if whole:
            self.in_vain = 0
        if whole or age > YOUNG or self.in_vain >= LOOKS:
            return False
        self.in_vain += 1
        return True


@dataclass(slots=True)
class Latencies:
    """Seconds from a block's timestamp, and from its first sight at the node, to its stored scores."""

    since_block: deque[float] = field(default_factory=lambda: deque(maxlen=2000))
    since_seen: deque[float] = field(default_factory=lambda: deque(maxlen=2000))

    def line(self) -> str:
        """p50 and p99 of both, for the log."""
        if not self.since_block:
            return "no latency measured"
        block, seen = (
            np.percentile(list(values), (50, 99)) for values in (self.since_block, self.since_seen)
        )
        return (
            f"p50 {block[0]:.2f} s, p99 {block[1]:.2f} s from block to alert (from first sight p50 "
            f"{seen[0]:.2f} s, p99 {seen[1]:.2f} s) over {len(self.since_block):,} blocks"
        )
