"""The processes of one run: one, or as many as `torchrun` started, as DDP or FSDP2.

torchrun tells each process its place in the environment (RANK, LOCAL_RANK, WORLD_SIZE). Without it there is
no process group, and everything here does nothing.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from blockscan.config import TrainConfig
from blockscan.errors import ConfigError
from blockscan.model.encoder import usable_device
from pipelines.training.objective import Objective

PARALLEL = ("ddp", "fsdp")
PATIENCE = timedelta(days=1)
"""How long processes wait for each other: the first one encodes and counts the past, which takes hours for
ten million transactions, and NCCL would wait for ten minutes. That a process died, torchrun notices."""


@dataclass(frozen=True, slots=True)
class World:
    """This process among those of the run: its place from 0, how many there are, its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Sums over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def sums(self, values: Sequence[float]) -> list[float]:
        """Sums of numbers over the processes."""
        if self.size == 1:
            return list(values)
        return list(self.total(torch.tensor(values, dtype=torch.float64, device=self.device)).tolist())

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()


def first_process() -> bool:
    """Whether this process is the only one, or the first that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def first_here() -> bool:
    """Whether this process is the only one of this machine, or the first that was started there."""
    return _place_here() == 0


def machine() -> int:
    """The rank of this machine's first process: the ranks of a machine follow each other.

    Without LOCAL_RANK, as of a launcher with one process per container, each process is a machine of its own.
    """
    return int(os.environ.get("RANK", "0")) - _place_here()


def _place_here() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def processes() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def world_of(device: torch.device | str) -> Iterator[World]:
    """Join the processes that torchrun started; without it, or with one process, a world of one.

    Args:
        device: where to train; "cuda" becomes this process's own.

    Raises:
        ConfigError: no such device, or fewer of them than processes on this machine.
    """
    size, rank = processes(), int(os.environ.get("RANK", "0"))
    here = usable_device(device)
    if size == 1:
        yield World(0, 1, here)
        return
    if here.type == "cuda":
        here = usable_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
        torch.cuda.set_device(here)
    joined = dist.is_initialized()
    if not joined:
        dist.init_process_group("nccl" if here.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield World(rank, size, here)
    finally:
        if not joined:
            dist.destroy_process_group()


def check_parallel(config: TrainConfig, world: World) -> None:
    """Whether the batches of a step can be shared out evenly.

    Raises:
        ConfigError: they cannot, or there is no such way to share the work.
    """
    if config.parallel not in PARALLEL:
        raise ConfigError(
            f"train.parallel = {config.parallel!r} is unknown; choose one of {', '.join(PARALLEL)}"
        )
    if config.accumulate % world.size:
        raise ConfigError(
            f"train.accumulate = {config.accumulate} batches of a step cannot be shared by {world.size} "
            f"processes; make it a multiple of {world.size}"
        )


def spread(objective: Objective, parallel: str, world: World) -> nn.Module:
    """What to call in place of the objective so that gradients are averaged over the processes.

    FSDP2 shards every block and the rest of the model in place; each parameter becomes a DTensor.
    """
    if world.size == 1:
        return objective
    if parallel == "ddp":
        ids = [world.device] if world.device.type == "cuda" else None
        tables = [name for name, _ in objective.named_buffers()]  # the same everywhere, never changed
        leave = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
        leave(objective, tables)  # type: ignore[no-untyped-call]  # torch does not annotate it
        return DistributedDataParallel(objective, device_ids=ids)
    # Imported here: this part of torch takes long to import, and every command would pay for it.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    for block in objective.model.blocks:
        fully_shard(block, mesh=mesh)
    # The root must not stay gathered after a pass: validation changes the weights between passes.
    fully_shard(objective, mesh=mesh, reshard_after_forward=True)
    return objective


def synchronise(objective: nn.Module, *, now: bool) -> None:
    """Whether the next backward pass averages gradients, or only adds to those of this process."""
    if isinstance(objective, DistributedDataParallel):
        objective.require_backward_grad_sync = now
    elif dist.is_initialized():
        from torch.distributed.fsdp import FSDPModule  # by now it is imported anyway

        assert isinstance(objective, FSDPModule)  # the only other thing that `spread` makes
        objective.set_requires_gradient_sync(now)


def whole(tensor: Tensor) -> Tensor:
    """The full tensor; of a sharded one (DTensor) every process must ask at the same time."""
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def piece(tensor: Tensor) -> Tensor:
    """The part of a tensor that lies in this process."""
    here: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return here
