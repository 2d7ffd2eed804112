"""Drives sessions: chooses who goes next, estimates gas as wallets do, pays fees, keeps the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from pipelines.simulation.engine import Json, Receipt, SimulationError, Tx, Unaffordable
from pipelines.simulation.world import Send, Session, Tag, World

GWEI = 10**9
_BLOCK_GAS = 29_000_000
_HASTE = 0.2
_MARGINS = (1.15, 1.2, 1.25, 1.3, 1.5, 2.0)
_ROUND_LIMITS = (150_000, 200_000, 250_000, 300_000, 400_000, 500_000)


class Driver:
    """Interleaves sessions on one chain; `labels` maps every transaction hash to its truth."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.labels: dict[str, Tag] = {}
        self.dropped: Counter[str] = Counter()
        self._pending: list[tuple[Session, Receipt | None]] = []
        self._hasty: list[tuple[Session, Receipt | None]] = []
        self._gas = 0
        self._base_fee = 12 * GWEI

    @property
    def pending(self) -> int:
        """Number of sessions under way."""
        return len(self._pending)

    @property
    def hasty(self) -> int:
        """Number of hasty sessions under way."""
        return len(self._hasty)

    def add(self, session: Session, *, hasty: bool = False) -> None:
        """Start a session; it makes its first transaction when its turn comes, a hasty one sooner."""
        (self._hasty if hasty else self._pending).append((session, None))

    def turn(self) -> bool:
        """Give one pending session its turn; return whether a transaction was made."""
        hurry = self._hasty and (not self._pending or self.world.chance(_HASTE))
        queue = self._hasty if hurry else self._pending
        index = int(self.world.rng.integers(len(queue)))
        return self._advance(queue, *queue.pop(index))

    def run(self, session: Session, keep: Callable[[Json], None], per_block: int, blocks: int) -> None:
        """Run one session to its end with nobody else about, at most `blocks` blocks of `per_block`.

        Raises:
            SimulationError: the session broke off, because one of its transactions could not be made.
        """
        finished: list[bool] = []

        def watched() -> Session:
            yield from session
            finished.append(True)

        self.add(watched())
        made = sealed = 0
        while self._pending and sealed < blocks:
            made += self.turn()
            if made == per_block or not self._pending:
                keep(self.seal())
                made, sealed = 0, sealed + 1
        if not self._pending and not finished:
            raise SimulationError(f"the founding broke off; dropped: {dict(self.dropped)}")

    def dismiss(self) -> None:
        """End all hasty sessions where they are."""
        for session, _ in self._hasty:
            session.close()
        self._hasty.clear()

    def _advance(
        self, queue: list[tuple[Session, Receipt | None]], session: Session, receipt: Receipt | None
    ) -> bool:
        try:
            wanted = next(session) if receipt is None else session.send(receipt)
        except StopIteration:
            return False
        except SimulationError:
            # What it wants to read is gone: an attacker has replaced the contract, say.
            self.dropped["unreadable"] += 1
            return False
        if wanted is None:
            queue.append((session, _NOTHING))
            return False
        made = self._make(wanted)
        if made is None:
            session.close()
        elif made.ok or wanted.fails:
            queue.append((session, made))
        return made is not None

    def _make(self, wanted: Send) -> Receipt | None:
        """Turn a wish into a transaction; None if the dry run shows that it makes no sense."""
        world = self.world
        dry = world.engine.call(wanted.sender.address, wanted.to, wanted.data, wanted.value)
        if not dry.ok and not wanted.fails:
            self.dropped[wanted.tag.family or wanted.tag.kind] += 1
            if dry.gas_used == 0 or wanted.tag.label != "benign" or not world.chance(0.3):
                return None
            wanted = replace(wanted, fails="revert")
        return self._pay(wanted, self._gas_limit(wanted, dry.gas_used))

    def _gas_limit(self, wanted: Send, needed: int) -> int:
        world = self.world
        if needed == 21_000:
            return 21_000
        if wanted.fails == "gas":
            return max(int(needed * (0.55 + 0.4 * world.rng.random())), _floor(wanted.data))
        if wanted.fails:
            return max(int(world.pick(_ROUND_LIMITS)), _floor(wanted.data))
        margin = _MARGINS[wanted.sender.address[0] % len(_MARGINS)]
        return int(needed * margin)

    def _pay(self, wanted: Send, gas: int) -> Receipt | None:
        world, sender = self.world, wanted.sender
        if self._gas + gas > _BLOCK_GAS:
            return None
        tip = int(GWEI * world.amount(1.0, 0.8)) + 10_000
        style = sender.address[1]
        cap = int(self._base_fee * (1.3 + style / 200)) + tip
        legacy = style < 60
        tx = Tx(sender, wanted.to, wanted.data, wanted.value, gas, cap, None if legacy else tip)
        try:
            receipt = world.engine.tx(tx)
        except Unaffordable:
            self.dropped[wanted.tag.family or "poor"] += 1
            return None
        self._gas += receipt.gas_used
        if wanted.audit is not None:
            wanted.audit()
        self.labels[receipt.hash] = wanted.tag if receipt.ok else replace(wanted.tag, kind="failed")
        return receipt

    def seal(self) -> Json:
        """Seal the pending block and look at its base fee."""
        sealed = self.world.engine.next_block()
        self._gas = 0
        self._base_fee = int(sealed["block"]["baseFeePerGas"], 16) * 51 // 50
        return sealed


_NOTHING = Receipt(hash="", ok=True, gas_used=0, contract=None, logs=(), output=b"")


def _floor(data: bytes) -> int:
    """Return the least gas limit that a transaction with this calldata may have."""
    zeros = data.count(0)
    return 21_500 + 4 * zeros + 16 * (len(data) - zeros)
