from dataclasses import replace

import numpy as np
import pytest
import torch

from blockscan.config import TrainConfig
from blockscan.errors import ArtifactError, ConfigError
from blockscan.model.batch import cut_windows, pack, window_table
from blockscan.model.checkpoint import save_checkpoint
from blockscan.model.encoder import MaskedLM
from blockscan.tokens import MASK_ID

transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")
from blockscan.model import hf  # noqa: E402  # importable only with transformers


@pytest.fixture(params=[0, 4], ids=["plain", "tree-bias"])
def native(request, model):
    if not request.param:
        return model
    config = replace(model.config, depth_bias=True, role_bias=2, lca_bias=request.param)
    biased = MaskedLM(config, model.vocabulary, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for name, weight in biased.named_parameters():
            if ".bias." in name:
                weight += 0.3
    return biased.eval()


@pytest.fixture
def saved(native, tmp_path):
    path = tmp_path / "model"
    save_checkpoint(path, native, train=TrainConfig(), tokenizer_fingerprint="a1" * 32, data={})
    return path


@pytest.fixture
def few(sequences, native):
    return [one for one in sequences if len(one) <= native.config.longest][:6]


@torch.inference_mode()
def _native(model, sequence, hidden_T):
    table = window_table([sequence], model.config.longest, model.vocabulary)
    cut = cut_windows(table, np.array([0]))
    x_TE = model(pack(table, cut, hidden_T, landmarks=model.config.lca_bias))
    return x_TE, model.logits(x_TE)


@torch.inference_mode()
def test_auto_classes_answer_as_the_native_model(native, saved, few):
    encoder = transformers.AutoModel.from_pretrained(saved)
    lm = transformers.AutoModelForMaskedLM.from_pretrained(str(saved))
    assert isinstance(encoder, hf.BlockScanModel)
    assert isinstance(lm, hf.BlockScanForMaskedLM)
    assert not lm.training
    inputs = hf.padded(few)
    inputs["input_ids"][:, ::3] = torch.where(inputs["attention_mask"][:, ::3] == 1, MASK_ID, 0)
    x_BLE, logits_BLV = encoder(**inputs).last_hidden_state, lm(**inputs).logits
    for row, sequence in enumerate(few):
        hidden_T = np.arange(len(sequence)) % 3 == 0
        x_TE, logits_TV = _native(native, sequence, hidden_T)
        torch.testing.assert_close(x_BLE[row, : len(sequence)], x_TE, atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(logits_BLV[row, : len(sequence)], logits_TV, atol=2e-4, rtol=1e-4)
        assert not x_BLE[row, len(sequence) :].any()


def test_the_config_is_known_by_its_type(saved, native):
    config = transformers.AutoConfig.from_pretrained(saved)
    assert isinstance(config, hf.BlockScanConfig)
    assert (config.hidden_size, config.vocab_size) == (native.config.width, native.vocabulary.size)
    assert config.architectures == ["BlockScanForMaskedLM"]


def test_a_loss_has_a_gradient(saved, few):
    lm = transformers.AutoModelForMaskedLM.from_pretrained(saved)
    inputs = hf.padded(few)
    labels = torch.where(inputs["attention_mask"] == 1, inputs["input_ids"], -100)
    lm(**inputs, labels=labels).loss.backward()
    assert lm.lm.blocks[0].qkv.weight.grad.abs().sum() > 0


def test_changed_weights_are_refused(saved):
    raw = bytearray((saved / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (saved / "model.safetensors").write_bytes(raw)
    with pytest.raises(ArtifactError, match="was changed"):
        transformers.AutoModel.from_pretrained(saved)


def test_what_is_not_supported_is_said(saved, few, native):
    with pytest.raises(ConfigError, match="device_map is not supported"):
        transformers.AutoModel.from_pretrained(saved, device_map="auto")
    model = transformers.AutoModel.from_pretrained(saved)
    with pytest.raises(ConfigError, match="save_checkpoint"):
        model.save_pretrained(saved)
    inputs = hf.padded(few)
    inputs["attention_mask"] = inputs["attention_mask"].flip(1)
    with pytest.raises(ConfigError, match="padding must be on the right"):
        model(**inputs)
    with pytest.raises(ConfigError, match="the model takes 1 to 96"):
        model(**{name: each.repeat(1, 4) for name, each in hf.padded(few[:1]).items()})
