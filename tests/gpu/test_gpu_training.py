"""Training on a CUDA device: compiled, with Muon, and in as many processes as there are devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipelines.training.speed import _measured, peak_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

CHILD = Path(__file__).parents[1] / "pipelines" / "train_child.py"


def _curve(tmp_path, name, processes=1, **train):
    reports = tmp_path / f"{name}.jsonl"
    options = json.dumps({"train": train, "device": "cuda"})
    given = [str(CHILD), str(tmp_path / name), str(reports), options]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    subprocess.run(
        [sys.executable, *(torchrun if processes > 1 else []), *given],
        env={**os.environ, "PYTHONPATH": str(CHILD.parents[2])},
        check=True,
        timeout=280,
    )
    rows = [json.loads(line) for line in reports.read_text().splitlines()]
    return [loss for _, loss, _, _ in rows]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_compiled_model_takes_the_same_steps_on_the_device(tmp_path, optimizer):
    plain = _curve(tmp_path, "plain", optimizer=optimizer)
    compiled = _curve(tmp_path, "compiled", optimizer=optimizer, compile=True)
    assert compiled == pytest.approx(plain, rel=2e-2)
    assert plain[-1] < 0.9 * plain[0]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are not two CUDA devices")
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_devices_take_the_steps_of_one(tmp_path, parallel):
    one = _curve(tmp_path, "one")
    two = _curve(tmp_path, "two", processes=2, parallel=parallel)
    assert two == pytest.approx(one, rel=2e-2)


def test_the_peak_of_a_device_is_not_below_what_it_reaches():
    device = torch.device("cuda")
    assert peak_of(device, bf16=True) >= 0.95 * _measured(device, torch.bfloat16)
