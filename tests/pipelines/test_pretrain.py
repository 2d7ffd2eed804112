import dataclasses
import json
import math
import os
import signal

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from blockscan.artifact import read_manifest
from blockscan.config import Config, ModelConfig, TrainConfig
from blockscan.errors import ArtifactError, ConfigError
from blockscan.model import work_state
from blockscan.model.batch import window_table
from blockscan.model.checkpoint import load_checkpoint
from blockscan.model.masking import training_examples
from blockscan.tokens import TokenSequence, VocabularyShape
from pipelines import pretrain as pretrain_module
from pipelines.interrupt import SIGNALS, interruptible
from pipelines.pretrain import learning_rate, pretrain
from pipelines.training import objective as objective_module
from pipelines.training import run as run_module

SHAPE = VocabularyShape(size=120, alias_spans=((100, 116),))
MODEL = ModelConfig(layers=3, width=48, heads=3, feed_forward=64, longest=64, window=16)
TRAIN = TrainConfig(steps=12, batch_tokens=256, accumulate=2, checkpoint_every=3, bf16=False)
FINGERPRINT = "c3" * 32


def _sequences(count, seed=0):
    """Transactions that repeat a few phrases, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    phrases = rng.integers(2, 116, (5, 8))
    found = []
    for which in range(count):
        ids = np.concatenate([phrases[i] for i in rng.integers(0, 5, rng.integers(1, 14))])
        place = np.arange(len(ids))
        found.append(
            TokenSequence(
                tx_hash=f"0x{seed:x}{which:063x}",
                ids=ids.astype(np.int32),
                modality=np.zeros(len(ids), dtype=np.uint8),
                field=(place % 8).astype(np.uint8),
                node=(place // 8).astype(np.int32),
                depth=(place // 8 % 3).astype(np.int16),
                unit=(place // 2).astype(np.int32),
                group=np.full(len(ids), -1, dtype=np.int32),
                scored=np.ones(len(ids), dtype=np.bool_),
            )
        )
    return found


def _empty():
    (one,) = _sequences(1)
    names = [field.name for field in dataclasses.fields(one) if field.name != "tx_hash"]
    return dataclasses.replace(one, **{name: getattr(one, name)[:0] for name in names})


def _run(out, sequences=None, *, train=None, on_step=None, resume=False, fingerprint=FINGERPRINT, **changes):
    config = Config(model=MODEL, train=dataclasses.replace(train or TRAIN, **changes))
    return pretrain(
        _sequences(60) if sequences is None else sequences,
        SHAPE,
        config=config,
        out=out,
        tokenizer_fingerprint=fingerprint,
        on_step=on_step,
        resume=resume,
    )


def _stop_at(step):
    def on_step(report):
        if report.step == step:
            raise KeyboardInterrupt

    return on_step


def test_learning_works_eight_sequences_are_learnt_by_heart(tmp_path):
    reports = []
    train = TrainConfig(steps=150, batch_tokens=2048, learning_rate=5e-3, bf16=False, weight_decay=0.0)
    _run(tmp_path / "model", _sequences(8), train=train, on_step=reports.append)
    assert reports[0].loss > 4.0
    assert sum(report.loss for report in reports[-10:]) / 10 < 0.5


@pytest.mark.parametrize("options", [{}, {"ema": 0.9, "optimizer": "muon"}])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, options):
    """Interrupted after step 7, so that the step 7 after the work checkpoint of step 6 is taken twice."""
    whole, parts = [], []
    first = _run(tmp_path / "whole", on_step=whole.append, **options)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "parts", on_step=_stop_at(7), **options)
    assert not (tmp_path / "parts").exists()
    second = _run(tmp_path / "parts", on_step=parts.append, resume=True, **options)
    assert parts[0].step == 7
    assert [(r.loss, r.gradient_norm, r.validation, r.latest) for r in parts] == [
        (r.loss, r.gradient_norm, r.validation, r.latest) for r in whole[6:]
    ]
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert first.fingerprint == second.fingerprint
    assert not (tmp_path / "parts.work").exists()


@pytest.fixture
def _heard():
    """Ctrl-C is heard, as in a terminal; a job in the background of a script ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heard")
