import dataclasses
import io
import math
import re
import runpy
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from blockscan.artifact import read_manifest
from blockscan.config import Config, ModelConfig, TrainConfig
from blockscan.errors import ConfigError
from blockscan.model.batch import window_table
from blockscan.model.encoder import MaskedLM
from blockscan.model.masking import training_examples
from pipelines.pretrain import Start, pretrain
from pipelines.progress import progress
from pipelines.training import run as run_module
from pipelines.training.average import Average
from pipelines.training.event_log import event_log, scalars
from pipelines.training.optimizer import optimizers_of, take_step
from pipelines.training.processes import World, check_parallel, world_of
from pipelines.training.report import StepReport
from pipelines.training.run import Run, steps
from pipelines.training.speed import Arithmetic, Clock, peak_of

CHILD = runpy.run_path(str(Path(__file__).with_name("train_child.py")))
SHAPE, FINGERPRINT = CHILD["SHAPE"], CHILD["FINGERPRINT"]
MODEL, TRAIN = ModelConfig(**CHILD["MODEL"]), TrainConfig(**CHILD["TRAIN"])
ALONE = World(0, 1, torch.device("cpu"))
REPORT = StepReport(7, 12, 2.5, {"replaced": 0.25}, None, 1234.5, 0.125, 1e-3, 0.5)


def test_a_long_note_leaves_count_and_times_whole(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr("pipelines.progress.console", Console(file=out, width=80))
    with progress("pretrain (steps)", 60_000) as bar:
        bar.to(1234, 60_000)
        bar.advance(0, dataclasses.replace(REPORT, latest=3.456).line)
    (line,) = filter(str.strip, out.getvalue().splitlines())
    assert re.search(r"pretrain \(steps\) .* 1234/60000 0:00:0\d -:--:-- validation 3.456, ", line)


def test_where_stderr_is_no_terminal_long_work_tells_of_itself_line_by_line(monkeypatch):
    out, now = io.StringIO(), [0.0]
    monkeypatch.setattr("pipelines.progress.console", Console(file=out, width=40))
    monkeypatch.setattr("pipelines.progress.time.monotonic", lambda: now[0])
    with progress("pretrain (steps)", 60_000) as bar:
        for step in range(1, 301):  # five minutes
            now[0] += 1.0
            bar.to(step, 60_000, dataclasses.replace(REPORT, loss=step, latest=3.456).line)
        lines = out.getvalue().splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        f"pretrain (steps) {step} of 60" for step in (60, 120, 180, 240, 300)
    ]
    assert lines[-1].endswith("validation 3.456, loss 300.000, 1,234 tokens/s, MFU 12.5 %")


def _model(seed=5, **changes):
    config = dataclasses.replace(MODEL, **changes)
    return MaskedLM(config, SHAPE, generator=torch.Generator().manual_seed(seed))


def _one(name):
    return 1.0


def _pretrain(out, start, on_step=None, resume=False, **changes):
    config = Config(model=MODEL, train=dataclasses.replace(TRAIN, **changes))
    return pretrain(
        CHILD["sequences"](60),
        SHAPE,
        config=config,
        out=out,
        tokenizer_fingerprint=FINGERPRINT,
        on_step=on_step,
        resume=resume,
        start=start,
    )


# optimizers


def _names(optimizer, model):
    names = {id(each): name for name, each in model.named_parameters()}
    return {names[id(each)]: group for group in optimizer.param_groups for each in group["params"]}


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest():
    model = _model(role_bias=2)
    config = dataclasses.replace(TRAIN, optimizer="muon", muon_rate=3.0, weight_decay=0.1)
    adamw, muon = (_names(each, model) for each in optimizers_of(model, config, _one))
    assert {name.split(".", 2)[2] for name in muon} == {
        "qkv.weight",
        "attention_out.weight",
        "gate_up.weight",
        "feed_out.weight",
    }
    assert {group["scale"] for group in muon.values()} == {3.0}
    assert {group["scale"] for group in adamw.values()} == {1.0}
    assert {group["weight_decay"] for group in muon.values()} == {0.1}
    assert {name for name, group in adamw.items() if group["weight_decay"]} == {
        "decoder_dense.weight",
        *(f"blocks.{layer}.bias.role_{side}" for layer in range(3) for side in "qk"),
    }
    assert len(adamw) + len(muon) == len(dict(model.named_parameters()))


def test_a_step_of_muon_moves_a_matrix_alike_in_every_direction():
    """All singular values of the change are near one another, whatever those of the gradient are."""
    model = _model()
    config = dataclasses.replace(TRAIN, optimizer="muon", weight_decay=0.0)
    weight = model.blocks[0].qkv.weight
    before = weight.detach().clone()
    generator = torch.Generator().manual_seed(0)
    for each in model.parameters():
        each.grad = torch.randn(each.shape, generator=generator) ** 5
    spread = torch.linalg.svdvals(weight.grad)
    take_step(optimizers_of(model, config, _one), 1e-2)
    change = torch.linalg.svdvals(weight.detach() - before)
    assert spread.max() / spread.min() > 20
    assert change.max() / change.min() < 3


