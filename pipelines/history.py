"""Beside pretraining: count what the training transactions show, see blockscan.detect.history."""

import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from blockscan.detect.history import History, history_of, merged
from blockscan.detect.history_file import save_history
from blockscan.transaction import Transaction
from pipelines.encode import watched
from pipelines.sources import Shard


def fit_history(
    shards: list[Shard],
    out: Path,
    *,
    exclude: Collection[str] = (),
    base: History | None = None,
    parents: dict[str, str],
) -> None:
    """Count the transactions of the shards, each once, and save the counts to `out`, over what lies there.

    A history of before belongs to a training run that did not finish: a finished one has a checkpoint, and is
    never trained again.

    Args:
        shards: benign transactions.
        out: directory of the artifact.
        exclude: hashes to leave out.
        base: counts to start from, of a model that is adapted.
        parents: fingerprints by role.
    """

    def fresh() -> Iterator[Transaction]:
        seen: set[tuple[str, str]] = set()
        for _, transaction in watched("history", shards, exclude):
            if transaction.key not in seen:
                seen.add(transaction.key)
                yield transaction

    counted = history_of(fresh())
    shutil.rmtree(out, ignore_errors=True)
    save_history(counted if base is None else merged(base, counted), out, parents)
