"""Beside pretraining: count what the training transactions show, see blockscan.detect.history."""

import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from blockscan.artifact import read_manifest
from blockscan.detect.flow import frames_of
from blockscan.detect.history import History, history_of, latest, merged, uses_of
from blockscan.detect.history_file import history_until, save_history
from blockscan.errors import ArtifactError
from blockscan.model.checkpoint import KIND as CHECKPOINT
from blockscan.transaction import Transaction
from pipelines.encode import once, watched
from pipelines.model_dir import ModelDir
from pipelines.progress import console
from pipelines.sources import Shard
from tokenizer.txtokenizer import fitted_until


def fit_history(
    shards: list[Shard],
    out: Path,
    *,
    exclude: Collection[str] = (),
    base: History | None = None,
    trained: ModelDir | None = None,
    parents: dict[str, str],
) -> None:
    """Count the transactions of the shards, each once, and save the counts to `out`, over what lies there.

    A history of before belongs to a training run that did not finish: a finished one has a checkpoint, and is
    never trained again.

    Args:
        shards: benign transactions.
        out: directory of the artifact.
        exclude: hashes to leave out.
        base: counts to start from, of a model that is adapted; what they have counted counts no more.
        trained: a model that keeps its weights: what those have seen is no later past for fewer counts.
        parents: fingerprints by role.
    """
    known = 0

    def fresh() -> Iterator[Transaction]:
        nonlocal known
        for transaction in once(each for _, each in watched("history", shards, exclude)):
            if base is not None and _counted(transaction, base):
                known += 1
            else:
                yield transaction

    counted = history_of(fresh(), base)
    if trained is not None:
        counted = replace(counted, until=latest(counted.until, _known_until(trained, counted.until)))
    if known:
        console.print(f"history: {known:,} transactions are of blocks that the base has counted, left out")
    shutil.rmtree(out, ignore_errors=True)
    save_history(counted if base is None else merged(base, counted), out, parents)


def _counted(transaction: Transaction, base: History) -> bool:
    """Whether a history has, as far as can be told, counted a transaction: its block, and all that it runs.

    A history need not hold all of a block: that of one protocol knows no other's transactions there.
    """
    block, until = transaction.block_number, base.until.get(transaction.chain)
    if block is None or until is None or block > until:
        return False
    uses = uses_of(frames_of(transaction))
    return all(base.seen("use", *function, caller) for function, caller in uses)


def _known_until(model: ModelDir, chains: Iterable[str]) -> dict[str, int]:
    """The last block by chain that a model was trained on or has counted.

    Where its history is lost or damaged, which counting anew is to mend, the checkpoint knows one number. A
    tokenizer that was fitted up to it has seen the same transactions, and says of which chain each last one
    is; else the number counts for every chain, rather than letting one off.
    """
    try:
        return history_until(model.history)
    except ArtifactError:
        last = read_manifest(model.checkpoint, CHECKPOINT).config.get("data", {}).get("last_block")
        fitted = fitted_until(model.tokenizer)
        if last is None or int(last) in fitted.values():
            return fitted
        return dict.fromkeys({*fitted, *chains}, int(last))
