"""A model in training: its steps, its validation, and the state that a later process can take up.

All randomness of step n is drawn from generators seeded with (seed, n). The batches of a step are shared
among the processes in turn, and every mean is over the tokens of all of them: how many processes there are
changes a run by no more than rounding.
"""

import copy
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor

from blockscan.config import TrainConfig
from blockscan.errors import ConfigError
from blockscan.model.batch import WindowTable
from blockscan.model.encoder import MaskedLM
from blockscan.model.masking import Example, fixed_examples, training_examples
from blockscan.model.objective import Loss
from blockscan.tokens import TokenSequence
from pipelines.training.average import Average
from pipelines.training.guard import PATIENCE, Moves, check_connected, check_numbers
from pipelines.training.objective import Objective
from pipelines.training.optimizer import learning_rate, optimizers_of, take_step
from pipelines.training.processes import World, spread, synchronise, whole
from pipelines.training.report import StepReport
from pipelines.training.speed import Arithmetic, Clock, peak_of

RECENT = 100  # steps whose mean loss is told in the end: a single step says more of its batch than of the run
VALIDATIONS = 4  # per run, the last one after the last step


class Run:
    """A model in training, after `step` steps on `tokens` tokens of all processes.

    `validation` is the loss of the held-out sequences where it was last measured, if it was; `losses` are
    those of the last RECENT steps.

    Args:
        model: on this process's device. With FSDP2 its parameters are replaced by sharded ones.
        config: of the training.
        world: the processes.
        rate: a multiple of the learning rate for the parameter of a name.
    """

    def __init__(
        self, model: MaskedLM, config: TrainConfig, world: World, rate: Callable[[str], float]
    ) -> None:
        self.model, self.config, self.world = model, config, world
        self.step, self.tokens = 0, 0
        self.validation: float | None = None
        self.losses: deque[float] = deque(maxlen=RECENT)
        self.arithmetic = Arithmetic(model)
        sharded = world.size > 1 and config.parallel == "fsdp"
        self._plain = copy.deepcopy(model).cpu() if sharded and world.first else None
        if config.compile:
            _compile(model)
        self.objective = spread(Objective(model, config), config.parallel, world)
        self.optimizers = optimizers_of(model, config, rate)
        self.trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
        self.average = Average(self.trained, config.ema)

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the run by name; writing into them brings the run to where they come from."""
        tensors = {f"model.{name}": each.detach() for name, each in self.model.named_parameters()}
        tensors |= {f"average.{name}": each for name, each in self.average.copies.items()}
        names = {id(each): name for name, each in self.trained.items()}
        for optimizer in self.optimizers:
            for parameter, moments in optimizer.state.items():
                owner = f"optimizer.{names[id(parameter)]}"
                tensors |= {f"{owner}.{key}": each for key, each in moments.items()}
        # The stored form cannot address a tensor without dimensions (a step count): it becomes (1,).
        return {name: each if each.ndim else each.reshape(1) for name, each in tensors.items()}

    def finish(self) -> MaskedLM:
        """End the run: the model with its averaged weights, if there are any, and whole where it was sharded.

        Every process calls this; the answer is complete in the first one.
        """
        self.average.swap()
        weights = {} if self._plain is None else dict(self._plain.named_parameters())
        for name, each in self.model.named_parameters():
            full = whole(each.detach())
            if name in weights:
                weights[name].detach().copy_(full)
        return self._plain or self.model


def steps(
    run: Run, table: WindowTable, held_out: Sequence[TokenSequence], save: Callable[[], None]
) -> Iterator[StepReport]:
    """Take the steps that are left; validate, and call `save`, when they are due.

    Raises:
        ConfigError: the run does not learn, see guard, or its model cannot be compiled.
    """
    count, config = run.config.steps, run.config
    batches, fixed = _own_batches(run, table), _fixed_examples(run, held_out)
    deadline = max(PATIENCE, math.ceil(config.warmup * count))
    moves = Moves(run.trained if run.step < deadline else {}, deadline, run.world)
    clock = Clock(run.world.size * peak_of(run.world.device, bf16=config.bf16))
    upcoming = next(batches)
    while run.step < count:
        with _compile_errors(config):
            mine, (hidden, judged, tokens, work) = upcoming, _counts(run, upcoming)
            sums, norm = _gradients(run, mine, int(hidden), int(judged))
            upcoming = next(batches)  # built while a GPU is still at work on these
            rate, losses = _step(run, sums, norm)
            moves.check(run.step)
            run.tokens += int(tokens)
            clock.add(tokens, work)
            due = run.step % -(-count // VALIDATIONS) == 0 or run.step == count
            validation = _validate(run, fixed) if due and fixed else None
            if validation is not None:
                run.validation = validation
        loss = losses.pop("masked")
        run.losses.append(loss)
        if run.step % config.checkpoint_every == 0 or run.step == count:  # the last: what follows may fail
            save()
        parts = {name: value for name, value in losses.items() if value}
        speed, mfu = clock.read()
        figures = speed, mfu, rate, float(norm)
        yield StepReport(run.step, count, loss, parts, validation, *figures, run.validation)


def _own_batches(run: Run, table: WindowTable) -> Iterator[list[Example]]:
    """This process's share of the batches of each step that is still to come."""
    world, accumulate = run.world, run.config.accumulate
    examples = training_examples(
        table,
        run.model.vocabulary,
        run.config,
        first=run.step * accumulate + world.rank,
        every=world.size,
        landmarks=run.model.config.lca_bias,
        device=world.device,
    )
    while mine := list(islice(examples, accumulate // world.size)):
        yield mine


def _fixed_examples(run: Run, sequences: Sequence[TokenSequence]) -> list[Example]:
    if not any(len(sequence) for sequence in sequences):
        return []
    model = run.model.config
    longest, landmarks, device = model.longest, model.lca_bias, run.world.device
    vocabulary = run.model.vocabulary
    return list(
        fixed_examples(sequences, longest, vocabulary, run.config, landmarks=landmarks, device=device)
    )


def _counts(run: Run, mine: Sequence[Example]) -> list[float]:
    """Hidden tokens, judged tokens, tokens of text, and FLOP of a step, in all processes."""
    return run.world.sums(
        [
            sum(len(example.target_M) for example in mine),
            sum(len(example.label_J) for example in mine),
            sum(example.text_tokens for example in mine),
            run.arithmetic.of(mine),
        ]
    )


def _gradients(run: Run, mine: Sequence[Example], hidden: int, judged: int) -> tuple[Tensor, Tensor]:
    """Clipped gradients of a step, in place; its losses (one per field of Loss) and the norm before."""
    world = run.world
    for optimizer in run.optimizers:
        optimizer.zero_grad(set_to_none=True)
    sums = torch.zeros(len(Loss._fields), device=world.device)
    for place, example in enumerate(mine, start=1):
        synchronise(run.objective, now=place == len(mine))
        loss = run.objective(example, hidden, judged)
        (loss.total * world.size).backward()  # gradients are averaged over the processes
        sums += torch.stack([value.detach() for value in loss])
    check_connected(run.trained)
    norm = whole(torch.nn.utils.clip_grad_norm_(run.trained.values(), run.config.clip))
    return world.total(sums), norm


def _step(run: Run, sums: Tensor, norm: Tensor) -> tuple[float, dict[str, float]]:
    """Move the weights; the learning rate, and the losses by name."""
    losses = dict(zip(Loss._fields, sums.tolist(), strict=True))
    check_numbers(run.step + 1, losses.pop("total"), float(norm))
    rate = learning_rate(run.step, run.config)
    take_step(run.optimizers, rate)
    run.step += 1
    run.average.update(run.step)
    return rate, losses


@torch.no_grad()
def _validate(run: Run, examples: Sequence[Example]) -> float:
    """Mean loss of the held-out sequences under averaged weights, always with the same masks."""
    world = run.world
    hidden = sum(len(example.target_M) for example in examples)
    share = torch.zeros((), device=world.device)
    with run.average.in_place():
        for begin in range(0, len(examples), world.size):
            own = begin + world.rank
            # A process that has none left passes the last one too: sharded weights are gathered together.
            loss = run.objective(examples[min(own, len(examples) - 1)], hidden, 0)
            if own < len(examples):
                share += loss.masked
    return float(world.total(share))


def _compile(model: MaskedLM) -> None:
    """Compile every block around its attention kernel, for any number of tokens."""
    for block in model.blocks:
        # The kernel's calls follow the lengths in a batch: traced, nearly every batch would compile anew.
        block.kernel = torch.compiler.disable(block.kernel)  # type: ignore[no-untyped-call]  # of torch
        block.compile(dynamic=True)


@contextmanager
def _compile_errors(config: TrainConfig) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not config.compile:
            raise
        from torch._dynamo.exc import TorchDynamoException  # seconds to import: only where it may be needed

        if not isinstance(error, TorchDynamoException):
            raise
        reason = str(error).strip().splitlines()[0][:200]
        raise ConfigError(
            f"train.compile cannot run here ({reason}); set it to false, or see that there is a C++ compiler"
        ) from error
