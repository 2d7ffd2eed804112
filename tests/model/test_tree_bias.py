"""The call-tree biases against dense ones, their precision in bfloat16, and that they can be off."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from blockscan.config import ModelConfig, ScoreConfig
from blockscan.model.attention import layout_of, sdpa
from blockscan.model.batch import cut_windows, pack, window_table
from blockscan.model.encoder import MaskedLM
from blockscan.model.losses import token_losses
from blockscan.model.tree_bias import TreeBias, common_depth, kernel_width, lca_factors
from blockscan.tokens import Field

CONFIG = ModelConfig(width=64, heads=4, depth_bias=True, role_bias=8, lca_bias=5)
TOKENS = 50


def random_tree(frames, rng):
    """Depths in pre-order and the parent of every frame."""
    parents = [-1]
    path = [0]
    for node in range(1, frames):
        del path[int(rng.integers(1, len(path) + 1)) :]
        parents.append(path[-1])
        path.append(node)
    depths = [0] * frames
    for node in range(1, frames):
        depths[node] = depths[parents[node]] + 1
    return np.array(depths), parents


def ancestors(node, parents):
    found = []
    while node >= 0:
        found.append(node)
        node = parents[node]
    return set(found)


def tokens(rng, frames=20):
    depth_N, parents = random_tree(frames, rng)
    node_T = np.sort(rng.integers(0, frames, TOKENS))
    return node_T, depth_N[node_T], rng.integers(0, len(Field), TOKENS), parents


def drawn(config, rng):
    bias = TreeBias(config)
    with torch.no_grad():
        for weight in bias.parameters():
            weight.copy_(torch.from_numpy(rng.normal(0, 0.3, weight.shape)))
    return bias


def dense(bias, depth_T, field_T, lca_TL):
    """The bias as a matrix (H, T, T), written down from its definition."""
    total = torch.zeros(4, TOKENS, TOKENS, dtype=torch.float64)
    if bias.depth is not None:
        depth = depth_T.clamp(0, 15).double()
        total = total - bias.depth.double()[:, None, None] * (depth[:, None] - depth) ** 2
    if bias.role_q is not None:
        table = torch.einsum("fhr,ghr->hfg", bias.role_q.double(), bias.role_k.double())
        total = total + table[:, field_T][:, :, field_T]
    if bias.lca is not None:
        total = total + bias.lca.double()[:, None, None] * (lca_TL.double() @ lca_TL.double().T)
    return total


@pytest.mark.parametrize(
    ("switches", "tolerance"),
    [
        ({"role_bias": 0, "lca_bias": 0}, 1e-5),
        ({"depth_bias": False, "lca_bias": 0}, 1e-5),
        ({"depth_bias": False, "role_bias": 0}, 1e-5),
        ({}, 1e-5),
    ],
    ids=["depth", "role", "lca", "all"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_channels_equal_a_dense_bias(switches, tolerance, dtype):
    rng = np.random.default_rng(5)
    node_T, depth_T, field_T, _ = tokens(rng)
    bias = drawn(replace(CONFIG, **switches), rng)
    lca_TL = torch.from_numpy(lca_factors(node_T, depth_T, 5))
    depth_T, field_T = torch.from_numpy(depth_T), torch.from_numpy(field_T)
    q, k, v = torch.randn(3, TOKENS, 4, 16, generator=torch.Generator().manual_seed(2)).to(dtype)
    wide = bias.extend(q, k, v, depth_T, field_T, lca_TL)
    assert {x.dtype for x in wide} == {dtype}
    assert wide[0].shape[-1] % 8 == 0
    got = sdpa(*wide, layout_of([TOKENS]), None)[..., :16]
    scores = torch.einsum("qhd,khd->hqk", q.double(), k.double()) / 4 + dense(bias, depth_T, field_T, lca_TL)
    expected = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v.double())
    if dtype == torch.bfloat16:
        plain = torch.einsum("qhd,khd->hqk", q.double(), k.double()) / 4
        without = torch.einsum("hqk,khd->qhd", plain.softmax(-1), v.double())
        # The bias must come through far above the rounding of bfloat16.
        error, effect = (got.double() - expected).abs().mean(), (without - expected).abs().mean()
        assert error < 0.1 * effect
    else:
        torch.testing.assert_close(got.double(), expected, atol=tolerance, rtol=tolerance)


def test_kernels_are_chosen_for_the_width_that_they_see():
    rng = np.random.default_rng(5)
    _, depth_T, field_T, _ = tokens(rng)
    seen = torch.from_numpy(depth_T), torch.from_numpy(field_T)
    q, k, v = torch.zeros(3, TOKENS, 4, 16)
    for switches, width in (({}, 32), ({"role_bias": 0, "lca_bias": 0}, 24), ({"lca_bias": 6}, 32)):
        config = replace(CONFIG, **switches)
        wide = TreeBias(config).extend(q, k, v, *seen, torch.zeros(TOKENS, config.lca_bias))
        assert {x.shape[-1] for x in wide} == {kernel_width(config)} == {width}
    assert kernel_width(ModelConfig(width=40, heads=4)) == 10


def test_common_depth_counts_shared_ancestors():
    rng = np.random.default_rng(3)
    for frames in (1, 2, 7, 40):
        depth_N, parents = random_tree(frames, rng)
        marks = np.arange(frames)
        expected = [
            [len(ancestors(i, parents) & ancestors(j, parents)) for j in range(frames)] for i in range(frames)
        ]
        np.testing.assert_array_equal(common_depth(depth_N, marks), expected)


def test_lca_factors_are_exact_with_a_landmark_per_frame_and_close_with_few():
    rng = np.random.default_rng(4)
    node_T, depth_T, _, parents = tokens(rng, frames=12)
    truth = np.array([[len(ancestors(i, parents) & ancestors(j, parents)) for j in node_T] for i in node_T])
    every = lca_factors(node_T, depth_T, 12)
    np.testing.assert_allclose(every @ every.T, truth, atol=1e-4)
    few = lca_factors(node_T, depth_T, 5)
    assert few.shape == (TOKENS, 5)
    assert np.square(few @ few.T - truth).sum() < 0.1 * np.square(truth).sum()
    np.testing.assert_allclose(lca_factors(node_T[:1], depth_T[:1] * 0, 5) @ np.ones(5), [1.0], atol=1e-6)


def with_bias(model):
    """A model of the same shape that sees the call tree."""
    config = replace(model.config, depth_bias=True, role_bias=4, lca_bias=3)
    return MaskedLM(config, model.vocabulary, generator=torch.Generator().manual_seed(1))


def test_a_new_bias_changes_nothing_and_a_learned_one_does(model, draw_sequence):
    sequence = draw_sequence("0x01", 60, np.random.default_rng(1))
    biased = with_bias(model).eval()
    biased.load_state_dict(model.state_dict(), strict=False)
    (before,) = token_losses(model, [sequence], ScoreConfig())
    (after,) = token_losses(biased, [sequence], ScoreConfig())
    np.testing.assert_allclose(before.surprise, after.surprise, atol=1e-4)
    with torch.no_grad():
        for block in biased.blocks:
            block.bias.depth += 0.5
            block.bias.lca += 0.5
    (moved,) = token_losses(biased, [sequence], ScoreConfig())
    assert np.nanmax(np.abs(moved.surprise - before.surprise)) > 1e-3


def test_every_bias_learns(model, draw_sequence):
    sequence = draw_sequence("0x01", 60, np.random.default_rng(1))
    table = window_table([sequence], model.config.longest, model.vocabulary)
    biased = with_bias(model)
    cut = cut_windows(table, np.array([0]))
    biased(pack(table, cut, np.zeros(60, dtype=bool), landmarks=3)).square().sum().backward()
    for name, weight in biased.named_parameters():
        if ".bias." in name and not name.endswith("role_k"):
            assert weight.grad is not None and weight.grad.abs().sum() > 0, name
