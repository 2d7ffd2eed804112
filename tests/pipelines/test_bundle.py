"""Bundles as files: what is written comes back, what was changed is seen, what is hostile is one line."""

import gzip
import json
import math
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blockscan.archive import RawBlock
from blockscan.errors import ArtifactError
from blockscan.findings import Before, Joint
from blockscan.transaction import TraceSource
from pipelines import bundle as bundle_file
from pipelines.bundle import Bundle, Found, Verdict, made_with, read_bundle, row_hash, write_bundle

ROW = RawBlock(
    chain="ethereum",
    number=7,
    hash="0xbb",
    parent_hash=None,
    time=12,
    source=TraceSource.CALL_TRACER_LOGS,
    form="rpc",
    tx_hashes=("0x1", "0x2"),
    bodies={"traces": '{"note": "\u00e9\u2028 </script>"}'.encode(), "block": b"{}"},
)
HASHES = {
    "transaction": row_hash(ROW),
    "tokenizer": "t",
    "checkpoint": "c",
    "calibration": "k",
    "scoring": "s",
}
BUNDLE = Bundle(
    "0x1",
    ROW,
    HASHES,
    Verdict(3.1234567890123456, 0.01, (Found(0, "value", 9.5, 1e-5),)),
    Verdict(math.inf, None),
    "\x1b[31mred",
    made_with("cpu"),
    Before(0.1 + 0.2, (Joint("overdrawn", 1.5, 0, "10 of 0x2 out of 0x3"),), (990, 8, 2)),
)


def packed(path: Path, content: Any) -> Path:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(gzip.compress(text))
    return path


def content_of(tmp_path: Path) -> dict[str, Any]:
    write_bundle(BUNDLE, tmp_path / "whole")
    content: dict[str, Any] = json.loads(gzip.decompress((tmp_path / "whole").read_bytes()))
    return content


def test_a_bundle_comes_back_bit_for_bit(tmp_path: Path) -> None:
    write_bundle(BUNDLE, tmp_path / "a")
    assert read_bundle(tmp_path / "a") == BUNDLE
    write_bundle(read_bundle(tmp_path / "a"), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(ArtifactError, match="is there already"):
        write_bundle(BUNDLE, tmp_path / "a")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(reason="harmless"),
        lambda c: c.update(carried="0.0"),
        lambda c: c.update(joint=[]),
        lambda c: c["joint"][0].update(value=2.5),
        lambda c: c.update(mix=[990, 9, 1]),
        lambda c: c["alone"].update(value="0.5"),
        lambda c: c["alone"].update(p_value=0.02),
        lambda c: c["alone"]["evidence"][0].update(node=1),
        lambda c: c["transaction"]["bodies"].update(block="{ }"),
        lambda c: c["transaction"].update(number=8),
        lambda c: c["hashes"].update(tokenizer="u"),
        lambda c: c["made_with"].update(torch="1.0"),
        lambda c: c.update(sha256="0" * 64),
    ],
)
def test_a_changed_bundle_is_not_intact(tmp_path: Path, change: Any) -> None:
    content = content_of(tmp_path)
    assert read_bundle(packed(tmp_path / "same", content)).intact
    change(content)
    assert not read_bundle(packed(tmp_path / "changed", content)).intact


