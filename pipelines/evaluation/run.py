"""`blockscan evaluate`: stores, labels, archives and baselines in, an evaluation out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blockscan.detect.counts import count_features
from blockscan.errors import ConfigError
from blockscan.findings_wording import all_left
from blockscan.store import open_store
from pipelines.encode import watched
from pipelines.evaluate import Evaluation, Rules, ScoredRow, evaluate
from pipelines.evaluation.detectors import read_baselines
from pipelines.evaluation.facts import TxFacts, read_facts
from pipelines.labels import Label, hash_key, read_labels
from pipelines.ranges import parse_range
from pipelines.sources import Rejects, Shard, open_shards

REST = Label("benign", source="no label")
"""Of what is scored and nobody has labelled, where it is to be taken for benign."""


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
    scored = [_scored(store) for store in request.stores]
    if request.rest_benign:
        labels = {hash_key(row.tx_hash): REST for rows, _, _ in scored for row in rows} | labels
    levels = {level for _, level, _ in scored}
    if len(levels) > 1:
        raise ConfigError(
            f"the stores have alarm levels {', '.join(f'{level:g}' for level in sorted(levels))}; "
            "calibrate every seed for the same one"
        )
    runs = [rows for rows, _, _ in scored]
    baselines = read_baselines(request.baselines)
    train_counts, trained_until = _training(request)
    calibrated_until = max((end for _, _, end in scored if end is not None), default=None)
    return evaluate(
        runs,
        labels,
        alarm_level=levels.pop(),
        rng=np.random.default_rng(request.seed),
        rules=_split(request, runs[0], trained_until, calibrated_until),
        facts=_facts(request.archives, runs[0], labels),
        train_counts=train_counts,
        baselines=baselines,
        pools=request.pools,
    )


def _split(request: Request, rows: Sequence[ScoredRow], trained: int | None, calibrated: int | None) -> Rules:
    """The rules with the time split: after the block given, else after all that anything was fitted on.

    What a calibration was made from is benign, so attacks are left out for training blocks or a given block
    only. Blocks of several chains cannot be compared, so that no split follows from a calibration there.
    """
    rules, given = request.rules, request.after
    if given is not None:
        return replace(rules, after=max(_block(given), trained or 0))
    if calibrated is None or (rules.chain is None and len({row.chain for row in rows}) > 1):
        return replace(rules, after=trained)
    keep = rules.keep_earlier_attacks or trained is None
    return replace(rules, after=max(calibrated, trained or 0), keep_earlier_attacks=keep)


def _scored(store: Path) -> tuple[list[ScoredRow], float, int | None]:
    """The scores that a store shows, the alarm level of its latest run, and the last block of calibration."""
    with open_store(store, read_only=True) as results:
        latest = results.runs(limit=1)
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
            )
            for each in results.iter_scores()
        ]
        if not rows and (left := results.summary().orphaned):
            raise ConfigError(f"in {store} {all_left(left)}; score what took their place")
    if not latest or latest[0].alarm_level is None:
        raise ConfigError(f"{store} holds no finished run; score some transactions first")
    return rows, latest[0].alarm_level, latest[0].calibrated_until


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
    archives: Sequence[Path], rows: Sequence[ScoredRow], labels: dict[str, Label]
) -> dict[str, TxFacts] | None:
    """Facts of the scored and labelled transactions, read from their blocks only where all are known."""
    if not archives:
        return None
    wanted = {hash_key(row.tx_hash): row.block for row in rows if hash_key(row.tx_hash) in labels}
    blocks = [block for block in wanted.values() if block is not None]
    span = f"{min(blocks)}:{max(blocks) + 1}" if blocks and len(blocks) == len(wanted) else None
    shards = [shard for archive in archives for shard in _shards(archive, span)]
    return read_facts(shards, wanted.keys())


def _shards(archive: Path, blocks: str | None) -> list[Shard]:
    """The shards of an archive; what cannot be parsed has been reported when it was scored."""
    return open_shards(archive, Rejects(), None if blocks is None else parse_range(blocks))


def _block(text: str) -> int:
    """A block number in the notation of ranges, as in 18.5M."""
    found = parse_range(text)
    if ":" in text:
        raise ConfigError(f"--after {text!r} is a range; give the last block of training and calibration")
    return found.start
