"""The file of values: its form, going on after an interruption, refusals; and the command."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from blockscan.errors import ArtifactError, ConfigError
from pipelines.baselines import BASELINES, run
from pipelines.baselines.run import Request, agreement, run_baselines
from pipelines.cli_baselines import baselines


@pytest.fixture
def request_of(train, test, tokenizer, setting):
    def make(**changes):
        given = {"train": train, "test": test, "tokenizer": tokenizer, "config": setting().config}
        return Request(**(given | {"only": ("ecod", "lof")} | changes))

    return make


def test_a_file_has_a_hash_and_a_column_per_baseline(tmp_path, request_of, test, train, setting):
    out = tmp_path / "deep" / "values.parquet"
    facts = run_baselines(request_of(only=("sizes", "ecod")), out)
    table = pq.read_table(out)
    assert table.column_names == ["tx_hash", *BASELINES["sizes"].columns, "ecod"]
    assert {str(field.type) for field in table.schema} == {"string", "double"}
    assert table["tx_hash"].to_pylist() == [each.hash for each in test]
    expected = BASELINES["ecod"].fit(train, setting())(test)[:, 0]
    assert table["ecod"].to_numpy().tolist() == expected.tolist()
    assert facts["transactions"] == len(test) and "ecod seconds" in facts


def test_finished_families_are_kept_and_values_do_not_depend_on_the_order(tmp_path, request_of, monkeypatch):
    whole, pieces = tmp_path / "whole.parquet", tmp_path / "pieces.parquet"
    run_baselines(request_of(only=("isolation_forest", "lof", "ecod")), whole)
    run_baselines(request_of(only=("ecod",)), pieces)
    monkeypatch.setitem(run.BASELINES, "ecod", run.Baseline(("ecod",), lambda *_: pytest.fail("done before")))
    run_baselines(request_of(only=("ecod", "lof", "isolation_forest")), pieces)
    one, other = pq.read_table(whole), pq.read_table(pieces)
    for name in ("isolation_forest", "lof", "ecod"):
        assert one[name].to_pylist() == other[name].to_pylist()


def test_what_was_finished_before_an_error_is_in_the_file(tmp_path, request_of, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    out = tmp_path / "values.parquet"
    monkeypatch.setitem(run.BASELINES, "lof", run.Baseline(("lof",), interrupted))
    with pytest.raises(KeyboardInterrupt):
        run_baselines(request_of(), out)
    assert pq.read_table(out).column_names == ["tx_hash", "ecod"]
    assert [path.name for path in tmp_path.iterdir()] == ["values.parquet"]


def test_a_file_of_other_settings_is_not_continued(tmp_path, request_of, train, test):
    out = tmp_path / "values.parquet"
    run_baselines(request_of(only=("ecod",)), out)
    with pytest.raises(ConfigError, match="other seed"):
        run_baselines(request_of(seed=1), out)
    with pytest.raises(ConfigError, match="other test transactions"):
        run_baselines(request_of(test=test[1:]), out)
    with pytest.raises(ConfigError, match="other train transactions"):
        run_baselines(request_of(train=train[1:]), out)


def test_bad_requests_say_what_is_wrong(tmp_path, request_of, train):
    out = tmp_path / "values.parquet"
    with pytest.raises(ConfigError, match="unknown baseline 'lofe'; choose from sizes, novelty"):
        run_baselines(request_of(only=("lofe",)), out)
    with pytest.raises(ConfigError, match="120 transactions to fit on and 0 to score"):
        run_baselines(request_of(test=[]), out)
    with pytest.raises(ConfigError, match="1 transactions are in the train range and in the test range"):
        run_baselines(request_of(test=train[5:6]), out)
    assert not out.exists()
    out.write_text("no parquet")
    with pytest.raises(ArtifactError, match="no file of baseline values"):
        run_baselines(request_of(), out)


def test_unknown_names_are_refused_before_anything_is_read(road, cli, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.baselines.run.load", lambda *arguments: pytest.fail("it was read"))
    where = ("--train", "1:90", "--test", "90:150", "--out", tmp_path / "values.parquet")
    refused = cli("baselines", road.archive, *where, "--only", "lofe")
    assert refused.exit_code == 1 and "unknown baseline 'lofe'; choose from" in refused.stderr


def test_agreement_of_two_masks():
    columns = {"x": np.array([1.0, 2.0, 3.0]), "x_again": np.array([2.0, 4.0, 9.0])}
    assert agreement(columns, "x") == 1.0
    assert agreement(columns | {"x_again": np.array([3.0, 2.0, 1.0])}, "x") == -1.0
    assert agreement(columns | {"x_again": np.ones(3)}, "x") is None


def test_the_command_reads_an_archive(tmp_path, archive):
    app = typer.Typer()
    app.command()(baselines)
    out = tmp_path / "values.parquet"
    shared = [str(archive), "--train", "1:90", "--test", "377:400", "--out", str(out), "--preset", "debug"]
    shared += ["--only", "ecod", "--only", "sizes"]
    said = CliRunner().invoke(app, [*shared, "--dry-run"])
    assert said.exit_code == 0 and "would fit ecod, sizes" in said.output and not out.exists()
    done = CliRunner().invoke(app, [*shared, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["baselines"] == 7
    assert pq.read_table(out).num_rows == json.loads(done.stdout)["transactions"] > 0
