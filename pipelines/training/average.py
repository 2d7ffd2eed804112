"""An exponential moving average of the weights, which often judges better than the last weights do."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class Average:
    """Averaged copies of parameters; after step n the decay is at most (1 + n) / (10 + n).

    That bound lets a short run forget its random start. A decay of 0 averages nothing.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.decay, self._parameters = decay, parameters
        self.copies = (
            {name: parameter.detach().clone() for name, parameter in parameters.items()} if decay else {}
        )

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step`, counted from 1."""
        weight = 1.0 - min(self.decay, (1 + step) / (10 + step))
        for name, copy in self.copies.items():
            copy.lerp_(self._parameters[name], weight)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the context the parameters hold the averages; without averages they stay as they are."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange parameters and averages, if there are any."""
        for name, copy in self.copies.items():
            last = self._parameters[name].detach().clone()
            self._parameters[name].copy_(copy)
            copy.copy_(last)
