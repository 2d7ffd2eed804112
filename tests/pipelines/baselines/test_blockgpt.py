"""BlockGPT: trace words by hand, strict causality, likelihoods against a direct sum, and that it learns."""

import dataclasses

import numpy as np
import pytest
import torch

from blockscan.config import ModelConfig
from blockscan.transaction import Call, CallKind, Log
from pipelines.baselines import BASELINES
from pipelines.baselines.blockgpt import Trace, causal_batch, encode, learn, likelihoods
from pipelines.baselines.causal_lm import CausalLM
from pipelines.baselines.trace_words import START, TraceReader, TraceVocabulary, two_digits

SMALL = ModelConfig(layers=2, width=32, heads=2, feed_forward=48, longest=64)
WORDS = 50


def _model(seed: int = 0) -> CausalLM:
    model = CausalLM(SMALL, WORDS, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight *= 4.0  # so that the context matters without training
    return model


def _trace(length: int, seed: int = 0) -> Trace:
    rng = np.random.default_rng(seed)
    return Trace(*(rng.integers(1, most, length) for most in (WORDS, 32, 32)))


def _logits(model: CausalLM, traces: list[Trace]) -> torch.Tensor:
    with torch.inference_mode():
        return torch.nn.functional.linear(
            encode(model, causal_batch(traces, "cpu")), model.token.weight, model.bias
        )


@pytest.mark.parametrize("name", ["ids", "depth", "sibling"])
def test_it_cannot_see_the_token_that_it_predicts(name):
    model, trace, changed = _model(), _trace(20), 11
    other = getattr(trace, name).copy()
    other[changed] = other[changed] % 30 + 1
    before, after = (_logits(model, [each]) for each in (trace, dataclasses.replace(trace, **{name: other})))
    # Row t predicts word t: everything up to the changed word itself must be the same.
    assert torch.equal(before[: changed + 1], after[: changed + 1])
    assert not torch.allclose(before[changed + 1], after[changed + 1], atol=1e-3)


def test_traces_of_one_batch_do_not_see_each_other():
    model, one, other = _model(), _trace(9, 1), _trace(9, 2)
    together = _logits(model, [one, other, _trace(5, 3)])
    assert torch.allclose(together[9:18], _logits(model, [other]), atol=1e-5)


def test_likelihoods_are_the_sum_and_mean_of_log_probabilities():
    model, traces = _model(), [_trace(length, length) for length in (7, 3, 7, 20)]
    found = likelihoods(model, traces, batch_tokens=16)
    for trace, (total, mean) in zip(traces, found, strict=True):
        log_p = _logits(model, [trace]).double().log_softmax(-1)
        by_hand = -sum(float(log_p[place, word]) for place, word in enumerate(trace.ids))
        assert total == pytest.approx(by_hand, rel=1e-4)
        assert mean == pytest.approx(by_hand / len(trace.ids), rel=1e-4)


def test_the_first_input_is_the_start_and_targets_are_the_words():
    trace = _trace(4)
    batch = causal_batch([trace], "cpu")
    assert batch.ids_T.tolist() == [START, *trace.ids[:-1]]
    assert batch.target_T.tolist() == trace.ids.tolist()


def test_training_learns_what_comes_next(setting):
    cycle = np.arange(24) % 6 + 1
    zeros = np.zeros(24, dtype=np.int64)
    traces = [Trace(np.roll(cycle, shift).astype(np.int64), zeros, zeros) for shift in range(6)] * 4
    model, given = CausalLM(SMALL, WORDS, torch.Generator().manual_seed(0)), setting()
    config = dataclasses.replace(given.config, train=dataclasses.replace(given.config.train, steps=60))
    learn(model, traces, dataclasses.replace(given, config=config))
    known, shuffled = traces[0], Trace(np.random.default_rng(0).permutation(cycle), zeros, zeros)
    found = likelihoods(model, [known, shuffled], 256)[:, 1]
    assert found[0] < 0.5 < 2.0 < found[1]


def test_batches_of_a_step_are_added_up_by_their_words(setting):
    """Two traces in one batch, or one in each of two, of other lengths: the same step."""
    zeros = np.zeros(24, dtype=np.int64)
    traces = [Trace(zeros[:n] + 1, zeros[:n], zeros[:n]) for n in (4, 12)]
    weights = []
    for batch_tokens, accumulate in ((16, 1), (12, 2)):
        given, model = setting(), CausalLM(SMALL, WORDS, torch.Generator().manual_seed(0))
        train = dataclasses.replace(
            given.config.train, steps=1, warmup=1, batch_tokens=batch_tokens, accumulate=accumulate, clip=1e9
        )
        learn(
            model, traces, dataclasses.replace(given, config=dataclasses.replace(given.config, train=train))
        )
        weights.append(model.token.weight.detach())
    assert torch.allclose(weights[0], weights[1], atol=1e-7)


def test_words_by_hand():
    log = Log("0xe", (b"\x11" * 32, (7).to_bytes(32)), b"abc")
    inner = Call(CallKind.STATICCALL, "0xb", "0xc", b"\1\2\3\4", (0).to_bytes(32), 0, "reverted", None, ())
    data = b"\xa9\x05\x9c\xbb" + (123_456).to_bytes(32) + b"\1"
    root = Call(CallKind.CALL, "0xa", "0xb", data, b"", 10**18, None, None, (inner, log, inner))
    placed = TraceReader(100).read(root)
    called = ["k:STATICCALL!", "a:0xb", "a:0xc", "s:01020304", "n:0e0", "n:0e0"]
    assert placed.words == [
        *("k:CALL", "a:0xa", "a:0xb", "s:a9059cbb", "n:10e18", "n:12e5", "b:1"),
        *called,
        *("a:0xe", f"t:{'11' * 32}", "n:7e0", "b:3"),
        *called,
    ]
    assert placed.depth.tolist() == [0] * 7 + [1] * 6 + [0] * 4 + [1] * 6
    assert placed.sibling.tolist() == [0] * 17 + [1] * 6
    cut = TraceReader(9).read(root)
    assert cut.words == placed.words[:9] and len(cut.depth) == len(cut.sibling) == 9


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0e0"), (7, "7e0"), (99, "99e1"), (123_456, "12e5"), (-45_000, "-45e4")]
)
def test_two_significant_digits(number, shown):
    assert two_digits(number) == shown


def test_rare_words_share_an_id_with_their_sort():
    vocabulary = TraceVocabulary(["a:0x1", "a:0x1", "a:0x2", "n:1e0", "n:1e0", "n:1e0"], most=100)
    rare, unseen, frequent, number = vocabulary.ids(["a:0x2", "a:0x3", "a:0x1", "n:9e9"])
    assert rare == unseen != frequent and number != rare
    assert START not in (rare, unseen, frequent, number)
    assert vocabulary.ids(["n:1e0"])[0] < len(vocabulary)
    assert len(TraceVocabulary([str(i) for i in range(50)] * 2, most=20)) == 20


def test_odd_transactions_are_less_likely_after_training(train, test, setting):
    given = setting()
    config = dataclasses.replace(given.config, train=dataclasses.replace(given.config.train, steps=40))
    score = BASELINES["blockgpt"].fit(train, dataclasses.replace(given, config=config))
    total = score(test)[:, 0]
    assert total[-2:].min() > total[:-2].max()
