"""Skeletons, baselines from files, ranks per contract, the paper's pools, alarms: by hand."""

from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blockscan.errors import ConfigError
from blockscan.transaction import Call, CallKind, LogOrder, TraceSource, Transaction
from pipelines.evaluation.alarms import alarms_at, realised
from pipelines.evaluation.contracts import contract_ranks
from pipelines.evaluation.detectors import rankings, read_baselines
from pipelines.evaluation.facts import TxFacts, read_facts, skeleton, tx_facts
from pipelines.evaluation.pools import paper_pools
from pipelines.evaluation.selection import Case, ScoredRow
from pipelines.labels import Label
from pipelines.sources import Shard


def call(*steps, kind=CallKind.CALL, data=b"\x01\x02\x03\x04rest", target="0xbb", value=0, error=None):
    return Call(kind, "0xaa", target, data, b"", value, error, None, steps)


def transaction(root):
    return Transaction(
        "c", "0x1", 1, None, 0, None, "0xaa", True, None, root, TraceSource.CALL_TRACER, LogOrder.ABSENT
    )


def test_a_skeleton_is_the_shape_and_not_the_amounts():
    base = call(call(target="0xcc"), call())
    assert skeleton(base) == skeleton(call(call(value=9), call(data=b"\x01\x02\x03\x04other"), target="0xdd"))
    for other in (
        call(call(call())),
        call(call(), call(), call()),
        call(call(), call(kind=CallKind.DELEGATECALL)),
        call(call(), call(data=b"\x01\x02\x03\x05")),
        call(call(), call(error="reverted")),
    ):
        assert skeleton(other) != skeleton(base)
    created = [call(call(kind=CallKind.CREATE, data=code)) for code in (b"code", b"other")]
    assert skeleton(created[0]) == skeleton(created[1])


def test_a_skeleton_of_the_deepest_trace():
    root = call()
    for _ in range(5000):
        root = call(root)
    assert len(skeleton(root)) == 16


def test_touched_are_contracts_that_were_called_with_an_input():
    root = call(
        call(target="0xcc"),
        call(target="0xdd", data=b""),
        call(target=None),
        call(target="0xaa"),
        target="0xbb",
    )
    facts = tx_facts(transaction(root))
    assert facts.touched == {"0xbb", "0xcc"} and facts.target == "0xbb" and facts.counts[0] == 5


def test_facts_of_a_hash_on_two_chains_are_those_of_the_chain_wanted():
    """Where no chain has the name that is wanted, as in files that state none, the first will do."""
    here, there = transaction(call()), replace(transaction(call(call())), chain="other")
    for order in ((here, there), (there, here)):
        shards = [Shard("s", partial(iter, order), 2)]
        assert read_facts(shards, {"0x1": "other"})["0x1"].counts[0] == 2
        assert read_facts(shards, {"0x1": "c"})["0x1"].counts[0] == 1
    assert read_facts([Shard("s", partial(iter, (here,)), 1)], {"0x1": "unknown"})["0x1"].counts[0] == 1


def case(name, *, incident="", touched=(), calls=2, p=0.5, time=None, **label):
    kind = "attack" if incident else "benign"
    row = ScoredRow(name, 0.0, p, tokens=len(name), calls=calls, time=time)
    facts = TxFacts(np.full(13, float(calls)), b"", None, frozenset(touched))
    p_values = p if isinstance(p, tuple) else (p,)
    return Case(
        row, Label(kind, incident=incident, **label), (0.0,) * len(p_values), p_values, facts, ("", "")
    )


