"""What users get wrong: one clear line, the right exit status, nothing lost."""

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from blockscan.model.work_state import save_work
from pipelines.encode import watched
from pipelines.ranges import parse_range
from pipelines.sources import Rejects, open_shards
from pipelines.training.lock import only_run

RECORD = {
    "tx_hash": "0x01",
    "block_number": 1,
    "trace": {"type": "CALL", "from": "0x" + "11" * 20, "to": "0x" + "22" * 20},
}


def refused(result: Any, status: int = 1) -> str:
    """The single line on stderr of a refused command."""
    assert result.exit_code == status, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("blockscan: ")]
    assert len(lines) == 1 and "Traceback" not in result.output
    return str(lines[0])


def test_malformed_lines_show_in_text_and_exit_status(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps(RECORD) + "\n{broken\n")
    result = cli(
        "ingest", "ethereum", "--from", tmp_path / "in.jsonl", "--out", tmp_path / "archive", "--json"
    )
    assert result.exit_code == 3
    assert "in.jsonl:2: not valid JSON" in result.stderr
    assert json.loads(result.stdout)["added"] == 1


@pytest.mark.parametrize(("good", "bad"), [(0, 3), (1, 2)])
def test_the_table_of_an_ingest_counts_what_was_rejected(
    cli: Any, tmp_path: Path, good: int, bad: int
) -> None:
    (tmp_path / "in.jsonl").write_text(f"{json.dumps(RECORD)}\n" * good + "{broken\n" * bad)
    for _ in range(2):
        result = cli("ingest", "ethereum", "--from", tmp_path / "in.jsonl", "--out", tmp_path / "archive")
        row = next(line for line in result.stdout.splitlines() if " rejected " in line)
        assert (result.exit_code, row.replace("│", " ").split()) == (3, ["rejected", str(bad)])


def test_several_files_may_follow_one_from(cli: Any, tmp_path: Path) -> None:
    for number in (1, 2):
        record = RECORD | {"tx_hash": f"0x{number}"}
        (tmp_path / f"{number}.jsonl").write_text(json.dumps(record) + "\n")
    arguments = [
        "--from",
        tmp_path / "1.jsonl",
        tmp_path / "2.jsonl",
        "--out",
        tmp_path / "archive",
        "--json",
    ]
    assert json.loads(cli("ingest", "ethereum", *arguments).stdout)["added"] == 2


