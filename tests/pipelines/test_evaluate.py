"""Evaluation end to end on small hand-worked sets: classes, baselines, alarm figures, errors, output."""

import io
import json
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from blockscan.errors import ConfigError
from pipelines.evaluate import Rules, ScoredRow, _one_scale, evaluate
from pipelines.evaluation import report
from pipelines.evaluation.facts import TxFacts
from pipelines.evaluation.selection import Case
from pipelines.evaluation.tables import alarm_tables, cell_lines, notes, render, supported
from pipelines.labels import Label, read_labels


def make_rows(values, p_values=None, *, tokens=None):
    p_values = p_values if p_values is not None else [None] * len(values)
    return [
        ScoredRow(f"0x{i:02x}", value, p, (tokens or range(1, 99))[i], 1, 100 + i)
        for i, (value, p) in enumerate(zip(values, p_values, strict=True))
    ]


def run(rows, labels, **options):
    options = {"alarm_level": 0.01, "rng": np.random.default_rng(0), "resamples": 50} | options
    return evaluate([rows], labels, **options)


def make_facts(rows, counts):
    """Facts under which every transaction has a skeleton of its own and touches nothing."""
    return {
        row.tx_hash: TxFacts(count, row.tx_hash.encode(), None, frozenset())
        for row, count in zip(rows, counts, strict=True)
    }


SIGNATURE = "5Kj" + "a" * 85
"""Base58 of 64 bytes, as on Solana."""
SMALL_ROWS = make_rows(
    [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0],
    [0.001, 0.005, 0.01, 0.02, 0.3, None, 0.5, 0.6, 0.7],
)
SMALL_LABELS = {
    "0x00": Label("attack", "exploit", "reentrancy", "first", tier="structural"),
    "0x01": Label("benign", kind="arbitrage", hard_benign="arbitrage"),
    "0x02": Label("attack", "", "oracle", "second", tier="mimicry"),
    "0x03": Label("attack", "exploit", "oracle", "first"),
    "0x04": Label("attack", "preparation", "oracle", "third"),
    "0x05": Label("benign", kind="arbitrage", hard_benign="arbitrage"),
    "0x06": Label("grey"),
    "0x07": Label("benign", kind="batch"),
    "0xff": Label("attack"),
}


def test_recall_at_a_share_of_less_than_one_benign_transaction_is_a_dash():
    def said(result):
        return [line.partition(" is a dash")[0] for line in notes(result) if "is a dash" in line]

    few = run(SMALL_ROWS, SMALL_LABELS)
    assert said(few) == ["Recall at 0.01 % or 0.1 % or 0.5 % or 1 % of false alarms"]
    many = run(
        make_rows(range(1001), tokens=range(1, 1002)),
        {f"0x{i:02x}": Label("benign" if i else "attack") for i in range(1001)},
    )
    assert said(many) == ["Recall at 0.01 % of false alarms"]
    assert few.to_dict()["detectors"]["BlockScan"]["recall@fpr=0.01"]["value"] is not None
    for figures in (
        supported(many.overall).detectors["length"],
        supported(many.overall).differences["length"],
    ):
        dashes = [metric for metric, each in figures.items() if cell_lines(each) == ["-"]]
        assert dashes == ["recall@fpr=0.0001"]
    page = report.html(many)
    assert page.count("<td>-<small>N 1</small></td>") == 3, "of three detectors one figure each"


def test_alarms_at_a_level_that_no_p_value_reaches_are_a_dash():
    labels = {f"0x{i:02x}": Label("attack" if i > 1 else "benign") for i in range(4)}

    def shown(p_values, alarm_level=0.01):
        """What is said of it, and the line of the table."""
        result = run(make_rows(range(4), p_values), labels, alarm_level=alarm_level)
        assert result.to_dict()["alarm_levels"]["0.001"]["recall"]["value"] in (0.0, 0.5)
        out = io.StringIO()
        Console(file=out, width=200).print(render(result))
        table = out.getvalue().partition("Alarms by level")[2].splitlines()
        (recall,) = [line.split("│")[2:-1] for line in table if "recall of exploits" in line][:1]
        return [line for line in table if line.startswith("Alarms at")], [cell.strip() for cell in recall]

    said, recall = shown([0.9, 0.4, 0.008, 0.005])
    assert recall == ["-", "1.000"]
    assert [line.strip() for line in said] == [
        "Alarms at p <= 0.001 are a dash: no p-value is so small, nor can one be with fewer than 999 "
        "held-out transactions (--json has the zeros)."
    ]
    assert shown([0.9, 0.4, 0.008, 0.001]) == ([], ["0.500", "1.000"])
    assert shown([0.9, 0.001, 0.008, 0.005]) == ([], ["0.000", "1.000"]), "by a benign one"
    said, recall = shown([0.9, 0.4, 0.008, 0.005], alarm_level=0.001)
    assert not said and recall[0] == "0.000", "it was calibrated for that, which its data supported"


