"""Low-rank adapters (LoRA, Hu et al., arXiv 2106.09685) with two learning rates (LoRA+, arXiv 2402.12354).

A frozen map W becomes W + (alpha / rank) up down, where only `down` (rank x inputs, random) and `up`
(outputs x rank, zero) learn: at first nothing changes, and a few percent of the parameters carry the
adaptation. Merged, it is a plain model again, and scoring needs to know nothing of it.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blockscan.config import AdaptConfig
from blockscan.errors import ConfigError
from blockscan.model.encoder import MaskedLM

ADAPTED = ("qkv", "attention_out", "gate_up", "feed_out")


class LowRank(nn.Module):
    """A linear map without bias whose own weight is frozen, and the two matrices that learn."""

    def __init__(self, layer: nn.Linear, config: AdaptConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = layer.weight.requires_grad_(False)  # noqa: FBT003  # torch's stub has no keyword
        self.scale = config.alpha / config.rank
        outputs, inputs = layer.weight.shape
        # Drawn on the CPU, so a seed means the same on every device.
        drawn = torch.empty(config.rank, inputs).uniform_(-1.0, 1.0, generator=generator) * inputs**-0.5
        self.down = nn.Parameter(drawn.to(layer.weight))
        self.up = nn.Parameter(layer.weight.new_zeros(outputs, config.rank))

    def forward(self, x_TE: Tensor) -> Tensor:
        """(T, inputs) to (T, outputs)."""
        return F.linear(x_TE, self.weight) + self.scale * F.linear(F.linear(x_TE, self.down), self.up)

    def merged(self) -> nn.Linear:
        """The same map as a plain layer that shares no memory with this one."""
        outputs, inputs = self.weight.shape
        layer = nn.Linear(inputs, outputs, bias=False, device="meta")
        layer.weight = nn.Parameter(self.weight + self.scale * (self.up @ self.down))
        return layer


def inject(model: MaskedLM, config: AdaptConfig, generator: torch.Generator) -> MaskedLM:
    """Freeze a model and put adapters around the maps ADAPTED of every block, in place; returns it.

    Raises:
        ConfigError: the rank is not between 1 and the model's width, or another setting is not above 0.
    """
    if not 1 <= config.rank <= model.config.width:
        raise ConfigError(
            f"adapt.rank must be between 1 and the model's width, {model.config.width}, not {config.rank}"
        )
    for name in ("alpha", "ratio", "learning_rate", "steps"):
        if not getattr(config, name) > 0:
            raise ConfigError(f"adapt.{name} must be above 0, not {getattr(config, name)}")
    model.requires_grad_(requires_grad=False)
    for block, name in _places(model):
        setattr(block, name, LowRank(getattr(block, name), config, generator))
    return model


@torch.no_grad()
def merge(model: MaskedLM) -> MaskedLM:
    """Turn every adapter into the plain map that it stands for, in place; all parameters learn again."""
    for block, name in _places(model):
        layer = getattr(block, name)
        if isinstance(layer, LowRank):
            setattr(block, name, layer.merged())
    return model.requires_grad_(requires_grad=True)


def rate(name: str, ratio: float) -> float:
    """The multiple of the learning rate of the parameter called `name`: `ratio` for `up`, 1 for others."""
    return ratio if name.endswith(".up") else 1.0


def _places(model: MaskedLM) -> Iterator[tuple[nn.Module, str]]:
    return ((block, name) for block in model.blocks for name in ADAPTED)
