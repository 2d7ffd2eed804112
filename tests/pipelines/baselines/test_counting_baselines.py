"""Novelty, sizes and ECOD by hand; the mixture and the paragraph vectors against what they must find."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import StandardScaler

from blockscan.errors import ConfigError
from blockscan.tokens import VocabularyShape
from blockscan.transaction import Call, CallKind, Log
from pipelines.baselines import BASELINES
from pipelines.baselines.bags import bag_matrix
from pipelines.baselines.counting import fit_lof, log_counts
from pipelines.baselines.doc2vec import WordTable, infer, learn
from pipelines.baselines.mixture import fit_mixture
from pipelines.baselines.novelty import fit_novelty, selector_of
from pipelines.baselines.sizes import COLUMNS, fit_sizes


def _call(caller, target, *steps, data=b"", kind=CallKind.CALL):
    return Call(kind, caller, target, data, b"", 0, None, None, steps)


def _with_root(transaction, root):
    return dataclasses.replace(transaction, root=root, sender=root.caller)


def test_novelty_by_hand(train, setting):
    known = _with_root(train[0], _call("0xs", "0xa", _call("0xa", "0xb", data=b"abcd"), data=b"ABCD"))
    score = fit_novelty([known], setting())
    another_sender = _with_root(
        train[0], _call("0xt", "0xa", _call("0xa", "0xb", data=b"abcd"), data=b"ABCD")
    )
    transfer = _with_root(train[0], _call("0xt", "0xnew"))
    half = _with_root(train[0], _call("0xt", "0xa", _call("0xa", "0xc", data=b"abcd"), data=b"ABCD"))
    new = _with_root(train[0], _call("0xt", "0xx", data=b"wxyz"))
    assert score([known, another_sender, transfer]).tolist() == [[0.0] * 3] * 3
    assert score([half]).tolist() == [[0.5, 0.0, 0.5]]
    assert score([new]).tolist() == [[1.0, 1.0, 1.0]]


def test_selectors_of_every_kind_of_call():
    assert selector_of(_call("a", "b", data=b"\1\2\3\4\5")) == "01020304"
    assert selector_of(_call("a", "b", data=b"\1\2\3")) == ""
    assert selector_of(_call("a", "b", data=b"\1\2\3\4", kind=CallKind.CREATE)) == ""
    assert selector_of(_call("a", "P", data=b"\3\2", kind=CallKind.INSTRUCTION)) == "P:03"


def test_sizes_by_hand(train, tokenizer, setting):
    log = Log("0xe", (), b"")
    root = _call("0xs", "0xa", log, _call("0xa", "0xb", log, data=b"123"), data=b"12345")
    one = dataclasses.replace(_with_root(train[0], root), gas_used=77)
    (values,) = fit_sizes(train, setting())([one]).tolist()
    length = len(tokenizer.encode(one))
    expected = {"length": length, "gas_used": 77, "calls": 2, "depth": 1, "input_bytes": 8, "logs": 2}
    assert dict(zip(COLUMNS, values, strict=True)) == expected


def test_ecod_is_the_greatest_sum_of_log_tails(train, test, setting):
    rows, new = log_counts(train), log_counts(test)
    left, right = np.empty_like(new), np.empty_like(new)
    for n, row in enumerate(new):
        for f, x in enumerate(row):
            left[n, f] = -np.log((1 + (rows[:, f] <= x).sum()) / (1 + len(rows)))
            right[n, f] = -np.log((1 + (rows[:, f] >= x).sum()) / (1 + len(rows)))
    third = ((rows - rows.mean(0)) ** 3).mean(0)
    auto = np.where(third < 0, left, right)
    by_hand = np.max([each.sum(1) for each in (left, right, auto)], axis=0)
    np.testing.assert_allclose(BASELINES["ecod"].fit(train, setting())(test)[:, 0], by_hand)


def test_lof_of_one_transaction_is_refused(train, setting):
    with pytest.raises(ConfigError, match="two different transactions to fit on; widen --train"):
        fit_lof(train[:1] * 3, setting())


def test_a_mixture_of_one_transaction_is_refused():
    with pytest.raises(ConfigError, match="two transactions to fit on; widen --train"):
        fit_mixture(np.zeros((1, 3)), np.random.default_rng(0))


@pytest.mark.parametrize("few", [False, True])
def test_lof_is_the_greatest_over_its_numbers_of_neighbours(train, test, setting, few):
    past = train[:25] if few else train
    rows = np.unique(log_counts(past), axis=0)
    assert len(rows) < 50 if few else len(rows) > 50
    scaler = StandardScaler().fit(rows)
    new = scaler.transform(log_counts(test))
    each = [
        -LocalOutlierFactor(n_neighbors=min(k, len(rows) - 1), novelty=True)
        .fit(scaler.transform(rows))
        .score_samples(new)
        for k in (10, 20, 30, 40, 50)
    ]
    values = BASELINES["lof"].fit(past, setting())(test)[:, 0]
    np.testing.assert_array_equal(values, np.max(each, axis=0))
    assert (values > each[1]).any(), "twenty neighbours alone give less"


def test_the_mixture_of_counts_is_a_density_of_their_logs(train, test, setting):
    rng = setting().rng
    by_hand = fit_mixture(log_counts(train), rng)(log_counts(test))
    np.testing.assert_array_equal(BASELINES["counts_gmm"].fit(train, setting())(test)[:, 0], by_hand)


def test_copies_of_a_transaction_make_no_place_denser(train, test, setting):
    copies = [*train, *[train[0]] * 50]
    alone, more = (BASELINES["lof"].fit(past, setting())(test) for past in (train, copies))
    np.testing.assert_array_equal(alone, more)


def test_unknown_gas_counts_as_none(train):
    unknown = dataclasses.replace(train[0], gas_used=None)
    assert np.isfinite(log_counts([unknown])).all()


def test_the_mixture_finds_what_lies_between_its_heaps():
    rng = np.random.default_rng(0)
    heaps = np.concatenate([rng.normal(at, 0.1, (300, 2)) for at in (-3.0, 3.0)])
    density = fit_mixture(heaps, np.random.default_rng(1))
    between, inside = density(np.array([[0.0, 0.0], [3.0, 3.0]]))
    assert between > inside + 5


def test_a_mixture_of_equal_vectors_and_of_few():
    density = fit_mixture(np.ones((40, 3)), np.random.default_rng(0))
    assert np.isfinite(density(np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]))).all()
    assert np.isfinite(fit_mixture(np.eye(3), np.random.default_rng(0))(np.eye(3))).all()


def test_paragraph_vectors_part_topics_and_are_minima(setting):
    rng = np.random.default_rng(0)
    topic = np.arange(80) % 2
    counts = rng.poisson(3.0, (80, 12)) * np.where((np.arange(12) < 6) == (topic[:, None] == 0), 1.0, 0.05)
    bags = csr_array(counts.astype(np.float32))
    table = learn(bags, setting())
    vectors = infer(table, bags)
    centre = np.stack([vectors[topic == side].mean(0) for side in (0, 1)])
    near = np.argmin(((vectors[:, None] - centre) ** 2).sum(-1), axis=1)
    assert (near == topic).mean() > 0.95
    exact = WordTable(table.vectors.double(), table.bias.double())
    for words in (bags, bags * 300):
        least = torch.from_numpy(infer(table, words)).requires_grad_()
        exact.loss(least, torch.from_numpy(words.toarray()).double()).sum().backward()
        assert least.grad.abs().max() < 0.01, "no step from here gains anything"
    alone = infer(WordTable(table.vectors, table.bias), bags[[3]])
    np.testing.assert_allclose(alone[0], vectors[3], atol=1e-6)
    short, long = infer(table, csr_array(np.eye(12, dtype=np.float32)[[0, 0]] * [[1], [20]]))
    assert np.linalg.norm(short) < 0.7 * np.linalg.norm(long), "one word is little evidence"


def test_names_of_aliases_say_nothing(train):
    """Ids of one span are names; which of them an address got depends on the order of appearance alone."""

    class Numbered:
        shape = VocabularyShape(size=9, alias_spans=((3, 6),))

        def encode(self, transaction):
            return SimpleNamespace(ids=np.array([3, 4, 5, 7, 5, 2]))

    bag = bag_matrix(train[:2], Numbered()).toarray()
    assert bag.tolist() == [[0, 0, 1, 4, 0, 0, 0, 1, 0]] * 2
