"""What a run tells of itself after every step."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimizer step. Losses are means over hidden tokens, in nats; validation only where measured.

    loss: of the masked language model. parts: what other objectives added, by name. mfu: model FLOP
    utilisation from 0 to 1, see speed. Figures of speed cover this process's part of the run so far.
    latest: the validation loss that was measured last, in this step or before, if any was.
    """

    step: int
    steps: int
    loss: float
    parts: Mapping[str, float]
    validation: float | None
    tokens_per_second: float
    mfu: float
    learning_rate: float
    gradient_norm: float
    latest: float | None = None

    @property
    def line(self) -> str:
        """The figures to watch, the first first: a narrow terminal cuts the rest.

        Steps and time left stand beside them in the progress bar.
        """
        judged = "" if self.latest is None else f"validation {self.latest:.3f}, "
        speed = f"{self.tokens_per_second:,.0f} tokens/s, MFU {100 * self.mfu:.1f} %"
        return f"{judged}loss {self.loss:.3f}, {speed}"
