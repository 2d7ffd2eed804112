import logging
import runpy
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from blockscan.errors import ConfigError
from blockscan.model import attention
from blockscan.model.attention import KERNELS, choose_kernel, layout_of

SUITE = runpy.run_path(str(Path(__file__).with_name("kernel_conformance.py")))
CPU = torch.device("cpu")
sdpa = KERNELS["sdpa"]


@pytest.mark.parametrize("window", SUITE["WINDOWS"])
@pytest.mark.parametrize("case", SUITE["CASES"])
def test_sdpa_agrees_with_dense_attention(case, window):
    SUITE["check"](sdpa, SUITE["CASES"][case], window)


@pytest.mark.parametrize("window", [None, 128])
def test_sdpa_agrees_on_a_very_long_segment(window):
    SUITE["check"](sdpa, SUITE["VERY_LONG"], window, heads=1)


@pytest.mark.parametrize("window", [None, 16])
@pytest.mark.parametrize("head_width", [*SUITE["HEAD_WIDTHS"], 12])
def test_sdpa_takes_heads_of_any_width(head_width, window):
    SUITE["check"](sdpa, SUITE["CASES"]["ragged"], window, head_width=head_width)


@pytest.mark.parametrize("window", [None, 7, 16])
def test_sdpa_in_bfloat16_loses_no_more_than_its_rounding(window):
    options = {"dtype": torch.bfloat16, "tolerance": 8e-3}
    SUITE["check"](sdpa, SUITE["CASES"]["ragged"], window, **options)
    SUITE["check"](sdpa, SUITE["CASES"]["ragged"], window, **options, gradient=False)


def test_sdpa_learns_in_float32_and_scores_in_the_given_type(monkeypatch):
    seen = []
    plain = torch.nn.functional.scaled_dot_product_attention

    def spy(q, k, v, **options):
        seen.append({q.dtype, k.dtype, v.dtype})
        return plain(q, k, v, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    x = torch.randn(9, 2, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    sdpa(x, x, x, layout_of([9]), None)
    sdpa(x, x, x.clone().requires_grad_(), layout_of([9]), 4)
    assert seen == [{torch.bfloat16}, {torch.float32}]


@pytest.mark.parametrize("window", [None, 16])
def test_sdpa_stands_scores_of_hundreds(window):
    SUITE["check"](sdpa, SUITE["CASES"]["ragged"], window, scale=8.0, tolerance=2e-3)


@pytest.mark.parametrize("window", [None, 2, 16])
def test_sdpa_keeps_segments_apart(window):
    SUITE["check_isolation"](sdpa, window, device="cpu", dtype=torch.float32)


def test_layout_describes_the_segments():
    layout = layout_of([4, 4, 2, 4])
    assert layout.cu_seqlens.tolist() == [0, 4, 8, 10, 14]
    assert layout.cu_seqlens.dtype == torch.int32
    assert layout.longest == 4
    assert layout.runs == ((2, 4), (1, 2), (1, 4))


def test_sdpa_gives_equal_segments_equal_bits_alone_and_in_a_run():
    q, k, v = torch.randn(3, 5 * 33, 4, 16, generator=torch.Generator().manual_seed(0))
    for window in (None, 8, 24):
        together = sdpa(q, k, v, layout_of([33] * 5), window)
        alone = sdpa(q[66:99], k[66:99], v[66:99], layout_of([33]), window)
        assert torch.equal(together[66:99], alone)


def stand_in(q, k, v, cu_q, cu_k, max_q, max_k, *, window_size):
    """What FlashAttention documents of its varlen call, in plain torch; tests our arguments on a CPU."""
    assert cu_q.dtype == cu_k.dtype == torch.int32
    assert q.dtype == k.dtype == v.dtype == torch.bfloat16
    lengths = cu_q.diff()
    assert max_q == max_k == lengths.max()
    assert torch.equal(cu_q, cu_k)
    segment = torch.arange(len(lengths)).repeat_interleave(lengths)
    place = torch.arange(len(segment))
    ahead = place - place[:, None]
    left, right = (side if side >= 0 else len(place) for side in window_size)
    seen = (segment[:, None] == segment) & (ahead >= -left) & (ahead <= right)
    scores = torch.einsum("qhd,khd->hqk", q.float(), k.float()) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, v.float()).to(q.dtype)


@pytest.mark.parametrize("window", SUITE["WINDOWS"])
@pytest.mark.parametrize("name", ["varlen", "flash"])
def test_flash_attention_is_given_what_it_documents(name, window, monkeypatch):
    module = {"varlen": "torch.nn.attention.varlen", "flash": "flash_attn"}[name]
    function = {"varlen": "varlen_attn", "flash": "flash_attn_varlen_func"}[name]
    fake = types.ModuleType(module)
    setattr(fake, function, stand_in)
    monkeypatch.setitem(sys.modules, module, fake)
    SUITE["check"](KERNELS[name], SUITE["CASES"]["around the blocks"], window, tolerance=4e-2)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("window", [None, 7])
def test_flex_has_the_mask_of_the_others(window):
    """Forward only: torch has no gradient of flex_attention on a CPU. tests/gpu has the whole suite."""
    SUITE["check"](KERNELS["flex"], SUITE["CASES"]["ragged"], window, gradient=False)


def test_a_layer_that_asks_for_another_window_gets_another_mask():
    masks = [attention._block_mask(((2, 300),), window, CPU) for window in (None, 16, None)]
    assert masks[0] is masks[2]
    sizes = [mask.to_dense().sum() for mask in masks]
    assert sizes[1] < sizes[0]


def test_auto_says_what_it_took(caplog):
    with caplog.at_level(logging.INFO, logger="blockscan.model.attention"):
        assert choose_kernel("auto", device=CPU, head_width=16) is sdpa
    assert "auto took sdpa on cpu" in caplog.text


@pytest.mark.parametrize("name", ["varlen", "flash", "flex"])
def test_a_kernel_that_cannot_run_is_refused_with_a_remedy(name):
    with pytest.raises(ConfigError, match=f"'{name}' cannot run here: it needs a CUDA device.*auto or sdpa"):
        choose_kernel(name, device=CPU, head_width=16)


def test_an_unknown_kernel_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="'flsh' is unknown; choose one of auto, sdpa, varlen, flash, flex"):
        choose_kernel("flsh", device=CPU, head_width=16)


