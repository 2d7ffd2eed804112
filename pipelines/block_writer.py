"""Blocks of a node on their way into an archive: linked by parent hash, part by part."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from blockscan.archive import Archive, PartInfo, RawBlock, covered_ranges
from blockscan.chains.checks import InvalidAnswer
from blockscan.chains.rpc import Block
from blockscan.chains.solana_rpc import parent_slot
from blockscan.errors import ChainError
from pipelines.repaired import read_blocks

log = logging.getLogger("blockscan.writer")

PART_ROWS = 1000
PART_BYTES = 64 * 1024 * 1024
"""A part is closed at this many rows or raw bytes, which bounds memory and what a crash can lose."""
PART_REJECTS = 1000
"""Lines of a file that were refused, as many as a part says what is wrong with."""
DEEPEST_REORG = 10_000
"""Blocks walked back to find where a chain forked; a longer way means another chain."""

LOOK_BACK = 256
"""Blocks looked through at once for the newest that is not quarantined."""


class Node(Protocol):
    """A chain as ingest needs it; `concurrent` bounds the threads that fetch."""

    family: str
    chain: str
    concurrent: int

    @property
    def chain_id(self) -> int | None:
        """EIP-155 id, None where chains have none."""

    def head(self, tag: str = "latest") -> int:
        """Number of the newest block under a tag."""

    def header(self, number: int) -> Block | None:
        """Number, hash, parent hash and time of a block."""

    def fetch(self, number: int) -> RawBlock:
        """A block, checked."""


@dataclass(slots=True)
class BlockWriter:
    """Takes blocks in order. `added` counts transactions; `orphaned` lists (number, hash) that left."""

    archive: Archive
    node: Node
    added: int = 0
    degraded: int = 0
    whole: int = 0  # blocks with transactions that are not
    quarantined: list[str] = field(default_factory=list)
    orphaned: list[tuple[int, str]] = field(default_factory=list)
    _first: int = 0
    _next: int = 0
    _rows: list[RawBlock] = field(default_factory=list)
    _bytes: int = 0
    _refused: list[tuple[int, str]] = field(default_factory=list)
    _retired: list[tuple[str, int, str]] = field(default_factory=list)
    _tail: tuple[int, str] = (-1, "")  # the block written last
    _claim: tuple[int | None, int, str | None] = (None, -1, None)  # see _unlinked

    @property
    def next(self) -> int:
        """Number of the block to give next."""
        return self._next

    def begin(self, number: int) -> int:
        """Start a run of consecutive blocks at `number`; returned for the caller's loop."""
        self._first = self._next = number
        return number

    def add(self, number: int, answer: RawBlock | InvalidAnswer) -> int:
        """Take the next block; the number of the one to give then, lower where the chain has forked.

        Raises:
            ArtifactError: the disk refused.
            ChainError: the fork lies too deep, or the node's blocks do not follow one another.
        """
        answer = self._corrected(number, answer)
        if isinstance(answer, InvalidAnswer):
            self._refuse(number, answer)
        else:
            before = self.hash_of(number - 1)
            if before is not None and answer.parent_hash != before:
                follows = self.rewind(number - 1)
                return follows if follows < number else self._unlinked(number, answer, before)
            self._rows.append(answer)
            self._bytes += sum(len(body) for body in answer.bodies.values())
        self._next = number + 1
        if len(self._rows) + len(self._refused) >= PART_ROWS or self._bytes >= PART_BYTES:
            self.flush()
        return self._next

    def rewind(self, number: int) -> int:
        """Drop the blocks up to `number` that are no longer the chain's; the first number to fetch anew.

        Of a quarantined block it cannot be told; those after the newest that stays are fetched anew.

        Raises:
            ChainError: the fork lies too deep.
        """
        fork = number
        while (newest := self.newest(fork)) is not None:
            fork, known = newest
            header = self.node.header(fork)
            if header is not None and header.hash == known:
                break
            if number - fork >= DEEPEST_REORG:
                raise ChainError(
                    f"{self.node.chain}: none of the last {DEEPEST_REORG:,} blocks stored is on the node's "
                    "chain; check --rpc, or give another --out"
                )
            fork -= 1
        return self._drop(fork)

    def _unlinked(self, number: int, answer: RawBlock, before: str) -> int:
        """What to fetch where a block does not follow the one before it, which the node still stands by.

        A slot of Solana that a block names as its parent was not skipped, whatever the node has said of it.

        Raises:
            ChainError: this has been tried before.
        """
        slot = parent_slot(answer)
        claim = slot, number, answer.parent_hash
        if claim == self._claim:
            raise ChainError(
                f"{self.node.chain}: block {number:,} does not follow block {number - 1:,}, which the node "
                "says is on its chain: it lacks a block, or endpoints are on two forks; give another --rpc"
            )
        self._claim = claim
        if slot is None or slot >= number or self.hash_of(min(slot + 1, number - 1)) != before:
            return number
        skipped = {self.hash_of(slot), self.hash_of(slot - 1)} <= {before, None}
        return self._drop(slot - 1) if skipped else number

    def _corrected(self, number: int, answer: RawBlock | InvalidAnswer) -> RawBlock | InvalidAnswer:
        """An answer for a slot that is said to be skipped, in the light of what a later block says of it."""
        slot, child, parent = self._claim
        if isinstance(answer, InvalidAnswer) or not _is_skipped(answer):
            return answer
        if slot is None or not slot <= number < child:
            return answer
        if number > slot:
            return replace(answer, hash=parent, parent_hash=parent)
        refused = InvalidAnswer(
            f"slot {number:,}: the node calls it skipped, and slot {child:,} follows it; the node lacks the "
            "block, so fetch it from another with --repair"
        )
        log.error("%s", refused)
        return refused

    def _drop(self, fork: int) -> int:
        """Take back every block after `fork`, waiting or stored; the first number to fetch anew."""
        kept = self.hash_of(fork)  # a skipped slot carries it too, and does not take it along as it goes
        gone = [row for row in self._rows if row.number is not None and row.number > fork]
        self.orphaned += [
            (row.number, str(row.hash)) for row in gone if row.number is not None and row.hash != kept
        ]
        self._rows = [row for row in self._rows if row not in gone]
        self._refused = [each for each in self._refused if each[0] <= fork]
        highest = max((part.last for part in self.archive.parts() if not part.input), default=fork)
        known_gone = self._gone()
        for at, (block_hash, name) in self.archive.block_hashes(fork + 1, highest).items():
            if at not in known_gone:
                self._retired.append((name, at, "orphaned"))
                if block_hash != kept:
                    self.orphaned.append((at, block_hash))
        if self._tail[0] > fork:  # what takes its place may be quarantined, and has no hash then
            self._tail = (-1, "")
        self._first = min(self._first, fork + 1)
        self._next = fork + 1
        return self._next

    def newest(self, number: int) -> tuple[int, str] | None:
        """Number and hash of the newest block up to `number` that has one: those in between are quarantined.

        None where there is none without a gap in between.
        """
        known = self.hash_of(number)
        if known is not None:
            return number, known
        ranges = covered_ranges([*self.archive.accounted(), (self._first, self._next - 1)])
        begin = next((first for first, last in ranges if first <= number <= last), number + 1)
        gone = self._gone()
        for last in range(number, begin - 1, -LOOK_BACK):
            first = max(begin, last - LOOK_BACK + 1)
            stored = self.archive.block_hashes(first, last).items()
            found = [(at, block_hash) for at, (block_hash, _) in stored if at not in gone]
            found += [(row.number, str(row.hash)) for row in self._rows if row.number is not None]
            if found := [each for each in found if each[0] <= last]:
                return max(found)
        return None

    def hash_of(self, number: int) -> str | None:
        """The hash of a block that is waiting or stored, None where there is none."""
        if self._rows and number >= self._first:
            return next((row.hash for row in reversed(self._rows) if row.number == number), None)
        if number in self._gone():
            return None
        if self._tail[0] == number:
            return self._tail[1]
        found = self.archive.block_hashes(number, number).get(number)
        return None if found is None else found[0]

    def _gone(self) -> set[int]:
        """Stored blocks that the next part will retire."""
        return {number for _, number, _ in self._retired}

    def flush(self) -> None:
        """Write what is waiting as one part.

        Raises:
            ArtifactError: the disk refused.
        """
        if self._next > self._first:
            self._append(self._first, self._next - 1, self._rows)
        if self._rows and self._rows[-1].number is not None:
            self._tail = (self._rows[-1].number, str(self._rows[-1].hash))
        self._first, self._rows, self._bytes = self._next, [], 0

    def replace(self, number: int, answer: RawBlock | InvalidAnswer) -> None:
        """Store a block that was fetched again, where it is better than what is there.

        A slot that it proves not to have been skipped is fetched again, too, and so on.

        Raises:
            ArtifactError: the disk refused.
            ChainError: the node failed; what was stored until then is kept.
        """
        while (slot := self._replace(number, answer)) is not None:
            number = slot
            try:
                answer = self.node.fetch(slot)
            except InvalidAnswer as error:
                answer = error

    def _replace(self, number: int, answer: RawBlock | InvalidAnswer) -> int | None:
        """See `replace`; the slot that the block follows, where it is stored as a skipped one."""
        parent = self.hash_of(number - 1)
        if isinstance(answer, RawBlock) and _is_skipped(answer):  # it was there when it was quarantined
            answer = InvalidAnswer(f"slot {number:,}: the node still calls it skipped; give another --rpc")
        if isinstance(answer, RawBlock) and parent is not None and answer.parent_hash != parent:
            if skipped := self._skipped_before(number, answer, parent):
                return self._put_after(skipped, number, answer)
            answer = InvalidAnswer(
                f"block {number:,}: its parent is not block {number - 1:,} of the archive (a reorg?)", answer
            )
        if isinstance(answer, InvalidAnswer):
            self._refuse(number, answer)
            self._refused = []
            return None
        old = self.archive.block_hashes(number, number).get(number)
        if old is not None and answer.degraded:
            return None
        if old is not None:
            self._retired.append((old[1], number, "replaced" if old[0] == answer.hash else "orphaned"))
        self._append(number, number, [answer])
        return None

    def _skipped_before(self, number: int, answer: RawBlock, parent: str) -> list[RawBlock]:
        """Rows of skipped slots, from that which a block names as its parent on; empty where one is none."""
        slot = parent_slot(answer)
        if slot is None or slot >= number or self.hash_of(slot) != parent:
            return []
        stored = self.archive.block_hashes(slot, number - 1).items()
        rows = list(read_blocks(self.archive, {at: name for at, (_, name) in stored}))
        return rows if len(rows) == number - slot and all(map(_is_skipped, rows)) else []

    def _put_after(self, skipped: Sequence[RawBlock], number: int, answer: RawBlock) -> int:
        """Store a block with the skipped slots before it; the number of the first, which it follows."""
        slot, parent = number - len(skipped), answer.parent_hash
        why = f"slot {slot:,}: the node called it skipped, and slot {number:,} follows it"
        self._refused.append((slot, why))
        stored = self.archive.block_hashes(slot, number).items()
        self._retired += [(name, at, "orphaned") for at, (_, name) in stored]
        after = [replace(row, hash=parent, parent_hash=parent) for row in skipped[1:]]
        self._append(slot, number, [*after, answer])
        return slot

    def _refuse(self, number: int, error: InvalidAnswer) -> None:
        self.archive.quarantine(number, str(error), error.raw)
        self._refused.append((number, str(error)))
        self.quarantined.append(f"quarantined: {error}")

    def _append(self, first: int, last: int, rows: list[RawBlock]) -> None:
        count = sum(len(row.tx_hashes) for row in rows)
        info = PartInfo(
            input="",
            name="node",
            first=first,
            last=last,
            transactions=count,
            chain_id=self.node.chain_id,
            quarantined=tuple(self._refused),
            degraded=tuple(
                (row.number, row.degraded) for row in rows if row.degraded and row.number is not None
            ),
            retired=tuple(self._retired),
        )
        self.archive.append(rows, info)
        self.added += count
        self.degraded += len(info.degraded)
        self.whole += sum(bool(row.tx_hashes) and not row.degraded for row in rows)
        self._refused, self._retired = [], []


def _is_skipped(row: RawBlock) -> bool:
    """Whether a row stands for a slot without a block: only such a one is its own parent."""
    return row.hash == row.parent_hash