def test_the_row_hash_covers_every_field() -> None:
    changes: list[dict[str, Any]] = [
        {"number": 8}, {"hash": None}, {"parent_hash": "0x"}, {"time": 13}, {"form": "record"},
        {"source": TraceSource.CALL_TRACER}, {"tx_hashes": ("0x1",)}, {"chain": "base"},
        {"bodies": {"block": b"{}"}}, {"degraded": "x"},
    ]  # fmt: skip
    assert len({row_hash(ROW), *(row_hash(replace(ROW, **change)) for change in changes)}) == 11


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{" * 3000,
        b'{"a":' * 3000 + b"1" + b"}" * 3000,
        b"[" * 3000 + b"]" * 3000,
        b"[" * 200_000,
        b'{"format": "blockscan-bundle-4", "transaction": ' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"format": "blockscan-bundle-4"}',
        b'{"format": "blockscan-bundle-2"}',
        b"\xff\xfe",
        b"1" * 100_000,
    ],
)
def test_what_is_no_bundle_is_one_line(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(ArtifactError, match="is no bundle this program can read") as refused:
        read_bundle(packed(tmp_path / "x", text))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


WRONG: dict[str, list[object]] = {
    "mix": [None, 3, [1, 2], [None, 2, 3], [1, 2, "3"], [1, 2, -3], [1, 2, 3, 4], [1, 2, True]],
    "carried": ["nan", "inf", "-1.0", "x", None, 1],
    "joint": [
        None,
        {},
        ["overdrawn"],
        [{"name": "overdrawn", "value": 1, "node": 0, "found": ""}],
        [{"name": "overdrawn", "value": float("inf"), "node": 0, "found": ""}],
        [{"name": "overdrawn", "value": -1.0, "node": 0, "found": ""}],
        [{"name": "calls", "value": 1.0, "node": 0, "found": ""}],
        [{"name": "overdrawn", "value": 1.0, "node": None, "found": ""}],
        [{"name": "overdrawn", "value": 1.0, "node": 0}],
        [{"name": "overdrawn", "value": 1.0, "node": 0, "found": ""}] * 3,
    ],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]])
def test_a_wrong_part_is_no_bundle(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(ArtifactError, match="is no bundle this program can read"):
        read_bundle(packed(tmp_path / "x", content_of(tmp_path) | {name: value}))


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        ("transaction", "number", 10**400),
        ("transaction", "number", -1),
        ("transaction", "number", True),
        ("transaction", "time", "12"),
        ("transaction", "source", "../../etc/passwd"),
        ("transaction", "tx_hashes", [1]),
        ("transaction", "bodies", {"block": ["x"]}),
        ("transaction", "bodies", {"block": "\ud800"}),
        ("alone", "value", 3.5),
        ("alone", "value", "nan"),
        ("alone", "value", "9" * 100 + "x"),
        ("alone", "p_value", 1.5),
        ("alone", "p_value", "0.5"),
        ("alone", "evidence", [[]]),
        ("alone", "evidence", [{"node": 1}] * 5000),
        ("alone", "evidence", [{"node": 1e400, "field": "x", "surprise": 1.0, "p_value": 0.1}]),
        ("alone", "evidence", [{"node": None, "field": "x", "surprise": 1.0, "p_value": 0.1}]),
    ],
)
def test_wrong_fields_are_one_line(tmp_path: Path, place: str, name: str, value: object) -> None:
    content = content_of(tmp_path)
    content[place][name] = value
    with pytest.raises(ArtifactError, match="is no bundle this program can read"):
        read_bundle(packed(tmp_path / "x", content))


def test_a_bomb_a_stump_and_a_tail_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(BUNDLE, tmp_path / "good")
    whole = (tmp_path / "good").read_bytes()
    for name, raw in (("stump", whole[:-9]), ("tail", whole + b"x"), ("no", b"PK\x03\x04"), ("none", b"")):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(ArtifactError, match="is no bundle"):
            read_bundle(tmp_path / name)
    monkeypatch.setattr(bundle_file, "LARGEST", 100_000)
    packed(tmp_path / "bomb", b" " * 50_000_000)
    tracemalloc.start()
    with pytest.raises(ArtifactError, match="larger than 100,000 bytes when unpacked"):
        read_bundle(tmp_path / "bomb")
    assert tracemalloc.get_traced_memory()[1] < 2_000_000  # it was never unpacked as a whole
    tracemalloc.stop()
    large = replace(BUNDLE, row=replace(ROW, bodies={"block": b"x" * 100_001}))
    with pytest.raises(ArtifactError, match="no bundle of it"):
        write_bundle(large, tmp_path / "large")
    with pytest.raises(ArtifactError, match="cannot read"):
        read_bundle(tmp_path / "absent")


def test_a_full_disk_leaves_no_half_bundle_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("blockscan.artifact.os.fsync", full)
        with pytest.raises(ArtifactError, match="No space left on device; free some space"):
            write_bundle(BUNDLE, tmp_path / "one")
    assert list(tmp_path.iterdir()) == []
    write_bundle(BUNDLE, tmp_path / "one")
    assert read_bundle(tmp_path / "one").intact
