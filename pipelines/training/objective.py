"""The training loss as one module: DDP and FSDP2 then see a single forward pass that holds every weight."""

from torch import nn

from blockscan.config import TrainConfig
from blockscan.model.encoder import MaskedLM
from blockscan.model.masking import Example
from blockscan.model.objective import Loss, training_loss


class Objective(nn.Module):
    """A model with its loss; see blockscan.model.objective.training_loss."""

    def __init__(self, model: MaskedLM, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, example: Example, hidden: int, judged: int) -> Loss:
        """The share of one batch in the mean over `hidden` and `judged` tokens."""
        return training_loss(self.model, example, self.config, hidden=hidden, judged=judged)
