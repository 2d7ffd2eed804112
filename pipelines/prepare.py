"""What `blockscan pretrain` needs besides transactions, checked before one of them is read."""

from dataclasses import dataclass
from pathlib import Path

from blockscan.artifact import require_empty
from blockscan.config import Config
from pipelines.adapt import adapted
from pipelines.exclude import hashes_of
from pipelines.model_dir import ModelDir, pick_device
from pipelines.pretrain import Start, check_run
from pipelines.training.event_log import event_log
from tokenizer.txtokenizer import TxTokenizer


@dataclass(frozen=True, slots=True)
class Prepared:
    """The tokenizer, the hashes to leave out, the config to train with, and a base if one is adapted."""

    tokenizer: TxTokenizer
    excluded: frozenset[str]
    config: Config
    start: Start | None


def prepared(
    directory: ModelDir,
    config: Config,
    exclude: Path | None,
    *,
    device: str,
    resume: bool,
    base: ModelDir | None,
    tensorboard: Path | None,
) -> Prepared:
    """Refuse at once what would otherwise be found wrong after hours of encoding; nothing is written.

    Args:
        directory: of the model to train.
        config: as the preset and `--set` say.
        exclude: file of hashes that nothing is learnt from.
        device: where to train, or "auto".
        resume: whether to go on with an unfinished run.
        base: the model to adapt.
        tensorboard: directory for logs.

    Raises:
        ConfigError: an option cannot be used, see `check_run`, or a package or a list is missing.
        ArtifactError: the model has a checkpoint, or lacks a tokenizer.
    """
    require_empty(directory.checkpoint)  # first: whoever has one wants another directory
    hashes, start = hashes_of(exclude), None
    tokenizer = TxTokenizer.load((base or directory).tokenizer)
    if base is not None:
        start, config = adapted(base, config, tokenizer_fingerprint=tokenizer.fingerprint, device=device)
    where = pick_device(device)
    check_run(config, tokenizer.shape, out=directory.checkpoint, device=where, resume=resume)
    with event_log(tensorboard):
        pass
    return Prepared(tokenizer, hashes, config, start)
