"""What stands between the command line and the steps: paths in, facts out."""

import logging
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from blockscan.archive import Archive
from blockscan.artifact import require_empty
from blockscan.config import Config
from blockscan.detect.history_file import load_history
from blockscan.errors import ConfigError, StoreError
from blockscan.findings import Alert, Before
from blockscan.safetext import safe_text
from blockscan.store import ScoreStore, open_store
from blockscan.store_labels import addresses_of
from pipelines import calibrate as calibrate_step
from pipelines import data_commands
from pipelines import pretrain as pretrain_step
from pipelines import score as score_step
from pipelines.adapt import adopt, adopt_tokenizer
from pipelines.before import Reread
from pipelines.encode import encode_each, fit_tokenizer
from pipelines.exclude import hashes_of
from pipelines.explain import Explanation, Wanted, explain, find
from pipelines.history import fit_history
from pipelines.model_dir import ModelDir, load_detector, pick_device
from pipelines.prepare import prepared
from pipelines.pretrain import StepReport
from pipelines.progress import console, progress
from pipelines.provenance import provenance, tokenizer_files
from pipelines.ranges import BlockRange, parse_range
from pipelines.render import pairs as pairs_table
from pipelines.render import print_json, to_stdout
from pipelines.render_explanation import as_dict, explanation
from pipelines.sources import Rejects, Shard, open_shards, read_transactions
from pipelines.spool import spooled
from pipelines.traffic import Target, covered_blocks
from pipelines.training.event_log import event_log
from pipelines.training.processes import first_process, world_of
from tokenizer.txtokenizer import TxTokenizer

Facts = dict[str, object]


def shards_of(source: Path, blocks: str | None) -> tuple[list[Shard], Rejects]:
    """The shards of a source, restricted to a block range."""
    rejects = Rejects()
    return open_shards(source, rejects, _range(source, blocks)), rejects


def _range(source: Path, blocks: str | None) -> BlockRange | None:
    if blocks is None:
        return None
    newest = None
    if source.is_dir() and blocks.lstrip().startswith("-"):
        covered = Archive(source).coverage().blocks
        newest = covered[-1][1] if covered else None
    return parse_range(blocks, newest=newest)


def fit(shards: list[Shard], model: Path, config: Config, exclude: Path | None) -> Facts:
    """`blockscan tokenizer fit`."""
    directory = ModelDir(model)
    tokenizer = fit_tokenizer(shards, directory.tokenizer, config.tokenizer, exclude=hashes_of(exclude))
    return {"vocabulary": tokenizer.shape.size, "fingerprint": tokenizer.fingerprint}


def train(
    shards: list[Shard],
    model: Path,
    config: Config,
    exclude: Path | None,
    *,
    device: str,
    resume: bool,
    source: Path | None = None,
    preset: str = "",
    adapt: Path | None = None,
    tensorboard: Path | None = None,
) -> Facts:
    """`blockscan pretrain`. Under torchrun only the first process says anything."""
    directory, old = ModelDir(model), None if adapt is None else ModelDir(adapt)
    if not first_process():
        console.quiet = True
        logging.disable(logging.WARNING)
    ready = prepared(
        directory, config, exclude, device=device, resume=resume, base=old, tensorboard=tensorboard
    )
    if old is not None:
        adopt_tokenizer(old, directory)
    tokenizer, hashes, config = ready.tokenizer, ready.excluded, ready.config
    known_as = tokenizer.fingerprint
    where = pick_device(device)
    with world_of(where) as world:
        corpus = spooled(partial(encode_each, shards, tokenizer, exclude=hashes), model, world)
        if world.first:
            base = None if old is None else load_history(old.history)
            parents = {"tokenizer": known_as}
            fit_history(shards, directory.history, exclude=hashes, base=base, parents=parents)
        origin = provenance(source, corpus.blocks, excluded=len(hashes), preset=preset) if source else None
        with progress("pretrain (steps)", config.train.steps) as bar, event_log(tensorboard) as write:

            def on_step(report: StepReport) -> None:
                bar.to(report.step, report.steps, report.line)
                write(report)

            done = pretrain_step.pretrain(
                corpus,
                tokenizer.shape,
                config=config,
                out=directory.checkpoint,
                tokenizer_fingerprint=known_as,
                device=where,
                on_step=on_step,
                resume=resume,
                start=ready.start,
                provenance=origin,
                tokenizer_files=tokenizer_files(directory),
            )
    return {
        "transactions": len(corpus),
        "tokens": len(corpus.tokens_T),
        "steps": done.steps,
        "tokens seen": done.tokens,
        "loss": round(done.loss, 4),
        "validation loss": None if done.validation is None else round(done.validation, 4),
        "fingerprint": done.fingerprint,
    }


