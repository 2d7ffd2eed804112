import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

from blockscan.config import ModelConfig, TrainConfig
from blockscan.errors import ConfigError
from blockscan.model import corruption
from blockscan.model.batch import window_table
from blockscan.model.encoder import MaskedLM, parameter_groups
from blockscan.model.losses import masked_cross_entropy
from blockscan.model.masking import fixed_examples, training_examples
from blockscan.model.objective import check_objective, training_loss
from blockscan.tokens import MASK_ID, Field, Modality, TokenSequence, VocabularyShape

TRAIN = TrainConfig(batch_tokens=400, replaced_weight=2.5, bf16=False)


@pytest.fixture
def headed(model):
    torch.manual_seed(0)
    other = MaskedLM(replace(model.config, replaced_head=True), model.vocabulary)
    other.load_state_dict(model.state_dict(), strict=False)
    return other


def _examples(sequences, shape, config, count, **options):
    table = window_table(sequences, 96, shape)
    return list(itertools.islice(training_examples(table, shape, config, **options), count))


def test_without_the_weight_nothing_changes(model, sequences):
    off = replace(TRAIN, replaced_weight=0.0)
    plain = _examples(sequences, model.vocabulary, off, 3)
    with_head = _examples(sequences, model.vocabulary, TRAIN, 3)
    for example, both in zip(plain, with_head, strict=True):
        loss = training_loss(model, example, off, hidden=70, judged=0)
        expected = masked_cross_entropy(
            model, model(example.batch).index_select(0, example.place_M), example.target_M
        )
        assert torch.equal(loss.total, expected / 70)
        assert torch.equal(loss.masked, loss.total.detach())
        assert loss.replaced == 0.0
        assert len(example.label_J) == 0
        assert example.text_tokens == len(example.batch.ids_T)
        # The masked half of a doubled batch hides the same tokens.
        assert torch.equal(both.target_M.sort().values, example.target_M.sort().values)


def test_the_second_half_is_unmasked_and_the_first_uncorrupted(headed, sequences):
    replaced = 0.0
    for example in _examples(sequences, headed.vocabulary, TRAIN, 5):
        ids = example.batch.ids_T
        judged = torch.zeros(len(ids), dtype=torch.bool)
        judged[example.judged_J] = True
        assert not judged[example.place_M].any()
        assert not (ids[judged] == MASK_ID).any()
        assert (ids[~judged] == MASK_ID).sum() == len(example.place_M)
        assert example.text_tokens == int((~judged).sum()) <= TRAIN.batch_tokens
        assert set(example.label_J.tolist()) <= {0.0, 1.0}
        replaced += float(example.label_J.sum())
        lengths = [size for _, size in _segments(example.batch.position_T)]
        assert lengths == sorted(lengths)
    assert replaced > 5


def _segments(position_T):
    begins = torch.nonzero(position_T == 0).flatten().tolist()
    return [(b, e - b) for b, e in itertools.pairwise([*begins, len(position_T)])]


@torch.no_grad()
def test_losses_add_up_over_the_batches_of_a_step(headed, sequences):
    examples = _examples(sequences, headed.vocabulary, TRAIN, 3)
    hidden = sum(len(each.target_M) for each in examples)
    judged = sum(len(each.label_J) for each in examples)
    shares = [training_loss(headed, each, TRAIN, hidden=hidden, judged=judged) for each in examples]
    masked, replaced = 0.0, []
    for each in examples:
        x_TE = headed(each.batch)
        masked += float(masked_cross_entropy(headed, x_TE[each.place_M], each.target_M))
        odds_J = headed.replaced(x_TE[each.judged_J])
        replaced.append(F.binary_cross_entropy_with_logits(odds_J, each.label_J, reduction="none"))
    assert float(sum(each.masked for each in shares)) == pytest.approx(masked / hidden, rel=1e-5)
    mean = float(torch.cat(replaced).mean())
    assert float(sum(each.replaced for each in shares)) == pytest.approx(mean, rel=1e-5)
    total = float(sum(each.total for each in shares))
    assert total == pytest.approx(masked / hidden + TRAIN.replaced_weight * mean, rel=1e-5)


def test_one_pass_gives_every_weight_a_gradient(headed, sequences):
    (example,) = _examples(sequences, headed.vocabulary, TRAIN, 1)
    passes = []
    headed.register_forward_hook(lambda *_: passes.append(1))
    training_loss(headed, example, TRAIN, hidden=1, judged=1).total.backward()
    assert passes == [1]
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in headed.parameters())
    grouped = {id(p) for group in parameter_groups(headed, 0.1) for p in group["params"]}
    assert {id(p) for p in headed.parameters()} == grouped


