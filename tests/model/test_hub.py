import json
import os
import re
import subprocess

import pytest
import torch

from blockscan.config import ScoreConfig, TrainConfig
from blockscan.errors import ArtifactError
from blockscan.model.hub import from_pretrained, save_pretrained
from blockscan.model.losses import token_losses

TOKENIZER = "a1" * 32
DATA = {
    "sequences": 12345,
    "held_out": 67,
    "excluded": 8,
    "chain_ids": [1, 8453],
    "first_block": 19_000_000,
    "last_block": 19_060_000,
    "digest": "c3" * 32,
    "parts": {"part-node-000000000001-000000000200": "d4" * 32},
    "tokens_seen": 1_000_000,
    "preset": "small",
    "loss": 1.25,
    "validation_loss": 1.5,
}


def _save(model, path, **changes):
    options = {"train": TrainConfig(), "tokenizer_fingerprint": TOKENIZER, "data": DATA}
    options["tokenizer_files"] = {"vocabulary.json": b'{"pieces": []}'}
    save_pretrained(model, path, **(options | changes))
    return path


@pytest.fixture
def saved(model, tmp_path):
    return _save(model, tmp_path / "hub")


def test_a_model_comes_back_with_the_same_bits(saved, model, sequences):
    loaded = from_pretrained(saved)
    assert not loaded.training
    config = ScoreConfig(batch_tokens=500)
    for one, two in zip(*(token_losses(m, sequences, config) for m in (model, loaded)), strict=True):
        assert one.surprise.tobytes() == two.surprise.tobytes()


def test_the_directory_has_the_shape_of_the_hub(saved):
    files = {"config.json", "model.safetensors", "vocabulary.json", "README.md", "SHA256SUMS"}
    assert {path.name for path in saved.iterdir()} == files
    config = json.loads((saved / "config.json").read_text())
    assert config["model_type"] == "blockscan"
    assert config["architectures"] == ["BlockScanForMaskedLM"]
    assert "auto_map" not in config  # nothing asks for trust_remote_code
    result = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=saved, capture_output=True)
    assert result.returncode == 0
    assert result.stdout.count(b": OK") == len(files) - 1


def test_who_may_read_one_file_may_read_the_weights(model, tmp_path):
    before = os.umask(0o022)
    try:
        saved = _save(model, tmp_path / "hub")
    finally:
        os.umask(before)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in saved.iterdir()} == dict.fromkeys(
        (path.name for path in saved.iterdir()), "0o644"
    )


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocabulary.json", "README.md"])
def test_a_changed_or_missing_file_is_refused(saved, name):
    raw = bytearray((saved / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (saved / name).write_bytes(raw)
    with pytest.raises(ArtifactError, match=f"{name} was changed"):
        from_pretrained(saved)
    (saved / name).unlink()
    with pytest.raises(ArtifactError, match="no complete model"):
        from_pretrained(saved)


@pytest.mark.parametrize("kept", ["", "README.md", "config.json", "model.safetensors"])
def test_a_checksum_file_vouches_for_shape_and_weights(saved, kept):
    """Else one that was cut short would pass for one that was checked."""
    lines = (saved / "SHA256SUMS").read_text().splitlines(keepends=True)
    (saved / "SHA256SUMS").write_text("".join(line for line in lines if kept and kept in line))
    with pytest.raises(ArtifactError, match=r"SHA256SUMS does not vouch for (config|model)\."):
        from_pretrained(saved)


def test_a_checksum_file_cannot_point_elsewhere(saved):
    with (saved / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  ../hub/config.json\n")
    with pytest.raises(ArtifactError, match="was changed"):
        from_pretrained(saved)


def test_the_card_says_what_it_was_trained_on(saved):
    card = (saved / "README.md").read_text()
    assert re.match(r"---\nlibrary_name: blockscan\ntags:\n(- [a-z-]+\n)+---\n", card)
    shown = [
        "12,345",
        "19,000,000",
        "| 1, 8453 |",
        "c3" * 32,
        "d4" * 32,
        TOKENIZER,
        "| small |",
        "1.2500",
        "1.5000",
    ]
    for text in shown:
        assert text in card
    assert "8 transactions were listed as known or suspected attacks and left out" in card
    assert "not recorded" in card  # adapted_from


def test_no_path_and_no_markup_gets_into_the_card(model, tmp_path):
    data = DATA | {
        "preset": "/home/someone/secret.toml",
        "adapted_from": "x|y\n---\n![](http://attacker)",
        "parts": {"/mnt/archive/part-1": "not a hash <script>"},
        "password": "hunter2",
    }
    card = (_save(model, tmp_path / "hub", data=data, tokenizer_files=None) / "README.md").read_text()
    for leaked in ("someone", "attacker", "mnt", "script", "hunter2"):
        assert leaked not in card
    assert "The tokenizer is not included" in card


@pytest.mark.parametrize(
    ("excluded", "said"), [({}, "was not recorded"), ({"excluded": 0}, "Nothing was left out")]
)
def test_the_card_does_not_claim_that_attacks_were_excluded(model, tmp_path, excluded, said):
    assert said in (_save(model, tmp_path / "hub", data=excluded) / "README.md").read_text()


def test_a_tokenizer_file_cannot_replace_another_file(model, tmp_path):
    for name in ("config.json", "manifest.json", "../x", "a/b"):
        with pytest.raises(ValueError, match="cannot be the name"):
            _save(model, tmp_path / "hub", tokenizer_files={name: b""})


def test_an_unwritable_place_is_one_line(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot write"):
        _save(model, tmp_path / "file")


def test_loading_draws_no_global_randomness(saved):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    from_pretrained(saved)
    assert torch.equal(before, torch.random.get_rng_state())
