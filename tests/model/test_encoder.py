from dataclasses import replace

import numpy as np
import pytest
import torch

from blockscan.config import ModelConfig
from blockscan.errors import ConfigError
from blockscan.model import encoder
from blockscan.model.attention import KERNELS, layout_of
from blockscan.model.batch import PackedBatch, cut_windows, pack, window_table
from blockscan.model.encoder import Block, MaskedLM, parameter_groups
from blockscan.model.rope import rope_table
from blockscan.tokens import MASK_ID, VocabularyShape


def _pack(model, sequences, hidden=None):
    table = window_table(sequences, model.config.longest, model.vocabulary)
    cut = cut_windows(table, np.arange(len(table.length_W)))
    hidden = np.zeros(len(cut.place_T), dtype=np.bool_) if hidden is None else hidden
    return pack(table, cut, hidden)


def _sees(window: int | None) -> torch.Tensor:
    """Which inputs (columns) reach which outputs (rows) of one block over 40 tokens."""
    config = ModelConfig(width=32, heads=2, feed_forward=48, longest=40, window=10)
    lm = MaskedLM(config, VocabularyShape(10, ()))
    block = lm.blocks[0 if window is None else 1]
    assert isinstance(block, Block)
    assert block.window == window
    turn = rope_table(40, 16, 100.0)
    x = torch.randn(40, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    none = torch.zeros(40, dtype=torch.int64)
    out = block(x, turn, PackedBatch(none, none, none, none, none, layout_of([40])))
    rows = [torch.autograd.grad(out[i].sum(), x, retain_graph=True)[0].abs().sum(-1) for i in range(40)]
    return torch.stack(rows) > 0


def test_a_local_block_sees_its_window_and_no_more():
    place = torch.arange(40)
    assert torch.equal(_sees(10), (place[:, None] - place).abs() <= 5)


def test_a_global_block_sees_everything():
    assert _sees(None).all()


def test_every_third_layer_is_global_the_first_included(model):
    lm = MaskedLM(replace(model.config, layers=7), model.vocabulary)
    assert [block.window for block in lm.blocks] == [None, 16, 16, None, 16, 16, None]


@torch.inference_mode()
def test_packed_equals_alone(model, sequences):
    short = [one for one in sequences if len(one) <= 96]
    together = model(_pack(model, short)).split([len(one) for one in short])
    for one, packed in zip(short, together, strict=True):
        torch.testing.assert_close(packed, model(_pack(model, [one])), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_segments_do_not_see_each_other(model, sequences):
    first, second, third = sequences[0], sequences[3], sequences[13]
    other = replace(second, ids=second.ids[::-1].copy())
    before, after = (model(_pack(model, [first, x, third])) for x in (second, other))
    rest = torch.ones(len(before), dtype=torch.bool)
    rest[len(first) : len(first) + len(second)] = False
    assert torch.equal(before[rest], after[rest])
    assert not torch.equal(before[~rest], after[~rest])


@torch.inference_mode()
def test_a_hidden_value_shows_neither_ids_nor_groups(model, sequences):
    """Everything about a hidden value is changed: no output may move by a bit."""
    one = sequences[3]
    hidden = one.unit == one.unit[20]
    changed = replace(
        one,
        ids=np.where(hidden, 2 + (one.ids + 17) % 200, one.ids).astype(np.int32),
        group=np.where(hidden, one.group + 3, one.group).astype(np.int32),
    )
    assert torch.equal(model(_pack(model, [one], hidden)), model(_pack(model, [changed], hidden)))
    visible = model(_pack(model, [one]))
    assert not torch.equal(visible, model(_pack(model, [changed])))
    regrouped = replace(one, group=changed.group)
    assert not torch.equal(visible, model(_pack(model, [regrouped])))


@torch.inference_mode()
def test_the_model_withholds_the_group_of_a_masked_id_itself(model, sequences):
    batch = _pack(model, [sequences[3]])
    ids = batch.ids_T.clone()
    ids[7] = MASK_ID
    group = batch.group_T.clone()
    group[7] = 12
    without = group.clone()
    without[7] = -1
    outs = [model(replace(batch, ids_T=ids, group_T=g)) for g in (group, without)]
    assert torch.equal(*outs)


@torch.inference_mode()
def test_depth_is_clipped_and_groups_are_folded(model, sequences):
    batch = _pack(model, [sequences[3]])

    def out(**changes):
        return model(replace(batch, **{name: torch.full_like(batch.ids_T, n) for name, n in changes.items()}))

    assert torch.equal(out(depth_T=31), out(depth_T=1000))
    assert not torch.equal(out(depth_T=30), out(depth_T=31))
    assert torch.equal(out(group_T=3), out(group_T=3 + 64))
    assert not torch.equal(out(group_T=0), out(group_T=-1))


def test_weights_come_from_the_generator_alone(model):
    before = torch.get_rng_state()
    one, two, other = (
        MaskedLM(model.config, model.vocabulary, generator=torch.Generator().manual_seed(seed))
        for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.token.weight, other.token.weight)
    assert all(torch.isfinite(weight).all() for weight in one.parameters())


def test_an_untrained_model_guesses_evenly(model, sequences):
    lm = MaskedLM(model.config, model.vocabulary)
    chances = lm.logits(lm(_pack(lm, sequences))).softmax(-1)
    assert chances.max() < 5 / model.vocabulary.size


def test_only_matrices_decay(model):
    decayed, free = parameter_groups(model, 0.1)
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert {names[id(w)].split(".")[-2] for w in decayed["params"]} == {
        "qkv",
        "attention_out",
        "gate_up",
        "feed_out",
        "decoder_dense",
    }
    assert len(decayed["params"]) + len(free["params"]) == len(names)


def test_there_are_no_biases_but_the_decoders(model):
    assert [name for name, _ in model.named_parameters() if "bias" in name] == ["decoder_bias"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "model.width = 64 must be a multiple of twice model.heads = 3"),
        ({"heads": 64}, "must be a multiple of twice"),
        ({"layers": 0}, "model.layers must be at least 1"),
        ({"window": 1}, "model.window must be at least 2"),
        ({"attention": "varlen"}, "needs a CUDA device"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(model, changes, message):
    with pytest.raises(ConfigError, match=message):
        MaskedLM(replace(model.config, **changes), model.vocabulary)


@pytest.mark.parametrize(
    "shape", [VocabularyShape(2, ()), VocabularyShape(50, ((40, 51),)), VocabularyShape(50, ((1, 5),))]
)
def test_a_vocabulary_that_does_not_fit_is_refused(model, shape):
    with pytest.raises(ConfigError, match="vocabulary of"):
        MaskedLM(model.config, shape)


@pytest.mark.parametrize("name", ["gpu0", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(model, name):
    with pytest.raises(ConfigError, match=f"no device.*{name}.*choose cpu"):
        MaskedLM(model.config, model.vocabulary, device=name)


def test_the_kernel_table_is_what_blocks_use(model):
    assert all(block.kernel is KERNELS["sdpa"] for block in model.blocks)


def test_a_cpu_without_bfloat16_is_told_of_once(monkeypatch, caplog):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    encoder._say_float32.cache_clear()
    for _ in range(3):
        with encoder.autocast(torch.device("cpu"), bf16=True):
            assert not torch.is_autocast_enabled("cpu")
    assert caplog.messages == ["this CPU has no bfloat16 instructions: computing in float32"]
