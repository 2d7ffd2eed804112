"""Step 4: learn from later benign transactions what an ordinary surprise is, and where to raise an alarm.

`recalibrate` renews the held-out values on newer transactions, so that the alarm level holds for the traffic
of today, while values keep their meaning.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import replace as changed
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blockscan.artifact import MANIFEST, read_manifest, require_empty
from blockscan.config import ScoreConfig, config_from
from blockscan.detect.accounts import Recent
from blockscan.detect.books import NOTHING, Books, Entered
from blockscan.detect.calibrate import Calibration, Observed, fit_calibration
from blockscan.detect.calibrate import recalibrate as renew
from blockscan.detect.calibration_file import KIND, fingerprint, load_calibration, save_calibration, versions
from blockscan.detect.contracts import standing_alone
from blockscan.detect.density import require_kind
from blockscan.detect.history_file import KIND as HISTORY
from blockscan.detect.history_file import load_history
from blockscan.detect.levels import (
    alarm_band,
    fpr_bound,
    period_band,
    require_enough,
    require_newer,
    transactions_needed,
)
from blockscan.detect.score import kept_parts
from blockscan.errors import ArtifactError, ConfigError
from blockscan.model.embed import embeddings
from blockscan.model.encoder import MaskedLM
from blockscan.model.losses import token_losses
from blockscan.model.replaced import cascade_threshold
from pipelines.before import Reread, catch_up
from pipelines.encode import Encoded, encode_all
from pipelines.model_dir import ModelDir, load_model
from pipelines.progress import console, progress
from pipelines.sources import Shard
from pipelines.traffic import Blocks, Census, Target
from tokenizer.txtokenizer import TxTokenizer, fitted_until

DEFAULT_FPR = 0.01

Facts = dict[str, object]


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a recalibration changed.

    `thresholds` gives by source the values above which an alarm is raised, before and after, while sizes are
    as frequent as among the values held out; None where there are too few values for one. `above_old` gives
    by source how many of the new transactions lie above the old threshold: the alarms that the old
    calibration would have raised at its level, did it not allow for the mix of sizes.
    """

    calibration: Calibration
    name: str
    thresholds: dict[str, tuple[float | None, float | None]]
    above_old: dict[str, int]
    held_out_before: dict[str, int]
    level_before: float


def calibrate(
    shards: list[Shard],
    directory: ModelDir,
    config: ScoreConfig,
    target: Target,
    *,
    device: str,
    exclude: Collection[str] = (),
    covered: Blocks = (),
    per_contract: bool = False,
    replace: bool = False,
    reread: Reread = lambda _: (),
) -> Calibration:
    """Score benign transactions that are later than the training data and save the calibration.

    Args:
        shards: benign transactions.
        directory: holds tokenizer and checkpoint, takes the calibration.
        config: of the model pass.
        target: accepted false alarms; FPR 1 % where it says nothing.
        device: where to compute.
        exclude: hashes to leave out.
        covered: blocks that the shards hold in full, see `Census.traffic`.
        per_contract: take p-values within contracts, see blockscan.detect.contracts.
        replace: where the model is calibrated, put this one beside it, as the one that counts from now on.
        reread: gives earlier transactions of the same source.

    Raises:
        ArtifactError: the model directory lacks a part, or is calibrated and nothing is to be replaced.
        ConfigError: too few transactions for the target, not later than the training data, or no such
            density, part or share.
    """
    out = place_for(directory, replace=replace)
    parts = kept_parts(config.without, density=config.density)
    if config.density:
        require_kind(config.density)
    if not 0 <= config.carried < 1:
        raise ConfigError(f"score.carried is {config.carried:g}; give a share from 0 (nothing) to below 1")
    tokenizer, model, checkpoint = load_model(directory, device)
    census = Census(load_history(directory.history), fitted_until(directory.tokenizer))
    encoded = _encode(shards, tokenizer, census, exclude)
    traffic = census.traffic(covered, transactions_per_day=target.transactions_per_day)
    level = target.level(traffic, otherwise=DEFAULT_FPR)
    require_enough(census.sources, level, halved=True)
    books = _books(census, NOTHING, reread)
    observed = _observe(encoded, model, config, census, books)
    if config.mode == "cascade":  # one threshold from here on, so that no score depends on its company
        first_looks = [item.losses.replaced for item in observed if item.losses.replaced is not None]
        config = changed(config, cascade_from=cascade_threshold(first_looks, config.cascade))
    calibration = fit_calibration(
        observed,
        fpr=level,
        parents={
            "checkpoint": checkpoint,
            "tokenizer": tokenizer.fingerprint,
            "history": read_manifest(directory.history, HISTORY).fingerprint,
        },
        scoring=asdict(config),
        parts=parts,
        density=config.density,
        traffic=traffic,
        per_contract=per_contract,
    )
    calibration = changed(calibration, books=books.entered())
    save_calibration(calibration, out)
    return calibration


