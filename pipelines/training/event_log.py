"""Progress of a run as TensorBoard event files (the package `tensorboard`, extra `[train]`)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blockscan.errors import ConfigError
from pipelines.training.report import StepReport


@contextmanager
def event_log(directory: Path | None) -> Iterator[Callable[[StepReport], None]]:
    """A function that writes each report it is given into event files below `directory`, if there is one.

    A resumed run may write into the same directory: what was logged of steps that it takes again is dropped.

    Raises:
        ConfigError: TensorBoard is not installed.
    """
    if directory is None:
        yield lambda _: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "--tensorboard needs the package tensorboard; install blockscan[train], or leave it out"
        ) from error
    writers: list[SummaryWriter] = []

    def write(report: StepReport) -> None:
        if not writers:  # only now is the first step known
            writers.append(SummaryWriter(str(directory), purge_step=report.step))
        for name, value in scalars(report).items():
            writers[0].add_scalar(name, value, report.step)

    try:
        yield write
    finally:
        for writer in writers:
            writer.close()


def scalars(report: StepReport) -> dict[str, float]:
    """What is logged of a step, by the name of its chart."""
    values = {
        "loss/training": report.loss,
        **{f"loss/{name}": value for name, value in report.parts.items()},
        "optimizer/learning_rate": report.learning_rate,
        "optimizer/gradient_norm": report.gradient_norm,
        "speed/tokens_per_second": report.tokens_per_second,
        "speed/mfu": report.mfu,
    }
    if report.validation is not None:
        values["loss/validation"] = report.validation
    return values
