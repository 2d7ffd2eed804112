"""`blockscan evaluate`: stores, labels, archives and baselines in, an evaluation out."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blockscan.detect.counts import count_features
from blockscan.errors import ConfigError
from blockscan.findings_wording import all_left
from blockscan.safetext import safe_text
from blockscan.store import open_store
from pipelines.encode import watched
from pipelines.evaluate import Evaluation, Rules, ScoredRow, evaluate
from pipelines.evaluation.detectors import read_baselines
from pipelines.evaluation.facts import TxFacts, read_facts
from pipelines.evaluation.selection import Set, comparison_set, is_asked_for, is_case
from pipelines.labels import Label, hash_key, read_labels
from pipelines.ranges import parse_range
from pipelines.sources import Rejects, Shard, open_shards

REST = Label("benign", source="no label")
"""Of what is scored and nobody has labelled, where it is to be taken for benign."""
MOST_RUNS = 100_000
"""Of a store, looked through for what they say of the calibrations."""


@dataclass(frozen=True, slots=True, eq=False)
class _Stored:
    """What a store shows, and by calibration its alarm level and last block, where its runs say."""

    path: Path
    rows: list[ScoredRow]
    levels: dict[str, float]
    until: dict[str, int]


@dataclass(frozen=True, slots=True)
class Request:
    """What to evaluate. `stores`: one per training seed. `archives`: those of training and of scoring.

    `train_blocks`: what the count baseline is fitted on. `after`: last block of training and calibration,
    in the notation of block ranges; where it is not given, that of `train_blocks` and the one up to which the
    stores say that they were calibrated. `rest_benign`: what is scored and has no label is taken for benign.
    `pools`: how many of the paper's pools, 0 for none.
    """

    stores: Sequence[Path]
    labels: Path
    archives: Sequence[Path] = ()
    train_blocks: str | None = None
    after: str | None = None
    baselines: Sequence[Path] = ()
    rules: Rules = field(default_factory=Rules)
    rest_benign: bool = False
    pools: int = 0
    seed: int = 0


def run(request: Request) -> Evaluation:
    """Read everything and evaluate it.

    Raises:
        ConfigError: something does not belong together; see pipelines.evaluate.evaluate.
        StoreError, ArtifactError: a store or an archive cannot be read.
    """
    labels = read_labels(request.labels)
    stores = [_stored(path) for path in request.stores]
    if request.rest_benign:
        labels = {hash_key(row.tx_hash): REST for store in stores for row in store.rows} | labels
    runs = [store.rows for store in stores]
    baselines = read_baselines(request.baselines)
    train_counts, trained_until = _training(request)
    rules = _split(request, stores, labels, trained_until)
    return evaluate(
        runs,
        labels,
        alarm_level=_alarm_level(stores, labels, rules),
        rng=np.random.default_rng(request.seed),
        rules=rules,
        facts=_facts(request.archives, runs[0], labels, rules),
        train_counts=train_counts,
        baselines=baselines,
        pools=request.pools,
    )


def _split(
    request: Request, stores: Sequence[_Stored], labels: Mapping[str, Label], trained: int | None
) -> Rules:
    """The rules with the time split: after the block given, else after all that anything was fitted on.

    What a calibration was made from is benign, so attacks are left out for training blocks or a given block
    only. Blocks of several chains cannot be compared, so that no split follows from a calibration there.
    """
    rules, given = request.rules, request.after
    if given is not None:
        return replace(rules, after=max(_block(given), trained or 0))
    asked = [
        (store.until.get(row.calibration), row.chain)
        for store in stores
        for row in store.rows
        if is_asked_for(row, labels.get(hash_key(row.tx_hash)), rules)
    ]
    calibrated = max((until for until, _ in asked if until is not None), default=None)
    if calibrated is None or len({chain for _, chain in asked}) > 1:
        return replace(rules, after=trained)
    keep = rules.keep_earlier_attacks or trained is None
    return replace(rules, after=max(calibrated, trained or 0), keep_earlier_attacks=keep)


def _alarm_level(stores: Sequence[_Stored], labels: Mapping[str, Label], rules: Rules) -> float:
    """The alarm level of what is evaluated; NaN if nothing is, of which `evaluate` says why.

    Values and alarms of several calibrations are on several scales. Of a renewed one they would be on one,
    but a store does not say which calibration renews which.

    Raises:
        ConfigError: several calibrations are to be compared, one has no finished run, or levels differ.
    """
    levels: set[float] = set()
    for store in stores:
        judges: dict[Set, Counter[str]] = defaultdict(Counter)
        for row in store.rows:
            if is_case(row, labels.get(hash_key(row.tx_hash)), rules):
                judges[comparison_set(row, rules)][row.calibration] += 1
        for name, counts in judges.items():
            _require_one(store, name, counts)
            levels |= {store.levels[calibration] for calibration in counts}
    if len(levels) > 1:
        raise ConfigError(
            f"the scores are of alarm levels {', '.join(f'{level:g}' for level in sorted(levels))}; "
            "calibrate every seed and chain for the same one, or give --chain or --trace-source"
        )
    return min(levels, default=math.nan)


def _require_one(store: _Stored, compared: Set, counts: Counter[str]) -> None:
    if len(counts) > 1:
        where = safe_text(", ".join(part for part in compared if part)) or "all chains and trace sources"
        which = ", ".join(f"{safe_text(name[:8])} {count:,}" for name, count in counts.most_common())
        raise ConfigError(
            f"{store.path} shows scores of {where} under {len(counts)} calibrations ({which}), whose values "
            "cannot be ranked together; score all of them with one into a new store, or give --after with "
            "the last block of the earlier one"
        )
    for name in counts.keys() - store.levels.keys():
        raise ConfigError(
            f"{store.path} holds no finished run of calibration {safe_text(name[:8])}, under which "
            f"{counts[name]:,} of its scores are; run `blockscan score` with it again"
        )


def _stored(path: Path) -> _Stored:
    with open_store(path, read_only=True) as results:
        finished = results.runs(limit=MOST_RUNS)
        rows = [
            ScoredRow(
                each.tx_hash,
                each.value,
                each.p_value,
                each.tokens,
                each.calls,
                each.block_number,
                each.time,
                each.chain,
                each.source,
                each.calibration,
            )
            for each in results.iter_scores()
        ]
        if not rows and (left := results.summary().orphaned):
            raise ConfigError(f"in {path} {all_left(left)}; score what took their place")
    levels: dict[str, float] = {}
    until: dict[str, int] = {}
    for done in finished:
        for name in done.calibrations:
            if done.alarm_level is not None:
                levels.setdefault(name, done.alarm_level)
            if done.calibrated_until is not None:
                until[name] = max(until.get(name, 0), done.calibrated_until)
    if not levels:
        raise ConfigError(f"{path} holds no finished run; score some transactions first")
    return _Stored(path, rows, levels, until)


def _training(request: Request) -> tuple[NDArray[np.float64] | None, int | None]:
    """Count features (B, F) of the training transactions, and their last block."""
    if request.train_blocks is None:
        return None, None
    if not request.archives:
        raise ConfigError("--train-blocks needs --archive: the archive that holds these blocks")
    counts, last = [], None
    for archive in request.archives:
        shards = _shards(archive, request.train_blocks)
        for _, transaction in watched("counts, training", shards):
            counts.append(count_features(transaction))
            if transaction.block_number is not None:
                last = max(last or 0, transaction.block_number)
    if not counts:
        raise ConfigError(
            f"the archives hold no transaction in {request.train_blocks}; give the archive that was trained "
            "on, or leave out --train-blocks"
        )
    return np.array(counts), last


def _facts(
    archives: Sequence[Path], rows: Sequence[ScoredRow], labels: Mapping[str, Label], rules: Rules
) -> dict[str, TxFacts] | None:
    """Facts of what is asked for, read from its blocks only where all are known."""
    if not archives:
        return None
    asked = [row for row in rows if is_asked_for(row, labels.get(hash_key(row.tx_hash)), rules)]
    wanted = {hash_key(row.tx_hash): row.chain for row in asked}
    blocks = [row.block for row in asked if row.block is not None]
    span = f"{min(blocks)}:{max(blocks) + 1}" if blocks and len(blocks) == len(asked) else None
    shards = [shard for archive in archives for shard in _shards(archive, span)]
    return read_facts(shards, wanted)


def _shards(archive: Path, blocks: str | None) -> list[Shard]:
    """The shards of an archive; what cannot be parsed has been reported when it was scored."""
    return open_shards(archive, Rejects(), None if blocks is None else parse_range(blocks))


def _block(text: str) -> int:
    """A block number in the notation of ranges, as in 18.5M."""
    found = parse_range(text)
    if ":" in text:
        raise ConfigError(f"--after {text!r} is a range; give the last block of training and calibration")
    return found.start