def test_a_batch_is_a_function_of_seed_and_number(sequences, model):
    shape = model.vocabulary
    whole = _examples(sequences, shape, TRAIN, 9)
    resumed = _examples(sequences, shape, TRAIN, 4, first=5)
    for one, two in zip(whole[5:], resumed, strict=True):
        assert torch.equal(one.batch.ids_T, two.batch.ids_T)
        assert torch.equal(one.label_J, two.label_J)
    other = _examples(sequences, shape, replace(TRAIN, seed=1), 1)
    assert not torch.equal(whole[0].batch.ids_T[:20], other[0].batch.ids_T[:20])


def test_validation_is_masked_only(headed, sequences):
    for example in fixed_examples(sequences, 96, headed.vocabulary, TRAIN):
        assert len(example.label_J) == len(example.judged_J) == 0
        assert training_loss(headed, example, TRAIN, hidden=1, judged=0).replaced == 0.0


@pytest.mark.parametrize(
    ("head", "weight", "says"),
    [(False, 1.0, "replaced_head = true"), (True, 0.0, "never be trained"), (True, -1.0, "negative")],
)
def test_a_weight_that_fits_no_head_is_refused(head, weight, says):
    with pytest.raises(ConfigError, match=says):
        check_objective(ModelConfig(replaced_head=head), TrainConfig(replaced_weight=weight))
    check_objective(ModelConfig(), TrainConfig())
    check_objective(ModelConfig(replaced_head=True), TrainConfig(replaced_weight=1.0))


def test_the_head_changes_no_other_weight_of_a_seed(model):
    without, with_head = (
        MaskedLM(replace(model.config, replaced_head=head), model.vocabulary) for head in (False, True)
    )
    own = with_head.state_dict()
    assert all(torch.equal(weight, own.pop(name)) for name, weight in without.state_dict().items())
    assert set(own) == {
        "replaced.dense.weight",
        "replaced.norm.weight",
        "replaced.out.weight",
        "replaced.bias",
    }


def _paired(count, rng):
    """Frames in which the callee decides the function: five callees, one function each."""
    made = []
    for which in range(count):
        callee = rng.integers(0, 5, 6)
        ids = np.stack((np.full(6, 2), 10 + callee, 40 + callee), axis=1).ravel()
        field = np.tile([Field.KIND, Field.TARGET, Field.SELECTOR], 6)
        modality = np.tile([Modality.STRUCTURE, Modality.ADDRESS, Modality.SELECTOR], 6)
        node = np.repeat(np.arange(6), 3)
        made.append(
            TokenSequence(
                f"0x{which}",
                ids.astype(np.int32),
                modality.astype(np.uint8),
                field.astype(np.uint8),
                node.astype(np.int32),
                np.minimum(node, 1).astype(np.int16),
                np.arange(18, dtype=np.int32),
                np.full(18, -1, dtype=np.int32),
                np.ones(18, dtype=np.bool_),
            )
        )
    return made


@pytest.mark.slow
def test_training_teaches_which_calls_do_not_belong(monkeypatch):
    """Whether the callee or the function was replaced cannot be told, but in which call."""
    monkeypatch.setattr(corruption, "REARRANGED", 0.0)
    monkeypatch.setattr(corruption, "CHANGED", 0.15)
    shape = VocabularyShape(70, ())
    config = ModelConfig(
        layers=2, width=48, heads=2, feed_forward=64, longest=64, window=8, replaced_head=True
    )
    train = replace(TRAIN, batch_tokens=360, replaced_weight=10.0)
    model = MaskedLM(config, shape)
    known = window_table(_paired(300, np.random.default_rng(0)), 64, shape)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.0), lr=4e-3)
    for example in itertools.islice(training_examples(known, shape, train), 260):
        optimizer.zero_grad()
        loss = training_loss(model, example, train, hidden=len(example.target_M), judged=len(example.label_J))
        loss.total.backward()
        optimizer.step()
    unseen = window_table(_paired(100, np.random.default_rng(1)), 64, shape)
    (example,) = itertools.islice(training_examples(unseen, shape, replace(train, batch_tokens=1800)), 1)
    with torch.no_grad():
        odds_J = model.replaced(model(example.batch)[example.judged_J])
    label_C, odds_C = (each.reshape(-1, 3).max(1).values for each in (example.label_J, odds_J))
    assert 50 < label_C.sum() < 300
    assert roc_auc_score(label_C, odds_C) > 0.9
