from dataclasses import replace

import numpy as np
import pytest
import torch

from blockscan.config import ScoreConfig
from blockscan.errors import ArtifactError, ConfigError
from blockscan.model import embed
from blockscan.model.attention import layout_of
from blockscan.model.batch import PackedBatch, pack
from blockscan.model.embed import embeddings, pooled
from blockscan.tokens import Field, windows

CONFIG = ScoreConfig(batch_tokens=300)


@torch.inference_mode()
def _by_hand(model, sequence):
    rows = []
    for cut in windows(sequence, model.config.longest):
        arrays = (sequence.ids[cut], sequence.field[cut], sequence.depth[cut], sequence.group[cut])
        arrays += (np.arange(cut.stop - cut.start),)
        layout = layout_of([cut.stop - cut.start])
        batch = PackedBatch(*(torch.tensor(a.astype(np.int64)) for a in arrays), layout)
        rows.append(model(batch).double().numpy())
    x_TE = np.concatenate(rows)
    said = sequence.field != Field.MARK
    return x_TE[said].mean(0) if said.any() else x_TE.mean(0)


def test_an_embedding_is_the_mean_over_the_tokens_of_all_windows_but_marks(model, sequences):
    got_SE = embeddings(model, sequences, CONFIG)
    assert got_SE.dtype == np.float32
    assert got_SE.shape == (len(sequences), model.config.width)
    want_SE = np.stack([_by_hand(model, one) for one in sequences])
    np.testing.assert_allclose(got_SE, want_SE, atol=2e-6)
    assert np.abs(np.diff(want_SE, axis=0)).max(1).min() > 1e-2  # rows differ, or the line above says little


def test_any_order_packs_the_same_batches(model, sequences, draw_sequence, monkeypatch):
    rng = np.random.default_rng(0)
    every = sequences + [draw_sequence("same", 40, rng) for _ in range(4)]
    packed = []

    def spy(*args, **options):
        batch = pack(*args, **options)
        packed[-1].append((batch.ids_T.tolist(), batch.layout.runs))
        return batch

    monkeypatch.setattr(embed, "pack", spy)
    answers = []
    for seed in range(3):
        packed.append([])
        order = np.random.default_rng(seed).permutation(len(every))
        answers.append(embeddings(model, [every[i] for i in order], CONFIG)[np.argsort(order)])
    assert len(packed[0]) > 3
    assert packed[1:] == [packed[0]] * 2
    assert answers[0].tobytes() == answers[1].tobytes() == answers[2].tobytes()


def test_marks_alone_count_and_without_tokens_there_are_zeros(model, draw_sequence):
    one = draw_sequence("0x1", 40, np.random.default_rng(1))
    silent = replace(one, field=np.full(40, Field.MARK, dtype=np.uint8))
    empty = draw_sequence("0x2", 0, np.random.default_rng(1))
    first, second = embeddings(model, [silent, empty], CONFIG)
    np.testing.assert_allclose(first, _by_hand(model, silent), atol=2e-6)
    assert not second.any()
    assert embeddings(model, [], CONFIG).shape == (0, model.config.width)


def test_pooled_weighs_tokens_and_has_the_right_gradient():
    layout = layout_of([3, 1, 2])
    x_TE = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weight_T = torch.tensor([1.0, 0.0, 3.0, 1.0, 0.0, 0.0])
    mean_NE = pooled(x_TE, layout, weight_T)
    expected = torch.stack(((x_TE[0] + 3 * x_TE[2]) / 4, x_TE[3], torch.zeros(4)))
    torch.testing.assert_close(mean_NE, expected)
    slope_NE = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    mean_NE.backward(slope_NE)
    scale_TN = torch.zeros(6, 3)
    scale_TN[0, 0], scale_TN[2, 0], scale_TN[3, 1] = 0.25, 0.75, 1.0
    torch.testing.assert_close(x_TE.grad, scale_TN @ slope_NE)
    torch.testing.assert_close(pooled(x_TE, layout)[0], x_TE[:3].mean(0))


def test_bad_input_is_refused(model, sequences):
    with pytest.raises(ConfigError, match=r"score\.batch_tokens"):
        embeddings(model, sequences, replace(CONFIG, batch_tokens=0))
    with torch.no_grad():
        model.final_norm.weight[0] = float("nan")
    with pytest.raises(ArtifactError, match="not finite"):
        embeddings(model, sequences, CONFIG)
