"""Embeddings and adapters on a CUDA device, beside the CPU."""

import copy

import numpy as np
import pytest
import torch

from blockscan.config import AdaptConfig, ModelConfig, ScoreConfig, TrainConfig
from blockscan.model.attention import layout_of
from blockscan.model.embed import embeddings, pooled
from blockscan.model.encoder import MaskedLM
from blockscan.model.hub import from_pretrained, save_pretrained
from blockscan.model.lora import inject, merge
from blockscan.tokens import Field, TokenSequence, VocabularyShape

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

SHAPE = VocabularyShape(size=300, alias_spans=((40, 56),))
MODEL = ModelConfig(layers=3, width=64, heads=4, feed_forward=96, longest=128, window=32, attention="sdpa")


def _sequences(count):
    rng = np.random.default_rng(0)
    found = []
    for which in range(count):
        length = int(rng.integers(1, 400))
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


def test_embeddings_equal_those_of_the_cpu_and_repeat_bit_for_bit():
    model = MaskedLM(MODEL, SHAPE, generator=torch.Generator().manual_seed(1)).eval()
    sequences, config = _sequences(40), ScoreConfig(batch_tokens=1000)
    here = embeddings(model, sequences, config)
    there = embeddings(copy.deepcopy(model).cuda(), sequences, config)
    np.testing.assert_allclose(there, here, atol=1e-3)
    assert embeddings(copy.deepcopy(model).cuda(), sequences, config).tobytes() == there.tobytes()


def test_pooled_has_the_same_gradient_as_on_the_cpu():
    x_TE = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    slopes = []
    for device in ("cpu", "cuda"):
        given = x_TE.to(device).requires_grad_()
        pooled(given, layout_of([20, 1, 29], device)).square().sum().backward()
        slopes.append(given.grad.cpu())
    torch.testing.assert_close(*slopes)


def test_adapters_are_the_same_and_merge(tmp_path):
    model = MaskedLM(MODEL, SHAPE, device="cuda", generator=torch.Generator().manual_seed(1))
    inject(model, AdaptConfig(rank=2), torch.Generator().manual_seed(2))
    twin = MaskedLM(MODEL, SHAPE, generator=torch.Generator().manual_seed(1))
    inject(twin, AdaptConfig(rank=2), torch.Generator().manual_seed(2))
    assert torch.equal(model.blocks[1].qkv.down.cpu(), twin.blocks[1].qkv.down)
    assert merge(model).blocks[1].qkv.weight.is_cuda
    save_pretrained(model, tmp_path / "m", train=TrainConfig(), tokenizer_fingerprint="a1" * 32, data={})
    assert from_pretrained(tmp_path / "m", device="cuda", attention="sdpa").device.type == "cuda"
