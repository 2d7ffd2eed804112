"""Follow the head of a chain: ingest, score and alert block by block, for as long as it is left running.

What is known lies in the archive (which blocks) and in the store (which of them are scored), so a restart
goes on where a killed run stopped. Where the chain reorganises, what left it is retired in the archive and
orphaned in the store, with its alerts; nothing is deleted for it.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import repeat

from blockscan.archive import RawBlock
from blockscan.archive_compact import compact
from blockscan.chains.families import parse
from blockscan.detect.accounts import SECONDS
from blockscan.detect.books import Books
from blockscan.errors import ChainError
from blockscan.safetext import safe_text
from blockscan.store import Run, ScoredBlock, ScoreStore
from blockscan.store_chain import LastValue
from blockscan.transaction import Transaction
from pipelines.before import catch_up, nothing_yet, remember, remember_sizes
from pipelines.block_writer import BlockWriter
from pipelines.head import Finality, Latencies, Looks
from pipelines.model_dir import Detector
from pipelines.prefetch import Answer, prefetch
from pipelines.progress import hushed
from pipelines.ranges import BlockRange
from pipelines.repaired import consecutive, orphaned_hashes, read_blocks, repaired_since
from pipelines.score import Scored, judge_all
from pipelines.watch_report import is_blank, say_alerts, say_blank, say_corrections, say_lacking, say_scored

__all__ = ["Finality", "Watcher", "watch"]

log = logging.getLogger("blockscan.watch")

TOGETHER = 400
"""Transactions scored in one pass while catching up; at the head every block is scored at once."""
AHEAD = 256
"""Blocks taken between two looks at the head."""
COMPACT_EVERY = 256
"""Blocks after which the archive's small parts are merged."""
LONGEST_PAUSE = 30.0
NOTHING = repeat(None)


