"""AdamW, or Muon for the matrices of the blocks with AdamW for the rest; the learning rate of each step.

Muon (torch.optim.Muon, arXiv 2502.16982) makes every update of a matrix orthogonal by Newton-Schulz
iterations. The size of its updates is matched to AdamW's, so one learning rate serves both.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from blockscan.config import TrainConfig
from blockscan.errors import ConfigError
from blockscan.model.encoder import MaskedLM, parameter_groups

BETAS = (0.9, 0.98)
OPTIMIZERS = ("adamw", "muon")


def check_optimizer(config: TrainConfig) -> None:
    """Whether there is such an optimizer.

    Raises:
        ConfigError: there is none, or it cannot run with this torch.
    """
    if config.optimizer not in OPTIMIZERS:
        raise ConfigError(
            f"train.optimizer = {config.optimizer!r} is unknown; choose one of {', '.join(OPTIMIZERS)}"
        )
    if not config.muon_rate > 0.0:
        raise ConfigError(f"train.muon_rate must be above 0, not {config.muon_rate}")


def optimizers_of(
    model: MaskedLM, config: TrainConfig, rate: Callable[[str], float]
) -> list[torch.optim.Optimizer]:
    """Optimizers of the parameters that are to be trained, with their state laid out, all zero.

    Each group has a key "scale": its learning rate as a multiple of the step's.

    Args:
        model: its parameters as they will be in the steps (after FSDP has replaced them).
        config: optimizer, muon_rate and weight_decay count.
        rate: a multiple of the learning rate for the parameter of a name.
    """
    decaying, _ = parameter_groups(model, config.weight_decay)
    decays = {id(parameter) for parameter in _listed(decaying["params"])}
    groups: dict[tuple[bool, float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        matrix = config.optimizer == "muon" and name.startswith("blocks.") and parameter.ndim == 2
        scale = rate(name) * (config.muon_rate if matrix else 1.0)
        decay = config.weight_decay if id(parameter) in decays else 0.0
        groups.setdefault((matrix, decay, scale), []).append(parameter)
    by_muon, by_adamw = (
        [
            {"params": parameters, "weight_decay": decay, "scale": scale}
            for (matrix, decay, scale), parameters in groups.items()
            if matrix is wanted
        ]
        for wanted in (True, False)
    )
    made: list[torch.optim.Optimizer] = []
    if by_adamw:
        made.append(torch.optim.AdamW(by_adamw, betas=BETAS, fused=True))
    if by_muon:
        made.append(torch.optim.Muon(by_muon, adjust_lr_fn="match_rms_adamw"))
    for optimizer in made:
        _lay_out(optimizer)
    return made


def _listed(parameters: object) -> list[Tensor]:
    return list(parameters) if isinstance(parameters, list) else []


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """The state that the first step would make, so that a resumed run has something to read into."""
    muon = isinstance(optimizer, torch.optim.Muon)
    for parameter in parameters_of([optimizer]):
        if muon:
            optimizer.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}
        else:
            moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            count = torch.zeros((), dtype=torch.float32, device=parameter.device)
            optimizer.state[parameter] = {"step": count, **moments}


def parameters_of(optimizers: Sequence[torch.optim.Optimizer]) -> Iterator[Tensor]:
    """Every parameter that some optimizer steps."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            yield from group["params"]


def learning_rate(step: int, config: TrainConfig) -> float:
    """Rate of step `step`, from 0: linear warm-up, a plateau, linear decay towards 0."""
    rise = (step + 1) / max(1.0, config.warmup * config.steps)
    fall = (config.steps - step) / max(1.0, config.decay * config.steps)
    return config.learning_rate * min(1.0, rise, fall)


def take_step(optimizers: Sequence[torch.optim.Optimizer], rate: float) -> None:
    """Step every optimizer at the given learning rate times the scale of each group."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        optimizer.step()