def test_rank_of_the_best_exploit_at_each_contract():
    """At pool: two benign above the incident's best. At vault: none. At rare: too few benign transactions."""
    cases = [case(f"b{n}", touched=["pool", "vault"][: 1 + (n < 10)]) for n in range(12)]
    cases += [
        case("x1", incident="one", touched=["pool", "rare"]),
        case("x2", incident="one", touched=["pool", "vault"]),
        case("x3", incident="two", touched=["vault"]),
        case("x4", incident="three", touched=["rare"]),
    ]
    values = np.array([[*range(10), 20, 21, 18, 15, 9, 99]], dtype=float)
    found = contract_ranks(cases, {"it": values}, rng=np.random.default_rng(0), resamples=50)
    assert (found.incidents, found.contracts, found.pairs) == (2, 2, 3)
    # Incident one: rank 3 at pool, 1 at vault. Incident two: 9 is tied with one benign value, rank 2.
    figures = {name: each.value for name, each in found.detectors["it"].items()}
    assert figures == {"top@1": 0.25, "top@2": 0.75, "top@3": 1.0}
    assert found.detectors["it"]["top@1"].n == 2
    every = found.detectors["it"]["top@3"]
    assert (every.low, every.high) == (pytest.approx(0.1581, abs=1e-4), 1.0), "of two incidents, exactly"
    nobody = contract_ranks(cases[:-4], {"it": values}, rng=np.random.default_rng(0))
    assert nobody is None


def pool_cases():
    cases = [case(f"b{n}") for n in range(709)] + [case("plain", calls=1)]
    return cases + [case(f"x{n}", incident=f"i{n // 2}") for n in range(20)]


def test_pools_of_the_paper_by_hand():
    """All benign and one exploit of each incident: 7 of 10 stand above all, 3 below 6 benign ones."""
    values = np.concatenate((np.arange(709.0), [1e9], np.repeat([1e6] * 7 + [702.5] * 3, 2)))
    found = paper_pools(pool_cases(), {"it": values[np.newaxis]}, rng=np.random.default_rng(0), pools=60)
    assert (found.pools, found.benign, found.incidents) == (60, 709, 10)
    figures = {name: each.value for name, each in found.detectors["it"].items()}
    expected = {5: 5, 10: 7, 15: 9}
    for k, hits in expected.items():
        assert figures[f"recall@k={k}"] == pytest.approx(hits / 10)
        assert figures[f"precision@k={k}"] == pytest.approx(hits / k)
        assert figures[f"fpr@k={k}"] == pytest.approx((k - hits) / 709)
    assert found.published["BlockScan"][10] == (0.28, 80, 80)


def test_pools_count_ties_against_the_detector_and_need_enough():
    cases = pool_cases()
    found = paper_pools(cases, {"it": np.zeros((1, len(cases)))}, rng=np.random.default_rng(0), pools=3)
    assert found.detectors["it"]["recall@k=15"].value == 0.0
    short = r"need 709 benign transactions .* here are 708 and 10; score more of them"
    with pytest.raises(ConfigError, match=f"{short}$"):
        paper_pools(cases[1:], {}, rng=np.random.default_rng(0))
    with pytest.raises(ConfigError, match=f"{short}, or give --keep-duplicates$"):
        paper_pools(cases[1:], {}, rng=np.random.default_rng(0), left_out=1)


def test_alarms_by_hand_with_two_seeds():
    cases = [
        case("b1", p=(0.001, 0.5), kind="swap", hard_benign="swap", time=1_600_000_000),
        case("b2", p=(0.2, 0.2), kind="swap", time=10**18),
        case("x1", p=(0.01, 0.9), incident="one", family="f", tier="t", time=1_700_000_000),
        case("x2", p=(0.9, 0.01), incident="one", family="f"),
        case("x3", p=(None, 0.9), incident="two", family="g"),
    ]
    found = alarms_at(cases, 0.01)
    cut_off = replace(cases[-1], values=(np.inf, 1.0))  # its trace, of a source without calibration
    assert alarms_at([*cases[:-1], cut_off], 0.01).incident_recall.runs == (1.0, 0.5)
    assert (found.realised_fpr.value, found.realised_fpr.runs, found.realised_fpr.n) == (0.25, (0.5, 0.0), 2)
    assert (found.hard_benign_fpr.value, found.hard_benign_ratio.value) == (0.5, pytest.approx(50))
    assert found.recall.value == pytest.approx(1 / 3)
    assert (found.incident_recall.value, found.incident_recall.n) == (0.5, 2)
    assert {name: each.value for name, each in found.family_recall.items()} == {"f": 0.5, "g": 0.0}
    assert list(found.year_fpr) == ["2020"] and list(found.year_recall) == ["2023"]
    assert found.hard_kind_fpr["swap"].n == 1 and found.kind_fpr["swap"].n == 2
    levels = realised(cases)
    assert (levels["0.0001"].value, levels["0.001"].value, levels["0.2"].value) == (0.0, 0.25, 0.75)


