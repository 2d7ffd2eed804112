import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from blockscan.artifact import create, read_manifest
from blockscan.config import AdaptConfig, Config, ModelConfig, TrainConfig
from blockscan.errors import ArtifactError, ConfigError
from blockscan.model.checkpoint import load_checkpoint
from blockscan.tokens import TokenSequence, VocabularyShape
from pipelines.adapt import adapted, adopt_tokenizer
from pipelines.encode import encode_all
from pipelines.model_dir import ModelDir
from pipelines.pretrain import pretrain
from pipelines.provenance import provenance, tokenizer_files
from pipelines.sources import Rejects, open_shards
from tokenizer.txtokenizer import TxTokenizer

SHAPE = VocabularyShape(size=120, alias_spans=((100, 116),))
CONFIG = Config(
    model=ModelConfig(layers=3, width=48, heads=3, feed_forward=64, longest=64, window=16),
    train=TrainConfig(steps=60, batch_tokens=512, checkpoint_every=8, learning_rate=4e-3, bf16=False),
    adapt=AdaptConfig(rank=4, steps=24, learning_rate=1e-3),
)
FINGERPRINT = "c3" * 32


def _sequences(count, dialect):
    """Transactions that repeat a few phrases of their dialect, so that there is something to learn."""
    rng = np.random.default_rng(dialect)
    phrases = rng.integers(2, 116, (5, 8))
    found = []
    for which in range(count):
        ids = np.concatenate([phrases[i] for i in rng.integers(0, 5, rng.integers(1, 8))])
        place = np.arange(len(ids))
        found.append(
            TokenSequence(
                tx_hash=f"0x{dialect:x}{which:063x}",
                ids=ids.astype(np.int32),
                modality=np.zeros(len(ids), dtype=np.uint8),
                field=(place % 8).astype(np.uint8),
                node=(place // 8).astype(np.int32),
                depth=(place // 8 % 3).astype(np.int16),
                unit=(place // 2).astype(np.int32),
                group=np.full(len(ids), -1, dtype=np.int32),
                scored=np.ones(len(ids), dtype=np.bool_),
            )
        )
    return found


def _pretrain(directory, sequences, config, **options):
    options = {"config": config, "out": directory.checkpoint, "tokenizer_fingerprint": FINGERPRINT} | options
    return pretrain(sequences, SHAPE, **options)


def _adapt(base, directory, *, config=CONFIG, **options):
    start, config = adapted(base, config, tokenizer_fingerprint=FINGERPRINT, device="cpu")
    return _pretrain(directory, _sequences(60, dialect=2), config, start=start, **options)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    directory = ModelDir(tmp_path_factory.mktemp("adapt") / "base")
    directory.path.mkdir()
    _pretrain(directory, _sequences(200, dialect=1), CONFIG)
    return directory


def _weights(directory):
    return load_file(directory.checkpoint / "model.safetensors")


def test_adapting_gives_a_plain_checkpoint_that_knows_the_new_dialect_better(base, tmp_path):
    before = (base.checkpoint / "model.safetensors").read_bytes()
    new = ModelDir(tmp_path / "new")
    new.path.mkdir()
    reports = []
    done = _adapt(base, new, on_step=reports.append)
    assert done.steps == CONFIG.adapt.steps == len(reports)
    assert max(report.learning_rate for report in reports) <= CONFIG.adapt.learning_rate
    assert done.validation < reports[0].loss - 0.3
    old, now = _weights(base), _weights(new)
    assert old.keys() == now.keys()
    moved = {name for name in old if not torch.equal(old[name], now[name])}
    names = ("qkv", "attention_out", "gate_up", "feed_out")
    assert moved == {f"blocks.{layer}.{name}.weight" for layer in range(3) for name in names}
    for name in moved:
        difference = (now[name] - old[name]).double()
        assert torch.linalg.matrix_rank(difference, rtol=1e-4) == CONFIG.adapt.rank
    assert load_checkpoint(new.checkpoint, tokenizer_fingerprint=FINGERPRINT).vocabulary == SHAPE
    assert (base.checkpoint / "model.safetensors").read_bytes() == before


def test_the_manifest_and_the_card_name_the_base(base, tmp_path):
    new = ModelDir(tmp_path)
    _adapt(base, new, config=replace(CONFIG, adapt=replace(CONFIG.adapt, steps=10)))
    origin = f"{read_manifest(base.checkpoint, 'checkpoint').fingerprint}, LoRA rank 4, alpha 16, ratio 16"
    manifest = read_manifest(new.checkpoint, "checkpoint")
    assert manifest.config["data"]["adapted_from"] == origin
    assert manifest.config["train"]["learning_rate"] == CONFIG.adapt.learning_rate
    assert origin in (new.checkpoint / "README.md").read_text()


def test_an_interrupted_adaptation_resumes_bit_for_bit(base, tmp_path):
    whole, broken = ModelDir(tmp_path / "whole"), ModelDir(tmp_path / "broken")
    for directory in (whole, broken):
        directory.path.mkdir()
    _adapt(base, whole)

    def stop(report):
        if report.step == 19:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _adapt(base, broken, on_step=stop)
    with pytest.raises(ConfigError, match="start"):
        other = replace(CONFIG, adapt=replace(CONFIG.adapt, rank=3))
        _adapt(base, broken, config=other, resume=True)
    _adapt(base, broken, resume=True)
    one, two = _weights(whole), _weights(broken)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_another_tokenizer_or_no_base_is_refused(base, tmp_path):
    with pytest.raises(ArtifactError, match="was trained with tokenizer"):
        adapted(base, CONFIG, tokenizer_fingerprint="d4" * 32, device="cpu")
    with pytest.raises(ArtifactError, match="holds no checkpoint"):
        adapted(ModelDir(tmp_path), CONFIG, tokenizer_fingerprint=FINGERPRINT, device="cpu")
    wrong = replace(CONFIG, adapt=AdaptConfig(rank=100))
    with pytest.raises(ConfigError, match=r"adapt\.rank"):
        adapted(base, wrong, tokenizer_fingerprint=FINGERPRINT, device="cpu")


def _tokenizer(directory, text):
    with create(directory.tokenizer, "tokenizer", config={}, parents={}) as draft:
        (draft / "vocabulary.json").write_text(text)


def test_the_tokenizer_of_the_base_is_taken_over_and_no_other_is_kept(tmp_path):
    old, new, other = (ModelDir(tmp_path / name) for name in ("old", "new", "other"))
    for directory, text in ((old, "one"), (other, "two")):
        directory.path.mkdir()
        _tokenizer(directory, text)
    adopt_tokenizer(old, new)
    adopt_tokenizer(old, new)
    assert tokenizer_files(new) == {"vocabulary.json": b"one"}
    assert [path.name for path in new.path.iterdir()] == ["tokenizer"]
    assert read_manifest(new.tokenizer, "tokenizer") == read_manifest(old.tokenizer, "tokenizer")
    with pytest.raises(ArtifactError, match="is not the tokenizer of"):
        adopt_tokenizer(old, other)
    shutil.rmtree(old.tokenizer)
    with pytest.raises(ArtifactError, match="holds no tokenizer"):
        adopt_tokenizer(old, new)


def test_names_that_the_base_was_given_go_with_its_tokenizer_and_newer_ones_stay(tmp_path):
    old, new = ModelDir(tmp_path / "old"), ModelDir(tmp_path / "new")
    old.path.mkdir()
    _tokenizer(old, "one")
    old.signatures.write_text("{}")
    old.idls.mkdir()
    (old.idls / "program.json").write_text("idl")
    adopt_tokenizer(old, new)
    assert new.signatures.read_text() == "{}"
    assert [path.read_text() for path in new.idls.iterdir()] == ["idl"]
    new.signatures.write_text("imported since")
    adopt_tokenizer(old, new)  # as a run that is resumed does
    assert new.signatures.read_text() == "imported since"
    assert {path.name for path in new.path.iterdir()} == {"tokenizer", "signatures.json", "idl"}


@pytest.mark.parametrize(
    ("setting", "from_base"),
    [
        ("model.layers=9", True),
        ("train.steps=7", True),
        ("tokenizer.words=1", True),
        ("adapt.rank=2", False),
        ("tokenizer.words=1", False),
    ],
)
def test_a_setting_that_would_change_nothing_is_refused(cli, tmp_path, setting, from_base):
    """`--adapt` has steps, rate and shape from elsewhere; without it there is nothing to adapt. The
    tokenizer is there before either."""
    adapt = ["--adapt", tmp_path / "base"] if from_base else []
    result = cli("pretrain", tmp_path, "--model", tmp_path / "new", *adapt, "--set", setting)
    assert result.exit_code == 1
    assert f"--set {setting.partition('=')[0]} would change nothing" in result.stderr


def test_provenance_names_blocks_and_hashes_and_no_path(road):
    tokenizer = TxTokenizer.load(ModelDir(road.model).tokenizer)
    shards = open_shards(road.archive, Rejects())
    encoded = [each for each in encode_all(shards, tokenizer) if each.order[0] < 100]
    span = encoded[0].order[0], encoded[-1].order[0]
    told = provenance(road.archive, span, excluded=3, preset="/home/someone/mine.toml")
    assert (told["first_block"], told["last_block"]) == (1, max(each.order[0] for each in encoded))
    assert (told["excluded"], told["preset"]) == (3, "mine")
    held = {path.stem for path in road.archive.glob("part-node-*") if int(path.stem.split("-")[2]) < 100}
    assert set(told["parts"]) == held
    assert held < {path.stem for path in road.archive.glob("part-*")}
    assert all(len(digest) == 64 for digest in told["parts"].values())
    assert str(road.archive.parent) not in json.dumps(told)
    assert "someone" not in json.dumps(told)


def test_the_command_line_adapts_a_model_directory(road, cli, tmp_path):
    new = ModelDir(tmp_path / "new")
    few = ["--preset", "debug", "--set", "adapt.steps=3", "--set", "train.batch_tokens=2048"]
    options = ["--model", new.path, "--adapt", road.model, "--blocks", "90:110", "--json"]
    result = cli("pretrain", road.archive, *options, *few)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["steps"] == 3
    base = read_manifest(ModelDir(road.model).checkpoint, "checkpoint")
    data = read_manifest(new.checkpoint, "checkpoint").config["data"]
    assert data["adapted_from"].startswith(base.fingerprint)
    assert (data["first_block"], data["preset"]) == (90, "debug")
    vocabulary = (ModelDir(road.model).tokenizer / "vocabulary.json").read_bytes()
    assert (new.tokenizer / "vocabulary.json").read_bytes() == vocabulary
    assert (new.checkpoint / "vocabulary.json").read_bytes() == vocabulary
