"""The state of a run that is still going: a directory `step-N` of safetensors shards and one JSON file.

Each process writes its own shard (torch.distributed.checkpoint in its safetensors form), and any number of
processes can read them again: a tensor is put together from whatever pieces it was stored in. A state is
written under another name and renamed, so that one with its final name is whole.
"""

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from blockscan.artifact import sync
from blockscan.errors import ArtifactError

PROGRESS, SHARD, DRAFT = "progress.json", "state.safetensors", "draft"


def save_work(path: Path, tensors: Mapping[str, Tensor], progress: Mapping[str, Any], *, step: int) -> None:
    """Write the state after step `step` into the directory `path`, then remove the one before.

    In a process group every process calls this with its own pieces (DTensor) or copies of the tensors, and
    `path` is a directory that all of them see.

    Raises:
        ArtifactError: a file cannot be written.
    """
    draft = path / DRAFT
    first = not dist.is_initialized() or dist.get_rank() == 0
    try:
        if first:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
        if dist.is_initialized():
            dist.barrier()
            _write_pieces(draft, tensors)
        else:
            here = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            save_file(here, draft / SHARD)
        if first:
            described = {"shards": _shards(draft), "progress": dict(progress)}
            (draft / PROGRESS).write_text(json.dumps(described), encoding="utf-8")
            for written in (*draft.iterdir(), draft):
                sync(written)
            draft.rename(path / f"step-{step:09d}")
            sync(path)  # a power cut must not find the older state gone and this one empty
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"cannot write {draft}: {error}; free some space and go on with --resume"
        ) from error
    if first:
        for older in sorted(path.glob("step-*"))[:-1]:
            shutil.rmtree(older, ignore_errors=True)


def read_progress(path: Path) -> dict[str, Any] | None:
    """The `progress` of the newest state in `path`, or None where there is none.

    Raises:
        ArtifactError: the file is damaged, or a shard is missing or cut short.
    """
    state = _newest(path)
    if state is None:
        return None
    try:
        described = json.loads((state / PROGRESS).read_text(encoding="utf-8"))
        progress, shards = dict(described["progress"]), described["shards"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(path, state, str(error)) from error
    if shards != _shards(state):
        raise _damaged(path, state, "its files are not those that were written")
    return progress


def load_work(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fill the given tensors (or a process's pieces of them) with the newest state in `path`, in place.

    Raises:
        ArtifactError: there is no state, a file is damaged, or it holds other tensors.
    """
    state = _newest(path)
    if state is None:
        raise ArtifactError(f"{path} holds no state of a run; start again")
    try:
        _read_pieces(state, tensors)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise _damaged(path, state, reason) from error


def _write_pieces(draft: Path, tensors: Mapping[str, Tensor]) -> None:
    # Imported here: this part of torch takes long to import, and only training needs it.
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    try:
        save(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(draft), save_distributed=True))
    except CheckpointException as error:  # which is no Exception
        raise OSError(str(error)) from error


def _read_pieces(state: Path, tensors: Mapping[str, Tensor]) -> None:
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    with warnings.catch_warnings():
        # That there is no process group is no news to a single process.
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        try:
            load(dict(tensors), storage_reader=HuggingFaceStorageReader(str(state)))
        except CheckpointException as error:
            raise OSError(str(error)) from error


def _shards(state: Path) -> dict[str, int]:
    """Names and bytes of the tensor files: a missing one might otherwise leave a gap that nobody notices."""
    return {file.name: file.stat().st_size for file in sorted(state.glob("*.safetensors"))}


def _newest(path: Path) -> Path | None:
    return max(path.glob("step-*"), default=None)


def _damaged(path: Path, state: Path, reason: str) -> ArtifactError:
    return ArtifactError(f"{state} is damaged ({reason[:300]}); remove {path} and start again")