def test_kernels_have_limits_on_the_head_width(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    cuda = torch.device("cuda")
    assert choose_kernel("varlen", device=cuda, head_width=64) is KERNELS["varlen"]
    assert choose_kernel("auto", device=cuda, head_width=64) is KERNELS["varlen"]
    for width in (20, 264):
        with pytest.raises(ConfigError, match=f"a head is {width} wide"):
            choose_kernel("varlen", device=cuda, head_width=width)
    assert choose_kernel("flex", device=cuda, head_width=20) is KERNELS["flex"]
    with pytest.raises(ConfigError, match="a head is 8 wide"):
        choose_kernel("flex", device=cuda, head_width=8)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install --no-build-isolation flash-attn, or set"):
        choose_kernel("flash", device=cuda, head_width=64)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(ConfigError, match="Ampere"):
        choose_kernel("varlen", device=cuda, head_width=64)


def test_a_torch_without_windows_is_refused(monkeypatch):
    """torch 2.10 has varlen_attn with `is_causal` and no window; 2.11, 2.12 and 2.13 have `window_size`."""
    old = types.ModuleType("torch.nn.attention.varlen")
    old.varlen_attn = lambda query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False: query
    monkeypatch.setitem(sys.modules, old.__name__, old)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    with pytest.raises(ConfigError, match="has no window in varlen_attn; upgrade torch"):
        choose_kernel("varlen", device=torch.device("cuda"), head_width=64)


def test_the_model_is_imported_without_the_compiler():
    """It takes as long to import as the rest of torch, and first scores must come quickly."""
    code = "import sys, blockscan.model.losses; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_dense_attention_of_the_suite_by_hand():
    """Two tokens and one apart: the reference itself, with numbers worked out on paper."""
    q = torch.tensor([[[0.0]], [[1.0]], [[5.0]]], dtype=torch.float64)
    v = torch.tensor([[[1.0]], [[3.0]], [[7.0]]], dtype=torch.float64)
    out = SUITE["dense"](q, q, v, [2, 1], None).flatten().numpy()
    share = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(out, [2.0, (1 - share) + 3 * share, 7.0])
    np.testing.assert_allclose(SUITE["dense"](q, q, v, [2, 1], 1).flatten(), [1.0, 3.0, 7.0])
