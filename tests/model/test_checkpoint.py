import hashlib
import json

import pytest
import torch

from blockscan.artifact import read_manifest
from blockscan.config import ScoreConfig, TrainConfig
from blockscan.errors import ArtifactError, ConfigError
from blockscan.model.checkpoint import load_checkpoint, save_checkpoint
from blockscan.model.losses import token_losses

OURS, THEIRS = "a1" * 32, "b2" * 32


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "model"
    files = {"vocabulary.json": b"{}"}
    data = {"sequences": 3}
    save_checkpoint(
        path, model, train=TrainConfig(), tokenizer_fingerprint=OURS, data=data, tokenizer_files=files
    )
    return path


def test_a_loaded_model_scores_with_the_same_bits(saved, model, sequences):
    loaded = load_checkpoint(saved, tokenizer_fingerprint=OURS)
    config = ScoreConfig(batch_tokens=500)
    for one, two in zip(*(token_losses(m, sequences, config) for m in (model, loaded)), strict=True):
        assert one.surprise.tobytes() == two.surprise.tobytes()
    assert loaded.vocabulary == model.vocabulary
    assert not loaded.training


def test_the_manifest_says_where_it_comes_from(saved):
    manifest = read_manifest(saved, "checkpoint")
    assert manifest.parents == {"tokenizer": OURS}
    shipped = {"config.json", "model.safetensors", "vocabulary.json", "README.md", "SHA256SUMS"}
    assert set(manifest.files) == shipped
    assert manifest.config["data"] == {"sequences": 3}
    assert manifest.config["train"]["steps"] == TrainConfig().steps


def test_another_tokenizer_is_refused_naming_both(saved):
    with pytest.raises(ArtifactError, match="tokenizer a1a1a1a1a1a1, not with b2b2b2b2b2b2;"):
        load_checkpoint(saved, tokenizer_fingerprint=THEIRS)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md", "manifest.json"])
def test_a_damaged_file_is_refused(saved, name):
    raw = bytearray((saved / name).read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    (saved / name).write_bytes(raw)
    with pytest.raises(ArtifactError, match=name):
        load_checkpoint(saved, tokenizer_fingerprint=OURS)


def test_a_missing_file_is_refused(saved):
    (saved / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="missing or was changed"):
        load_checkpoint(saved, tokenizer_fingerprint=OURS)


def test_weights_of_another_shape_are_refused(model, tmp_path):
    path = tmp_path / "model"
    save_checkpoint(path, model, train=TrainConfig(), tokenizer_fingerprint=OURS, data={})
    stored = json.loads((path / "config.json").read_text())
    stored["model"]["feed_forward"] = 100
    _replace(path, "config.json", json.dumps(stored))
    with pytest.raises(ArtifactError, match=r"do not fit config\.json"):
        load_checkpoint(path, tokenizer_fingerprint=OURS)
    _replace(path, "config.json", json.dumps({"model_type": "blockscan", "model": {}}))
    with pytest.raises(ArtifactError, match="no readable checkpoint"):
        load_checkpoint(path, tokenizer_fingerprint=OURS)


@pytest.mark.parametrize("kind", [None, "bert"])
def test_what_another_program_or_an_earlier_version_wrote_is_refused(saved, kind):
    stored = json.loads((saved / "config.json").read_text()) | {"model_type": kind}
    _replace(saved, "config.json", json.dumps(stored))
    with pytest.raises(ArtifactError, match=f"model_type {kind!r}, not 'blockscan'.*pretrain again"):
        load_checkpoint(saved, tokenizer_fingerprint=OURS)


def test_a_manifest_at_hand_spares_hashing_but_not_the_check_of_the_tokenizer(saved, monkeypatch):
    manifest = read_manifest(saved, "checkpoint")
    monkeypatch.setattr("blockscan.artifact.file_sha256", None)
    load_checkpoint(saved, tokenizer_fingerprint=OURS, manifest=manifest)
    with pytest.raises(ArtifactError, match="was trained with tokenizer"):
        load_checkpoint(saved, tokenizer_fingerprint=THEIRS, manifest=manifest)


def _replace(path, name, text):
    """Change a file and its hash in the manifest, as a program that writes bad checkpoints would."""
    (path / name).write_text(text)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256(text.encode()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_another_kind_of_artifact_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="holds no checkpoint"):
        load_checkpoint(tmp_path, tokenizer_fingerprint=OURS)


def test_a_kernel_that_cannot_run_here_is_refused(saved):
    if torch.cuda.is_available():
        pytest.skip("this machine can run it")
    with pytest.raises(ConfigError, match="CUDA"):
        load_checkpoint(saved, tokenizer_fingerprint=OURS, attention="varlen")


def test_an_existing_directory_is_not_overwritten(saved, model):
    with pytest.raises(ArtifactError, match="not empty"):
        save_checkpoint(saved, model, train=TrainConfig(), tokenizer_fingerprint=OURS, data={})