class Watcher:
    """One chain on its way into an archive and a store. `step` does what there is to do now."""

    def __init__(
        self,
        writer: BlockWriter,
        detector: Detector,
        store: ScoreStore,
        finality: Finality,
        *,
        renewed: Callable[[], str] = str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take over an archive's writer, a loaded model and a store.

        `renewed` names what has taken the model's place on disk, if anything; `clock` gives Unix seconds.
        """
        self.latencies = Latencies()
        self.blocks = 0
        self.counts = {"scored": 0, "alerts": 0, "orphaned": 0, "without_p": 0}
        self._writer = writer
        self._node = writer.node
        self._detector = detector
        self._store = store
        self._finality = finality
        self._renewed = renewed
        self._clock = clock
        self._seen: dict[int, float] = {}  # blocks that came while this run looked, not those before
        self._head: int | None = None
        self._before = nothing_yet(detector)
        self._uncompacted = 0
        self._looks = Looks()
        self._blank = False  # whether nothing of the last block with transactions could be judged
        self._started = int(clock())

    def start(self, first: int | None) -> int:
        """Find the first block to take, score what a killed run left unscored; the block's number.

        Args:
            first: where to begin in an archive without blocks of a node; None means the newest.

        Raises:
            ChainError: the node failed, or knows no block yet.
        """
        compact(self._writer.archive)
        stored = self._writer.archive.accounted()
        if not stored:
            number = self._writer.begin(self._newest() if first is None else first)
        else:
            number = self._writer.begin(stored[-1][1] + 1)
            if first is not None and not any(least <= first <= most for least, most in stored):
                log.warning(
                    "--start %s is not used: the archive goes on at block %s; to begin elsewhere, give "
                    "another --out",
                    f"{first:,}",
                    f"{number:,}",
                )
            self._reconcile(number - 1)
            number = self._writer.next
        self._score_leftovers(number)
        self._before = nothing_yet(self._detector)
        self._remember(self._books(number))
        if self._store.first_block(self._node.chain) is None:  # from here on blocks are to be scored
            self._store.put_blocks([ScoredBlock(self._node.chain, number - 1, "before", ())])
        return number

    def _newest(self) -> int:
        """The newest block; the very first is what a node says before it knows any other."""
        head = self._finality.head(self._node)
        if head <= 0:
            raise ChainError(
                "the node knows no block but the first, it may be syncing: waiting; --start 0 begins there"
            )
        return head

    def step(self) -> int:
        """Take the blocks that are there; the number of the next one.

        Raises:
            ChainError: the node failed; what was taken until then is stored and scored.
            StoreError, ArtifactError: a disk refused.
        """
        head = self._finality.head(self._node)
        before = head if self._head is None else max(self._head, head - AHEAD)  # a head may be far too high
        self._seen = {number: at for number, at in self._seen.items() if number >= self._writer.next}
        for number in range(before + 1, head + 1):
            self._seen.setdefault(number, self._clock())
        self._head = head
        self._reconcile(self._writer.next - 1)
        last = min(head, self._writer.next + AHEAD - 1)
        while self._writer.next <= last:
            self._follow(last)
        return self._writer.next

    def _follow(self, last: int) -> None:
        """Take blocks up to `last`, or until the chain turns out to have forked."""
        fresh: list[RawBlock] = []
        numbers = range(self._writer.next, last + 1)
        try:
            with closing(prefetch(self._node, numbers)) as answers:
                for number, answer in answers:
                    self._require_settled(number, answer)
                    follows = self._writer.add(number, answer)
                    if follows != number + 1:
                        fresh = [raw for raw in fresh if raw.number is not None and raw.number < follows]
                        break
                    say_lacking(number, answer)
                    if isinstance(answer, RawBlock):
                        fresh.append(answer)
                    if number == last or sum(len(raw.tx_hashes) for raw in fresh) >= TOGETHER:
                        self._keep(fresh)
                        fresh = []
        except ChainError:
            self._keep(fresh)
            raise
        self._keep(fresh)

    def _require_settled(self, number: int, answer: Answer) -> None:
        """Raises ChainError where a young block is refused, or degraded so that nothing can alarm: ask again.

        Behind one address several nodes may answer, and some of them learn of a block later than others.
        """
        raw, why = (answer, answer.degraded) if isinstance(answer, RawBlock) else (answer.raw, str(answer))
        if raw is answer and not raw.tx_hashes:
            return
        came = self._seen.get(number, 0.0) if raw is None or raw.time is None else raw.time
        short = raw is not answer or bool(why and is_blank(parse(raw), self._detector.calibration.values))
        if self._looks.again(whole=not short, age=self._clock() - came):
            raise ChainError(f"block {number:,} is asked for again, it may be too new for the node: {why}")

    def _keep(self, blocks: Sequence[RawBlock]) -> None:
        """Store first, then score: what is stored and not scored is found at the next start."""
        self._correct()
        self._writer.flush()
        if blocks:
            self._score(blocks)
        self._uncompacted += len(blocks)
        if self._uncompacted >= COMPACT_EVERY:
            compact(self._writer.archive)
            self._uncompacted = 0
            if found := self._renewed():
                log.warning("%s; stop watch and start it again to judge by it", found)

    def _reconcile(self, number: int) -> None:
        """Go back to where the chain forked, if the newest block taken that has a hash is no longer on it."""
        newest = self._writer.newest(number)
        if newest is None:
            return
        header = self._node.header(newest[0])
        if header is not None and header.hash != newest[1]:  # None: the node that was asked lags behind
            self._writer.rewind(number)
            self._correct()

    def _correct(self) -> None:
        """Orphan in the store what the writer found to have left the chain."""
        gone, self._writer.orphaned = self._writer.orphaned, []
        if not gone:
            return
        self.counts["orphaned"] += len(gone)
        numbers = sorted(number for number, _ in gone)
        log.warning("reorganisation: blocks %s to %s left the chain", f"{numbers[0]:,}", f"{numbers[-1]:,}")
        stamp = int(self._clock())
        hashes = [block_hash for _, block_hash in gone]
        say_corrections(self._store.orphan_blocks(self._node.chain, hashes, now=stamp))
        self._before.books.take_back(self._node.chain, numbers[0])
        self._remember(self._before.books)

    def _remember(self, books: Books) -> None:
        """What is known of the time before, of other runs as well, on the chain as it is."""
        known = self._store.last_values(self._node.chain, self._detector.calibrated_as, SECONDS)
        self._recall(self._writer.next, known, books)

    def _books(self, block: int) -> Books:
        """The books of contracts as they were before a block; new ones if they have gone beyond it."""
        books, chain = self._before.books, self._node.chain
        books = books if books.reached.get(chain, -1) < block else nothing_yet(self._detector).books
        catch_up(books, chain, block, lambda some: self._transactions(some, some.start, block - 1))
        return books

    def _recall(self, block: int, known: Sequence[LastValue], books: Books) -> None:
        """Forget all but what is known of the time before a block."""
        chain, self._before = self._node.chain, replace(nothing_yet(self._detector), books=books)
        remember_sizes(self._before.mixes, chain, block, self._store, self._detector)
        numbers = {each.block_number for each in known if each.block_number is not None}
        earlier = self._transactions(numbers, min(numbers, default=0), max(numbers, default=-1))
        remember(self._before.recent, chain, known, earlier, self._detector)

    def _score_leftovers(self, stop: int) -> None:
        """Score blocks that are stored, and that no run scored, or none since they were repaired.

        What a repair found to have left the chain, and only the archive knows of, is orphaned.
        """
        chain, archive = self._node.chain, self._writer.archive
        first = self._store.first_block(chain)
        if first is None:
            return
        known = self._store.known_blocks(chain, first, stop)
        stored = archive.block_hashes(first + 1, stop - 1)
        gone = known & orphaned_hashes(archive) - {block_hash for block_hash, _ in stored.values()}
        say_corrections(self._store.orphan_blocks(chain, gone, now=int(self._clock())))
        known -= repaired_since(archive, self._store, first)
        left = {number: name for number, (block_hash, name) in stored.items() if block_hash not in known}
        follows = -1
        for blocks in consecutive(read_blocks(archive, left), TOGETHER):
            if blocks[0].number != follows:
                self._recall_before(blocks)
            self._score(blocks)
            follows = (blocks[-1].number or 0) + 1

    def _recall_before(self, blocks: Sequence[RawBlock]) -> None:
        """Forget all but what was before these blocks: their own scores may be stored already."""
        chain, first = self._node.chain, blocks[0].number or 0
        times = [raw.time for raw in blocks if raw.time is not None]
        known: list[LastValue] = []
        if times:  # slots without a block have none
            since, as_calibrated = min(times) - SECONDS, self._detector.calibrated_as
            known = self._store.values_before(chain, as_calibrated, block=first, since=since)
        self._recall(first, known, self._books(first))

    def _transactions(
        self, blocks: BlockRange | Collection[int], first: int, last: int
    ) -> Iterator[Transaction]:
        """The archive's transactions of those blocks from `first` to `last` that are among some."""
        archive = self._writer.archive
        stored = archive.block_hashes(first, last).items()
        for raw in read_blocks(archive, {number: name for number, (_, name) in stored if number in blocks}):
            yield from parse(raw)

    def _score(self, blocks: Sequence[RawBlock]) -> None:
        transactions, calibrated = list[Transaction](), self._detector.calibration.values
        for raw in blocks:
            transactions += (own := parse(raw))
            if own:
                before, self._blank = self._blank, is_blank(own, calibrated)
                if self._blank:
                    say_blank(raw.number or 0, own, calibrated, again=before)
        with hushed():
            found = judge_all(transactions, self._detector, before=self._before)
            judged = list(found) if transactions else []
        stamp = int(self._clock())
        written = self._store.write(((each.score, each.severity, each.frames) for each in judged), now=stamp)
        real = [raw for raw in blocks if raw.hash != raw.parent_hash]  # a skipped slot has another's
        noted = [ScoredBlock(raw.chain, raw.number or 0, str(raw.hash), raw.tx_hashes) for raw in real]
        say_corrections(self._store.put_blocks(noted, now=stamp))
        self.blocks += len(blocks)
        self.counts["scored"] += len(judged)
        self.counts["alerts"] += written.raised
        self.counts["without_p"] += sum(each.score.p_value is None for each in judged)
        self._store.record_run(self._run(stamp))
        self._report(blocks, judged)

    def _report(self, blocks: Sequence[RawBlock], judged: Sequence[Scored]) -> None:
        now = self._clock()
        for raw in blocks:
            seen = self._seen.pop(raw.number or 0, None)
            if raw.time is not None and seen is not None:
                self.latencies.since_block.append(max(0.0, now - raw.time))
                self.latencies.since_seen.append(now - seen)
        say_alerts(judged)
        left = 0 if self._head is None else self._head + 1 - self._writer.next
        say_scored(blocks, len(judged), left, self.latencies.line())

    def _run(self, stamp: int) -> Run:
        return Run(
            id=f"watch-{self._node.chain}-{self._started}",
            started=self._started,
            finished=stamp,
            inputs=(self._node.chain,),
            counts=dict(self.counts),
            model=self._detector.fingerprint,
            calibrations=(self._detector.calibrated_as,),
            alarm_level=self._detector.calibration.alarm_level,
            source="blockscan watch",
            calibrated_until=self._detector.calibration.traffic.until,
        )


def watch(
    watcher: Watcher, *, first: int | None, until: int | None, poll: float, between: Iterator[None] = NOTHING
) -> None:
    """Follow the chain until block `until` is scored, or for ever; a failing node is waited for.

    After each look at the head the next of `between` is asked for: what there is to do besides.

    Raises:
        StoreError, ArtifactError: a disk refused.
    """
    failures = 0
    number: int | None = None
    while until is None or number is None or number <= until:
        try:
            number = watcher.start(first) if number is None else watcher.step()
            failures = 0
            next(between)
        except ChainError as error:
            failures += 1
            log.warning("node: %s", safe_text(str(error), limit=600))
        if until is None or number is None or number <= until:
            time.sleep(min(LONGEST_PAUSE, poll * 2.0 ** min(failures, 10)))
