"""The HTML report and the command line: hostile names stay text, nothing is fetched, stores join by hash."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blockscan.errors import ArtifactError
from blockscan.findings import TxScore
from blockscan.store import Run, open_store
from pipelines.evaluate import ScoredRow, evaluate
from pipelines.evaluation import report
from pipelines.evaluation.curves import curves
from pipelines.evaluation.svg import Axis, interval_bars, label, line_chart
from pipelines.labels import COLUMNS, LABELS, Label

HOSTILE = '"><script>alert(1)</script><img src=http://evil.test/x onerror=alert(1)>\x1b[31m\u202e'


class Tags(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.unclosed = [], "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self.unclosed.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.unclosed.pop() == tag

    def handle_data(self, data):
        self.text += data


def hostile_evaluation():
    rng = np.random.default_rng(0)
    rows, labels = [], {}
    for place in range(200):
        attack = place % 10 == 0
        name, chain = f"{HOSTILE}{place}", HOSTILE + "ab"[place % 20 // 10]
        rows.append(
            ScoredRow(name, rng.normal() + attack, rng.random(), place, 1 + place, place, 0, chain, HOSTILE)
        )
        labels[name] = Label(
            "attack" if attack else "benign", "", HOSTILE, HOSTILE + "i", HOSTILE, HOSTILE, HOSTILE, HOSTILE
        )
    values = {row.tx_hash: rng.random() for row in rows}
    return evaluate([rows], labels, alarm_level=0.05, rng=rng, baselines={HOSTILE: [values]}, resamples=20)


def test_hostile_names_stay_text_and_nothing_is_fetched(tmp_path):
    report.write(hostile_evaluation(), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    page = Tags(text)
    assert page.unclosed == []
    allowed = {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "section", "svg", "path",
        "rect", "text", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "small", "br",
    }  # fmt: skip
    assert {tag for tag, _ in page.tags} <= allowed
    for _, attributes in page.tags:
        assert not {"src", "href", "style", "onerror", "onload"} & attributes.keys()
    assert "<script>alert(1)</script>" in page.text  # shown as what it is
    assert "\x1b" not in text and "\u202e" not in text
    assert "url(" not in text and "@import" not in text
    assert any(each.get("content", "").startswith("default-src 'none'") for _, each in page.tags)
    assert "prefers-color-scheme:dark" in text


def test_the_report_has_every_plot_and_table():
    text = report.html(hostile_evaluation())
    for heading in (
        "Receiver operating characteristic", "Precision and recall", "Values of BlockScan",
        "Realised share of false alarms", "Recall per family", "All transactions", "auroc by stratum",
        "recall@fpr=0.01, BlockScan minus baseline", "At the alarm level",
    ):  # fmt: skip
        assert f"<h2>{heading}" in text, heading
    assert text.count("<svg") == 5 and not re.search(r"nan|inf\b", text.partition("<body>")[2])


def test_a_report_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(ArtifactError, match="cannot write the report"):
        report.write(hostile_evaluation(), tmp_path / "missing" / "r.html")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("blockscan.artifact.os.fsync", full)
    with pytest.raises(ArtifactError, match="No space left on device; free some space"):
        report.write(hostile_evaluation(), tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


def test_curves_by_hand():
    """Ranking: A B (A B) B, the two in brackets tied."""
    attack = np.array([1, 0, 1, 0, 0], dtype=bool)
    values = np.array([9.0, 8, 7, 7, np.inf * -1])
    found = curves({"it": values[np.newaxis]}, attack, values)
    assert found.roc["it"] == [
        (0.0, 0.0),
        (0.0, 0.5),
        (pytest.approx(1 / 3), 0.5),
        (pytest.approx(2 / 3), 1.0),
        (1.0, 1.0),
    ]
    assert found.precision_recall["it"] == [(0.5, 1.0), (0.5, 0.5), (1.0, 0.5), (1.0, 0.4)]
    assert found.finest == pytest.approx(1 / 3)
    assert (found.values.edges[0], found.values.edges[-1]) == (7.0, 9.0)
    assert found.values.benign[0] == pytest.approx(2 / 3) and sum(found.values.attacks) == 1.0


def test_places_on_axes():
    assert [Axis("", 0.01, 1, log=True).at(value) for value in (0, 0.01, 0.1, 1, 9)] == pytest.approx(
        [0, 0, 0.5, 1, 1]
    )
    assert Axis("", 0.001, 1, log=True).ticks() == pytest.approx([0.001, 0.01, 0.1, 1])
    assert Axis("", -3, 12).ticks() == pytest.approx([0, 5, 10])
    assert Axis("", 0, 1).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    drawn = line_chart({"it": [(0.0, 0.0), (1.0, 1.0)]}, Axis("x", 0, 1), Axis("y", 0, 1), stepped=True)
    assert 'd="M56.0 286.0H548.0V12.0"' in drawn
    bars = interval_bars({"a": (0.5, 0.25, 1.0, "n")}, name="bars")
    assert 'width="125.0"' in bars and "M252.5 12.0H440.0" in bars
    assert label('<a href="x">&') == "&lt;a href=&quot;x&quot;&gt;&amp;"


def make_store(path, shift, *, level=0.01, until=None, chains=("c",), places=range(120)):
    rng = np.random.default_rng(shift)
    with open_store(path) as store:
        scores = []
        for place in places:
            value = float(rng.normal() + (shift if place % 6 == 0 else 0))
            scores.append(
                TxScore(
                    chains[place % len(chains)], f"0x{place:02x}", 100 + place, 0, 1_600_000_000,
                    "0xaa", "0xbb", value, 0.5, "", (),
                    1 + place % 9, 10 + place % 4, 1, "callTracer", "complete", f"m{shift}", f"cal{shift}",
                )
            )  # fmt: skip
        store.write((each, None, None) for each in scores)
        store.record_run(
            Run(f"r{shift}", shift, 9, ("in",), {"scored": 120}, "m", (f"cal{shift}",), level, "test", until)
        )
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("evaluate")
    lines = [
        f"0x{place:02x},{'attack' if place % 6 == 0 else 'benign'},{place // 12}" for place in range(120)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["tx_hash,label,incident", *lines]))
    table = pa.table(
        {"tx_hash": [f"0x{n:02X}" for n in range(120)], "gas": [float(n % 6 == 0) for n in range(120)]}
    )
    pq.write_table(table, tmp_path / "gas.parquet")
    stores = [make_store(tmp_path / f"{shift}.sqlite", shift) for shift in (1, 2, 3)]
    return tmp_path, stores


def counted(cli, store, labels, *options):
    result = cli("evaluate", "--store", store, "--labels", labels, *options, "--json")
    assert result.exit_code == 0, result.output
    coverage = json.loads(result.stdout)["coverage"]
    return coverage["after"], coverage["benign"], coverage["attacks"]


def test_what_a_calibration_was_made_from_is_left_out(cli, inputs, tmp_path):
    """Blocks 100 to 219, every sixth an attack: 20 benign and 4 attacks are not after block 123."""
    labels = inputs[0] / "labels.csv"
    known = make_store(tmp_path / "known.sqlite", 1, until=123)
    assert counted(cli, known, labels) == (123, 80, 20)
    assert counted(cli, known, labels, "--after", "109") == (109, 92, 18)
    assert counted(cli, make_store(tmp_path / "unknown.sqlite", 1), labels) == (None, 100, 20)
    # Block 123 of which chain?
    two = make_store(tmp_path / "two.sqlite", 1, until=123, chains=("c", "d", "d", "c", "c"))
    assert counted(cli, two, labels) == (None, 100, 20)
    assert counted(cli, two, labels, "--chain", "c") == (123, 48, 12)


def test_the_rest_is_benign_where_asked_for(cli, inputs, tmp_path):
    labels = tmp_path / "attacks.csv"
    lines = (inputs[0] / "labels.csv").read_text().splitlines()
    labels.write_text("\n".join([lines[0], "0x01,grey,", *(line for line in lines if "attack" in line)]))
    store = inputs[1][0]
    result = cli("evaluate", "--store", store, "--labels", labels)
    assert result.exit_code == 1 and "--rest-benign" in result.output
    assert counted(cli, store, labels, "--rest-benign") == (None, 99, 20)
    found = json.loads(
        cli("evaluate", "--store", store, "--labels", labels, "--rest-benign", "--json").stdout
    )
    assert found["coverage"]["label_sources"] == {"no label": 99, "not stated": 20}
    assert (found["coverage"]["unlabelled"], found["coverage"]["grey"]) == (0, 1)


def test_three_stores_and_a_baseline_through_the_command_line(cli, inputs):
    folder, stores = inputs
    arguments = ["evaluate", "--labels", folder / "labels.csv", "--after", "109"]
    arguments += ["--baselines", folder / "gas.parquet", "--html", folder / "r.html"]
    for store in stores:
        arguments += ["--store", store]
    result = cli(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    auroc = found["detectors"]["BlockScan"]["auroc"]
    assert found["seeds"] == len(auroc["runs"]) == 3 and auroc["runs"][0] < auroc["runs"][2]
    assert found["detectors"]["gas"]["auroc"]["value"] == 1.0
    assert found["differences"]["gas"]["auroc"]["value"] == pytest.approx(auroc["value"] - 1)
    assert (found["coverage"]["benign"], found["coverage"]["attacks"]) == (92, 18)
    assert (found["coverage"]["earlier_benign"], found["coverage"]["earlier_attacks"]) == (8, 2)
    assert found["alarm_level"] == 0.01 and found["realised_fpr"]["n"] == 92
    assert (folder / "r.html").read_text().startswith("<!doctype html>")
    shown = cli(*arguments).stdout
    assert "gas" in shown and "seeds " in shown and "Time split after block 109" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--protocol", "paper"], "need 709 benign transactions and 10 incidents"),
        (["--train-blocks", "1:9"], "--train-blocks needs --archive"),
        (["--after", "1:9"], "is a range; give the last block"),
        (["--after", "12M"], "needs both classes"),
        (["--chain", "other"], "nothing scored is of --chain other; there is c"),
        (["--trace-source", "x\x1b[1m"], "nothing scored is of --trace-source x[1m; there is callTracer"),
        (["--archive", "nowhere"], "nowhere does not exist"),
        (["--baselines", "nowhere"], "no readable Parquet file"),
    ],
)
def test_wrong_options_end_in_one_line(cli, inputs, options, message):
    folder, stores = inputs
    result = cli("evaluate", "--store", stores[0], "--labels", folder / "labels.csv", *options)
    assert result.exit_code == 1 and message in result.stderr
    assert result.stderr.strip().count("\n") == 0


def records(first, count, *, selectors):
    """Lines of one call each; its selector takes turns, so that the skeletons repeat."""
    for place in range(count):
        trace = {"type": "CALL", "from": "0x" + "aa" * 20, "to": "0x" + "bb" * 20}
        trace["input"] = f"0x{place % selectors:08x}{place:064x}"
        record = {"chain": "c", "tx_hash": f"0x{place:02x}", "block_number": first + place, "trace": trace}
        yield json.dumps(record | ({} if first == 100 else {"tx_hash": f"0xff{place:02x}"})) + "\n"


def test_archives_give_duplicates_contracts_and_the_count_baseline(cli, inputs, tmp_path):
    folder, stores = inputs
    (tmp_path / "past.jsonl").write_text("".join(records(10, 30, selectors=30)))
    (tmp_path / "test.jsonl").write_text("".join(records(100, 120, selectors=50)))
    arguments = ["evaluate", "--store", stores[0], "--labels", folder / "labels.csv", "--json"]
    arguments += ["--archive", tmp_path / "past.jsonl", "--archive", tmp_path / "test.jsonl"]
    result = cli(*arguments, "--train-blocks", ":40")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert list(found["detectors"]) == ["BlockScan", "Isolation Forest", "calls", "length"]
    coverage = found["coverage"]
    # Every fifty transactions a selector repeats; of the attacks, none within its incident of twelve.
    assert coverage["after"] == 39 and coverage["attacks"] == 20 and coverage["duplicate_attacks"] == 0
    assert coverage["benign"] + coverage["duplicate_benign"] == 100
    assert coverage["benign"] == len({place % 50 for place in range(120) if place % 6})
    # The later of the two ends counts; attacks are left out as well where training blocks are given.
    given = [*arguments[6:], "--train-blocks", ":40"]
    for until, after, attacks in ((20, 39, 20), (123, 123, 16)):
        store = make_store(tmp_path / f"{until}.sqlite", 1, until=until)
        split = counted(cli, store, folder / "labels.csv", *given)
        assert (split[0], split[2]) == (after, attacks)
    for asked, after in (("20", 39), ("110", 110)):
        assert counted(cli, stores[0], folder / "labels.csv", *given, "--after", asked)[0] == after
    assert (found["contracts"]["contracts"], found["contracts"]["incidents"]) == (1, 10)
    assert found["realised_fpr"]["n"] == 100
    kept = json.loads(cli(*arguments, "--keep-duplicates").stdout)
    assert kept["coverage"]["benign"] == 100 and "Isolation Forest" not in kept["detectors"]
    assert kept["coverage"]["after"] is None
    lacking = cli(*arguments[:6], "--archive", tmp_path / "past.jsonl")
    assert lacking.exit_code == 1 and "the archives lack 120 of the 120 scored and labelled" in lacking.stderr


def test_the_help_says_every_word_of_a_labels_file(cli):
    words = set(re.findall(r"\w+", cli("evaluate", "--help").stdout))
    assert {*COLUMNS, *LABELS, "source", "exploit"} <= words


def test_seeds_must_be_calibrated_for_one_level(cli, inputs):
    folder, stores = inputs
    other = make_store(folder / "other.sqlite", 4, level=0.05)
    result = cli("evaluate", "--store", stores[0], "--store", other, "--labels", folder / "labels.csv")
    assert result.exit_code == 1 and "alarm levels 0.01, 0.05" in result.stderr


def test_scores_of_several_calibrations_are_not_ranked_as_one(cli, inputs, tmp_path):
    """The first half is scored under one, the rest under another of another level."""
    labels = inputs[0] / "labels.csv"
    arguments = ["evaluate", "--labels", labels, "--json", "--store"]
    store = make_store(tmp_path / "mixed.sqlite", 1, until=90, places=range(60))
    make_store(store, 2, level=0.05, until=80, places=range(60, 120))
    refused = cli(*arguments, store)
    assert refused.exit_code == 1 and refused.stderr.strip().count("\n") == 0
    assert "scores of c, callTracer under 2 calibrations (cal1 60, cal2 60)" in refused.stderr
    later = json.loads(cli(*arguments, store, "--after", "159").stdout)
    assert (later["alarm_level"], later["coverage"]["benign"], later["coverage"]["attacks"]) == (0.05, 50, 10)
    # Of one calibration alone the latest run of another says nothing.
    make_store(store, 3, level=0.2, until=200, chains=("d",), places=range(300, 310))
    alone = json.loads(cli(*arguments, store, "--after", "159", "--chain", "c").stdout)
    assert alone["alarm_level"] == 0.05


def test_the_time_split_is_that_of_the_calibrations_that_are_evaluated(cli, inputs, tmp_path):
    """A later run of another chain moves it no more than an earlier run with a later end is overlooked."""
    labels = inputs[0] / "labels.csv"
    store = make_store(tmp_path / "two.sqlite", 1, until=123, places=range(0, 120, 2))
    make_store(store, 2, until=180, chains=("d",), places=range(1, 120, 2))
    assert counted(cli, store, labels, "--chain", "c") == (123, 32, 20)
    assert cli("evaluate", "--store", store, "--labels", labels, "--chain", "d").exit_code == 1
    unlabelled = make_store(tmp_path / "other.sqlite", 1, until=123)
    make_store(unlabelled, 2, until=180, level=0.05, chains=("d",), places=range(300, 310))
    assert counted(cli, unlabelled, labels) == (123, 80, 20)


def test_chains_with_a_calibration_each_are_evaluated_side_by_side(cli, inputs, tmp_path):
    labels = inputs[0] / "labels.csv"
    store = make_store(tmp_path / "two.sqlite", 1, until=90, places=range(60))
    make_store(store, 2, until=90, chains=("d",), places=range(60, 120))
    assert counted(cli, store, labels) == (None, 100, 20)
    mixed = cli("evaluate", "--store", store, "--labels", labels, "--mixed")
    assert mixed.exit_code == 1 and "all chains and trace sources under 2 calibrations" in mixed.stderr


def test_a_calibration_without_a_finished_run_is_named(cli, inputs, tmp_path):
    store = make_store(tmp_path / "broken.sqlite", 1, places=range(60))
    with open_store(store) as results:
        scores = [replace(each, calibration="cut off") for each in results.iter_scores()]
        results.write((each, None, None) for each in scores)
    found = cli("evaluate", "--store", store, "--labels", inputs[0] / "labels.csv")
    assert found.exit_code == 1 and "no finished run of calibration cut off, under which 60" in found.stderr
