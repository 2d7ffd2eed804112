"""Blocks of a node on their way into an archive: linked by parent hash, part by part."""

from dataclasses import dataclass, field
from typing import Protocol

from blockscan.archive import Archive, PartInfo, RawBlock
from blockscan.chains.checks import InvalidAnswer
from blockscan.chains.rpc import Block
from blockscan.errors import ChainError

PART_ROWS = 1000
PART_BYTES = 64 * 1024 * 1024
"""A part is closed at this many rows or raw bytes, which bounds memory and what a crash can lose."""
PART_REJECTS = 1000
"""Lines of a file that were refused, as many as a part says what is wrong with."""
DEEPEST_REORG = 10_000
"""Blocks walked back to find where a chain forked; a longer way means another chain."""


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
            ChainError: the fork lies too deep.
        """
        if isinstance(answer, InvalidAnswer):
            self._refuse(number, answer)
        else:
            before = self.hash_of(number - 1)
            if before is not None and answer.parent_hash != before:
                return self.rewind(number - 1)
            self._rows.append(answer)
            self._bytes += sum(len(body) for body in answer.bodies.values())
        self._next = number + 1
        if len(self._rows) + len(self._refused) >= PART_ROWS or self._bytes >= PART_BYTES:
            self.flush()
        return self._next

    def rewind(self, number: int) -> int:
        """Drop the blocks up to `number` that are no longer the chain's; the first number to fetch anew.

        Raises:
            ChainError: the fork lies too deep.
        """
        fork = number
        while (known := self.hash_of(fork)) is not None:
            header = self.node.header(fork)
            if header is not None and header.hash == known:
                break
            if number - fork >= DEEPEST_REORG:
                raise ChainError(
                    f"{self.node.chain}: none of the last {DEEPEST_REORG:,} blocks stored is on the node's "
                    "chain; check --rpc, or give another --out"
                )
            fork -= 1
        gone = [row for row in self._rows if row.number is not None and row.number > fork]
        self.orphaned += [(row.number, str(row.hash)) for row in gone if row.number is not None]
        self._rows = [row for row in self._rows if row not in gone]
        self._refused = [each for each in self._refused if each[0] <= fork]
        highest = max((part.last for part in self.archive.parts() if not part.input), default=fork)
        known_gone = self._gone()
        for at, (block_hash, name) in self.archive.block_hashes(fork + 1, highest).items():
            if at not in known_gone:
                self._retired.append((name, at, "orphaned"))
                self.orphaned.append((at, block_hash))
        self._first = min(self._first, fork + 1)
        self._next = fork + 1
        return self._next

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

        Raises:
            ArtifactError: the disk refused.
        """
        parent = self.hash_of(number - 1)
        if isinstance(answer, RawBlock) and parent is not None and answer.parent_hash != parent:
            answer = InvalidAnswer(
                f"block {number:,}: its parent is not block {number - 1:,} of the archive (a reorg?)", answer
            )
        if isinstance(answer, InvalidAnswer):
            self._refuse(number, answer)
            self._refused = []
            return
        old = self.archive.block_hashes(number, number).get(number)
        if old is not None and answer.degraded:
            return
        if old is not None:
            self._retired.append((old[1], number, "replaced" if old[0] == answer.hash else "orphaned"))
        self._append(number, number, [answer])

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