@pytest.mark.parametrize(
    ("number", "every"), [(signal.SIGINT, 100), (signal.SIGTERM, 100), (signal.SIGTERM, 2)]
)
def test_a_signal_ends_the_run_after_the_step_at_work_and_loses_none(tmp_path, number, every, capfd):
    whole, parts = [], []
    handlers = [signal.getsignal(each) for each in SIGNALS]
    first = _run(tmp_path / "whole", on_step=whole.append, checkpoint_every=every)

    def ask(report):
        parts.append(report)
        if report.step == 4:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "parts", on_step=ask, checkpoint_every=every)
    assert [signal.getsignal(each) for each in SIGNALS] == handlers
    assert "stopping after this step" in capfd.readouterr().err
    assert [path.name for path in (tmp_path / "parts.work").iterdir()] == ["step-000000004"]
    second = _run(tmp_path / "parts", on_step=parts.append, resume=True, checkpoint_every=every)
    assert [report.step for report in parts] == list(range(1, 13))
    assert [report.loss for report in parts] == [report.loss for report in whole]
    assert first.fingerprint == second.fingerprint


@pytest.mark.usefixtures("_heard")
def test_a_second_signal_does_not_wait_and_a_group_is_not_asked():
    with interruptible(alone=True) as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with interruptible(alone=False) as asked, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert not asked()


