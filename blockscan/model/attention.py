"""Attention over packed segments: one signature, a table of kernels, nothing replaced behind your back.

A kernel takes q, k, v of shape (T, H, D), the layout of the segments, and a window; it returns (T, H, D).
Tokens attend within their own segment only. With a window they see `window // 2` tokens on either side
of themselves, with None the whole segment.

Legend: T tokens of all segments, N segments in a call, L tokens of a segment, H heads, D head width,
B blocks of a segment, C queries and K keys of a block, n = N * B.

sdpa: torch's own, any device; the default on a CPU.
varlen: FlashAttention inside torch, CUDA; the default there.
flash: the flash-attn package, CUDA.
flex: torch's flex_attention, CUDA, for experiments: a new mask is a line of Python.
"""

import importlib.util
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from blockscan.errors import ConfigError

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

# Kernels are imported where they are called: torch.nn.attention.varlen and flex_attention bring in the
# compiler, which doubles the time of importing torch, and a machine without CUDA needs neither.

log = logging.getLogger(__name__)

_FLEX_NARROWEST = 16


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the segments of a packed batch lie.

    cu_seqlens int32 (N + 1,): the first token of every segment, and the end. longest: tokens of the longest
    segment. runs: (count, length) of neighbouring segments of equal length, which can share one call.
    """

    cu_seqlens: Tensor
    longest: int
    runs: tuple[tuple[int, int], ...]


Kernel = Callable[[Tensor, Tensor, Tensor, Layout, int | None], Tensor]


def layout_of(lengths: Sequence[int], device: torch.device | str = "cpu") -> Layout:
    """The layout of segments of these lengths (at least one, each at least 1), in order."""
    ends = torch.tensor([0, *lengths]).cumsum(0).to(device, torch.int32)
    runs = tuple((len(list(run)), length) for length, run in groupby(lengths))
    return Layout(ends, max(lengths), runs)


def sdpa(q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, layout: Layout, window: int | None) -> Tensor:
    """PyTorch's own attention, one call per run of equally long segments; any device.

    On a CPU it learns in float32 whatever autocast says: its bfloat16 gradient takes three times as long.
    Without a gradient bfloat16 takes a third to two thirds of the time of float32, and is kept.
    """
    given = q_THD.dtype
    if q_THD.device.type == "cpu" and (q_THD.requires_grad or k_THD.requires_grad or v_THD.requires_grad):
        q_THD, k_THD, v_THD = q_THD.float(), k_THD.float(), v_THD.float()
    sizes = [count * length for count, length in layout.runs]
    outs = []
    for (count, length), *rows in zip(
        layout.runs, *(torch.split(x_THD, sizes) for x_THD in (q_THD, k_THD, v_THD)), strict=True
    ):
        q_NLHD, k_NLHD, v_NLHD = (x.view(count, length, *x.shape[1:]) for x in rows)
        outs.append(_segments(q_NLHD, k_NLHD, v_NLHD, window).flatten(0, 1))
    return torch.cat(outs).to(given)


def _segments(q_NLHD: Tensor, k_NLHD: Tensor, v_NLHD: Tensor, window: int | None) -> Tensor:
    length = q_NLHD.shape[1]
    if window is None or window // 2 >= length - 1:
        return _call(q_NLHD, k_NLHD, v_NLHD, None)
    if length > 2 * window:
        return _blocks(q_NLHD, k_NLHD, v_NLHD, window // 2)
    place_L = torch.arange(length, device=q_NLHD.device)
    return _call(q_NLHD, k_NLHD, v_NLHD, (place_L[:, None] - place_L).abs() <= window // 2)


def _blocks(q_NLHD: Tensor, k_NLHD: Tensor, v_NLHD: Tensor, half: int) -> Tensor:
    """Local attention in linear time: blocks of 2 * half queries see their own keys and half a block around.

    Keys are padded by `half` in front, so that two neighbouring blocks of padded keys hold exactly the
    tokens from `half` before the queries to `half` after them.
    """
    count, length, heads, width = q_NLHD.shape
    size = 2 * half
    blocks = -(-length // size)
    spare = blocks * size - length
    q_nCHD = F.pad(q_NLHD, (0, 0, 0, 0, 0, spare)).view(count * blocks, size, heads, width)
    padded = (
        F.pad(x_NLHD, (0, 0, 0, 0, half, half + spare)).view(count, blocks + 1, size, heads, width)
        for x_NLHD in (k_NLHD, v_NLHD)
    )
    k_nKHD, v_nKHD = (torch.cat((x[:, :-1], x[:, 1:]), dim=2).flatten(0, 1) for x in padded)
    # A padding query takes the place of the last token: a row without any key would be NaN.
    query_BC = torch.arange(blocks * size, device=q_NLHD.device).clamp(max=length - 1).view(blocks, size)
    first_B = torch.arange(blocks, device=q_NLHD.device) * size - half
    key_BK = first_B[:, None] + torch.arange(2 * size, device=q_NLHD.device)
    near_BCK = (query_BC[:, :, None] - key_BK[:, None, :]).abs() <= half
    mask_BCK = near_BCK & ((key_BK >= 0) & (key_BK < length))[:, None, :]
    out_nCHD = _call(q_nCHD, k_nKHD, v_nKHD, mask_BCK.repeat(count, 1, 1).unsqueeze(1))
    return out_nCHD.reshape(count, blocks * size, heads, width)[:, :length]


def _call(q_NLHD: Tensor, k_NLHD: Tensor, v_NLHD: Tensor, mask: Tensor | None) -> Tensor:
    q, k, v = (x_NLHD.transpose(1, 2) for x_NLHD in (q_NLHD, k_NLHD, v_NLHD))
    with torch.autocast(q.device.type, enabled=False):
        out_NHLD = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out_NHLD.transpose(1, 2)


def varlen(q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, layout: Layout, window: int | None) -> Tensor:
    """FlashAttention inside PyTorch (CUDA); float32 input is computed in bfloat16."""
    from torch.nn.attention.varlen import varlen_attn

    sides = (-1, -1) if window is None else (window // 2, window // 2)
    ends, longest = layout.cu_seqlens, layout.longest
    q, k, v = _half(q_THD, k_THD, v_THD)
    out_THD = varlen_attn(q, k, v, ends, ends, longest, longest, window_size=sides)
    assert isinstance(out_THD, Tensor)  # a tuple only where auxiliary outputs are asked for
    return out_THD.to(q_THD.dtype)


def flash(q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, layout: Layout, window: int | None) -> Tensor:
    """The flash-attn package (CUDA, extra `[cuda]`); float32 input is computed in bfloat16."""
    from flash_attn import flash_attn_varlen_func  # an extra that most machines do not have

    sides = (-1, -1) if window is None else (window // 2, window // 2)
    ends, longest = layout.cu_seqlens, layout.longest
    q, k, v = _half(q_THD, k_THD, v_THD)
    out_THD: Tensor = flash_attn_varlen_func(q, k, v, ends, ends, longest, longest, window_size=sides)
    return out_THD.to(q_THD.dtype)


def flex(q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, layout: Layout, window: int | None) -> Tensor:
    """flex_attention over a block mask of segments and window, compiled on CUDA.

    On a CPU torch has no gradient of it and holds every score; there it serves to test the mask.
    """
    from torch.nn.attention.flex_attention import flex_attention

    mask = _block_mask(layout.runs, window, q_THD.device)
    q, k, v = (x_THD.transpose(0, 1).unsqueeze(0) for x_THD in (q_THD, k_THD, v_THD))
    attend: Callable[..., object] = flex_attention
    if q_THD.is_cuda:
        attend = _compiled(flex_attention)
    out_1HTD = attend(q, k, v, block_mask=mask)
    assert isinstance(out_1HTD, Tensor)  # a tuple only where auxiliary outputs are asked for
    return out_1HTD[0].transpose(0, 1)


@cache
def _compiled(function: Callable[..., object]) -> Callable[..., object]:
    return torch.compile(function)


@lru_cache(maxsize=4)
def _block_mask(runs: tuple[tuple[int, int], ...], window: int | None, device: torch.device) -> "BlockMask":
    """Which blocks of queries and keys concern each other; every layer of a kind asks for the same."""
    from torch.nn.attention.flex_attention import create_block_mask

    lengths = [length for count, length in runs for _ in range(count)]
    segment_T = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)).to(device)

    def seen(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same = segment_T[query] == segment_T[key]
        return same if window is None else same & ((query - key).abs() <= window // 2)

    tokens = len(segment_T)
    return create_block_mask(seen, None, None, tokens, tokens, device=str(device))


def _half(*tensors: Tensor) -> Iterator[Tensor]:
    return (x.to(torch.bfloat16) if x.dtype == torch.float32 else x for x in tensors)


KERNELS: dict[str, Kernel] = {"sdpa": sdpa, "varlen": varlen, "flash": flash, "flex": flex}


def choose_kernel(name: str, *, device: torch.device, head_width: int) -> Kernel:
    """The kernel called `name`, if it can run here; `auto` is varlen on CUDA and sdpa elsewhere.

    Raises:
        ConfigError: there is no such kernel, or this machine or this head width cannot run it.
    """
    if name == "auto":
        name = "varlen" if device.type == "cuda" else "sdpa"
        log.info("attention: auto took %s on %s", name, device)
    if name not in KERNELS:
        raise ConfigError(f"model.attention = {name!r} is unknown; choose one of auto, {', '.join(KERNELS)}")
    reason = None if name == "sdpa" else _missing(name, device, head_width)
    if reason:
        raise ConfigError(f"model.attention = {name!r} cannot run here: {reason}")
    return KERNELS[name]


def _missing(name: str, device: torch.device, head_width: int) -> str | None:
    """What a CUDA kernel lacks to run, with the remedy, or None."""
    if device.type != "cuda":
        return f"it needs a CUDA device and this is {device.type}; set model.attention to auto or sdpa"
    if name == "flex":
        few = head_width < _FLEX_NARROWEST
        return f"a head is {head_width} wide, less than {_FLEX_NARROWEST}; raise model.width" if few else None
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "it needs an Ampere GPU or newer; set model.attention to sdpa"
    if head_width % 8 or head_width > 256:
        return (
            f"a head is {head_width} wide, not a multiple of 8 up to 256; change model.width or model.heads"
        )
    if name == "flash" and importlib.util.find_spec("flash_attn") is None:
        return (
            "flash-attn is not installed; with torch in place, pip install --no-build-isolation flash-attn, "
            "or set model.attention to varlen"
        )
    if name == "varlen" and not _varlen_has_windows():
        return f"torch {torch.__version__} has no window in varlen_attn; upgrade torch, or set it to sdpa"
    return None


def _varlen_has_windows() -> bool:
    """From torch 2.11 on; the module is older."""
    from torch.nn.attention.varlen import varlen_attn

    return "window_size" in inspect.signature(varlen_attn).parameters
