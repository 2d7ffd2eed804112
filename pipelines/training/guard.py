"""What stops a run: numbers that are not finite, parameters that nothing moves, memory that is used up."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from blockscan.errors import ConfigError
from pipelines.training.processes import World, piece

PATIENCE = 10  # steps that a parameter has to move, or the warm-up if that is longer


def check_numbers(step: int, loss: float, norm: float) -> None:
    """Refuse a loss or gradient norm of step `step` that is not finite, and a gradient that is zero.

    Raises:
        ConfigError: with the numbers.
    """
    if not (math.isfinite(loss) and math.isfinite(norm)) or norm == 0.0:
        raise ConfigError(
            f"training broke at step {step}: loss {loss:.4g}, gradient norm {norm:.4g}; "
            "lower train.learning_rate, or set train.bf16 to false, and start again"
        )


def check_connected(parameters: Mapping[str, Tensor]) -> None:
    """Refuse parameters that are to be trained and got no gradient at all.

    Raises:
        ConfigError: with their names.
    """
    lost = [name for name, parameter in parameters.items() if parameter.grad is None]
    if lost:
        raise ConfigError(
            f"the loss does not depend on {_some(lost)}; switch that part of the model off, or connect it"
        )


@contextmanager
def memory_errors(device: torch.device) -> Iterator[None]:
    """Turn running out of memory, on the device or beside it, into one line with a remedy.

    Raises:
        ConfigError: with what could not be allocated.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        full = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not full and "can't allocate memory" not in str(error):  # how torch says it of a CPU's
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ConfigError(
            f"training on {device} is out of memory ({reason}); halve train.batch_tokens and double "
            "train.accumulate, for steps of the same size, or take a smaller preset (an unfinished run "
            "cannot change them: start again)"
        ) from error


class Moves:
    """Watches that every trained parameter changes within `deadline` steps; forgets those that did.

    Weights that are zero by design may keep the gradient of others at zero for a step or two, and the first
    rates of a long warm-up are below the resolution of a weight: hence a deadline, not the first step.
    """

    def __init__(self, parameters: Mapping[str, Tensor], deadline: int, world: World) -> None:
        self._parameters, self._deadline, self._world = parameters, deadline, world
        self._before = {name: piece(each).detach().clone() for name, each in parameters.items()}

    def check(self, step: int) -> None:
        """Look after step `step`.

        Raises:
            ConfigError: the deadline has come and some parameter is as it was.
        """
        if not self._before:
            return
        changed = torch.tensor(
            [not torch.equal(piece(self._parameters[name]), old) for name, old in self._before.items()],
            dtype=torch.float32,
            device=self._world.device,
        )
        moved = self._world.total(changed).tolist()
        self._before = {
            name: old for (name, old), count in zip(self._before.items(), moved, strict=True) if not count
        }
        if self._before and step >= self._deadline:
            raise ConfigError(
                f"{_some(list(self._before))} did not change in {step} steps: frozen, or out of reach of the "
                "data; switch that part of the model off, or thaw it"
            )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