def test_the_realised_share_is_of_transactions_with_a_p_value():
    """One of four benign ones has none, so that one of three is at the level."""
    cases = [case(f"b{place}", p=p) for place, p in enumerate((0.001, 0.5, None, 0.9))]
    level = realised(cases)["0.01"]
    assert (level.value, level.n) == (pytest.approx(1 / 3), 3)
    none = realised(cases[2:3])["0.01"]
    assert (none.low, none.high, none.n) == (0.0, 1.0, 0)


def test_exploits_without_an_incident_are_one_each():
    benign, *exploits = (case(name, incident="i", p=p) for name, p in (("b", 0.9), ("x", 0.001), ("y", 0.9)))
    unnamed = [replace(each, label=Label("attack")) for each in exploits]
    found = alarms_at([replace(benign, label=Label("benign")), *unnamed], 0.01)
    assert (found.incident_recall.value, found.incident_recall.n) == (0.5, 2)


def baseline_file(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def test_baselines_are_joined_by_hash_and_repeat_for_seeds(tmp_path):
    one = baseline_file(tmp_path / "1", tx_hash=["0xB", "x", "z"], gas=[2.0, 3.0, 9.0], lm=[1.0, 2.0, 0.0])
    two = baseline_file(tmp_path / "2", tx_hash=["x", "0xb"], lm=[5.0, 4.0], note=["", ""])
    baselines = read_baselines([one, two])
    cases = [case("0xb"), case("x", incident="i")]
    found = rankings(cases, np.random.default_rng(0), baselines=baselines)
    assert list(found) == ["BlockScan", "length", "calls", "gas", "lm"]
    assert found["gas"].tolist() == [[2.0, 3.0]] and found["lm"].tolist() == [[1.0, 2.0], [4.0, 5.0]]
    with pytest.raises(ConfigError, match="baseline gas has no number for 1 of the 3 evaluated"):
        rankings([*cases, case("missing")], np.random.default_rng(0), baselines=baselines)


def test_baselines_of_different_transactions_are_joined_seed_by_seed(tmp_path):
    files = [
        baseline_file(tmp_path / str(number), tx_hash=hashes, lm=values)
        for number, (hashes, values) in enumerate(
            ((["a", "b"], [1.0, 2.0]), (["x"], [3.0]), (["b", "a"], [5.0, 4.0]), (["x"], [6.0]))
        )
    ]
    expected = {"lm": [{"a": 1.0, "b": 2.0, "x": 3.0}, {"b": 5.0, "a": 4.0, "x": 6.0}]}
    assert read_baselines(files) == read_baselines([files[0], files[2], files[1], files[3]]) == expected


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"tx_hash": ["a"], "n": [1]},
            "need a column tx_hash and a float64 column per baseline; found tx_hash",
        ),
        ({"gas": [1.0]}, "need a column tx_hash"),
        ({"tx_hash": ["0xA", "0xa"], "gas": [1.0, 2.0]}, "values for one tx_hash twice"),
        ({"tx_hash": ["a"], "BlockScan": [1.0]}, "is the detector itself"),
    ],
)
def test_bad_baselines(tmp_path, columns, message):
    with pytest.raises(ConfigError, match=message):
        read_baselines([baseline_file(tmp_path / "b.parquet", **columns)])


def test_unreadable_baselines(tmp_path):
    (tmp_path / "text").write_text("tx_hash")
    for path in (tmp_path / "text", tmp_path / "missing"):
        with pytest.raises(ConfigError, match="no readable Parquet file"):
            read_baselines([path])
