"""BlockScan models under transformers' Auto classes (extra `[hf]`); importing this module registers them.

    import blockscan.model.hf
    model = AutoModelForMaskedLM.from_pretrained("model/checkpoint")

The weights are read and checked by blockscan.model.hub: no remote code, no pickle. There is no AutoTokenizer,
since that turns text into ids, and what is encoded here are transactions (tokenizer.txtokenizer): give
`padded(sequences)` to the model.

Legend: B sequences, L tokens of the longest, T tokens of all, E width, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput

from blockscan.config import config_from
from blockscan.errors import ArtifactError, ConfigError
from blockscan.model.attention import layout_of
from blockscan.model.batch import PackedBatch
from blockscan.model.encoder import MaskedLM
from blockscan.model.hub import CONFIG, MODEL_TYPE, from_pretrained
from blockscan.model.tree_bias import lca_factors
from blockscan.tokens import PAD_ID, TokenSequence, VocabularyShape

_IGNORED = -100  # the label that transformers' losses leave out


class BlockScanConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is an extra, unknown to mypy
    """config.json of a checkpoint: `model` holds a ModelConfig, `vocabulary` a VocabularyShape."""

    model_type = MODEL_TYPE

    def __init__(
        self,
        model: Mapping[str, Any] | None = None,
        vocabulary: Mapping[str, Any] | None = None,
        **general: Any,
    ) -> None:
        """`general` are the settings that transformers knows for every model."""
        super().__init__(**general)
        self.model = dict(model or {})
        self.vocabulary = dict(vocabulary or {"size": 2, "alias_spans": []})

    @property
    def hidden_size(self) -> int:
        """Width of the encoder, E."""
        return config_from({"model": self.model}, CONFIG).model.width

    @property
    def vocab_size(self) -> int:
        """Ids of the vocabulary, V."""
        return int(self.vocabulary["size"])


class _Pretrained(PreTrainedModel):  # type: ignore[misc]  # as above
    """What the encoder and the masked language model share: a MaskedLM, and how it is read."""

    config_class = BlockScanConfig
    base_model_prefix = "lm"

    def __init__(self, config: BlockScanConfig, lm: MaskedLM | None = None) -> None:
        super().__init__(config)
        spans = tuple((int(start), int(stop)) for start, stop in config.vocabulary["alias_spans"])
        shape = VocabularyShape(config.vocab_size, spans)
        self.lm = lm or MaskedLM(config_from({"model": config.model}, CONFIG).model, shape)

    @classmethod
    def from_pretrained(cls, directory: str | Path, *, config: Any = None, **general: Any) -> "_Pretrained":
        """Read a checkpoint directory on this machine; move the model with `.to(...)` afterwards.

        Raises:
            ArtifactError: it is no such directory, or a file in it was changed.
            ConfigError: an option was given that needs transformers' own loader.
        """
        if options := sorted(name for name, value in general.items() if value):
            raise ConfigError(f"{options[0]} is not supported here; load without it and use .to(...)")
        if not Path(directory).is_dir():
            raise ArtifactError(f"{directory} is no directory; download the model and give the directory")
        lm = from_pretrained(Path(directory))
        model = cls(config or BlockScanConfig.from_pretrained(directory), lm)
        model.eval()
        return model

    def save_pretrained(self, *_: Any, **__: Any) -> None:
        """Refused: a checkpoint says what it was trained on, which is not known here.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "save the model with blockscan.model.checkpoint.save_checkpoint(path, model.lm, ...)"
        )

    def _encode(self, ids_BL: Tensor, mask_BL: Tensor | None, parts: Mapping[str, Tensor]) -> Tensor:
        """Encoded tokens (B, L, E), zeros at padding."""
        real_BL = torch.ones_like(ids_BL, dtype=torch.bool) if mask_BL is None else mask_BL.bool()
        lengths = real_BL.sum(1).tolist()
        if not 1 <= min(lengths) <= max(lengths) <= self.lm.config.longest:
            raise ConfigError(
                f"sequences have {min(lengths)} to {max(lengths)} tokens, the model takes 1 to "
                f"{self.lm.config.longest}; cut them with blockscan.tokens.windows"
            )
        place_BL = torch.arange(ids_BL.shape[1], device=ids_BL.device).expand_as(ids_BL)
        if not torch.equal(real_BL, place_BL < real_BL.sum(1, keepdim=True)):
            raise ConfigError("padding must be on the right; use blockscan.model.hf.padded")
        landmarks = self.lm.config.lca_bias
        batch = PackedBatch(
            ids_BL[real_BL],
            parts["field"][real_BL],
            parts["depth"][real_BL],
            parts["group"][real_BL],
            place_BL[real_BL],
            layout_of(lengths, ids_BL.device),
            _lca(parts["node"][real_BL], parts["depth"][real_BL], lengths, landmarks) if landmarks else None,
        )
        x_TE = self.lm(batch)
        x_BLE: Tensor = x_TE.new_zeros(*ids_BL.shape, x_TE.shape[-1])
        x_BLE[real_BL] = x_TE
        return x_BLE


class BlockScanModel(_Pretrained):
    """The encoder."""

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **parts: Tensor
    ) -> BaseModelOutput:
        """Encode the output of `padded`: `last_hidden_state` (B, L, E)."""
        return BaseModelOutput(last_hidden_state=self._encode(input_ids, attention_mask, parts))


class BlockScanForMaskedLM(_Pretrained):
    """The encoder with its decoder."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **parts: Tensor,
    ) -> MaskedLMOutput:
        """Logits (B, L, V) of the output of `padded`, where blockscan.tokens.MASK_ID hides ids.

        `labels` (B, L) are true ids, -100 where not asked: the loss is plain cross-entropy, which unlike
        blockscan.model.losses does not merge the names of an alias span.
        """
        x_BLE = self._encode(input_ids, attention_mask, parts)
        logits_BLV = self.lm.logits(x_BLE)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits_BLV.flatten(0, 1), labels.flatten(), ignore_index=_IGNORED)
        return MaskedLMOutput(loss=loss, logits=logits_BLV, hidden_states=(x_BLE,))


def padded(sequences: Sequence[TokenSequence]) -> dict[str, Tensor]:
    """Sequences (at least one) as int64 (B, L): input_ids, attention_mask, field, depth, group, node."""
    longest = max(map(len, sequences))

    def stacked(arrays: Sequence[Any], filler: int) -> Tensor:
        rows = [
            np.pad(array.astype(np.int64), (0, longest - len(array)), constant_values=filler)
            for array in arrays
        ]
        return torch.from_numpy(np.stack(rows))

    return {
        "input_ids": stacked([one.ids for one in sequences], PAD_ID),
        "attention_mask": stacked([np.ones(len(one)) for one in sequences], 0),
        "field": stacked([one.field for one in sequences], 0),
        "depth": stacked([one.depth for one in sequences], 0),
        "group": stacked([one.group for one in sequences], -1),
        "node": stacked([one.node for one in sequences], 0),
    }


def _lca(node_T: Tensor, depth_T: Tensor, lengths: list[int], landmarks: int) -> Tensor:
    pairs = zip(torch.split(node_T, lengths), torch.split(depth_T, lengths), strict=True)
    rows = [lca_factors(node.cpu().numpy(), depth.cpu().numpy(), landmarks) for node, depth in pairs]
    return torch.from_numpy(np.concatenate(rows)).to(node_T.device)


AutoConfig.register(MODEL_TYPE, BlockScanConfig)
AutoModel.register(BlockScanConfig, BlockScanModel)
AutoModelForMaskedLM.register(BlockScanConfig, BlockScanForMaskedLM)