def test_frozen_parameters_have_no_optimizer_and_names_set_rates():
    model = _model()
    for name, each in model.named_parameters():
        each.requires_grad_("qkv" in name)
    (only,) = optimizers_of(model, TRAIN, lambda name: 16.0 if "blocks.1" in name else 1.0)
    scales = {name: group["scale"] for name, group in _names(only, model).items()}
    assert scales == {"blocks.0.qkv.weight": 1.0, "blocks.1.qkv.weight": 16.0, "blocks.2.qkv.weight": 1.0}
    take_step([only], 0.5)
    assert {group["lr"] for group in only.param_groups} == {0.5, 8.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "sgd"}, "train.optimizer = 'sgd' is unknown; choose one of adamw, muon"),
        ({"muon_rate": 0.0}, "train.muon_rate must be above 0"),
        ({"ema": 1.0}, "train.ema is a decay of at least 0"),
        ({"parallel": "pipeline"}, "train.parallel = 'pipeline' is unknown; choose one of ddp, fsdp"),
    ],
)
def test_options_that_do_not_exist_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        _pretrain(tmp_path / "model", None, **changes)


# averaged weights


def test_the_checkpoint_and_the_validation_use_averaged_weights():
    model = _model()
    run = Run(model, dataclasses.replace(TRAIN, ema=0.5), ALONE, _one)
    sequences = CHILD["sequences"](60)
    expected = {name: each.detach().double() for name, each in model.named_parameters()}
    validations = {}
    for report in steps(run, window_table(sequences[:57], 64, SHAPE), sequences[57:], lambda: None):
        decay = min(0.5, (1 + report.step) / (10 + report.step))
        for name, each in model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * each.detach().double()
        validations[report.step] = report.validation
    last = {name: each.detach().clone() for name, each in model.named_parameters()}
    averaged = dict(run.finish().named_parameters())
    for name, each in averaged.items():
        torch.testing.assert_close(each.detach().double(), expected[name], atol=1e-6, rtol=1e-5)
    assert not torch.equal(averaged["token.weight"], last["token.weight"])
    again = Run(model, TRAIN, ALONE, _one)
    again.step = TRAIN.steps - 1  # nothing but the validation is looked at below
    fixed = run_module._fixed_examples(again, sequences[57:])
    assert run_module._validate(again, fixed) == validations[12]


def test_weights_come_back_with_the_same_bits_from_an_exchange():
    weight = torch.nn.Parameter(torch.randn(50, generator=torch.Generator().manual_seed(0)))
    average = Average({"w": weight}, 0.9)
    before = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(1.5)
    average.update(1)
    moved, copy = weight.detach().clone(), average.copies["w"].clone()
    assert not torch.equal(copy, before)
    with average.in_place():
        assert torch.equal(weight.detach(), copy)
    assert torch.equal(weight.detach(), moved)
    assert torch.equal(average.copies["w"], copy)


# guards


def test_a_parameter_that_the_loss_does_not_depend_on_is_named(tmp_path):
    model = _model()
    model.blocks[1].register_parameter("spare", torch.nn.Parameter(torch.zeros(3)))
    with pytest.raises(ConfigError, match=r"the loss does not depend on blocks\.1\.spare; switch"):
        _pretrain(tmp_path / "model", Start(model, "x"))


def test_a_parameter_that_does_not_move_is_named_after_ten_steps(tmp_path):
    reports = []
    stuck = Start(_model(), "x", rate=lambda name: float(name != "blocks.2.feed_norm.weight"))
    with pytest.raises(ConfigError, match=r"blocks\.2\.feed_norm\.weight did not change in 10 steps"):
        _pretrain(tmp_path / "model", stuck, reports.append, weight_decay=0.0)
    assert len(reports) == 9


def test_a_parameter_may_take_a_step_to_begin_to_move(tmp_path):
    """The gradient of role_k is zero while role_q is, as at the start."""
    start = Start(_model(role_bias=2, depth_bias=True), "x")
    assert _pretrain(tmp_path / "model", start, weight_decay=0.0).steps == 12


# starting from a model


def test_a_run_goes_on_from_given_weights_and_trains_some_of_them(tmp_path):
    model = _model(seed=9)
    begun = {name: each.detach().clone() for name, each in model.named_parameters()}
    for name, each in model.named_parameters():
        each.requires_grad_(name.startswith("blocks.2"))

    def finish(trained):
        with torch.no_grad():
            trained.decoder_bias.fill_(0.5)
        return trained

    _pretrain(tmp_path / "model", Start(model, "base ab12", finish=finish), ema=0.5)
    stored = load_file(tmp_path / "model" / "model.safetensors")
    same = {name for name, each in begun.items() if torch.equal(each, stored[name])}
    assert same == {name for name in begun if not name.startswith("blocks.2")} - {"decoder_bias"}
    assert set(stored["decoder_bias"].tolist()) == {0.5}
    data = read_manifest(tmp_path / "model", "checkpoint").config["data"]
    assert data["adapted_from"] == "base ab12"