def test_the_same_run_gives_the_same_artifact_and_another_seed_another(tmp_path):
    one, two, other = (_run(tmp_path / str(i), steps=3, seed=i // 2) for i in range(3))
    assert one.fingerprint == two.fingerprint != other.fingerprint


def test_the_checkpoint_can_be_loaded_and_says_what_was_learnt_from(tmp_path):
    summary = _run(tmp_path / "model")
    manifest = read_manifest(tmp_path / "model", "checkpoint")
    assert manifest.parents == {"tokenizer": FINGERPRINT}
    assert manifest.fingerprint == summary.fingerprint
    data = manifest.config["data"]
    assert (data["sequences"], data["held_out"]) == (57, 3)
    assert data["tokens_seen"] == summary.tokens
    assert load_checkpoint(tmp_path / "model", tokenizer_fingerprint=FINGERPRINT).config.width == 48


def test_reports_tell_the_progress(tmp_path):
    reports = []
    summary = _run(tmp_path / "model", on_step=reports.append)
    assert [report.step for report in reports] == list(range(1, 13))
    assert {report.steps for report in reports} == {12}
    assert [report.step for report in reports if report.validation is not None] == [3, 6, 9, 12]
    assert reports[-1].validation == summary.validation
    assert reports[1].latest is None
    assert {report.latest for report in reports[2:5]} == {reports[2].validation}
    assert all(r.tokens_per_second > 0 and r.gradient_norm > 0 and math.isfinite(r.loss) for r in reports)
    assert [r.learning_rate for r in reports] == [learning_rate(step, TRAIN) for step in range(12)]


def test_the_latest_sequences_are_not_trained_on(tmp_path, monkeypatch):
    seen = {}

    def spy(name):
        original = getattr(run_module, name)

        def call(data, *args, **options):
            seen[name] = data
            return original(data, *args, **options)

        monkeypatch.setattr(run_module, name, call)

    spy("training_examples")
    spy("fixed_examples")
    sequences = _sequences(60)
    _run(tmp_path / "model", sequences, steps=1)
    assert seen["fixed_examples"] == sequences[57:]
    past = np.concatenate([one.ids for one in sequences[:57]])
    assert np.array_equal(seen["training_examples"].ids_T, past)


def test_few_sequences_are_all_trained_on_without_validation(tmp_path):
    assert _run(tmp_path / "model", _sequences(5), steps=2).validation is None


def test_the_learning_rate_warms_up_stays_and_decays():
    config = TrainConfig(steps=100, warmup=0.1, decay=0.2, learning_rate=1.0)
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert set(rates[9:81]) == {1.0}
    assert rates[-3:] == pytest.approx([0.15, 0.1, 0.05])
    flat = TrainConfig(steps=10, warmup=0.0, decay=0.0, learning_rate=1.0)
    assert {learning_rate(step, flat) for step in range(10)} == {1.0}


def test_accumulated_batches_weigh_every_hidden_token_alike(tmp_path, monkeypatch):
    """The loss of a step is the mean over the hidden tokens of both of its batches."""
    sums, counts, reports = [], [], []
    original = objective_module.training_loss

    def spy(model, example, config, *, hidden, judged):
        loss = original(model, example, config, hidden=hidden, judged=judged)
        sums.append(float(loss.masked) * hidden)
        counts.append((len(example.target_M), hidden))
        return loss

    monkeypatch.setattr(objective_module, "training_loss", spy)
    _run(tmp_path / "model", _sequences(5), steps=1, on_step=reports.append, batch_tokens=64)
    (one, hidden), (two, _) = counts
    assert one != two
    assert hidden == one + two
    assert reports[0].loss == pytest.approx(sum(sums) / hidden, rel=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0])
def test_a_gradient_that_is_not_finite_or_vanished_stops_the_run(tmp_path, monkeypatch, value):
    original = objective_module.training_loss

    def broken(*arguments, **options):
        loss = original(*arguments, **options)
        return loss._replace(total=loss.total * value)

    monkeypatch.setattr(objective_module, "training_loss", broken)
    with pytest.raises(ConfigError, match=r"training broke at step 1: .*lower train\.learning_rate"):
        _run(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"), MemoryError()],
    ids=["device", "host"],
)
def test_out_of_memory_is_one_line_with_a_remedy(tmp_path, monkeypatch, error):
    def full(*arguments):
        raise error

    monkeypatch.setattr(run_module, "_gradients", full)
    with pytest.raises(ConfigError, match=r"^training on cpu is out of memory \(.*halve train.batch_tokens"):
        _run(tmp_path / "model")


def test_a_model_too_large_for_memory_is_refused_likewise_and_other_errors_are_not_hidden(
    tmp_path, monkeypatch
):
    large = Config(model=dataclasses.replace(MODEL, feed_forward=10**12), train=TRAIN)
    with pytest.raises(ConfigError, match="is out of memory"):
        pretrain(_sequences(5), SHAPE, config=large, out=tmp_path / "m", tokenizer_fingerprint=FINGERPRINT)

    def broken(*arguments):
        raise RuntimeError("a bug")

    monkeypatch.setattr(run_module, "_gradients", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        _run(tmp_path / "model")


@pytest.mark.parametrize("sequences", [[], [_empty()]])
def test_nothing_to_train_on_is_an_error(tmp_path, sequences):
    with pytest.raises(ConfigError, match="no transactions to train on"):
        _run(tmp_path / "model", sequences)


def test_an_unfinished_run_is_neither_overwritten_nor_mixed_with_another(tmp_path):
    out = tmp_path / "model"
    with pytest.raises(KeyboardInterrupt):
        _run(out, on_step=_stop_at(4))
    with pytest.raises(ConfigError, match="holds an unfinished run; go on with --resume, or remove"):
        _run(out)
    with pytest.raises(ConfigError, match=r"has another train.learning_rate \(0.002, now 0.1\); resume with"):
        _run(out, resume=True, learning_rate=0.1)
    with pytest.raises(ConfigError, match="has another data; resume with"):
        _run(out, _sequences(61), resume=True)
    with pytest.raises(ConfigError, match="has another tokenizer; resume with"):
        _run(out, resume=True, fingerprint="d4" * 32)
    assert _run(out, resume=True).steps == 12


@pytest.mark.parametrize("before", [{}, {"packing": 1}])
def test_a_run_whose_batches_were_packed_otherwise_is_not_taken_up(tmp_path, before):
    """Some windows would come twice in the epoch, and others never."""
    out = tmp_path / "model"
    with pytest.raises(KeyboardInterrupt):
        _run(out, on_step=_stop_at(4))
    path = tmp_path / "model.work" / "step-000000003" / "progress.json"
    state = json.loads(path.read_text())
    state["progress"]["run"].pop("packing", None)
    state["progress"]["run"] |= before
    path.write_text(json.dumps(state))
    with pytest.raises(ConfigError, match=r"has another packing \(of another version of this program\)"):
        _run(out, resume=True)


def test_a_damaged_work_checkpoint_is_refused(tmp_path):
    out = tmp_path / "model"
    with pytest.raises(KeyboardInterrupt):
        _run(out, on_step=_stop_at(4))
    state = tmp_path / "model.work" / "step-000000003" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:5000])
    with pytest.raises(ArtifactError, match=r"step-000000003 is damaged .*remove .*model.work and start"):
        _run(out, resume=True)


