"""Why a transaction was judged as it was: from the store, or in more detail by judging it again."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from blockscan.archive import Archive
from blockscan.chains.families import parse
from blockscan.detect.ranked_frames import ranked_frames
from blockscan.errors import ConfigError
from blockscan.findings import NOTHING_BEFORE, Alert, Before, Frame, TxScore
from blockscan.model.attribution import attribute, by_unit
from blockscan.model.losses import token_losses
from blockscan.safetext import safe_text
from blockscan.store import open_store
from blockscan.store_labels import Label
from blockscan.store_schema import FEWEST, HASH_START
from blockscan.tokens import Field
from blockscan.transaction import Transaction
from pipelines.model_dir import Detector
from pipelines.nearest import Nearest, nearest_in
from pipelines.ranges import BlockRange
from pipelines.score import judge_alone
from tokenizer.signatures import Naming, signature

EXPECTED = 5
"""Pieces that are listed of what the model expected instead."""
MOST_CAUSES = 12


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an explanation is to hold beside the evidence.

    nearest: how many earlier transactions, looked for in `blocks`, without those of `exclude`. attribution:
    one of blockscan.model.attribution.METHODS. whole: attribute the surprise of all values, not only that of
    the strongest. seed: of the noise of "smooth".
    """

    nearest: int = 0
    blocks: BlockRange | None = None
    exclude: Collection[str] = ()
    attribution: str | None = None
    whole: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Cause:
    """A value that the model saw, and the nats of the surprise that come from seeing it."""

    node: int
    field: str
    found: str
    nats: float


@dataclass(frozen=True, slots=True)
class Causes:
    """An attribution in words; see blockscan.model.attribution.Attribution.

    of: the value whose surprise is explained, "" for all of them. causes: at most MOST_CAUSES, strongest
    first. others: the sum over the rest.
    """

    method: str
    of: str
    surprise: float
    unseen: float
    causes: tuple[Cause, ...]
    others: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Score and painted tree, labels of its addresses, and what only a second look gives.

    severity: of this judgement, None where it is no alarm at `level`, which is None where it is not known.
    alert: as a store keeps it, with the judgement that raised it; lapsed: by the newest it is none.
    alone: it was scored without what its account did in the minutes before, and what others did since the
    history, which a store would know.
    rarities, views: see blockscan.detect.calibrate.Judgement. least: see pipelines.score.Scored. name: reads
    a selector.
    """

    score: TxScore
    frames: tuple[Frame, ...]
    severity: str | None = None
    level: float | None = None
    alert: Alert | None = None
    lapsed: bool = False
    alone: bool = False
    labels: Mapping[str, Sequence[Label]] = field(default_factory=dict)
    rarities: Mapping[str, float] = field(default_factory=dict)
    least: Mapping[str, float] = field(default_factory=dict)
    views: Mapping[str, float] = field(default_factory=dict)
    nearest: Nearest | None = None
    causes: Causes | None = None
    name: Naming = signature


def whole_hash(given: str, store: Path | None, source: Path | None) -> str:
    """The one hash of a store, else of an archive, that begins as given; what is no such prefix stays.

    Hexadecimal digits count in either case: records may hold a hash in capitals. Base58 has no other case.

    Raises:
        ConfigError: several begin so, or it has fewer than 8 digits and is not all of a hash.
    """
    if not HASH_START.fullmatch(given):
        return given
    found: list[str] = []
    if store is not None:
        with open_store(store, read_only=True) as results:
            found = results.starting_with(given)
    if source is not None and not found:
        start = given.lower()
        found = sorted({each for each in Archive(source).tx_hashes() if each.lower().startswith(start)})
    whole = [each for each in found if each.lower() == given.lower()]
    if whole:
        return given if given in whole else whole[0]
    if len(given) < FEWEST:
        raise ConfigError(f"{given} is too short for a hash; give at least {FEWEST - 2} of its digits")
    if len(found) > 1:
        raise ConfigError(f"{len(found):,} transactions begin with {given}; give more of the hash")
    return found[0] if found else given


def find(source: Path, tx_hash: str, chain: str | None = None, *, block: int | None = None) -> Transaction:
    """A transaction of an archive; several chains may have its hash. Its `block`, where known, saves time.

    Raises:
        ConfigError: the archive does not hold it.
    """
    for raw in Archive(source).find(tx_hash, block):
        for transaction in parse(raw):
            if transaction.hash == tx_hash and chain in (None, transaction.chain):
                return transaction
    raise ConfigError(f"{source} holds no transaction {tx_hash}; check the hash, or ingest its block")


def explain(
    transaction: Transaction,
    source: Path,
    detector: Detector,
    wanted: Wanted,
    before: Before | None = None,
) -> Explanation:
    """Judge a transaction again and say why.

    `before` comes from its account's other transactions, None where nobody knows of them.

    Raises:
        ConfigError: an attribution is wanted of a transaction in which nothing was scored.
    """
    detector = replace(detector, scoring=replace(detector.scoring, expected=EXPECTED))
    scored = judge_alone(transaction, detector, before or NOTHING_BEFORE)
    near = causes = None
    if wanted.nearest:
        near = nearest_in(
            source,
            transaction,
            detector.history,
            count=wanted.nearest,
            nodes=[each.frame.node for each in ranked_frames(scored.frames or (), scored.score.evidence)],
            blocks=wanted.blocks,
            exclude=wanted.exclude,
        )
    if wanted.attribution is not None:
        causes = _causes(transaction, detector, wanted)
    return Explanation(
        scored.score,
        scored.frames or (),
        severity=scored.severity,
        level=detector.calibration.alarm_level,
        alone=before is None,
        rarities=scored.rarities,
        least=scored.least,
        views=scored.views,
        nearest=near,
        causes=causes,
        name=detector.signatures.name,
    )


def _causes(transaction: Transaction, detector: Detector, wanted: Wanted) -> Causes:
    sequence = detector.tokenizer.encode(transaction)
    (losses,) = token_losses(detector.model, [sequence], detector.scoring)
    token_p = detector.calibration.fields.p_values(sequence, losses)
    if np.isnan(token_p).all():
        raise ConfigError(f"nothing in {transaction.hash} could be scored, so there is nothing to attribute")
    unit = None if wanted.whole else int(sequence.unit[np.nanargmin(token_p)])
    method = wanted.attribution or ""
    found = attribute(
        detector.model,
        sequence,
        method=method,
        unit=unit,
        folds=detector.scoring.folds,
        generator=torch.Generator().manual_seed(wanted.seed),
    )
    nats = by_unit(sequence, found.token)
    texts = detector.tokenizer.unit_texts(transaction, detector.signatures.name)
    first = np.unique(sequence.unit, return_index=True)[1]
    strongest = [int(one) for one in np.argsort(-np.abs(nats), kind="stable")[:MOST_CAUSES] if nats[one]]
    causes = tuple(
        Cause(
            int(sequence.node[first[one]]),
            Field(sequence.field[first[one]]).name.lower(),
            safe_text(texts[one]),
            float(nats[one]),
        )
        for one in strongest
    )
    of = "" if unit is None else safe_text(texts[unit])
    others = float(nats.sum()) - sum(cause.nats for cause in causes)
    return Causes(method, of, found.surprise, found.unseen, causes, others)
