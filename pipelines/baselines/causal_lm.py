"""A decoder-only transformer: every position sees itself and what came before, and predicts what comes next.

Pre-norm blocks without biases, GeGLU and rotary positions as in our encoder, so that size means the same.

Legend: T tokens of all segments, N segments of a run, L tokens of one, E width, H heads, D head width,
R = D / 2, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from blockscan.config import ModelConfig
from blockscan.model.attention import Layout
from blockscan.model.rope import rope_table, rotate
from pipelines.baselines.trace_words import DEEPEST, SIBLINGS

CHUNK = 1 << 22  # logits held at a time: 16 MiB in float32
_STD = 0.02


class CausalBlock(nn.Module):
    """Causal attention and feed-forward, each on a normed input and added to the residual stream."""

    def __init__(self, config: ModelConfig, generator: torch.Generator) -> None:
        super().__init__()
        width, residual = config.width, (2 * config.layers) ** -0.5
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.qkv = _linear(width, 3 * width, generator)
        self.attention_out = _linear(width, width, generator, scale=residual)
        self.feed_norm = nn.LayerNorm(width, bias=False)
        self.gate_up = _linear(width, 2 * config.feed_forward, generator)
        self.feed_out = _linear(config.feed_forward, width, generator, scale=residual)

    def forward(self, x_TE: Tensor, turn_TR: Tensor, layout: Layout) -> Tensor:
        """One layer: (T, E) to (T, E)."""
        qkv_THD = self.qkv(self.attention_norm(x_TE)).unflatten(-1, (3 * self.heads, -1))
        q_THD, k_THD, v_THD = qkv_THD.chunk(3, dim=1)
        out_THD = causal_attention(rotate(q_THD, turn_TR), rotate(k_THD, turn_TR), v_THD, layout)
        x_TE = x_TE + self.attention_out(out_THD.flatten(1))
        gate_TF, up_TF = self.gate_up(self.feed_norm(x_TE)).chunk(2, dim=-1)
        grown_TE: Tensor = x_TE + self.feed_out(F.gelu(gate_TF) * up_TF)
        return grown_TE


class CausalLM(nn.Module):
    """Words and their places in the tree to scores of the next word, the decoder tied to the embedding."""

    def __init__(self, config: ModelConfig, vocabulary: int, generator: torch.Generator) -> None:
        super().__init__()
        self.token = _embedding(vocabulary, config.width, generator)
        self.depth = _embedding(DEEPEST, config.width, generator)
        self.sibling = _embedding(SIBLINGS, config.width, generator)
        self.embedding_norm = nn.LayerNorm(config.width, bias=False)
        self.blocks = nn.ModuleList(CausalBlock(config, generator) for _ in range(config.layers))
        self.final_norm = nn.LayerNorm(config.width, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        turns = rope_table(config.longest, config.width // config.heads, config.rope_global)
        self.register_buffer("turn", turns, persistent=False)

    def forward(
        self, ids_T: Tensor, depth_T: Tensor, sibling_T: Tensor, position_T: Tensor, layout: Layout
    ) -> Tensor:
        """One vector per position, (T, E), for `next_word_losses`."""
        x_TE = self.embedding_norm(self.token(ids_T) + self.depth(depth_T) + self.sibling(sibling_T))
        turn_TR = self.get_buffer("turn")[position_T]
        for block in self.blocks:
            x_TE = block(x_TE, turn_TR, layout)
        encoded_TE: Tensor = self.final_norm(x_TE)
        return encoded_TE

    def next_word_losses(self, x_TE: Tensor, target_T: Tensor) -> Tensor:
        """-log p in nats of the word behind each position, (T,).

        Logits exist for a chunk of positions at a time, in training too, where they are computed twice.
        """
        rows = max(1, CHUNK // len(self.bias))
        parts = [
            checkpoint(self._losses, x_TE[i : i + rows], target_T[i : i + rows], use_reentrant=False)
            for i in range(0, len(x_TE), rows)
        ]
        return torch.cat(parts)

    def _losses(self, x_TE: Tensor, target_T: Tensor) -> Tensor:
        logits_TV = F.linear(x_TE, self.token.weight, self.bias).float()
        return F.cross_entropy(logits_TV, target_T, reduction="none")


def causal_attention(q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, layout: Layout) -> Tensor:
    """PyTorch's attention with `is_causal`, one call per run of equally long segments."""
    given = q_THD.dtype
    if q_THD.device.type == "cpu":  # its bfloat16 gradient takes three times as long
        q_THD, k_THD, v_THD = q_THD.float(), k_THD.float(), v_THD.float()
    sizes = [count * length for count, length in layout.runs]
    parts = zip(layout.runs, *(torch.split(x, sizes) for x in (q_THD, k_THD, v_THD)), strict=True)
    outs = []
    for (count, length), *rows in parts:
        q, k, v = (x.view(count, length, *x.shape[1:]).transpose(1, 2) for x in rows)
        with torch.autocast(q.device.type, enabled=False):
            out_NHLD = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        outs.append(out_NHLD.transpose(1, 2).flatten(0, 1))
    return torch.cat(outs).to(given)


def _linear(inputs: int, outputs: int, generator: torch.Generator, scale: float = 1.0) -> nn.Linear:
    """A linear map without bias, drawn from `generator` alone."""
    layer = nn.Linear(inputs, outputs, bias=False, device="meta")
    weight = torch.randn(outputs, inputs, generator=generator) * (scale * inputs**-0.5)
    layer.weight = nn.Parameter(weight)
    return layer


def _embedding(rows: int, width: int, generator: torch.Generator) -> nn.Embedding:
    return nn.Embedding(rows, width, _weight=torch.randn(rows, width, generator=generator) * _STD)