def test_a_full_disk_ends_the_run_and_keeps_the_last_work_checkpoint(tmp_path, monkeypatch):
    def full(tensors, path, metadata=None):
        raise SafetensorError("No space left on device")

    def fill_disk(report):
        if report.step == 4:
            monkeypatch.setattr(work_state, "save_file", full)

    with pytest.raises(ArtifactError, match=r"cannot write .*No space left on device"):
        _run(tmp_path / "model", on_step=fill_disk)
    monkeypatch.undo()
    assert _run(tmp_path / "model", resume=True).fingerprint == _run(tmp_path / "whole").fingerprint


def test_a_disk_that_is_full_in_the_end_costs_no_step(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise ArtifactError("no space left")

    with monkeypatch.context() as patched, pytest.raises(ArtifactError, match="no space left"):
        patched.setattr(pretrain_module, "save_checkpoint", full)
        _run(tmp_path / "model", checkpoint_every=100)
    again = []
    second = _run(tmp_path / "model", resume=True, checkpoint_every=100, on_step=again.append)
    assert second == dataclasses.replace(
        _run(tmp_path / "whole", checkpoint_every=100), path=tmp_path / "model"
    )
    assert again == []


def test_the_loss_in_the_end_is_the_mean_of_the_last_steps(tmp_path, monkeypatch):
    reports = []
    monkeypatch.setattr(run_module, "RECENT", 5)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "model", on_step=_stop_at(10))
    summary = _run(tmp_path / "model", on_step=reports.append, resume=True)
    whole = _run(tmp_path / "whole", on_step=reports.append)
    assert [report.step for report in reports[:3]] == [10, 11, 12]
    assert summary.loss == whole.loss == pytest.approx(sum(report.loss for report in reports[-5:]) / 5)
    assert read_manifest(tmp_path / "model", "checkpoint").config["data"]["loss"] == summary.loss


def test_resume_without_an_unfinished_run_begins_one_and_says_so(tmp_path, caplog):
    assert _run(tmp_path / "model", resume=True, steps=2).steps == 2
    said = [each for each in caplog.messages if "unfinished" in each]
    assert said == [f"there is no unfinished run in {tmp_path / 'model.work'}: starting at step 0"]


def test_a_full_output_directory_is_refused_before_training(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="not empty"):
        _run(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "train.steps must be above 0"),
        ({"learning_rate": math.nan}, "train.learning_rate must be above 0"),
        ({"mask_rate": 0.0}, "train.mask_rate must be above 0"),
        ({"warmup": 1.5}, "train.warmup is a share"),
        ({"seed": -1}, "must not be negative"),
        ({"batch_tokens": 32}, "raise batch_tokens"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        _run(tmp_path / "model", **changes)


def test_bfloat16_learns_too(tmp_path):
    reports = []
    _run(tmp_path / "model", steps=30, bf16=True, on_step=reports.append)
    assert reports[-1].loss < 0.8 * reports[0].loss


def test_alias_names_differ_between_epochs_and_agree_in_all_windows_of_a_transaction():
    train = dataclasses.replace(TRAIN, batch_tokens=64)
    (one,) = _sequences(1)
    place = np.arange(100)
    ids = np.where(place % 3 == 0, 100 + place % 5, 7).astype(np.int32)
    arrays = {name: np.resize(getattr(one, name), 100) for name in ("modality", "field", "depth", "group")}
    frame = (place // 60).astype(np.int32)
    long = dataclasses.replace(one, **arrays, ids=ids, unit=place.astype(np.int32), node=frame)
    table = window_table([long], 64, SHAPE)
    assert table.length_W.tolist() == [60, 40]
    examples, epochs = training_examples(table, SHAPE, train), []
    for _ in range(5):
        names = set()
        for example in (next(examples), next(examples)):
            given = example.batch.ids_T.numpy().copy()
            given[example.place_M.numpy()] = example.target_M.numpy()
            window = ids[:60] if len(given) == 60 else ids[60:]
            names |= set(zip(window.tolist(), given.tolist(), strict=True))
        assert len(names) == 6
        assert (7, 7) in names
        epochs.append(frozenset(names))
    assert len(set(epochs)) == 5
