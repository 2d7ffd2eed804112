import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from blockscan.config import AdaptConfig, ScoreConfig, TrainConfig
from blockscan.errors import ConfigError
from blockscan.model.batch import window_table
from blockscan.model.encoder import parameter_groups
from blockscan.model.lora import ADAPTED, LowRank, inject, merge, rate
from blockscan.model.losses import masked_cross_entropy, token_losses
from blockscan.model.masking import training_examples

CONFIG = AdaptConfig(rank=3, alpha=6.0)


def _generator():
    return torch.Generator().manual_seed(5)


@pytest.fixture
def adapted(model):
    return inject(copy.deepcopy(model), CONFIG, _generator())


def _surprises(model, sequences):
    losses = token_losses(model, sequences, ScoreConfig(batch_tokens=500))
    return np.concatenate([one.surprise[~np.isnan(one.surprise)] for one in losses])


def _train(model, sequences, steps):
    table = window_table(sequences, model.config.longest, model.vocabulary)
    examples = training_examples(table, model.vocabulary, TrainConfig(batch_tokens=400))
    learning = [
        {"params": [p], "lr": 1e-2 * rate(n, 4.0)} for n, p in model.named_parameters() if p.requires_grad
    ]
    optimizer = torch.optim.AdamW(learning, weight_decay=0.0)
    losses = []
    for _ in range(steps):
        example = next(examples)
        x_ME = model(example.batch).index_select(0, example.place_M)
        loss = masked_cross_entropy(model, x_ME, example.target_M) / len(example.target_M)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_an_adapter_changes_nothing_before_it_learns(model, adapted, sequences):
    assert np.array_equal(_surprises(model, sequences), _surprises(adapted, sequences))


def test_exactly_the_adapters_learn(model, adapted):
    layers = model.config.layers
    learning = {name for name, weight in adapted.named_parameters() if weight.requires_grad}
    expected = {f"blocks.{i}.{n}.{part}" for i in range(layers) for n in ADAPTED for part in ("down", "up")}
    assert learning == expected
    width, feed, rank = model.config.width, model.config.feed_forward, CONFIG.rank
    per_block = rank * ((width + 3 * width) + (width + width) + (width + 2 * feed) + (feed + width))
    assert sum(p.numel() for p in adapted.parameters() if p.requires_grad) == layers * per_block
    assert parameter_groups(adapted, 0.1)


def test_training_moves_adapters_only_and_lowers_the_loss(model, adapted, sequences):
    losses = _train(adapted, sequences, 25)
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1
    before, after = model.state_dict(), adapted.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(weight.abs().sum() > 0 for name, weight in after.items() if name.endswith(".up"))


def test_merged_is_a_plain_model_with_the_same_answers(model, adapted, sequences):
    _train(adapted, sequences, 8)
    want = _surprises(adapted, sequences)
    assert np.abs(want - _surprises(model, sequences)).max() > 0.1
    plain = merge(adapted)
    np.testing.assert_allclose(_surprises(plain, sequences), want, atol=1e-4)
    assert plain.state_dict().keys() == model.state_dict().keys()
    assert not any(isinstance(module, LowRank) for module in plain.modules())
    assert all(weight.requires_grad for weight in plain.parameters())
    model.load_state_dict(plain.state_dict())


def test_the_scale_is_alpha_over_rank():
    layer = torch.nn.Linear(5, 4, bias=False)
    lone = LowRank(layer, CONFIG, _generator())
    torch.nn.init.ones_(lone.up)
    torch.nn.init.ones_(lone.down)
    expected = layer.weight + 2.0 * 3.0  # alpha / rank, times the sum over rank of ones
    torch.testing.assert_close(lone.merged().weight, expected)
    x_TE = torch.randn(7, 5, generator=_generator())
    torch.testing.assert_close(lone(x_TE), x_TE @ expected.T)


def test_a_seed_means_the_same_adapters(model):
    one, two = (inject(copy.deepcopy(model), CONFIG, _generator()).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_only_up_learns_faster():
    assert rate("blocks.0.qkv.up", 16.0) == 16.0
    assert rate("blocks.0.qkv.down", 16.0) == rate("blocks.0.gate_up.weight", 16.0) == 1.0


@pytest.mark.parametrize(
    "wrong",
    [{"rank": 0}, {"rank": 65}, {"alpha": 0.0}, {"ratio": -1.0}, {"learning_rate": 0.0}, {"steps": 0}],
)
def test_settings_out_of_range_are_refused(model, wrong):
    with pytest.raises(ConfigError, match=rf"adapt\.{next(iter(wrong))} must be"):
        inject(model, replace(CONFIG, **wrong), _generator())
