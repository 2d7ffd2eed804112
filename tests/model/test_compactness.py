from itertools import islice

import numpy as np
import pytest
import torch

from blockscan.config import ModelConfig, TrainConfig
from blockscan.errors import ConfigError
from blockscan.model.batch import window_table
from blockscan.model.compactness import compactness
from blockscan.model.embed import pooled
from blockscan.model.masking import training_examples
from blockscan.model.objective import check_objective, training_loss


def _groups(spread, groups=3, each=20, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = 5.0 * torch.randn(groups, width, generator=generator)
    noise = torch.randn(groups * each, width, generator=generator)
    return centres.repeat_interleave(each, 0) + spread * noise


def test_it_is_the_share_of_variance_within_groups():
    x_SE = _groups(0.3)
    centres = x_SE.reshape(3, 20, 6).mean(1).repeat_interleave(20, 0)
    share = (x_SE - centres).square().sum() / (x_SE - x_SE.mean(0)).square().sum()
    torch.testing.assert_close(compactness(x_SE, 3), share)
    assert compactness(_groups(0.1), 3) < compactness(_groups(1.0), 3) < compactness(_groups(30.0), 3) < 1.0


def test_shrinking_or_moving_everything_earns_nothing():
    """Collapse to one point is the failure of Deep SVDD; here its direction has no slope."""
    x_SE = _groups(1.0).requires_grad_()
    value = compactness(x_SE, 3)
    torch.testing.assert_close(compactness(1e-3 * x_SE, 3), value)
    torch.testing.assert_close(compactness(x_SE + 7.0, 3), value, atol=1e-5, rtol=1e-4)
    (slope_SE,) = torch.autograd.grad(value, x_SE)
    assert slope_SE.abs().max() > 1e-4
    along = (slope_SE * (x_SE - x_SE.mean(0))).sum()
    assert abs(along) < 1e-3 * slope_SE.norm() * x_SE.norm()
    assert slope_SE.sum(0).abs().max() < 1e-4 * slope_SE.abs().sum()


def test_a_step_down_the_slope_tightens_the_groups_and_keeps_them_apart():
    x_SE = _groups(1.5).requires_grad_()
    spread, before = x_SE.detach().std(0).mean(), compactness(x_SE, 3).item()
    for _ in range(50):
        (slope_SE,) = torch.autograd.grad(compactness(x_SE, 3), x_SE)
        x_SE = (x_SE - 20.0 * slope_SE).detach().requires_grad_()
    assert compactness(x_SE, 3) < 0.7 * before
    assert x_SE.detach().std(0).mean() > 0.7 * spread


def test_the_gradient_is_right_in_float64_terms():
    x_SE = _groups(0.5, each=4).requires_grad_()
    (slope_SE,) = torch.autograd.grad(compactness(x_SE, 3), x_SE)
    generator, step = torch.Generator().manual_seed(1), 1e-2
    way_SE = torch.randn(x_SE.shape, generator=generator)
    with torch.no_grad():
        rise = compactness(x_SE + step * way_SE, 3) - compactness(x_SE - step * way_SE, 3)
    np.testing.assert_allclose(rise / (2 * step), (slope_SE * way_SE).sum(), rtol=2e-2)


@pytest.mark.parametrize("x_SE", [torch.ones(1, 4), torch.randn(8, 4), torch.ones(30, 4)])
def test_without_anything_to_group_it_is_zero_and_differentiable(x_SE):
    x_SE = x_SE.clone().requires_grad_()
    value = compactness(x_SE)
    assert value == 0.0
    value.backward()
    assert torch.equal(x_SE.grad, torch.zeros_like(x_SE))


def test_the_objective_adds_its_weighted_share_and_nothing_by_default(model, sequences):
    table = window_table(sequences, model.config.longest, model.vocabulary)
    config = TrainConfig(batch_tokens=600, bf16=False)
    some = islice(training_examples(table, model.vocabulary, config), 8)
    example = max(some, key=lambda each: len(each.batch.layout.cu_seqlens))
    hidden = 2 * len(example.target_M)  # half of a step's hidden tokens are here
    off = training_loss(model, example, config, hidden=hidden, judged=0)
    on = training_loss(model, example, TrainConfig(bf16=False, compactness=3.0), hidden=hidden, judged=0)
    x_TE = model(example.batch)
    expected = 0.5 * compactness(pooled(x_TE, example.batch.layout))
    assert 0.05 < expected < 0.5
    torch.testing.assert_close(on.compactness, expected.detach())
    torch.testing.assert_close(on.total.detach(), off.masked + 3.0 * expected.detach())
    assert (off.total, off.compactness) == (off.masked, 0.0)
    assert TrainConfig().compactness == 0.0


def test_a_weight_below_zero_is_refused():
    with pytest.raises(ConfigError, match=r"train\.compactness must not be negative"):
        check_objective(ModelConfig(), TrainConfig(compactness=-1.0))
