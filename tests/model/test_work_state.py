import json
import os
import shutil
import stat

import pytest
import torch

from blockscan.errors import ArtifactError
from blockscan.model import work_state
from blockscan.model.work_state import load_work, read_progress, save_work


def _tensors(fill):
    return {"model.a": torch.full((3, 4), fill), "optimizer.a.step": torch.full((1,), fill)}


@pytest.fixture
def work(tmp_path):
    save_work(tmp_path / "work", _tensors(3.0), {"step": 3}, step=3)
    save_work(tmp_path / "work", _tensors(12.0), {"step": 12}, step=12)
    return tmp_path / "work"


def test_the_newest_state_comes_back_in_place(work):
    tensors = _tensors(0.0)
    given = dict(tensors)
    assert read_progress(work) == {"step": 12}
    load_work(work, tensors)
    assert all(torch.equal(given[name], value) for name, value in _tensors(12.0).items())


def test_only_one_state_is_kept(work):
    assert [path.name for path in work.iterdir()] == ["step-000000012"]


def test_a_state_is_on_the_disk_before_the_older_one_is_removed(work, monkeypatch):
    flushed = []

    def fsync(descriptor):
        assert (work / "step-000000012").exists()
        found = os.fstat(descriptor)
        flushed.append(found.st_ino)
        if stat.S_ISDIR(found.st_mode):
            raise OSError(22, "Invalid argument")  # as on some network file systems

    monkeypatch.setattr(os, "fsync", fsync)
    save_work(work, _tensors(15.0), {"step": 15}, step=15)
    (state,) = work.iterdir()
    assert set(flushed) == {path.stat().st_ino for path in (*state.iterdir(), state, work)}


def test_of_two_states_the_newer_counts(work, tmp_path):
    """As a kill leaves them that comes after the renaming and before the removal."""
    save_work(tmp_path / "other", _tensors(9.0), {"step": 9}, step=9)
    shutil.copytree(tmp_path / "other" / "step-000000009", work / "step-000000009")
    assert read_progress(work) == {"step": 12}


def test_a_run_that_has_stored_nothing_has_no_progress(tmp_path):
    assert read_progress(tmp_path / "work") is None
    with pytest.raises(ArtifactError, match="holds no state"):
        load_work(tmp_path / "work", _tensors(0.0))


@pytest.mark.parametrize("moment", ["before the tensors", "before the name"])
def test_a_state_that_was_being_written_when_the_process_died_does_not_count(work, monkeypatch, moment):
    def die(*arguments):
        raise KeyboardInterrupt

    if moment == "before the name":
        monkeypatch.setattr(work_state.Path, "rename", die)
    else:
        monkeypatch.setattr(work_state, "save_file", die)
    with pytest.raises(KeyboardInterrupt):
        save_work(work, _tensors(15.0), {"step": 15}, step=15)
    monkeypatch.undo()
    assert read_progress(work) == {"step": 12}
    save_work(work, _tensors(15.0), {"step": 15}, step=15)
    assert read_progress(work) == {"step": 15}


def test_a_missing_shard_is_noticed(work):
    state = work / "step-000000012"
    shutil.copy(state / "state.safetensors", state / "another.safetensors")
    with pytest.raises(ArtifactError, match=r"step-000000012 is damaged \(its files are not those"):
        read_progress(work)
    (state / "another.safetensors").unlink()
    (state / "state.safetensors").unlink()
    with pytest.raises(ArtifactError, match="its files are not those"):
        read_progress(work)


@pytest.mark.parametrize("text", ["", "[]", '{"progress": 3, "shards": {}}', json.dumps({"shards": {}})])
def test_a_damaged_description_is_refused(work, text):
    (work / "step-000000012" / "progress.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"is damaged .*; remove .*work and start again"):
        read_progress(work)


@pytest.mark.parametrize(
    "tensors", [{"model.a": torch.zeros(3, 5)}, {"model.b": torch.zeros(3, 4)}], ids=["shape", "name"]
)
def test_tensors_of_another_run_are_refused(work, tensors):
    with pytest.raises(ArtifactError, match="is damaged"):
        load_work(work, tensors)


def test_a_shard_with_bytes_overwritten_in_its_header_is_refused(work):
    shard = work / "step-000000012" / "state.safetensors"
    raw = bytearray(shard.read_bytes())
    raw[8:40] = b"\xff" * 32
    shard.write_bytes(raw)
    with pytest.raises(ArtifactError, match="is damaged"):
        load_work(work, _tensors(0.0))
