"""How fast a run is: tokens per second, and model FLOP utilisation (MFU).

MFU is the arithmetic that the model needs, over what the devices could have done in the same time. Nothing
is counted for recomputation, padding, optimizer or validation, though their time is (PaLM, arXiv 2204.02311,
appendix B).

Legend: E width, V vocabulary, L tokens of a segment.
"""

import time
from collections.abc import Iterable
from functools import cache

import torch

from blockscan.model.encoder import MaskedLM
from blockscan.model.masking import Example

DATASHEET = {"H200": 989e12, "H100 80GB HBM3": 989e12, "A100": 312e12}
"""Dense bfloat16 FLOP per second of GPUs by a part of their name; others are measured."""


class Arithmetic:
    """Counts the floating-point operations of training batches, forward and backward.

    Per token 6 for each weight of the matrices of the blocks, and 12 E for each key that it sees in each
    layer; per hidden token 6 (E + V) E for the decoder.
    """

    def __init__(self, model: MaskedLM) -> None:
        config = model.config
        self._window = config.window
        self._token = 6 * sum(each.numel() for each in model.blocks.parameters() if each.ndim == 2)
        self._hidden = 6 * config.width * (config.width + model.vocabulary.size)
        self._pair = 12 * config.width
        self._wide = -(-config.layers // config.global_every)
        self._local = config.layers - self._wide

    def of(self, examples: Iterable[Example]) -> float:
        """FLOP of these batches."""
        total = 0
        for example in examples:
            total += self._hidden * len(example.target_M)
            for count, length in example.batch.layout.runs:
                keys = self._wide * length + self._local * min(length, self._window + 1)
                total += count * length * (self._token + self._pair * keys)
        return float(total)


class Clock:
    """Speed since this process took up the run, for people to read; no decision depends on it.

    Args:
        peak: FLOP per second that all devices could do.
    """

    def __init__(self, peak: float) -> None:
        self._began, self._peak = time.monotonic(), peak
        self._tokens, self._work = 0.0, 0.0

    def add(self, tokens: float, work: float) -> None:
        """Count a step of so many tokens and FLOP."""
        self._tokens += tokens
        self._work += work

    def read(self) -> tuple[float, float]:
        """Tokens per second, and MFU from 0 to 1."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        return self._tokens / seconds, self._work / seconds / self._peak


def peak_of(device: torch.device, *, bf16: bool) -> float:
    """FLOP per second that a device can do in matrix products of the type that training uses.

    For a GPU in DATASHEET in bfloat16 the figure of its maker; otherwise the best of some products, measured
    once per process.
    """
    if device.type == "cuda" and bf16:
        name = torch.cuda.get_device_name(device)
        for part, peak in DATASHEET.items():
            if part in name:
                return peak
    native = device.type != "cpu" or torch.cpu._is_avx512_bf16_supported()
    return _measured(device, torch.bfloat16 if bf16 and native else torch.float32)


@cache
def _measured(device: torch.device, kind: torch.dtype) -> float:
    size = 8192 if device.type == "cuda" else 512
    a, b = (torch.ones(size, size, dtype=kind, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        began = time.perf_counter()
        float((a @ b)[0, 0])  # reading a number waits for the device
        best = min(best, time.perf_counter() - began)
    return float(2 * size**3 / best)