def test_small_set_by_hand():
    result = run(SMALL_ROWS, SMALL_LABELS)
    coverage = result.coverage
    assert (coverage.benign, coverage.attacks, coverage.grey, coverage.other_stages) == (3, 3, 1, 1)
    assert (coverage.unlabelled, coverage.unscored, coverage.without_p) == (1, 1, 1)
    assert coverage.blocks == (100, 107)
    assert result.overall.detectors["BlockScan"]["auroc"].value == pytest.approx(7 / 9)
    assert (result.alarms.realised_fpr.value, result.alarms.realised_fpr.n) == (pytest.approx(1 / 3), 3)
    assert (result.alarms.recall.value, result.alarms.recall.n) == (pytest.approx(2 / 3), 3)
    assert (result.alarms.incident_recall.value, result.alarms.incident_recall.n) == (1.0, 2)
    assert {name: (e.value, e.n) for name, e in result.alarms.family_recall.items()} == {
        "oracle": (0.5, 2),
        "reentrancy": (1.0, 1),
    }
    assert {name: (e.value, e.n) for name, e in result.alarms.kind_fpr.items()} == {
        "arbitrage": (0.5, 2),
        "batch": (0.0, 1),
    }
    assert {name: (e.value, e.n) for name, e in result.alarms.tier_recall.items()} == {
        "mimicry": (1.0, 1),
        "structural": (1.0, 1),
    }
    assert (result.alarms.hard_benign_fpr.value, result.alarms.hard_benign_fpr.n) == (0.5, 2)


def test_incidents_stand_beside_the_exploits_of_a_family():
    result = run(SMALL_ROWS, SMALL_LABELS | {"0x02": Label("attack", "", "oracle", "first")})
    by_family = result.to_dict()["family_incident_recall"]
    assert {name: (each["value"], each["n"]) for name, each in by_family.items()} == {
        "oracle": (1.0, 1),
        "reentrancy": (1.0, 1),
    }
    families = alarm_tables(result.alarms, whole=False)["By family of attack, at the alarm level p <= 0.01"]
    oracle = families["oracle"]
    assert (oracle["recall of exploits"].value, oracle["recall of incidents"].value) == (0.5, 1.0)
    assert "<h2>By family of attack, at the alarm level" in report.html(result)


def test_false_alarms_and_recall_by_number_of_calls():
    sizes = [1, 1, 2, 9, 10, 10, 10, 10, 40]
    rows = [replace(row, calls=calls) for row, calls in zip(SMALL_ROWS, sizes, strict=True)]
    result = run(rows, SMALL_LABELS)
    shown = alarm_tables(result.alarms, whole=False)["By number of calls, at the alarm level p <= 0.01"]
    assert {name: [(e.value, e.n) for e in cells.values()] for name, cells in shown.items()} == {
        "1 call": [(1.0, 1), (1.0, 1)],
        "2-9 calls": [(0.0, 0), (0.5, 2)],
        "10 calls or more": [(0.0, 2), (0.0, 0)],
    }
    assert cell_lines(shown["2-9 calls"]["false alarms"]) == ["-"], "nobody is there"
    assert sorted(result.to_dict()["size_fpr"]) == ["1 call", "10 calls or more"]
    assert "<h2>By number of calls, at the alarm level" in report.html(result)


