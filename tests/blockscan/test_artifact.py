"""Artifacts: whole or absent, checked when opened."""

import json
import os
from pathlib import Path
from threading import Thread

import pytest

from blockscan import artifact
from blockscan.errors import ArtifactError


def make(path: Path, content: str = "1") -> None:
    with artifact.create(path, "tokenizer", config={"a": 1}, parents={"archive": "f"}) as draft:
        (draft / "data.json").write_text(content)


def test_equal_artifacts_have_equal_fingerprints(tmp_path: Path) -> None:
    make(tmp_path / "one")
    make(tmp_path / "two")
    make(tmp_path / "three", "2")
    one, two, three = (
        artifact.read_manifest(tmp_path / name, "tokenizer") for name in ("one", "two", "three")
    )
    assert one.fingerprint == two.fingerprint != three.fingerprint
    assert one.parents == {"archive": "f"}


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        artifact.create(tmp_path / "x", "tokenizer", config={}, parents={}) as draft,
    ):
        (draft / "data.json").write_text("1")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"cannot write the tokenizer .*; free some space"):
        make(tmp_path / "file" / "x")
    with (
        pytest.raises(ArtifactError, match="No space left on device"),
        artifact.create(tmp_path / "x", "tokenizer", config={}, parents={}) as draft,
    ):
        (draft / "data.json").write_text("1")
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_this_user_may_not_read_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    make(tmp_path / "x")
    monkeypatch.setattr(artifact, "file_sha256", refused)  # root, who may run this, reads every file
    with pytest.raises(ArtifactError, match=r"x/data\.json cannot be read \(Permission denied\); let this"):
        artifact.read_manifest(tmp_path / "x", "tokenizer")


def test_changed_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    make(path)
    with pytest.raises(ArtifactError, match="where a checkpoint is needed"):
        artifact.read_manifest(path, "checkpoint")
    (path / "data.json").write_text("changed")
    with pytest.raises(ArtifactError, match="was changed since it was made"):
        artifact.read_manifest(path, "tokenizer")
    (path / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="is damaged"):
        artifact.read_manifest(path, "tokenizer")
    with pytest.raises(ArtifactError, match="holds no tokenizer"):
        artifact.read_manifest(tmp_path / "nowhere", "tokenizer")


@pytest.mark.parametrize(
    "wrong",
    [
        {"files": []},
        {"config": None},
        {"parents": None},
        {"parents": {"archive": 1}},
        {"files": {"data.json": None}},
        {"kind": []},
    ],
    ids=str,
)
def test_a_manifest_of_other_types_is_damaged(tmp_path: Path, wrong: dict[str, object]) -> None:
    make(tmp_path / "x")
    manifest = tmp_path / "x" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | wrong))
    with pytest.raises(ArtifactError, match=r"is damaged: .*; make the tokenizer again"):
        artifact.read_manifest(tmp_path / "x", "tokenizer")


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "old").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "old")
    with monkeypatch.context() as patched:
        patched.setattr("blockscan.artifact.os.fsync", full)
        for name in ("old", "new"):
            with pytest.raises(OSError, match="No space"):
                artifact.write_whole(tmp_path / name, b"half")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "old"]
    assert (tmp_path / "old").read_text() == "precious"
    artifact.write_whole(tmp_path / "link", b"through")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "old").read_text() == "through"


def test_two_writers_of_one_file_leave_one_of_them_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, others = os.fsync, [b"of the second"]

    def overtaken(descriptor: int) -> None:
        if others:
            artifact.write_whole(tmp_path / "file", others.pop())
        sync(descriptor)

    monkeypatch.setattr("blockscan.artifact.os.fsync", overtaken)
    artifact.write_whole(tmp_path / "file", b"of the first, and longer")
    assert (tmp_path / "file").read_bytes() == b"of the first, and longer"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_cannot_be_replaced_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, fixed = tmp_path / "pipe", tmp_path / "fixed"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    artifact.write_whole(pipe, b"through")
    reader.join(10)
    assert read == [b"through"] and pipe.is_fifo()
    fixed.write_text("before")
    place = fixed.stat().st_ino
    access = os.access  # the superuser, who may run this, is refused by no mode of a directory
    monkeypatch.setattr("blockscan.artifact.os.access", lambda at, mode: at != tmp_path and access(at, mode))
    artifact.write_whole(fixed, b"after")
    assert (fixed.read_bytes(), fixed.stat().st_ino) == (b"after", place)


def test_an_output_that_is_not_empty_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("1")
    with pytest.raises(ArtifactError, match="is not empty"):
        make(tmp_path / "out")
    assert (tmp_path / "out" / "precious").read_text() == "1"