def test_an_unknown_config_key_names_the_nearest(cli: Any, archive: Path, tmp_path: Path) -> None:
    arguments = ["pretrain", archive, "--model", tmp_path, "--preset", "debug"]
    assert "nearest known one is 'steps'" in refused(cli(*arguments, "--set", "train.step=3"))
    assert "unknown preset 'hug'" in refused(cli("pretrain", archive, "--model", tmp_path, "--preset", "hug"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ingest", "ethereum", "--out", "x"], "give either --rpc URL with --blocks"),
        (
            ["ingest", "ethereum", "--rpc", "ftp://u:k3y@h/", "--blocks", "1:2", "--out", "x"],
            "must begin with http",
        ),
        (
            ["ingest", "ethereum", "--rpc", "http://127.0.0.1:9/k3y", "--blocks", "9:3", "--out", "x"],
            "no answer",
        ),
        (["tokenizer", "fit", "nowhere", "--model", "m"], "nowhere does not exist"),
        (["score", "--model", "m", "--store", "s"], "give something to score"),
        (["explain", "0x1"], "give --store FILE"),
        (["explain", "0x1", "--store", "none.sqlite"], "there is no store at none.sqlite"),
        (["evaluate", "--store", "none.sqlite", "--labels", "none.csv"], "none.csv"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_wrong_commands_end_in_one_line(
    cli: Any, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("blockscan.chains.transport.time.sleep", lambda seconds: None)
    line = refused(cli(*arguments))
    assert message in line and "k3y" not in line
    assert list(tmp_path.iterdir()) == []


def test_an_empty_archive_is_refused_by_every_step(cli: Any, tmp_path: Path, road: Any) -> None:
    (tmp_path / "in.jsonl").write_text("\n")
    assert (
        cli("ingest", "ethereum", "--from", tmp_path / "in.jsonl", "--out", tmp_path / "empty").exit_code == 0
    )
    for step in (
        ["tokenizer", "fit", tmp_path / "empty", "--model", tmp_path / "m"],
        ["pretrain", tmp_path / "empty", "--model", road.model],
        ["calibrate", tmp_path / "empty", "--model", road.model],
        ["score", tmp_path / "empty", "--model", road.model, "--store", tmp_path / "s.sqlite"],
    ):
        assert "is empty; run `blockscan ingest` first" in refused(cli(*step))


@pytest.mark.parametrize(
    "arguments",
    [
        ["alerts", "--store", "s", "--limit", 10**30],
        ["alerts", "--store", "s", "--incidents", "--window-hours", "inf"],
        ["alerts", "--store", "s", "--incidents", "--window-hours", "nan"],
        ["evaluate", "--store", "s", "--labels", "l", "--seed", -1],
        ["evaluate", "--store", "s", "--labels", "l", "--seed", 10**30],
        ["explain", "0x1", "--store", "s", "--seed", 10**30],
        ["drift", "--store", "s", "--model", "m", "--seed", -1],
        ["baselines", "a", "--train", ":1", "--test", "1:", "--out", "o", "--seed", 10**30],
    ],
    ids=lambda value: f"{value[0]} {value[-2]} {value[-1]}",
)
def test_numbers_that_no_library_takes_are_wrong_usage(cli: Any, arguments: list[object]) -> None:
    result = cli(*arguments)
    assert result.exit_code == 2 and f"Invalid value for '{arguments[-2]}'" in result.stderr


def test_a_range_without_transactions_is_refused(cli: Any, road: Any, tmp_path: Path) -> None:
    arguments = ["score", road.archive, "--model", road.model, "--store", tmp_path / "s.sqlite"]
    assert "no transaction to score" in refused(cli(*arguments, "--blocks", "9M:"))


def test_where_every_row_is_rejected_the_reasons_are_told(cli: Any, road: Any, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("{broken\n")
    fresh, half = tmp_path / "fresh", tmp_path / "half"
    half.mkdir()
    for part in ("tokenizer", "checkpoint", "history"):
        (half / part).symlink_to(road.model / part)
    out = tmp_path / "values.parquet"
    for step in (
        ["tokenizer", "fit", source, "--model", fresh, "--preset", "debug"],
        ["calibrate", source, "--model", half, "--preset", "debug"],
        ["recalibrate", source, "--model", road.model],
        ["recount", source, "--model", road.model, "--out", tmp_path / "again"],
        ["score", source, "--model", road.model, "--store", tmp_path / "s.sqlite"],
        ["baselines", source, "--train", ":9", "--test", "9:", "--model", road.model, "--out", out],
    ):
        result = cli(*step)
        assert "rejected: in.jsonl:1: not valid JSON" in result.stderr, step
        refused(result)


def test_outputs_that_exist_are_refused_and_kept(cli: Any, road: Any) -> None:
    before = {path: path.stat().st_mtime_ns for path in road.model.rglob("*") if path.is_file()}
    for step in (["tokenizer", "fit"], ["pretrain"], ["calibrate"]):
        line = refused(cli(*step, road.archive, "--model", road.model, "--preset", "debug"))
        assert "is not empty; give a new directory" in line
    assert {path: path.stat().st_mtime_ns for path in road.model.rglob("*") if path.is_file()} == before


def test_a_checkpoint_with_another_tokenizer_is_refused(cli: Any, road: Any, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    cli("tokenizer", "fit", road.archive, "--model", model, "--blocks", "1:20", "--preset", "debug")
    for part in ("checkpoint", "calibration"):
        (model / part).symlink_to(road.model / part)
    arguments = ["score", road.archive, "--model", model, "--store", tmp_path / "s.sqlite"]
    assert re.search(r"trained with tokenizer [0-9a-f]{12}, not with [0-9a-f]{12}", refused(cli(*arguments)))


def test_a_calibration_of_another_checkpoint_is_refused(cli: Any, road: Any, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for part in ("tokenizer", "calibration"):
        (model / part).symlink_to(road.model / part)
    tiny = ["--set", "train.steps=2", "--set", "train.batch_tokens=1024", "--blocks", "1:30"]
    assert cli("pretrain", road.archive, "--model", model, "--preset", "debug", *tiny).exit_code == 0
    arguments = ["score", road.archive, "--model", model, "--store", tmp_path / "s.sqlite"]
    assert "run `blockscan calibrate` again" in refused(cli(*arguments))


def test_a_target_that_the_calibration_cannot_support_says_what_is_needed(
    cli: Any, road: Any, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for part in ("tokenizer", "checkpoint", "history"):
        (model / part).symlink_to(road.model / part)
    arguments = ["calibrate", road.archive, "--model", model, "--blocks", "90:150", "--preset", "debug"]
    assert "needs at least 9,999" in refused(cli(*arguments, "--fpr", "1e-4"))
    assert not (model / "calibration").exists()


def test_an_interrupted_pretraining_resumes_to_the_same_model(
    cli: Any, road: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.progress import Bar

    model = tmp_path / "model"
    model.mkdir()
    (model / "tokenizer").symlink_to(road.model / "tokenizer")
    tiny = [
        "--set",
        "train.steps=12",
        "--set",
        "train.batch_tokens=2048",
        "--set",
        "train.checkpoint_every=4",
    ]
    arguments = ["pretrain", road.archive, "--model", model, "--blocks", "1:90", "--preset", "debug", *tiny]
    to = Bar.to

    def dying(self: Bar, done: int, total: int, note: str = "") -> None:
        if total == 12 and done == 7:
            raise KeyboardInterrupt
        to(self, done, total, note)

    with monkeypatch.context() as patched:
        patched.setattr(Bar, "to", dying)
        assert cli(*arguments).exit_code == 130
    assert "--resume" in refused(cli(*arguments))
    assert cli(*arguments, "--resume").exit_code == 0
    weights = "checkpoint/model.safetensors"
    assert (model / weights).read_bytes() == (road.model / weights).read_bytes()


def test_a_full_disk_under_the_store_loses_nothing(
    cli: Any, road: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    from blockscan.store import open_store

    store = tmp_path / "s.sqlite"
    arguments = ["score", road.archive, "--model", road.model, "--store", store]
    assert cli(*arguments, "--blocks", "377:379").exit_code == 0
    with open_store(store, read_only=True) as results:
        before = list(results.iter_scores())
    connect = sqlite3.connect

    def full(*positional: Any, **named: Any) -> sqlite3.Connection:
        connection = connect(*positional, **named)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", full)
        assert "full" in refused(cli(*arguments, "--blocks", "379:400"))
    with open_store(store, read_only=True) as results:
        assert list(results.iter_scores()) == before
    assert cli(*arguments, "--blocks", "379:400").exit_code == 0


def test_every_command_shows_an_example(cli: Any) -> None:
    for command in (
        "ingest ethereum",
        "tokenizer fit",
        "pretrain",
        "calibrate",
        "score",
        "explain",
        "evaluate",
        "coverage",
        "watch",
    ):
        text = cli(*command.split(), "--help").stdout
        assert f"blockscan {command} " in " ".join(text.split()), command
    for command in ("demo", "dashboard"):
        assert f"blockscan {command} --" in " ".join(cli(command, "--help").stdout.split())


DRY = {  # a step, what of a model it needs, and what it says
    "tokenizer fit": ([], "would fit"),
    "pretrain": (["tokenizer"], "would train"),
    "calibrate": (["tokenizer", "checkpoint"], "would calibrate"),
    "score": (["tokenizer", "checkpoint", "calibration", "history"], "would score up to 2,"),
}


def _unfinished(directory: Path) -> None:
    save_work(directory / "checkpoint.work", {"x": torch.zeros(1)}, {"step": 3}, step=3)


BEFORE_READING: list[tuple[list[str], str]] = [
    (["--set", "train.warmup=5"], "train.warmup is a share"),
    (["--set", "train.steps=0"], "train.steps must be above 0"),
    (["--set", "train.accumulate=0"], "train.accumulate must be above 0"),
    (["--set", "train.parallel=pipeline"], "train.parallel = 'pipeline' is unknown"),
    (["--set", "train.replaced_weight=1"], "needs model.replaced_head"),
    (["--set", "model.heads=7"], "must be a multiple of twice model.heads = 7"),
    (["--set", "model.attention=flash"], "model.attention = 'flash' cannot run here"),
    (["--device", "cuda"], "this machine has no device cuda"),
    (["--tensorboard", "logs"], "needs the package tensorboard"),
    (["--exclude", "gone.txt"], "cannot read the hashes to exclude"),
    (["--adapt", "gone"], "gone"),
    ([], "holds an unfinished run; go on with --resume"),
]


@pytest.mark.parametrize(("options", "message"), BEFORE_READING)
def test_what_cannot_be_trained_is_refused_before_a_transaction_is_read_and_in_a_dry_run(
    cli: Any, road: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    def read(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("encoding")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipelines.commands.encode_each", read)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    model = tmp_path / "m"
    model.mkdir()
    (model / "tokenizer").symlink_to(road.model / "tokenizer")
    if not options:
        _unfinished(model)
    before = sorted(tmp_path.rglob("*"))
    command = ["pretrain", road.archive, "--model", model, "--preset", "debug", *options]
    assert message in refused(cli(*command))
    assert message in refused(cli(*command, "--dry-run"))
    assert sorted(tmp_path.rglob("*")) == before


def test_two_trainings_do_not_work_in_one_model_directory(cli: Any, archive: Path, tmp_path: Path) -> None:
    for model in (tmp_path, tmp_path / "of" / "adapt"):  # the second is not there yet
        command = ["pretrain", archive, "--model", model, "--preset", "debug"]
        with only_run(model):
            assert f"another run is at work in {model}; wait" in refused(cli(*command))
        assert "holds no tokenizer" in refused(cli(*command))
        assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_pretraining_tells_the_tokens_of_a_step_with_all_its_batches(
    cli: Any, road: Any, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer").symlink_to(road.model / "tokenizer")
    sizes = ["--set", "train.accumulate=3", "--preset", "debug"]
    said = cli("pretrain", road.archive, "--model", tmp_path, *sizes, "--dry-run").stderr
    assert "would train 60 steps of 12,288 tokens" in said


@pytest.mark.parametrize("step", DRY)
def test_a_dry_run_does_nothing(cli: Any, road: Any, tmp_path: Path, step: str) -> None:
    parts, said = DRY[step]
    (tmp_path / "m").mkdir()
    for part in parts:
        (tmp_path / "m" / part).symlink_to(road.model / part)
    more = ["--store", tmp_path / "s.sqlite"] if step == "score" else []
    result = cli(*step.split(), road.archive, "--model", tmp_path / "m", *more, "--dry-run")
    assert result.exit_code == 0 and said in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == sorted(parts)


@pytest.mark.parametrize("step", list(DRY)[1:])
def test_a_dry_run_needs_what_the_run_needs(cli: Any, road: Any, tmp_path: Path, step: str) -> None:
    more = ["--store", tmp_path / "s.sqlite"] if step == "score" else []
    for part in DRY[step][0]:
        missing = "checkpoint" if step == "calibrate" else part  # it is asked for its preset first
        line = refused(cli(step, road.archive, "--model", tmp_path, *more, "--dry-run"))
        made_by = {"tokenizer": "tokenizer fit", "calibration": "calibrate"}.get(missing, "pretrain")
        assert f"holds no {missing}" in line and f"; run `blockscan {made_by}` first, or" in line, line
        (tmp_path / part).symlink_to(road.model / part)
    line = refused(cli(step, tmp_path / "none", "--model", tmp_path, *more, "--dry-run"))
    assert str(tmp_path / "none") in line
    assert not (tmp_path / "s.sqlite").exists()


def test_a_dry_run_is_refused_where_the_run_would_be(cli: Any, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "file").write_text("kept")
    for name in ("calibration", "checkpoint"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    for step in (
        ["tokenizer", "fit", archive, "--model", tmp_path],
        ["pretrain", archive, "--model", tmp_path],
        ["calibrate", archive, "--model", tmp_path],
        ["simulate", "--preset", "small", "--out", tmp_path],
        ["simulate", "--chain", "solana", "--preset", "small", "--out", tmp_path],
    ):
        assert "is not empty" in refused(cli(*step, "--dry-run"))


def test_a_dry_run_of_an_ingest_is_refused_where_the_run_would_be(
    cli: Any, archive: Path, node: str, tmp_path: Path
) -> None:
    out, other, file = tmp_path / "new", tmp_path / "other", tmp_path / "in.jsonl"
    file.write_text(json.dumps(RECORD))
    other.mkdir()
    (other / "note").write_text("mine")
    nodes = ["ingest", "ethereum", "--rpc", node]
    solana = ["ingest", "solana"]
    for command, message in (
        ([*nodes, "--blocks", "390:500", "--out", out], "block 499 does not exist yet; the newest is"),
        ([*nodes, "--blocks", "1:5", "--out", other], "holds no archive"),
        ([*nodes, "--repair", "--out", out], "holds no archive"),
        ([*solana, "--from", file, "--out", archive], "is an archive of evm, not solana"),
        ([*nodes[:2], "--from", tmp_path / "gone.jsonl", "--out", out], "no such file: "),
        ([*nodes[:2], "--from", file, "--out", other], "holds no archive"),
    ):
        said = refused(cli(*command, "--dry-run"))
        assert message in said and said == refused(cli(*command))
    assert not out.exists() and [path.name for path in other.iterdir()] == ["note"]
    unreachable = ["ingest", "ethereum", "--rpc", "http://127.0.0.1:9#attempts=1"]
    assert "no answer" in refused(cli(*unreachable, "--repair", "--out", archive, "--dry-run"))


def test_the_bar_of_a_block_range_ends_full(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr("pipelines.progress.console", Console(file=out, width=80))
    shards = open_shards(archive, Rejects(), parse_range("10:20"))
    count = len(list(watched("read", shards)))
    assert 0 < count < sum(shard.rows for shard in shards)
    assert f"{count}/{count} " in out.getvalue()