def recount(shards: list[Shard], model: Path, out: Path, exclude: Path | None) -> Facts:
    """`blockscan recount`."""
    base, directory = ModelDir(model), ModelDir(out)
    require_empty(directory.history)
    adopt(base, directory)
    known_as = TxTokenizer.load(directory.tokenizer).fingerprint
    fit_history(
        shards,
        directory.history,
        exclude=hashes_of(exclude),
        trained=base,
        parents={"tokenizer": known_as},
    )
    counted = load_history(directory.history).transactions
    if not counted:
        shutil.rmtree(directory.history)
        raise ConfigError("no transaction to count; widen --blocks or ingest more")
    return {"transactions": counted, "model": str(out)}


def calibrate(
    shards: list[Shard],
    model: Path,
    config: Config,
    exclude: Path | None,
    *,
    target: Target,
    device: str,
    source: Path | None = None,
    per_contract: bool = False,
    replace: bool = False,
) -> Facts:
    """`blockscan calibrate`; which blocks are there in full, and what came before, `source` says."""
    made = calibrate_step.calibrate(
        shards,
        ModelDir(model),
        config.score,
        target,
        device=device,
        exclude=hashes_of(exclude),
        covered=covered_blocks(source) if source else (),
        per_contract=per_contract,
        replace=replace,
        reread=_reread(source),
    )
    return calibrate_step.facts(made)


@contextmanager
def scorable(
    source: Path | None, rpc: Sequence[str], blocks: str | None
) -> Iterator[tuple[list[Shard], Rejects]]:
    """The shards to score; blocks of a node are fetched into an archive that lives as long as the context."""
    if source is not None:
        yield shards_of(source, blocks)
        return
    with tempfile.TemporaryDirectory(prefix="blockscan-") as scratch:
        archive = Path(scratch) / "archive"
        data_commands.ingest_from_node(data_commands.Endpoints(rpc), blocks or "", archive, dry_run=False)
        yield shards_of(archive, None)


def score(
    shards: list[Shard],
    model: Path,
    store: Path,
    parquet: Path | None,
    *,
    device: str,
    source: Path | None = None,
) -> Facts:
    """`blockscan score`; what accounts did just before is read from `source`."""
    detector = load_detector(ModelDir(model), device)
    with open_store(store) as results:
        report = score_step.score(shards, detector, results, parquet=parquet, reread=_reread(source))
    if report.without_p:
        console.print(
            f"{report.without_p:,} transactions have a trace source without calibration: no p-value"
        )
    for drift in report.drifts:
        console.print(drift, markup=False)
    return {
        "scored": report.scored,
        "alerts": report.alerts,
        "without p-value": report.without_p,
        "longer than a window": report.windowed,
        "seconds": round(report.seconds, 1),
        "store": str(store),
    }


def _reread(source: Path | None) -> Reread:
    """How earlier transactions of a source are read; there are none where it is no file."""
    return lambda blocks: read_transactions(open_shards(source, Rejects(), blocks) if source else [])