def test_kinds_without_an_alarm_are_one_line_in_the_terminal_only():
    quiet = {f"0x{place:02x}": Label("benign", kind=f"kind {place}") for place in (3, 5, 7, 8)}
    result = run(SMALL_ROWS, SMALL_LABELS | quiet)

    def kinds(shown):
        (lines,) = [rows for title, rows in shown.items() if title.startswith("At the alarm level")]
        return {name: each["share"].n for name, each in lines.items() if name.startswith("false alarms, ")}

    assert kinds(alarm_tables(result.alarms, whole=False)) == {
        "false alarms, arbitrage": 1,
        "false alarms, 4 kinds without any": 4,
        "false alarms, hard benign arbitrage": 1,
    }
    assert len(kinds(alarm_tables(result.alarms, whole=True))) == 6
    page = report.html(result)
    assert "false alarms, kind 7" in page and "kinds without any" not in page


def test_detectors_are_named_and_length_is_the_first_baseline():
    counts = np.random.default_rng(1).normal(size=(9, 4))
    counts[[0, 2, 3]] += 9.0
    train = np.random.default_rng(2).normal(size=(300, 4))
    result = run(SMALL_ROWS, SMALL_LABELS, train_counts=train, facts=make_facts(SMALL_ROWS, counts))
    assert list(result.overall.detectors) == ["BlockScan", "length", "calls", "Isolation Forest"]
    # Tokens rise where values fall, so length ranks the other way round; calls are all the same.
    assert result.overall.detectors["length"]["auroc"].value == pytest.approx(2 / 9)
    assert result.overall.detectors["calls"]["auroc"].value == pytest.approx(0.5)
    assert result.overall.detectors["Isolation Forest"]["auroc"].value == 1.0


def test_counts_belong_to_their_rows_also_after_rows_that_are_not_evaluated():
    labels = {"0x03": Label("benign"), "0x05": Label("benign"), "0x08": Label("attack")}
    counts = np.zeros((9, 4))
    counts[8] = 9.0
    train = np.random.default_rng(2).normal(size=(300, 4))
    result = run(SMALL_ROWS, labels, train_counts=train, facts=make_facts(SMALL_ROWS, counts))
    assert result.overall.detectors["Isolation Forest"]["auroc"].value == 1.0


def test_same_seed_same_result_to_the_last_digit():
    counts = np.random.default_rng(1).normal(size=(9, 4))
    facts = make_facts(SMALL_ROWS, counts)
    first, second = (run(SMALL_ROWS, SMALL_LABELS, train_counts=counts, facts=facts) for _ in range(2))
    assert json.dumps(first.to_dict()) == json.dumps(second.to_dict())


def test_infinite_values_are_ranked_and_the_result_is_json():
    rows = make_rows([float("inf"), 1.0, 2.0])
    labels = {"0x00": Label("attack"), "0x01": Label("benign"), "0x02": Label("benign")}
    text = json.dumps(run(rows, labels).to_dict(), allow_nan=False)
    assert json.loads(text)["detectors"]["BlockScan"]["auroc"]["value"] == 1.0


def test_too_few_of_a_class_or_a_perfect_ranking_have_no_interval():
    """In tables a dash, in JSON null; ten of each class that are not apart have one."""
    for attacks, apart, told in ((9, 1.5, False), (10, 1.5, True), (10, 99.0, False)):
        rows = make_rows([place % 3 + apart * (place < attacks) for place in range(attacks + 10)])
        labels = {row.tx_hash: Label("attack" if row.block < 100 + attacks else "benign") for row in rows}
        result = run(rows, labels)
        auroc = json.loads(json.dumps(result.to_dict(), allow_nan=False))["detectors"]["BlockScan"]["auroc"]
        assert (auroc["low"] is not None, auroc["high"] is not None) == (told, told)
        lines = cell_lines(result.overall.detectors["BlockScan"]["auroc"])
        assert lines[0] == f"{auroc['value']:.3f}" and (lines[1] == "-") is not told


def test_hashes_are_compared_without_case():
    rows = make_rows([2.0, 1.0] + [0.0] * 10)
    result = run(rows, {"0x0b": Label("benign"), "0x00": Label("attack")})
    upper = [ScoredRow(r.tx_hash.upper(), r.value, r.p_value, r.tokens, r.calls) for r in rows]
    again = run(upper, {"0x0b": Label("benign"), "0x00": Label("attack")})
    assert (again.overall, again.alarms) == (result.overall, result.alarms)


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        (SMALL_ROWS, {"0xee": Label("attack")}, "none of the 1 labelled transactions is among the 9 scored"),
        ([], SMALL_LABELS, "none of the 9 labelled transactions is among the 0 scored"),
        (
            SMALL_ROWS,
            {"0x00": Label("attack")},
            "needs both classes.* 0 are labelled benign and 1 are exploits",
        ),
        (
            SMALL_ROWS,
            {"0x00": Label("benign")},
            "needs both classes.* 1 are labelled benign and 0 are exploits",
        ),
        (SMALL_ROWS[:2] + SMALL_ROWS[:1], SMALL_LABELS, "0x00 is scored 2 times"),
        (make_rows([float("nan"), 1.0]), SMALL_LABELS, "0x00 has no number as its value"),
    ],
)
def test_sets_that_cannot_be_evaluated(rows, labels, message):
    with pytest.raises(ConfigError, match=message):
        run(rows, labels)