def place_for(directory: ModelDir, *, replace: bool) -> Path:
    """Where a new calibration is to lie: beside one that there is, which nothing removes, if at all.

    Raises:
        ArtifactError: the model is calibrated and nothing is to be replaced; it says what to do.
    """
    known = versions(directory.path)
    if (known[-1] / MANIFEST).is_file():
        if replace:
            return directory.path / f"{KIND}-{len(known) + 1}"
        raise ArtifactError(
            f"{known[-1]} is not empty; give a new directory, calibrate again with --replace (this one is "
            "kept), or renew it on newer blocks with `blockscan recalibrate`"
        )
    require_empty(known[0])
    return known[0]


def recalibrate(
    shards: list[Shard],
    directory: ModelDir,
    target: Target,
    *,
    device: str,
    exclude: Collection[str] = (),
    covered: Blocks = (),
    reread: Reread = lambda _: (),
) -> Renewed:
    """Replace the held-out values by newer ones, in a calibration of its own that counts from now on.

    Args:
        shards: benign transactions, later than those of the last calibration.
        directory: a calibrated model.
        target: accepted false alarms; the alarm level stays where it says nothing.
        device: where to compute.
        exclude: hashes to leave out.
        covered: blocks that the shards hold in full, see `Census.traffic`.
        reread: gives earlier transactions of the same source.

    Raises:
        ArtifactError: the model directory lacks a part, or its parts do not belong together.
        ConfigError: too few transactions for the target, or not later ones.
    """
    tokenizer, model, checkpoint = load_model(directory, device)
    known = versions(directory.path)
    previous = load_calibration(known[-1])
    if previous.parents.get("checkpoint") != checkpoint:
        raise ArtifactError(f"{known[-1]} was made for another checkpoint; run `blockscan calibrate` again")
    config = config_from({"score": dict(previous.scoring)}, str(known[-1])).score
    census = Census(load_history(directory.history), fitted_until(directory.tokenizer))
    encoded = _encode(shards, tokenizer, census, exclude)
    traffic = census.traffic(covered, transactions_per_day=target.transactions_per_day)
    level = target.level(traffic, otherwise=previous.alarm_level)
    require_newer(previous.traffic, traffic)
    require_enough(census.sources, level, halved=False)
    books = _books(census, previous.books, reread)
    observed = _observe(encoded, model, config, census, books)
    calibration = renew(previous, observed, fpr=level, parent=fingerprint(previous), traffic=traffic)
    calibration = changed(calibration, books=books.entered())
    out = place_for(directory, replace=True)
    save_calibration(calibration, out)
    return _compare(previous, calibration, out.name)


def facts(made: Calibration) -> Facts:
    """The alarm level, what it rests on, and the false alarms to expect of it."""
    level = made.alarm_level
    for source in made.unsupported_sources():
        console.print(f"too few transactions of source {source} for FPR {level:g}: none of them can alarm")
    found: Facts = {"alarm level": level}
    for source, values in made.values.items():
        found[f"held out, {source}"] = len(values)
        if made.contracts is None:
            found[f"false alarm rate, 95 % bound, {source}"] = _short(fpr_bound(len(values), level))
            found |= _periods(made, source)
        else:
            found |= _within(made.contracts[source], transactions_needed(level), source)
        if (alerts := made.alerts_per_day(source)) is not None:
            found[f"transactions a day, {source}"] = round(made.traffic.per_day[source], 1)
            found[f"false alerts a day, expected, {source}"] = _short(alerts[0])
            if made.contracts is None:  # the bound is of one set of values, not of many small ones
                found[f"false alerts a day, 95 % bound, {source}"] = _short(alerts[1])
    return found


def _within(groups: Mapping[str, NDArray[np.float64]], needed: int, source: str) -> Facts:
    """Where p-values are taken within contracts: at how many, and of how many transactions."""
    alone = standing_alone(groups, needed)
    return {
        f"contracts compared by themselves, {source}": len(alone),
        f"held out at them, {source}": sum(len(groups[name]) for name in alone),
        f"held out that such a contract needs, {source}": needed,
    }


