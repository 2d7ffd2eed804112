"""What stands between the command line and the steps: paths in, facts out."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blockscan.archive import Archive
from blockscan.chains.families import parse
from blockscan.config import Config
from blockscan.detect.counts import count_features
from blockscan.errors import ConfigError, StoreError
from blockscan.findings import Frame, TxScore
from blockscan.store import open_store
from blockscan.store_labels import Label, addresses_of
from pipelines import calibrate as calibrate_step
from pipelines import data_commands
from pipelines import pretrain as pretrain_step
from pipelines import score as score_step
from pipelines.encode import encode_all, fit_tokenizer, watched
from pipelines.evaluate import Evaluation, ScoredRow
from pipelines.evaluate import evaluate as evaluate_step
from pipelines.evaluate import render as render_evaluation
from pipelines.labels import hash_key, read_labels
from pipelines.model_dir import ModelDir, load_detector, pick_device
from pipelines.pretrain import StepReport
from pipelines.progress import console, progress
from pipelines.ranges import BlockRange, parse_range
from pipelines.render import explanation, label_table, print_json, to_stdout
from pipelines.render import pairs as pairs_table
from pipelines.sources import Rejects, Shard, open_shards
from tokenizer.txtokenizer import TxTokenizer

Facts = dict[str, object]
Labels = Mapping[str, Sequence[Label]]


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
    tokenizer = fit_tokenizer(shards, directory.tokenizer, config.tokenizer, exclude=_hashes(exclude))
    return {"vocabulary": tokenizer.shape.size, "fingerprint": tokenizer.fingerprint}


def train(
    shards: list[Shard], model: Path, config: Config, exclude: Path | None, *, device: str, resume: bool
) -> Facts:
    """`blockscan pretrain`."""
    directory = ModelDir(model)
    tokenizer = TxTokenizer.load(directory.tokenizer)
    sequences = [each.sequence for each in encode_all(shards, tokenizer, exclude=_hashes(exclude))]
    with progress("pretrain (steps)", config.train.steps) as bar:

        def on_step(report: StepReport) -> None:
            bar.to(report.step, report.steps)
            bar.advance(0, f"loss {report.loss:.3f}, {report.tokens_per_second:,.0f} tokens/s")

        done = pretrain_step.pretrain(
            sequences,
            tokenizer.shape,
            config=config,
            out=directory.checkpoint,
            tokenizer_fingerprint=tokenizer.fingerprint,
            device=pick_device(device),
            on_step=on_step,
            resume=resume,
        )
    return {
        "transactions": len(sequences),
        "tokens": sum(len(sequence) for sequence in sequences),
        "steps": done.steps,
        "tokens seen": done.tokens,
        "loss": round(done.loss, 4),
        "validation loss": None if done.validation is None else round(done.validation, 4),
        "fingerprint": done.fingerprint,
    }


def calibrate(
    shards: list[Shard], model: Path, config: Config, exclude: Path | None, *, fpr: float, device: str
) -> Facts:
    """`blockscan calibrate`."""
    made = calibrate_step.calibrate(
        shards, ModelDir(model), config.score, fpr=fpr, device=device, exclude=_hashes(exclude)
    )
    for source in made.unsupported_sources():
        console.print(f"too few transactions of source {source} for FPR {fpr:g}: none of them can alarm")
    facts: Facts = {"alarm level": made.alarm_level}
    return facts | {f"held out, {source}": len(values) for source, values in made.values.items()}


@contextmanager
def scorable(
    source: Path | None, rpc: str | None, blocks: str | None
) -> Iterator[tuple[list[Shard], Rejects]]:
    """The shards to score; blocks of a node are fetched into an archive that lives as long as the context."""
    if source is not None:
        yield shards_of(source, blocks)
        return
    with tempfile.TemporaryDirectory(prefix="blockscan-") as scratch:
        archive = Path(scratch) / "archive"
        data_commands.ingest_from_node(
            data_commands.Endpoints([rpc or ""]), blocks or "", archive, dry_run=False
        )
        yield shards_of(archive, None)


def score(shards: list[Shard], model: Path, store: Path, parquet: Path | None, *, device: str) -> Facts:
    """`blockscan score`."""
    detector = load_detector(ModelDir(model), device)
    with open_store(store) as results:
        report = score_step.score(shards, detector, results, parquet=parquet)
    if report.without_p:
        console.print(
            f"{report.without_p:,} transactions have a trace source without calibration: no p-value"
        )
    return {
        "scored": report.scored,
        "alerts": report.alerts,
        "without p-value": report.without_p,
        "longer than a window": report.windowed,
        "seconds": round(report.seconds, 1),
        "store": str(store),
    }


def explain_stored(tx_hash: str, store: Path) -> tuple[TxScore, tuple[Frame, ...], Labels]:
    """The stored score of a transaction, its painted tree if that was kept, and its addresses' labels."""
    with open_store(store, read_only=True) as results:
        found = results.score(tx_hash)
        if found is None:
            raise StoreError(f"{store} has no score of {tx_hash}; score the transaction first")
        frames = results.frames(tx_hash)
        return found, frames, results.labels(addresses_of(found, frames), found.chain)