def test_tables_show_figures_interval_and_hostile_names_as_text():
    labels = SMALL_LABELS | {"0x00": Label("attack", "exploit", "[/]\x1b[31mred", "first")}
    console = Console(file=io.StringIO(), width=90, force_terminal=True)
    result = run(SMALL_ROWS, labels)
    console.print(render(result))
    shown = console.file.getvalue()
    assert "\x1b[31m" not in shown and "[/][31mred" in shown
    figures = result.overall.detectors["BlockScan"]
    false, auroc = result.alarms.realised_fpr, figures["auroc"]
    for part in (
        f"{auroc.value:.3f}",
        f"{false.low:.3f}-{false.high:.3f}",
        "a dash where none can be given",
        "3 benign, 3 attacks",
        "1 grey",
        "length",
    ):
        assert part in shown


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_full_labels_file(tmp_path):
    text = (
        "\ufefftx_hash,label,stage,family,incident,kind\r\n"
        "0xAB,attack,Exploit,oracle,one,\r\n\r\n0xcd,benign,,,,batch\r\n"
    )
    assert read_labels(write(tmp_path / "l.csv", text)) == {
        "0xab": Label("attack", "exploit", "oracle", "one"),
        "0xcd": Label("benign", kind="batch"),
    }


@pytest.mark.parametrize("header", ["", "label_source,", "tx_hash,label\n"])
def test_plain_two_column_labels(tmp_path, header):
    if header.startswith("label_source"):
        text = f"label_source,label,tx_hash\nme,attack,0x1\nme,grey,{SIGNATURE}\n"
    else:
        text = header + f"0x1,attack\n{SIGNATURE},grey\n"
    expected = {"0x1": Label("attack"), SIGNATURE: Label("grey")}
    assert read_labels(write(tmp_path / "l.csv", text)) == expected


def test_a_hash_of_labels_may_lack_its_0x(tmp_path):
    text = f"tx_hash,label\n{'aB' * 32},attack\n0x{'cd' * 32},benign\n"
    expected = {"0x" + "ab" * 32: Label("attack"), "0x" + "cd" * 32: Label("benign")}
    assert read_labels(write(tmp_path / "l.csv", text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "tx_hash,label\n0x1,benign\n0x2,evil\n",
            "line 3: unknown label 'evil'; one of benign, attack, grey",
        ),
        ("tx_hash,label\n\n\n0x2,\x1b[31m\n", r"line 4: unknown label '\[31m'"),
        ('tx_hash,label,kind\n0x1,benign,"two\nlines"\n0x2,evil\n', "line 4: unknown label 'evil'"),
        ("tx_hash,label\n,benign\n", "line 2: '' is no transaction hash"),
        (f"tx_hash,label\n0x1,attack\n{'ab' * 31},attack\n", "line 3: 'abab.*' is no transaction hash; give"),
        ("tx_hash,label\n0x1\u2026,attack\n", "line 2: '0x1.*' is no transaction hash"),
        ("tx_hash,label\n5Kj,grey\n", "line 2: '5Kj' is no transaction hash"),
        (f"tx_hash,label\n0x{'ab' * 20},grey\n", "line 2: '0xabab.*' is no transaction hash"),
        ("tx_hash,label\nhttps://etherscan.io/tx/0x1,grey\n", "line 2: 'https.*' is no transaction hash"),
        ("tx_hash,label,Label\n0x1,benign,attack\n", "line 1: column label comes twice; keep one"),
        ("tx_hash,label,source,source\n0x1,benign,a,b\n", "line 1: column source comes twice"),
        ("tx_hash,label\n0x1\n", "line 2: unknown label ''"),
        ("tx_hash,label\n0xA,benign\n0xa,attack\n", "line 3: 0xa already has another label"),
        ("hash,verdict\n0x1,benign\n", "line 1: columns tx_hash and label are needed, found hash, verdict"),
        ("", "are empty"),
        ("tx_hash,label\n", "hold a header and no label"),
        ('tx_hash,label\n"0x1,benign\n', "are not a UTF-8 CSV file"),
    ],
)
def test_bad_labels_name_the_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read_labels(write(tmp_path / "l.csv", text))


