"""`blockscan explain` on the recorded chain: parts, ranked frames, neighbours, causes."""

import io
import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from blockscan.archive import Archive, PartInfo, RawBlock
from blockscan.detect.calibration_file import load_calibration
from blockscan.detect.facts import FACTS
from blockscan.detect.flow import ETHER
from blockscan.detect.habits import function_of
from blockscan.detect.history_file import load_history
from blockscan.detect.neighbours import Differences, LargerAmount, LargerFact, NewFunction, entry_of
from blockscan.detect.score import PARTS, VIEWS
from blockscan.errors import ConfigError
from blockscan.findings import Evidence, TxScore
from blockscan.findings_wording import FACTS as FACTS_IN_WORDS
from blockscan.store import open_store
from blockscan.transaction import Call, TraceSource, Transaction, walk
from pipelines import nearest as nearest_step
from pipelines.commands import explain_stored
from pipelines.explain import EXPECTED, Explanation, find, whole_hash
from pipelines.ingest import ingest_files
from pipelines.model_dir import ModelDir
from pipelines.nearest import Nearest, nearest_in
from pipelines.render_explanation import explanation
from pipelines.sources import Rejects, open_shards, read_transactions, time_order

Json = dict[str, Any]


@pytest.fixture(scope="module")
def strongest(road: Any) -> TxScore:
    with open_store(road.store, read_only=True) as results:
        return min(results.iter_scores(), key=lambda score: (score.p_value, -score.value, score.tx_hash))


@pytest.fixture(scope="module")
def common(road: Any) -> tuple[Transaction, list[Transaction]]:
    """A scored transaction that has many before it to the same function, and those."""
    every = list(read_transactions(open_shards(road.archive, Rejects())))
    best: tuple[Transaction, list[Transaction]] = every[0], []
    for one in (each for each in every if (each.block_number or 0) >= 377 and each.root.steps):
        before = [each for each in every if entry_of(each) == entry_of(one)]
        before = sorted((each for each in before if time_order(each) < time_order(one)), key=time_order)
        best = max(best, (one, before), key=lambda pair: len(pair[1]))
    return best


def answer(cli: Any, road: Any, tx_hash: str, *options: object) -> Json:
    again = ("explain", tx_hash, "--archive", road.archive, "--model", road.model)
    result = cli(*again, *options, "--json")
    assert result.exit_code == 0, result.output
    found: Json = json.loads(result.stdout)
    return found


def test_scoring_again_says_what_the_value_is_the_sum_of(road: Any, cli: Any, strongest: TxScore) -> None:
    found = answer(cli, road, strongest.tx_hash)
    assert set(found["rarities"]) <= set(PARTS)
    assert set(found["views"]) == {*VIEWS, "carried"}
    assert math.fsum(found["views"].values()) == pytest.approx(found["score"]["value"], abs=1e-3)
    expected = [len(each["expected"]) for frame in found["frames"] for each in frame["evidence"]]
    assert max(expected) in (EXPECTED - 1, EXPECTED)  # the true piece is left out where it is among them
    heat = {each["node"]: each["heat"] for each in found["frames"] if each["kind"] != "LOG"}
    facts = [each for each in found["score"]["evidence"] if each["field"] in FACTS]
    assert facts and all(heat[each["node"]] >= min(1.0, -math.log10(each["p_value"]) / 4) for each in facts)
    assert found["nearest"] is None and found["attribution"] is None


def test_evidence_says_how_much_the_benign_sample_can_show(road: Any, cli: Any, strongest: TxScore) -> None:
    found = answer(cli, road, strongest.tx_hash)
    evidence = [
        *found["score"]["evidence"],
        *(each for frame in found["frames"] for each in frame["evidence"]),
    ]
    calibration = load_calibration(ModelDir(road.model).calibration)
    of_size = calibration.score.least(math.log(found["score"]["calls"]))
    assert found["least_p"] == of_size and of_size["gain"] != calibration.score.least(0.0)["gain"]
    facts = [each for each in evidence if each["field"] in FACTS]
    values = [each for each in evidence if each["field"] not in FACTS]
    assert facts and all(each["least"] == of_size[each["field"]] for each in facts)
    known = {1 / (1 + each.count) for each in calibration.fields.fields.values()}
    assert values and {each["least"] for each in values} <= {
        *known,
        1 / (1 + calibration.fields.pooled.count),
    }
    beyond = next(each for each in facts if each["p_value"] < each["least"])
    shown = cli("explain", strongest.tx_hash, "--archive", road.archive, "--model", road.model).stdout
    assert f"<{beyond['least']:.2g}" in shown and f"{beyond['p_value']:.2g}" not in shown