def explain_again(
    tx_hash: str, source: Path, model: Path, *, device: str
) -> tuple[TxScore, tuple[Frame, ...]]:
    """Score one transaction of an archive again and paint its tree."""
    found = [
        transaction
        for raw in Archive(source).find(tx_hash)
        for transaction in parse(raw)
        if transaction.hash == tx_hash
    ]
    if not found:
        raise ConfigError(f"{source} holds no transaction {tx_hash}; check the hash, or ingest its block")
    detector = load_detector(ModelDir(model), device)
    (scored,) = score_step.judge_all(found[:1], detector, kept_p=1.0)
    return scored.score, scored.frames or ()


def labels_in(store: Path | None, verdict: TxScore, frames: Sequence[Frame]) -> Labels:
    """The labels that a store, if there is one, has of a transaction's addresses."""
    if store is None:
        return {}
    with open_store(store, read_only=True) as results:
        return results.labels(addresses_of(verdict, frames), verdict.chain)


def show_explanation(
    verdict: TxScore, frames: Sequence[Frame], labels: Labels, *, everything: bool, as_json: bool
) -> None:
    """Print why a transaction was judged as it was."""
    if as_json:
        known = [asdict(label) for each in labels.values() for label in each]
        print_json({"score": asdict(verdict), "frames": [asdict(frame) for frame in frames], "labels": known})
        return
    to_stdout(explanation(verdict, frames, everything=everything))
    if labels:
        to_stdout(label_table(labels))
    if not frames:
        console.print("the call tree was not kept; --source ARCHIVE --model DIR paints it again")


def evaluate(
    store: Path, labels: Path, archive: Path | None, train_blocks: str | None, *, seed: int
) -> Evaluation:
    """`blockscan evaluate`."""
    truths = read_labels(labels)
    with open_store(store, read_only=True) as results:
        runs = results.runs(limit=1)
        rows = [
            ScoredRow(each.tx_hash, each.value, each.p_value, each.tokens, each.calls, each.block_number)
            for each in results.iter_scores()
        ]
    if not runs or runs[0].alarm_level is None:
        raise ConfigError(f"{store} holds no finished run; score some transactions first")
    train_counts, test_counts = _counts(archive, train_blocks, rows)
    return evaluate_step(
        rows,
        truths,
        alarm_level=runs[0].alarm_level,
        rng=np.random.default_rng(seed),
        train_counts=train_counts,
        test_counts=test_counts,
    )


def _counts(
    archive: Path | None, train_blocks: str | None, rows: Sequence[ScoredRow]
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Count features of the training transactions, and of the scored ones in their order."""
    if archive is None:
        return None, None
    if train_blocks is None:
        raise ConfigError("--archive needs --train-blocks A:B: the blocks that the baseline is fitted on")
    shards, _ = shards_of(archive, train_blocks)
    train = [count_features(transaction) for _, transaction in watched("counts, training", shards)]
    wanted = {hash_key(row.tx_hash) for row in rows}
    everything, _ = shards_of(archive, None)
    found = {
        hash_key(transaction.hash): count_features(transaction)
        for _, transaction in watched("counts, scored", everything)
        if hash_key(transaction.hash) in wanted
    }
    missing = len(wanted) - len(found)
    if missing or not train:
        raise ConfigError(
            f"{archive} lacks {missing:,} of the scored transactions and holds {len(train):,} in "
            f"{train_blocks}; give the archive that was scored, or leave out --archive"
        )
    return np.array(train), np.array([found[hash_key(row.tx_hash)] for row in rows])


def show_evaluation(result: Evaluation, *, as_json: bool) -> None:
    """Print an evaluation."""
    if as_json:
        print_json(result.to_dict())
    else:
        to_stdout(render_evaluation(result))


def show(facts: Facts, title: str, *, as_json: bool) -> None:
    """Print the facts of a step."""
    if as_json:
        print_json({name.replace(",", "").replace(" ", "_"): value for name, value in facts.items()})
    else:
        to_stdout(pairs_table(facts, title))


def _hashes(path: Path | None) -> frozenset[str]:
    if path is None:
        return frozenset()
    try:
        return frozenset(
            line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
        )
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the hashes to exclude from {path}: {error}") from error