def test_unreadable_labels(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_labels(tmp_path / "missing.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a UTF-8 CSV"):
        read_labels(tmp_path / "binary.csv")


def test_strata_rank_transactions_of_a_least_size_among_themselves():
    rows = [
        ScoredRow(f"0x{place:02x}", value=float(place), p_value=0.5, tokens=100 - place, calls=calls)
        for place, calls in enumerate([1, 1, 2, 2, 9, 9])
    ]
    labels = {f"0x{place:02x}": Label("attack" if place in (1, 3, 4) else "benign") for place in range(6)}
    result = run(rows, labels)
    (name,) = result.strata
    stratum = result.strata[name]
    assert (name, stratum.benign, stratum.attacks) == ("2 calls or more", 2, 2)
    # Values of the attacks 3 and 4 against those of the benign 2 and 5: two of four pairs are in order.
    assert stratum.detectors["BlockScan"]["auroc"].value == pytest.approx(0.5)
    assert stratum.detectors["length"]["auroc"].value == pytest.approx(0.5)
    assert stratum.detectors["BlockScan"]["auroc"].n == 4
    assert result.overall.detectors["BlockScan"]["auroc"].value == pytest.approx(5 / 9)
    # Of equal size: 1 above 0; 3 above 2 (two calls); 4 below 5 (nine calls).
    matched = result.length_matched
    assert (matched.benign, matched.attacks) == (3, 3)
    assert matched.detectors["BlockScan"]["auroc"].value == pytest.approx(2 / 3)


def test_sizes_match_by_powers_of_two():
    rows = [ScoredRow(f"0x{n:02x}", float(n), 0.5, tokens=1, calls=n) for n in (7, 8, 9)]
    labels = {"0x07": Label("benign"), "0x08": Label("benign"), "0x09": Label("attack")}
    matched = run(rows, labels).length_matched
    assert (matched.benign, matched.attacks) == (1, 1)


def many(rng, count=300):
    """Rows of two trace sources with labels; the value tells attacks, and the source shifts it."""
    rows, labels = [], {}
    for place in range(count):
        source = "ab"[place % 2]
        attacked = place % 10 < 2
        value = rng.normal() + 2 * attacked + 50 * (source == "b")
        rows.append(
            ScoredRow(
                f"0x{place:03x}",
                value,
                rng.random(),
                place % 7,
                1 + place % 50,
                place,
                1_600_000_000,
                "c",
                source,
            )
        )
        labels[f"0x{place:03x}"] = (
            Label("attack", incident=f"i{place // 20}", family="f") if attacked else Label("benign", kind="k")
        )
    return rows, labels


def test_the_order_of_rows_and_labels_changes_nothing():
    rng = np.random.default_rng(3)
    rows, labels = many(rng)
    facts = make_facts(rows, rng.normal(size=(len(rows), 3)))
    counts = rng.normal(size=(50, 3))

    def figures(order):
        shuffled = {rows[place].tx_hash: labels[rows[place].tx_hash] for place in order}
        result = run([rows[place] for place in order], shuffled, facts=facts, train_counts=counts)
        return json.dumps(result.to_dict())

    assert figures(range(len(rows))) == figures(rng.permutation(len(rows)))


def test_sources_are_never_compared_unless_asked_for():
    rows, labels = many(np.random.default_rng(4))
    result = run(rows, labels)
    assert list(result.groups) == ["c, a", "c, b"]
    apart = [each.detectors["BlockScan"]["auroc"].value for each in result.groups.values()]
    together = result.overall.detectors["BlockScan"]["auroc"].value
    assert together == pytest.approx(np.mean(apart)) and together > 0.85
    mixed = run(rows, labels, rules=Rules(mixed=True))
    assert mixed.groups == {} and mixed.overall.detectors["BlockScan"]["auroc"].value < 0.8
    assert (
        run(rows, labels, rules=Rules(source="a")).overall.detectors["BlockScan"]["auroc"].value == apart[0]
    )


def test_pools_and_curves_rank_each_source_among_its_own():
    """Attacks stand above all benign ones of their own source, and those of one below all of the other."""
    rows, labels = [], {}
    for source, shift in (("a", 0.0), ("b", 1000.0)):
        for place in range(420):
            name, attack = f"0x{source}{place}", place >= 410
            value = shift + (500 if attack else place / 420)
            rows.append(ScoredRow(name, value, 0.5, 9, 2, block=place, chain="c", source=source))
            labels[name] = Label("attack", incident=name) if attack else Label("benign")
    result = run(rows, labels, pools=20)
    assert result.pools.detectors["BlockScan"]["recall@k=10"].value == 1.0
    assert result.curves.roc["BlockScan"][1:] == [(0.0, 1.0), (1.0, 1.0)]
    assert result.curves.values.edges[-1] == 1500.0, "the histogram is of values"
    below = [replace(row, value=row.value - 500.5) if row.tx_hash == "0xb419" else row for row in rows]
    assert run(below, labels, pools=20).pools.detectors["BlockScan"]["recall@k=10"].value < 1.0


def test_on_one_scale_a_value_is_its_place_among_the_benign_ones_of_its_set():
    """An attack as high as a benign transaction stands below it."""
    told = [
        ("a", 1, "benign"),
        ("a", 2, "benign"),
        ("a", 3, "benign"),
        ("a", 2, "attack"),
        ("a", 2.5, "attack"),
    ]
    told += [("b", 10, "benign"), ("b", 20, "benign"), ("b", 15, "attack"), ("b", 25, "attack")]
    (row,) = make_rows([0.0])
    cases = [Case(row, Label(label), (0.0,), (0.5,), None, ("c", source)) for source, _, label in told]
    values = np.array([[float(value) for _, value, _ in told]])
    found = _one_scale(cases, {"it": values})["it"][0]
    assert found.tolist() == pytest.approx([1 / 6, 3 / 6, 5 / 6, 1 / 3, 2 / 3, 1 / 4, 3 / 4, 1 / 2, 1.0])
    alone = [place for place, (source, _, _) in enumerate(told) if source == "a"]
    of_one = {"it": values[:, alone]}
    assert _one_scale([cases[place] for place in alone], of_one) is of_one


def test_several_seeds_are_shown_with_their_range():
    rows, labels = many(np.random.default_rng(5))
    better = [
        ScoredRow(r.tx_hash, r.value + (labels[r.tx_hash].label == "attack"), *astuple(r)[2:]) for r in rows
    ]
    result = evaluate([rows, better], labels, alarm_level=0.01, rng=np.random.default_rng(0), resamples=50)
    auroc = result.overall.detectors["BlockScan"]["auroc"]
    alone = [run(each, labels).overall.detectors["BlockScan"]["auroc"].value for each in (rows, better)]
    assert auroc.runs == pytest.approx(alone) and auroc.value == pytest.approx(np.mean(alone))
    console = Console(file=io.StringIO(), width=200)
    console.print(render(result))
    shown = console.file.getvalue()
    assert f"seeds {alone[0]:.3f}-{alone[1]:.3f}" in shown and "means over 2 training seeds" in shown


def test_the_report_tells_of_what_was_left_out():
    rows, labels = many(np.random.default_rng(6))
    facts = make_facts(rows, np.zeros((len(rows), 3)))
    facts[rows[9].tx_hash] = facts[rows[299].tx_hash]
    facts[rows[299].tx_hash] = TxFacts(np.zeros(3), facts[rows[297].tx_hash].skeleton, None, frozenset())
    result = run(rows, labels, rules=Rules(after=99, source="b"), facts=facts)
    console = Console(file=io.StringIO(), width=200)
    console.print(render(result))
    shown = console.file.getvalue()
    assert "Time split after block 99: 40 benign transactions and 10 attacks at or before it" in shown
    assert "Repeated trace skeletons left out of the ranking: 1 benign, 0 attacks" in shown
    assert "150 of another chain or source" in shown
    for title in (
        "auroc, BlockScan minus baseline",
        "Alarms by level",
        "recall, year 2020",
        "false alarms, k",
    ):
        assert title in shown