def test_views_and_parts_say_what_they_are(road: Any, cli: Any, strongest: TxScore) -> None:
    shown = cli("explain", strongest.tx_hash, "--archive", road.archive, "--model", road.model).stdout
    lines = shown.splitlines()
    for name, meaning in (("size", "how large it is"), ("carried", "transactions before")):
        assert any(f" {name} " in line and meaning in line for line in lines)
    assert any("number_high" in line and "facts" in line for line in lines)


def test_what_was_carried_over_is_known_from_the_store_alone(road: Any, cli: Any) -> None:
    with open_store(road.store, read_only=True) as results:
        plain = (each for each in results.iter_scores() if not any(x.value for x in each.joint))
        one = max(plain, key=lambda each: each.carried)
    assert one.carried > 0.1
    told, alone = answer(cli, road, one.tx_hash, "--store", road.store), answer(cli, road, one.tx_hash)
    assert told["score"]["value"] == pytest.approx(one.value, abs=1e-3)
    assert told["score"]["carried"] == told["views"]["carried"] == one.carried
    assert alone["score"]["value"] == pytest.approx(one.value - one.carried, abs=1e-3)
    assert alone["scored_alone"] and not told["scored_alone"]


def test_what_was_scored_alone_says_so(road: Any, cli: Any, strongest: TxScore, tmp_path: Path) -> None:
    again = ("explain", strongest.tx_hash, "--archive", road.archive, "--model", road.model)
    open_store(tmp_path / "empty.sqlite").close()
    missing = "is counted, nor what was put into contracts and sent to them since the history; add --store"
    for store, alone in ((road.store, False), (None, True), (tmp_path / "empty.sqlite", True)):
        shown = cli(*again, *(("--store", store) if store else ())).stdout
        carried = next(line for line in shown.splitlines() if "from the account's transactions" in line)
        assert (missing in " ".join(shown.split())) == ("not known" in carried) == alone


def test_what_several_transactions_show_together_is_known_as_well(road: Any, cli: Any) -> None:
    with open_store(road.store, read_only=True) as results:
        robbing = [each for each in results.iter_scores() if any(x.name == "overdrawn" for x in each.joint)]
    one = max(robbing, key=lambda each: each.joint[0].value)
    told, alone = answer(cli, road, one.tx_hash, "--store", road.store), answer(cli, road, one.tx_hash)
    assert told["score"]["joint"] == [asdict(each) for each in one.joint] and alone["score"]["joint"] == []
    assert told["score"]["value"] == pytest.approx(one.value, abs=1e-3)
    assert told["rarities"]["overdrawn"] > 1 > alone["rarities"]["overdrawn"]
    assert alone["score"]["value"] < one.value - one.carried
    found = next(each for each in told["score"]["evidence"] if each["field"] == "overdrawn")
    assert " more out of 0x" in found["found"] and found["found"].endswith(" than put in")


def test_frames_are_ranked_from_the_store_as_well(road: Any, cli: Any, strongest: TxScore) -> None:
    stored = json.loads(cli("explain", strongest.tx_hash, "--store", road.store, "--json").stdout)
    ranked = stored["ranked_frames"]
    decades = [each["decades"] for each in ranked]
    assert decades == sorted(decades, reverse=True) and decades[0] > 0
    assert all(stored["frames"][each["place"]]["node"] == each["node"] for each in ranked)
    assert stored["rarities"] == stored["views"] == {}
    shown = cli("explain", strongest.tx_hash, "--store", road.store).stdout
    assert "Calls and events by their evidence" in shown and "sum of" not in shown