def explain_stored(tx_hash: str, store: Path, *, chain: str | None = None) -> Explanation:
    """The stored score of a transaction, its painted tree if that was kept, and its addresses' labels."""
    with open_store(store, read_only=True) as results:
        found = results.score(tx_hash, chain=chain)
        if found is None:
            on = f" on {chain}" if chain else ""
            raise StoreError(
                f"{store} has no score of {tx_hash}{on}; score it first (again, if it was pruned)"
            )
        _say_chains(tx_hash, chain, results)
        frames = results.frames(tx_hash, chain=found.chain)
        alert, lapsed = _kept_alert(tx_hash, found.chain, results)
        runs = results.runs(limit=1, calibration=found.calibration)
        return Explanation(
            found,
            frames,
            severity=None if alert is None or lapsed else alert.severity,
            level=next((run.alarm_level for run in runs), None),
            alert=alert,
            lapsed=lapsed,
            labels=results.labels(addresses_of(found, frames), found.chain),
        )


def _say_chains(tx_hash: str, chain: str | None, results: ScoreStore) -> None:
    if chain is None and len(chains := results.chains(tx_hash)) > 1:
        names = safe_text(", ".join(chains))
        console.print(f"the hash is on {names}: this is the first; --chain names another", markup=False)


def _kept_alert(tx_hash: str, chain: str, results: ScoreStore) -> tuple[Alert | None, bool]:
    """The alert of a transaction, and whether it has lapsed."""
    alert = results.alert(tx_hash, chain=chain)
    return alert, alert is not None and bool(results.lapsed([alert.unique_key]))


def explain_again(
    tx_hash: str,
    source: Path,
    model: Path,
    wanted: Wanted,
    *,
    device: str,
    store: Path | None,
    chain: str | None = None,
) -> Explanation:
    """Score one transaction of an archive again; a store gives labels, and what its account did before."""
    if store is None:
        return explain(find(source, tx_hash, chain), source, load_detector(ModelDir(model), device), wanted)
    with open_store(store, read_only=True) as results:
        _say_chains(tx_hash, chain, results)
        stored = results.score(tx_hash, chain=chain)
        block = None if stored is None else stored.block_number
        transaction = find(source, tx_hash, chain if stored is None else stored.chain, block=block)
        detector = load_detector(ModelDir(model), device)
        before = None if stored is None else Before(stored.carried, stored.joint, stored.mix)
        explained = explain(transaction, source, detector, wanted, before)
        addresses = addresses_of(explained.score, explained.frames)
        alert, lapsed = _kept_alert(tx_hash, transaction.chain, results)
        labels = results.labels(addresses, explained.score.chain)
        return replace(explained, alert=alert, lapsed=lapsed, labels=labels)


def wanted_of(
    source: Path | None,
    blocks: str | None,
    exclude: Path | None,
    *,
    nearest: int,
    attribution: str | None,
    whole: bool,
    seed: int,
) -> Wanted:
    """What `blockscan explain` is to say beside the evidence."""
    where = None if source is None else _range(source, blocks)
    return Wanted(nearest, where, hashes_of(exclude), attribution, whole, seed)


def show_explanation(explained: Explanation, *, everything: bool, as_json: bool) -> None:
    """Print why a transaction was judged as it was."""
    if as_json:
        print_json(as_dict(explained))
        return
    to_stdout(explanation(explained, everything=everything))


def show(facts: Facts, title: str, *, as_json: bool, missing: str = "none") -> None:
    """Print the facts of a step; `missing` is what people read where one is None."""
    if as_json:
        print_json({_key(name): value for name, value in facts.items()})
    else:
        to_stdout(pairs_table(facts, title, missing=missing))


def _key(label: str) -> str:
    """The name of a fact for programs, in snake_case: `false_alarm_rate_95_percent_bound_calltracer_logs`."""
    return re.sub("[^0-9a-z]+", "_", label.lower().replace("%", "percent")).strip("_")


def recalibrate(
    shards: list[Shard], model: Path, target: Target, exclude: Path | None, *, source: Path, device: str
) -> Facts:
    """`blockscan recalibrate`."""
    renewed = calibrate_step.recalibrate(
        shards,
        ModelDir(model),
        target,
        device=device,
        exclude=hashes_of(exclude),
        covered=covered_blocks(source),
        reread=_reread(source),
    )
    return calibrate_step.renewed_facts(renewed)
