"""The committed Solana recording: regenerated from its seed, labelled whole, served without LiteSVM."""

import csv
import json
import lzma
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from blockscan.errors import ArtifactError
from pipelines.labels import read_labels
from pipelines.simulation.solana.server import recorded_blocks

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "pipelines" / "simulation" / "solana" / "recording"


@pytest.mark.slow
def test_the_recording_is_regenerated_byte_for_byte(tmp_path: Path) -> None:
    pytest.importorskip("solders", reason="solders, which contains LiteSVM, is not installed")
    from pipelines.simulation.solana import record

    assert record.FOLDER == FOLDER
    record.main(["--out", str(tmp_path)])
    with (
        lzma.open(tmp_path / "blocks.jsonl.xz") as ours,
        lzma.open(FOLDER / "blocks.jsonl.xz") as committed,
    ):
        assert ours.read() == committed.read()
    for name in ("labels.csv", "incidents.csv", "meta.json"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), name


def test_size_split_and_labels() -> None:
    packed = sum(len(lzma.compress(path.read_bytes())) for path in FOLDER.iterdir())
    assert packed < 1 << 20
    blocks, meta = recorded_blocks(FOLDER), json.loads((FOLDER / "meta.json").read_text())
    assert (min(blocks), max(blocks)) == (meta["first_block"], meta["last_block"])
    truth = read_labels(FOLDER / "labels.csv")
    slot_of = {
        entry["transaction"]["signatures"][0]: slot
        for slot, block in blocks.items()
        for entry in orjson.loads(block)["transactions"]
    }
    assert slot_of.keys() == truth.keys()
    cut = meta["calibrate_until_block"]
    assert all(slot_of[name] > cut for name, label in truth.items() if label.label != "benign")
    later = sum(slot_of[name] <= cut for name in truth)
    assert later > 1900 and meta["train_until_block"] < cut
    exploits = {label.incident for label in truth.values() if label.stage == "exploit"}
    with (FOLDER / "incidents.csv").open(newline="") as stream:
        assert {row["incident"] for row in csv.DictReader(stream)} == exploits
    assert len(exploits) == 24


def test_serving_it_needs_no_litesvm() -> None:
    probe = (
        "import sys\n"
        "sys.modules['solders'] = None\n"
        "from pipelines import demo\n"
        "from pathlib import Path\n"
        "from blockscan.chains.transport import Endpoint\n"
        f"with demo.CHAINS['solana'].serve(Path({str(FOLDER)!r})) as url:\n"
        "    print(demo.CHAINS['solana'].node(Endpoint(url)).head())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == json.loads((FOLDER / "meta.json").read_text())["last_block"]


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a readable recording"):
        recorded_blocks(tmp_path)
    for content in (b"", b'{"slot": 1}\n', b"[]\n", b"{\n"):
        (tmp_path / "blocks.jsonl.xz").write_bytes(lzma.compress(content))
        with pytest.raises(ArtifactError, match="record it again"):
            recorded_blocks(tmp_path)
    (tmp_path / "blocks.jsonl.xz").write_bytes(lzma.compress(b"x" * 1000)[:40])
    with pytest.raises(ArtifactError, match="record it again"):
        recorded_blocks(tmp_path)