def test_the_beginning_of_a_hash_is_enough(road: Any, cli: Any, strongest: TxScore) -> None:
    start, again = strongest.tx_hash[:10], ("--archive", road.archive, "--model", road.model)
    for where in (("--store", road.store), again, ("--store", road.store, *again)):
        found = json.loads(cli("explain", start.upper().replace("0X", "0x"), *where, "--json").stdout)
        assert found["score"]["tx_hash"] == strongest.tx_hash
    unknown = cli("explain", "0x00000000", "--store", road.store)
    assert unknown.exit_code == 1 and "no score of 0x00000000" in unknown.stderr
    for where in (("--store", road.store), again):
        short = cli("explain", strongest.tx_hash[:9], *where)
        assert short.exit_code == 1 and "give at least 8 of its digits" in short.stderr


def test_a_hash_that_is_short_itself_is_found(strongest: TxScore, cli: Any, tmp_path: Path) -> None:
    with open_store(tmp_path / "s.sqlite") as results:
        results.write((replace(strongest, tx_hash=each), None, None) for each in ("0x4d", "0x4dc4"))
    found = cli("explain", "0x4D", "--store", tmp_path / "s.sqlite", "--json")
    assert json.loads(found.stdout)["score"]["tx_hash"] == "0x4d"


def test_a_hash_archived_in_capitals_is_found_by_its_beginning(tmp_path: Path) -> None:
    signature = "5VERv8NMvzbJMEkV8xnrLkEaWRtSz9CosKDYjCJjBRnbJLgp8uirBgmQpjKhoR4tjF3ZpRzrFmBV6UjKdiSZkQUW"
    digits = "abcdef12" * 8
    stored = [f"0x{digits.upper()}", signature]
    row = RawBlock("ethereum", 1, None, None, 1, TraceSource.RECEIPT, "record", tuple(stored), {})
    archive = Archive.begin(tmp_path, "evm")
    archive.append([row], PartInfo("", "node", 1, 1, 2))
    for given in (digits[:9], digits[:9].upper(), digits, digits.upper()):
        assert whole_hash(f"0x{given}", None, tmp_path) == stored[0]
    for given in (signature.lower(), signature[:20]):
        assert whole_hash(given, None, tmp_path) == given  # base58 in another case is another signature


def test_a_beginning_of_several_hashes_says_how_many(strongest: TxScore, cli: Any, tmp_path: Path) -> None:
    with open_store(tmp_path / "s.sqlite") as results:
        twins = [replace(strongest, tx_hash=strongest.tx_hash[:-1] + digit) for digit in "0123"]
        results.write((each, None, None) for each in twins)
    refused = cli("explain", strongest.tx_hash[:12], "--store", tmp_path / "s.sqlite")
    assert refused.exit_code == 1 and f"4 transactions begin with {strongest.tx_hash[:12]}" in refused.stderr


