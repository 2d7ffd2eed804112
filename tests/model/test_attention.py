import logging
import runpy
from pathlib import Path

import pytest
import torch

from blockscan.errors import ConfigError
from blockscan.model.attention import KERNELS, choose_kernel, layout_of

SUITE = runpy.run_path(str(Path(__file__).with_name("kernel_conformance.py")))
CPU = torch.device("cpu")


@pytest.mark.parametrize("window", SUITE["WINDOWS"])
@pytest.mark.parametrize("case", SUITE["CASES"])
@pytest.mark.parametrize("name", KERNELS)
def test_kernel_agrees_with_dense_attention(name, case, window):
    try:
        kernel = choose_kernel(name, device=CPU, head_width=16)
    except ConfigError as error:
        pytest.skip(f"{error} (tests/gpu runs it)")
    SUITE["check"](kernel, SUITE["CASES"][case], window)


def test_layout_describes_the_segments():
    layout = layout_of([4, 4, 2, 4])
    assert layout.cu_seqlens.tolist() == [0, 4, 8, 10, 14]
    assert layout.cu_seqlens.dtype == torch.int32
    assert layout.longest == 4
    assert layout.runs == ((2, 4), (1, 2), (1, 4))


def test_sdpa_gives_equal_segments_equal_bits_alone_and_in_a_run():
    q, k, v = torch.randn(3, 5 * 33, 4, 16, generator=torch.Generator().manual_seed(0))
    for window in (None, 8, 24):
        together = KERNELS["sdpa"](q, k, v, layout_of([33] * 5), window)
        alone = KERNELS["sdpa"](q[66:99], k[66:99], v[66:99], layout_of([33]), window)
        assert torch.equal(together[66:99], alone)


def test_auto_says_what_it_took(caplog):
    with caplog.at_level(logging.INFO, logger="blockscan.model.attention"):
        assert choose_kernel("auto", device=CPU, head_width=16) is KERNELS["sdpa"]
    assert "auto took sdpa on cpu" in caplog.text


@pytest.mark.parametrize("name", ["varlen", "flash"])
def test_a_kernel_that_cannot_run_is_refused_with_a_remedy(name):
    with pytest.raises(ConfigError, match=f"'{name}' cannot run here: it needs a CUDA device.*auto or sdpa"):
        choose_kernel(name, device=CPU, head_width=16)


def test_an_unknown_kernel_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="'flsh' is unknown; choose one of auto, sdpa, varlen, flash"):
        choose_kernel("flsh", device=CPU, head_width=16)


def test_flash_attention_has_limits_on_the_head_width(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    cuda = torch.device("cuda")
    assert choose_kernel("varlen", device=cuda, head_width=64) is KERNELS["varlen"]
    for width in (20, 264):
        with pytest.raises(ConfigError, match=f"a head is {width} wide"):
            choose_kernel("varlen", device=cuda, head_width=width)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(ConfigError, match="Ampere"):
        choose_kernel("varlen", device=cuda, head_width=64)