def test_a_run_from_another_origin_is_not_resumed(tmp_path):
    def stop(report):
        if report.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _pretrain(tmp_path / "model", Start(_model(), "one"), stop)
    with pytest.raises(ConfigError, match="has another start; resume with"):
        _pretrain(tmp_path / "model", Start(_model(), "two"), resume=True)
    with pytest.raises(ConfigError, match="has another start; resume with"):
        _pretrain(tmp_path / "model", None, resume=True)
    assert _pretrain(tmp_path / "model", Start(_model(), "one"), resume=True).steps == 12


# speed


def test_the_arithmetic_of_a_batch_by_hand():
    """Three layers, the first global; two sequences of 40 and one of 5 tokens, 9 of them hidden."""
    sequences = [
        dataclasses.replace(each, **{name: getattr(each, name)[:length] for name in _arrays(each)})
        for each, length in zip(_long(3), (5, 40, 40), strict=True)
    ]
    table = window_table(sequences, 64, SHAPE)
    example = next(training_examples(table, SHAPE, dataclasses.replace(TRAIN, mask_rate=0.1)))
    hidden = len(example.target_M)
    matrices = 3 * (48 * 144 + 48 * 48 + 48 * 128 + 64 * 48)
    seen = {40: 40 + 2 * 17, 5: 5 + 2 * 5}  # keys in one global and two local layers, window 16
    attention = 12 * 48 * (2 * 40 * seen[40] + 5 * seen[5])
    expected = 6 * matrices * 85 + attention + 6 * hidden * 48 * (48 + 120)
    assert Arithmetic(_model()).of([example]) == expected
    assert Arithmetic(_model()).of([example, example]) == 2 * expected


def _long(count):
    return [each for each in CHILD["sequences"](60) if len(each) >= 40][:count]


def _arrays(sequence):
    return [field.name for field in dataclasses.fields(sequence) if field.name != "tx_hash"]


def test_the_clock_counts_from_where_the_process_began(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = Clock(peak=1e9)
    clock.add(500.0, 1e9)
    clock.add(500.0, 1e9)
    now[0] = 110.0
    assert clock.read() == (100.0, 0.2)


def test_the_peak_is_at_least_what_a_product_reaches():
    a = torch.ones(256, 256)
    best = math.inf
    for _ in range(20):
        began = time.perf_counter()
        float((a @ a)[0, 0])
        best = min(best, time.perf_counter() - began)
    assert peak_of(torch.device("cpu"), bf16=False) > 0.1 * 2 * 256**3 / best


# processes and logs


def test_batches_that_cannot_be_shared_out_are_refused():
    world = World(0, 4, torch.device("cpu"))
    check_parallel(dataclasses.replace(TRAIN, accumulate=8), world)
    with pytest.raises(
        ConfigError, match=r"accumulate = 6 batches .* by 4 processes; make it a multiple of 4"
    ):
        check_parallel(dataclasses.replace(TRAIN, accumulate=6), world)


def test_one_process_makes_no_process_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with world_of("cpu") as world:
        assert (world.rank, world.size, world.first) == (0, 1, True)
        assert not torch.distributed.is_initialized()
    with pytest.raises(ConfigError, match="there is no device"), world_of("abacus"):
        pass


def test_the_line_tells_the_figures_to_watch():
    assert REPORT.line == "loss 2.500, 1,234 tokens/s, MFU 12.5 %"
    assert dataclasses.replace(REPORT, latest=2.25).line.startswith("validation 2.250, loss 2.500, ")


def test_without_tensorboard_the_remedy_is_told(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    message = r"needs the package tensorboard; install blockscan\[train\]"
    with pytest.raises(ConfigError, match=message), event_log(tmp_path):
        pass
    with event_log(None) as write:
        write(REPORT)


def test_every_figure_is_logged_under_its_name():
    assert scalars(dataclasses.replace(REPORT, validation=2.25)) == {
        "loss/training": 2.5,
        "loss/replaced": 0.25,
        "loss/validation": 2.25,
        "optimizer/learning_rate": 1e-3,
        "optimizer/gradient_norm": 0.5,
        "speed/tokens_per_second": 1234.5,
        "speed/mfu": 0.125,
    }
    assert "loss/validation" not in scalars(REPORT)


def test_tensorboard_reads_what_was_logged_and_a_resumed_run_replaces_its_steps(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra [train] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first, loss in ((1, 3.0), (3, 2.0)):  # the second run was resumed before step 3
        with event_log(tmp_path) as write:
            for step in range(first, 5):
                write(dataclasses.replace(REPORT, step=step, loss=loss))
    events = EventAccumulator(str(tmp_path)).Reload()
    seen = [(event.step, event.value) for event in events.Scalars("loss/training")]
    assert seen == [(1, 3.0), (2, 3.0), (3, 2.0), (4, 2.0)]