def test_of_a_hash_on_two_chains_one_is_explained(strongest: TxScore, cli: Any, tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    twin = replace(strongest, chain="arbitrum", reason="quiet over there", evidence=())
    with open_store(store) as results:
        results.write([(twin, None, None), (strongest, "high", None)])
    shown = cli("explain", strongest.tx_hash, "--store", store)
    assert f"the hash is on {strongest.chain}, arbitrum" in shown.stderr and twin.reason not in shown.stdout
    named = cli("explain", strongest.tx_hash, "--store", store, "--chain", "arbitrum")
    assert twin.reason in named.stdout and "the hash is on" not in named.stderr
    refused = cli("explain", strongest.tx_hash, "--store", store, "--chain", "base")
    assert refused.exit_code == 1 and f"{strongest.tx_hash} on base" in refused.stderr


def test_of_two_chains_that_have_a_hash_the_one_of_the_store_is_scored_again(
    road: Any, cli: Any, strongest: TxScore, tmp_path: Path
) -> None:
    archive = shutil.copytree(road.archive, tmp_path / "archive")
    twin = {"chain": "bsc", "tx_hash": strongest.tx_hash, "block_number": strongest.block_number}
    trace = {"type": "CALL", "from": strongest.sender, "to": strongest.target, "value": "0x1", "input": "0x"}
    (tmp_path / "in.jsonl").write_text(json.dumps(twin | {"trace": trace}) + "\n")
    ingest_files([tmp_path / "in.jsonl"], archive)
    assert find(archive, strongest.tx_hash).chain == "bsc"
    known = ("--archive", archive, "--model", road.model, "--store", road.store, "--json")
    explained = json.loads(cli("explain", strongest.tx_hash, *known).stdout)["score"]
    assert (explained["chain"], explained["calls"]) == (strongest.chain, strongest.calls)
    bundled = json.loads(cli("bundle", strongest.tx_hash, *known, "--out", tmp_path / "b.json.gz").stdout)
    assert abs(bundled["value"] - strongest.value) <= 1e-3


def test_an_explanation_says_whether_it_is_an_alert(road: Any, cli: Any, tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    shutil.copy(road.store, store)
    with open_store(store) as results:
        alerted = results.alerts(limit=1)[0]
        quiet = next(each for each in results.iter_scores() if results.alert(each.tx_hash) is None)
        results.set_status(alerted.unique_key, "confirmed", note="", by="us")
    level = load_calibration(ModelDir(road.model).calibration).alarm_level
    again = ("--archive", road.archive, "--model", road.model)
    kept = {
        "severity": alerted.severity,
        "status": "confirmed",
        "lapsed": False,
        "p_value": alerted.score.p_value,
        "calibration": alerted.score.calibration,
    }
    for more in ((), again):
        one = json.loads(cli("explain", alerted.score.tx_hash, "--store", store, *more, "--json").stdout)
        assert (one["severity"], one["alarm_level"], one["alert"]) == (alerted.severity, level, kept)
        other = json.loads(cli("explain", quiet.tx_hash, "--store", store, *more, "--json").stdout)
        assert (other["severity"], other["alarm_level"], other["alert"]) == (None, level, None)
    with open_store(store) as results:
        results.write([(replace(alerted.score, p_value=0.5, calibration="newer"), None, None)])
    shown = cli("explain", alerted.score.tx_hash, "--store", store).stdout
    assert f"{alerted.severity}, confirmed (lapsed), raised at p {alerted.score.p_value:.2g}" in shown
    facts = dict(map(str.strip, line.split("│")[1:3]) for line in shown.splitlines() if line.count("│") == 3)
    assert (facts["alert"], facts["alarm level"], facts["time"][-4:]) == ("no", "unknown", " UTC")


def test_the_alarm_level_is_that_of_the_scores_own_run_however_long_ago(
    road: Any, strongest: TxScore, tmp_path: Path
) -> None:
    store = tmp_path / "s.sqlite"
    shutil.copy(road.store, store)
    with open_store(store) as results:
        (own,) = results.runs(limit=1)
        for number in range(1001):
            later = replace(own, id=str(number), started=own.started + 1, calibrations=("newer",))
            results.record_run(replace(later, alarm_level=0.5))
    assert explain_stored(strongest.tx_hash, store).level == own.alarm_level not in (None, 0.5)


def test_every_call_of_the_tree_has_its_number(road: Any, cli: Any, strongest: TxScore) -> None:
    shown = cli("explain", strongest.tx_hash, "--store", road.store, "--all").stdout
    lines = shown.partition("Call tree")[2].splitlines()[1:]
    numbers = [each[1] for each in map(str.split, lines) if len(each) > 2 and each[1].isdecimal()]
    stored = json.loads(cli("explain", strongest.tx_hash, "--store", road.store, "--json").stdout)
    assert numbers == [str(each["node"]) for each in stored["frames"] if each["kind"] != "LOG"]


def test_neighbours_are_earlier_and_run_the_same_function(road: Any, cli: Any, common: Any) -> None:
    one, before = common
    assert len(before) > 10
    near = answer(cli, road, one.hash, "--nearest", 3)["nearest"]
    assert near["found"] == near["compared"] == len(before)
    assert {each["tx_hash"] for each in near["neighbours"]} <= {each.hash for each in before}
    distances = [each["distance"] for each in near["neighbours"]]
    assert len(distances) == 3 and distances == sorted(distances) and distances[0] < 1
    assert set(near["differences"]) == {"facts", "amounts", "functions", "missing"}


def test_what_comes_later_in_the_same_block_is_no_neighbour(road: Any, common: Any) -> None:
    last = common[1][-1]
    stranger = replace(last, hash="0xnew", index=(last.index or 0) - 1)
    history = load_history(ModelDir(road.model).history)
    before = [each for each in common[1] if time_order(each) < time_order(stranger)]
    assert nearest_in(road.archive, stranger, history, count=1).found == len(before) < len(common[1])


def test_neighbours_can_be_restricted(road: Any, cli: Any, common: Any, tmp_path: Path) -> None:
    one, before = common
    near = answer(cli, road, one.hash, "--nearest", 1)["nearest"]
    (tmp_path / "known").write_text(near["neighbours"][0]["tx_hash"] + "\n")
    without = answer(cli, road, one.hash, "--nearest", 1, "--exclude", tmp_path / "known")["nearest"]
    assert without["found"] == len(before) - 1
    assert without["neighbours"][0]["tx_hash"] != near["neighbours"][0]["tx_hash"]
    early = answer(cli, road, one.hash, "--nearest", 50, "--blocks", ":150")["nearest"]
    assert early["found"] == sum((each.block_number or 0) < 150 for each in before)
    none = cli(
        "explain", one.hash, "--source", road.archive, "--model", road.model, "--nearest", 2,
        "--blocks", f"{(one.block_number or 0) + 1}:{(one.block_number or 0) + 2}",
    )  # fmt: skip
    assert none.exit_code == 0, none.output
    assert "Nearest earlier transactions: none" in none.stdout


def test_where_nobody_called_the_contract_before_those_that_run_the_same_count(
    road: Any, common: Any
) -> None:
    one, before = common
    stranger = replace(one, hash="0xnew", root=replace(one.root, target="0x" + "99" * 20))
    history = load_history(ModelDir(road.model).history)
    alone = nearest_in(road.archive, stranger, history, count=3)
    assert (alone.found, alone.neighbours, alone.differences) == (0, (), None)
    inner = [visit for visit in walk(one.root) if isinstance(visit.step, Call) and visit.node]
    nodes = [0, *(visit.node for visit in inner)]
    near = nearest_in(road.archive, stranger, history, count=3, nodes=nodes)
    assert not near.outermost and near.neighbours
    assert near.shared in [function_of(visit.step) for visit in inner]
    same = nearest_in(road.archive, one, history, count=3, nodes=nodes)
    assert same.outermost and same.found == len(before)


def test_only_the_latest_are_compared(
    road: Any, cli: Any, common: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, before = common
    monkeypatch.setattr(nearest_step, "MOST_COMPARED", 5)
    near = answer(cli, road, one.hash, "--nearest", 50)["nearest"]
    assert (near["found"], near["compared"]) == (len(before), 5)
    assert {each["tx_hash"] for each in near["neighbours"]} == {each.hash for each in before[-5:]}


def test_causes_are_shown_of_one_value_and_of_all(road: Any, cli: Any, strongest: TxScore) -> None:
    one = answer(cli, road, strongest.tx_hash, "--attribution", "gradient")["attribution"]
    assert one["of"] and one["causes"] and one["surprise"] > 0
    whole = answer(cli, road, strongest.tx_hash, "--attribution", "smooth", "--over", "transaction")
    assert whole["attribution"]["of"] == ""
    assert whole["attribution"]["surprise"] > one["surprise"]
    nats = [abs(each["nats"]) for each in one["causes"]]
    assert nats == sorted(nats, reverse=True)


def test_everything_is_shown_to_people(road: Any, cli: Any, common: Any) -> None:
    shown = cli(
        "explain", common[0].hash, "--source", road.archive, "--model", road.model, "--store", road.store,
        "--nearest", 2, "--attribution", "integrated",
    ).stdout  # fmt: skip
    for title in ("sum of", "Evidence", "Call tree", "How this one differs", "surprising (integrated)"):
        assert title in shown


def test_differences_make_sense_of_facts_that_are_no_amounts(strongest: TxScore) -> None:
    stranger, rare = ("0xaa", b"\x01\x02\x03\x04"), "another address as argument 2 of 0xa9059cbb"
    named = "another address as argument 2 of transfer(address,uint256)"
    found = Differences(
        functions=(NewFunction(stranger, 3, 0), NewFunction(stranger, 4, 2)),
        missing=(),
        amounts=(LargerAmount(ETHER, 1, 3 * 10**18, 0), LargerAmount("0xcc", 1, 3000, 20)),
        facts=(
            LargerFact("rare_role", 2, "a program", rare, 0),
            LargerFact("calls", 0, "12 calls", "5 calls", 1),
            LargerFact("joint_gain", 0, "9 of ether", "", 0),
        ),
    )
    near = Nearest((), found, 3, 3, stranger, outermost=True, ordered=True)
    out = io.StringIO()
    Console(file=out, width=250).print(
        explanation(Explanation(strongest, (), nearest=near), everything=False)
    )
    cells = [[cell.strip() for cell in line.split("│")[2:5]] for line in out.getvalue().splitlines()]
    assert [FACTS_IN_WORDS["rare_role"], "a program", f"{named}; as rare in 0 of the 3 compared"] in cells
    assert ["transfer of ether", "3 ether", "not moved"] in cells
    assert ["transfer of 0xcc", "3e+03 units", "at most 20 units"] in cells
    assert ["number of calls", "12 calls", "at most 5 calls; as much in 1 of the 3 compared"] in cells
    (of_all,) = (line for line in out.getvalue().splitlines() if "12 calls" in line)
    assert of_all.split("│")[1].strip() == "all"
    assert [FACTS_IN_WORDS["joint_gain"], "9 of ether", "less; as much in 0 of the 3 compared"] in cells
    assert [cell[2] for cell in cells if cell[:1] == ["runs"]] == [
        "in none of them",
        "in none of them, but in 2 of the 3 compared",
    ]


def test_evidence_of_all_calls_is_in_none_of_them(strongest: TxScore) -> None:
    size, depth = (Evidence(0, name, "9", (), 9.0, 0.001) for name in ("input_bytes", "depth"))
    out, score = io.StringIO(), replace(strongest, evidence=(size, depth))
    Console(file=out, width=250).print(explanation(Explanation(score, ()), everything=False))
    rows = [[cell.strip() for cell in line.split("│")[1:3]] for line in out.getvalue().splitlines()]
    assert ["all", FACTS_IN_WORDS["input_bytes"]] in rows and ["0", FACTS_IN_WORDS["depth"]] in rows


def test_where_no_tree_was_kept_the_command_that_shows_it_stands_in_its_place(
    road: Any, cli: Any, tmp_path: Path, strongest: TxScore
) -> None:
    with open_store(tmp_path / "s.sqlite") as store:
        store.write([(strongest, None, None)])
    shown = cli("explain", strongest.tx_hash, "--store", tmp_path / "s.sqlite").stdout
    command = f"blockscan explain {strongest.tx_hash} --store FILE --archive DIR --model DIR"
    assert f"Call tree: kept of the rarest transactions only; this shows it:\n{command}\n" in shown
    given = ["--store", road.store, "--archive", road.archive, "--model", road.model]
    assert "Call tree (heat" in cli("explain", strongest.tx_hash, *given).stdout


def test_a_selector_that_spells_a_name_is_none(strongest: TxScore) -> None:
    out, spoof = io.StringIO(), ("0xaa", b"mint")
    near = Nearest((), None, 3, 3, spoof, outermost=True, ordered=True)
    explained = Explanation(strongest, (), nearest=near)
    Console(file=out, width=250).print(explanation(explained, everything=False))
    assert "0x6d696e74 of 0xaa" in out.getvalue() and "mint of" not in out.getvalue()


def test_evidence_and_parts_are_named_in_words(road: Any, cli: Any, strongest: TxScore) -> None:
    given = (
        "explain",
        strongest.tx_hash,
        "--store",
        road.store,
        "--archive",
        road.archive,
        "--model",
        road.model,
    )
    shown = " ".join(cli(*given).stdout.split())
    evidence, _, rest = shown.partition(" Evidence ")[2].partition("Calls and events by their evidence")
    assert "_" not in evidence and FACTS_IN_WORDS["rare_role"] in shown.partition(" Evidence ")[0]
    assert evidence and rest


def test_what_cannot_be_shown_is_one_line(road: Any, cli: Any, strongest: TxScore) -> None:
    for option in (("--nearest", 3), ("--attribution", "gradient")):
        refused = cli("explain", strongest.tx_hash, "--store", road.store, *option)
        assert refused.exit_code == 1 and "give --archive DIR and --model DIR" in refused.stderr
    with pytest.raises(ConfigError, match="holds no transaction 0xdead"):
        find(road.archive, "0xdead")
