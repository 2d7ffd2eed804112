"""Training in two processes (gloo on the CPU) and compiled, against one process that does neither."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

CHILD = Path(__file__).with_name("train_child.py")
MUON = {"optimizer": "muon", "ema": 0.9}
EXACT, MUON_TOLERANCE = 1e-5, 1e-4
"""Of losses, relative; gradient norms may differ ten times as much. Sums over processes round differently,
and Muon multiplies in bfloat16."""


@pytest.fixture
def train(tmp_path):
    """Run the child in so many processes; its exit status and output."""

    def run(processes, name, **options):
        given = [str(CHILD), str(tmp_path / name), str(tmp_path / f"{name}.jsonl"), json.dumps(options)]
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        result = subprocess.run(
            [sys.executable, *(torchrun if processes > 1 else []), *given],
            env={**os.environ, "PYTHONPATH": str(CHILD.parents[2]), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        return result.returncode, result.stdout + result.stderr

    return run


@pytest.fixture
def curve(tmp_path):
    """Reports of a run by step, the last of each: loss, gradient norm, validation."""

    def read(name):
        rows = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        return {step: figures for step, *figures in rows}, len(rows)

    return read


def _same(one, two, tolerance):
    assert list(one) == list(two) == list(range(1, 13))
    for step, (loss, norm, validation) in one.items():
        assert two[step] == [
            pytest.approx(loss, rel=tolerance),
            pytest.approx(norm, rel=10 * tolerance),
            validation and pytest.approx(validation, rel=tolerance),
        ]


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_take_the_steps_of_one(train, curve, tmp_path, parallel):
    """Ragged batches: a mean per process, or a wrong share of the batches, would show at once."""
    options = {"train": {"accumulate": 4, "ema": 0.9}, "model": {"role_bias": 2, "lca_bias": 4}}
    assert train(1, "one", **options)[0] == 0
    options["train"]["parallel"] = parallel
    status, said = train(2, "two", **options)
    assert status == 0, said
    (one, _), (two, reports) = curve("one"), curve("two")
    assert reports == 12
    _same(one, two, EXACT)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name, weight in weights[0].items():
        assert weight.shape == weights[1][name].shape
        assert (weight - weights[1][name]).abs().max() < 1e-4
    assert not (tmp_path / "two.work").exists()


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_killed_run_goes_on_with_another_number_of_processes(train, curve, tmp_path, before, after):
    """kill -9 after step 7; taken up from the state of step 6, in another form of sharding."""
    options = {"train": {**MUON, "parallel": "fsdp"}}
    assert train(1, "whole", **options)[0] == 0
    assert train(before, "parts", stop=7, **options)[0] != 0
    assert [path.name for path in (tmp_path / "parts.work").glob("step-*")] == ["step-000000006"]
    status, said = train(after, "parts", resume=True, **options)
    assert status == 0, said
    (whole, _), (parts, reports) = curve("whole"), curve("parts")
    assert reports == 7 + 6
    _same(whole, parts, MUON_TOLERANCE)


def test_a_killed_process_resumes_with_the_same_bits(train, curve, tmp_path):
    options = {"train": MUON}
    assert train(1, "whole", **options)[0] == 0
    assert train(1, "parts", stop=7, **options)[0] == -signal.SIGKILL
    assert train(1, "parts", resume=True, **options)[0] == 0
    assert curve("whole")[0] == curve("parts")[0]
    stored = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert stored[0] == stored[1]


def test_the_others_wait_for_the_first_process_which_counts_the_past(train, curve):
    status, said = train(2, "late", late=10)
    assert status == 0, said
    assert len(curve("late")[0]) == 12


def test_two_processes_cannot_share_three_batches(train):
    status, said = train(2, "odd", train={"accumulate": 3})
    assert status != 0
    assert "cannot be shared by 2 processes; make it a multiple of 2" in said


def test_a_compiled_model_takes_the_same_steps(train, curve):
    """Ragged batches share the compiled code: a few graphs, not some for every batch."""
    options = {"model": {"depth_bias": True}}
    assert train(1, "plain", **options)[0] == 0
    status, said = train(1, "compiled", train={"compile": True}, **options)
    assert status == 0, said
    _same(curve("plain")[0], curve("compiled")[0], EXACT)
    assert 0 < int(re.search(r"graphs: (\d+)", said)[1]) < 12


def test_without_a_compiler_the_remedy_is_told(train, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "empty"))
    status, said = train(1, "model", train={"compile": True})
    assert status != 0
    assert "ConfigError: train.compile cannot run here" in said


def test_the_processes_of_the_command_read_what_the_first_has_encoded(road, tmp_path):
    given = ["-m", "pipelines", "pretrain", str(road.archive), "--blocks", ":100", "--preset", "debug"]
    given += ["--set", "train.steps=3", "--set", "train.accumulate=2", "--device", "cpu", "--json", "--model"]
    told = []
    for count in (1, 2):
        model = tmp_path / str(count)
        model.mkdir()
        (model / "tokenizer").symlink_to(road.model / "tokenizer")
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        result = subprocess.run(
            [sys.executable, *torchrun, *given, str(model)],
            env={**os.environ, "PYTHONPATH": str(CHILD.parents[2]), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert result.returncode == 0, result.stderr
        told.append(json.loads(result.stdout))
        assert {path.name for path in model.iterdir()} == {"tokenizer", "history", "checkpoint"}
    one, two = told
    one.pop("fingerprint"), two.pop("fingerprint")  # of weights that may differ in their last bits
    assert one["transactions"] > 100
    assert two == one | {name: pytest.approx(one[name], rel=1e-3) for name in ("loss", "validation_loss")}
