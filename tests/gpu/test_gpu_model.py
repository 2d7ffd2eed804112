"""Attention kernels, training and scoring on a CUDA device."""

import dataclasses
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from blockscan.config import Config, ModelConfig, ScoreConfig, TrainConfig
from blockscan.errors import ConfigError
from blockscan.model.attention import KERNELS, choose_kernel, layout_of
from blockscan.model.checkpoint import load_checkpoint
from blockscan.model.encoder import MaskedLM
from blockscan.model.losses import token_losses
from blockscan.tokens import Field, TokenSequence, VocabularyShape
from pipelines.pretrain import pretrain

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

SUITE = runpy.run_path(str(Path(__file__).parents[1] / "model" / "kernel_conformance.py"))
SHAPE = VocabularyShape(size=300, alias_spans=((40, 56),))
MODEL = ModelConfig(layers=4, width=64, heads=4, feed_forward=96, longest=512, window=32)


def _sequences(count):
    rng = np.random.default_rng(0)
    found = []
    for which in range(count):
        length = int(rng.integers(1, 700))
        unit = (np.arange(length) // 3).astype(np.int32)
        found.append(
            TokenSequence(
                tx_hash=f"0x{which:064x}",
                ids=rng.integers(2, SHAPE.size, length).astype(np.int32),
                modality=np.zeros(length, dtype=np.uint8),
                field=rng.integers(0, len(Field), length).astype(np.uint8),
                node=unit // 5,
                depth=(unit // 5 % 9).astype(np.int16),
                unit=unit,
                group=rng.integers(-1, 9, length).astype(np.int32),
                scored=rng.random(length) < 0.8,
            )
        )
    return found


CUDA = torch.device("cuda")


def _kernel(name, head_width=16):
    try:
        return choose_kernel(name, device=CUDA, head_width=head_width)
    except ConfigError as error:
        pytest.skip(str(error))


def _options(name):
    """sdpa and flex take float32; FlashAttention rounds to bfloat16."""
    exact = {"dtype": torch.float32, "tolerance": 1e-3 if name == "sdpa" else 1e-2}
    rough = {"dtype": torch.bfloat16, "tolerance": 4e-2}
    return {"device": "cuda", **(exact if name in ("sdpa", "flex") else rough)}


@pytest.mark.parametrize("window", SUITE["WINDOWS"])
@pytest.mark.parametrize("case", SUITE["CASES"])
@pytest.mark.parametrize("name", KERNELS)
def test_kernel_agrees_with_dense_attention(name, case, window):
    SUITE["check"](_kernel(name), SUITE["CASES"][case], window, **_options(name))


@pytest.mark.parametrize("window", [None, 128])
@pytest.mark.parametrize("name", KERNELS)
def test_kernel_agrees_on_a_very_long_segment(name, window):
    SUITE["check"](_kernel(name), SUITE["VERY_LONG"], window, heads=1, **_options(name))


@pytest.mark.parametrize("head_width", SUITE["HEAD_WIDTHS"])
@pytest.mark.parametrize("name", KERNELS)
def test_kernel_takes_heads_with_channels_of_a_bias(name, head_width):
    kernel = _kernel(name, head_width)
    SUITE["check"](kernel, SUITE["CASES"]["ragged"], 16, head_width=head_width, **_options(name))


@pytest.mark.parametrize("window", [None, 16])
@pytest.mark.parametrize("name", KERNELS)
def test_kernel_in_bfloat16(name, window):
    options = {"device": "cuda", "dtype": torch.bfloat16, "tolerance": 4e-2}
    SUITE["check"](_kernel(name), SUITE["CASES"]["ragged"], window, **options)


@pytest.mark.parametrize("window", [None, 16])
@pytest.mark.parametrize("name", ["sdpa", "varlen", "flash"])
def test_kernel_keeps_segments_apart(name, window):
    SUITE["check_isolation"](_kernel(name), window, device="cuda", dtype=torch.bfloat16)


@pytest.mark.parametrize("name", ["varlen", "flash"])
def test_memory_grows_with_the_length_and_not_with_its_square(name):
    kernel = _kernel(name, 64)
    peaks = []
    for length in (4096, 16384):
        x = torch.randn(length, 4, 64, device=CUDA, dtype=torch.bfloat16).requires_grad_()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        kernel(x, x, x, layout_of([length], CUDA), None).sum().backward()
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[1] < 5 * peaks[0]


def test_auto_takes_varlen():
    assert choose_kernel("auto", device=torch.device("cuda"), head_width=16) is KERNELS["varlen"]


def test_the_same_seed_gives_the_same_weights_as_on_the_cpu():
    here, there = (MaskedLM(MODEL, SHAPE, device=device) for device in ("cpu", "cuda"))
    assert all(torch.equal(a, b.cpu()) for a, b in zip(here.parameters(), there.parameters(), strict=True))


def test_scores_agree_with_the_cpu():
    model = dataclasses.replace(MODEL, attention="sdpa")
    config = ScoreConfig(batch_tokens=4096)
    here, there = (
        token_losses(MaskedLM(model, SHAPE, device=device), _sequences(20), config)
        for device in ("cpu", "cuda")
    )
    for one, two in zip(here, there, strict=True):
        np.testing.assert_allclose(one.surprise, two.surprise, atol=1e-3)


def test_any_order_gives_the_same_bytes():
    model, config = MaskedLM(MODEL, SHAPE, device="cuda"), ScoreConfig(batch_tokens=4096)
    sequences = _sequences(30)
    forward = token_losses(model, sequences, config)
    backward = token_losses(model, sequences[::-1], config)[::-1]
    assert [one.surprise.tobytes() for one in forward] == [two.surprise.tobytes() for two in backward]


def test_training_on_the_device_learns_and_loads_on_the_cpu(tmp_path):
    reports = []
    train = TrainConfig(steps=150, batch_tokens=4096, learning_rate=5e-3, weight_decay=0.0)
    pretrain(
        _sequences(8),
        SHAPE,
        config=Config(model=MODEL, train=train),
        out=tmp_path / "model",
        tokenizer_fingerprint="a1" * 32,
        device="cuda",
        on_step=reports.append,
    )
    assert reports[-1].loss < 0.5 * reports[0].loss
    loaded = load_checkpoint(tmp_path / "model", tokenizer_fingerprint="a1" * 32)
    assert loaded.device.type == "cpu"