def _periods(made: Calibration, source: str) -> Facts:
    """How far apart the periods of a calibration lie, with a warning where they are not alike."""
    counts, n, level = made.periods.get(source), len(made.values[source]), made.alarm_level
    if not counts:
        return {}
    own = n / len(counts)
    (low, high), (fewest, most) = period_band(n, level), (min(counts), max(counts))
    others = "the others, sizes allowed for" if source in made.sizes else "the others"
    found = f"{_percent(fewest / own)} to {_percent(most / own)} %"
    alike = f"{_percent(low / own)} to {_percent(high / own)} %"
    if not low <= fewest <= most <= high:
        console.print(
            f"the calibration of {source} is uneven: of its fifths in time {found} alarm at the level of "
            f"{others}, {alike} if they were alike; so will false alarms change from day to day. Calibrate "
            "on more blocks, close to the time that is to be watched"
        )
    return {f"false alarms in fifths of it, {source}": f"{found} ({alike} if alike)"}


def _percent(share: float) -> str:
    return f"{100 * share:.2g}"


def renewed_facts(renewed: Renewed) -> Facts:
    """What `facts` says of the new calibration, and how it differs from the old one."""
    made, found = renewed.calibration, {"calibration": renewed.name} | facts(renewed.calibration)
    for source, (before, after) in renewed.thresholds.items():
        found[f"threshold before, {source}"] = None if before is None else round(before, 4)
        found[f"threshold after, {source}"] = None if after is None else round(after, 4)
    for source, above in renewed.above_old.items():
        n = len(made.values[source])
        low, high = alarm_band(renewed.held_out_before[source], renewed.level_before, n)
        found[f"above the old threshold, {source}"] = f"{above:,} of {n:,} ({100 * above / n:.2f} %)"
        found[f"of them expected with 95 %, {source}"] = f"{low:,} to {high:,}"
    return found


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def _compare(previous: Calibration, calibration: Calibration, name: str) -> Renewed:
    thresholds = {
        source: (_threshold(previous, source), _threshold(calibration, source))
        for source in calibration.values
    }
    above = {
        source: int(np.sum(calibration.values[source] > old))
        for source, (old, _) in thresholds.items()
        if old is not None
    }
    before = {source: len(values) for source, values in previous.values.items()}
    return Renewed(calibration, name, thresholds, above, before, previous.alarm_level)


def _threshold(calibration: Calibration, source: str) -> float | None:
    values = calibration.values.get(source)
    if values is None or source in calibration.unsupported_sources():
        return None
    return calibration.threshold(source, calibration.alarm_level)


def _encode(
    shards: list[Shard], tokenizer: TxTokenizer, census: Census, exclude: Collection[str]
) -> list[Encoded]:
    """Every transaction of the shards in time order; `census` notes them."""
    encoded = encode_all(census.watching(shards, exclude), tokenizer, exclude=exclude)
    census.require_later()
    if not encoded:
        raise ConfigError("no transaction to calibrate on; widen the block range or ingest more")
    return encoded


def _books(census: Census, entered: Entered, reread: Reread) -> Books:
    """The books of contracts as they were before the first transaction of each chain."""
    books = Books(census.history, entered)
    for chain, first in sorted(census.firsts.items()):
        catch_up(books, chain, first, reread)
    return books


def _observe(
    encoded: Sequence[Encoded], model: MaskedLM, config: ScoreConfig, census: Census, books: Books
) -> list[Observed]:
    """The same as the model sees them; they are entered in the books."""
    sequences = [each.sequence for each in encoded]
    with progress("calibrate (tokens)", None) as bar:
        losses = token_losses(model, sequences, config, progress=bar.to)
    vectors = embeddings(model, sequences, config) if config.density else [None] * len(sequences)
    observed, recent = [], Recent(0.0)
    for each, loss, vector in zip(encoded, losses, vectors, strict=True):
        (account, time), contract = census.accounts[each.key], census.contracts[each.key]
        facts = census.facts_after(each.key, recent.dealings(account, time), books)
        recent.add(account, time, 0.0, census.dealings[each.key])
        kind = each.source, each.status
        observed.append(Observed(each.sequence, loss, facts, *kind, contract, vector, account, time))
    return observed
