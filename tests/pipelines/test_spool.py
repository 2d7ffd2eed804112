"""What training reads from files: the same transactions, the same run, little memory, nothing left over."""

import errno
import os
import resource
import runpy
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
import torch

from blockscan.config import Config, ModelConfig, TokenizerConfig, TrainConfig
from blockscan.corpus import COLUMNS, Corpus
from blockscan.errors import ArtifactError, ParseError
from blockscan.tokens import TokenSequence
from pipelines.encode import Encoded, encode_all, encode_each
from pipelines.pretrain import pretrain
from pipelines.sources import Rejects, open_shards
from pipelines.spool import FILES, _write, spooled
from pipelines.training.processes import World, first_here, machine
from tokenizer.txtokenizer import TxTokenizer

CHILD = runpy.run_path(str(Path(__file__).with_name("train_child.py")))
SHAPE, drawn = CHILD["SHAPE"], CHILD["sequences"]
ALONE = World(0, 1, torch.device("cpu"))


def same(one: TokenSequence, other: TokenSequence) -> bool:
    alike = [np.array_equal(getattr(one, name), getattr(other, name)) for name in COLUMNS]
    kinds = [getattr(one, name).dtype == getattr(other, name).dtype for name in COLUMNS]
    return one.tx_hash == other.tx_hash and all(alike + kinds)


def shuffled(sequences: list[TokenSequence]) -> Iterator[Encoded]:
    """The sequences as transactions of ascending blocks, in another order."""
    for place in np.random.default_rng(0).permutation(len(sequences)).tolist():
        one = sequences[place]
        yield Encoded((place, 0, 0, one.tx_hash, "ethereum"), one, "callTracer", "complete")


def test_transactions_come_in_the_order_of_time_with_all_that_they_hold(
    archive: Path, tmp_path: Path
) -> None:
    shards = open_shards(archive, Rejects())[::-1]
    tokenizer = TxTokenizer.fit(shards[0].read(), TokenizerConfig())
    corpus = spooled(partial(encode_each, [*shards, shards[0]], tokenizer), tmp_path / "new", ALONE)
    known = encode_all(shards, tokenizer)
    assert len(corpus) == len(known) > 1000
    assert all(same(one, each.sequence) for one, each in zip(corpus, known, strict=True))
    assert corpus.blocks == (known[0].order[0], known[-1].order[0])
    assert len(corpus.tokens_T) == sum(len(each.sequence) for each in known)
    later = corpus[-10:]
    assert isinstance(later, Corpus)
    assert [one.tx_hash for one in later] == [each.sequence.tx_hash for each in known[-10:]]


def test_transactions_of_one_place_in_time_are_in_the_order_of_hash_and_chain(tmp_path: Path) -> None:
    names = ["é", "b", "z", "a", "ab", "b"]
    chains = ["ethereum", "polygon", "ethereum", "ethereum", "ethereum", "bsc"]
    places = [(5, 0, 1), (5, 0, 1), (5, 0, 0), (5, 0, 1), (-1, 7, -1), (5, 0, 1)]
    orders = [(*place, name, chain) for place, name, chain in zip(places, names, chains, strict=True)]
    given = [
        Encoded(order, replace(one, tx_hash=order[3]), "callTracer", "complete")
        for order, one in zip(orders, drawn(6), strict=True)
    ]
    corpus = spooled(lambda: given, tmp_path, ALONE)
    known = sorted(given, key=lambda each: each.order)
    assert [one.tx_hash for one in corpus] == ["ab", "z", "a", "b", "b", "é"]
    assert all(same(one, each.sequence) for one, each in zip(corpus, known, strict=True))
    assert corpus.blocks == (5, 5)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_run_is_the_same_to_the_bit(tmp_path: Path, weight: float) -> None:
    """With replaced tokens, too: they look for the windows before one of a transaction."""
    config = Config(
        model=ModelConfig(**CHILD["MODEL"], replaced_head=weight > 0),
        train=TrainConfig(**{**CHILD["TRAIN"], "replaced_weight": weight}),
    )
    given = [replace(one, group=one.unit) for one in drawn(60)]
    known = {"config": config, "tokenizer_fingerprint": "c3" * 32}
    one = pretrain(given, SHAPE, out=tmp_path / "list", **known)
    corpus = spooled(partial(shuffled, given), tmp_path, ALONE)
    other = pretrain(corpus, SHAPE, out=tmp_path / "files", **known)
    assert (one.fingerprint, one.loss, one.validation) == (other.fingerprint, other.loss, other.validation)


def test_a_transaction_takes_few_bytes_of_memory(tmp_path: Path) -> None:
    count, few = 20_000, drawn(50)

    def many() -> Iterator[Encoded]:
        for place in range(count):
            one = replace(few[place % 50], tx_hash=f"0x{place:064x}")
            yield Encoded((place, 0, 0, one.tx_hash, "ethereum"), one, "callTracer", "complete")

    tracemalloc.start()
    try:
        corpus = spooled(many, tmp_path, ALONE)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    tokens = len(corpus.tokens_T) / count
    assert tokens > 40
    assert kept < 4 * count
    assert most < 400 * count


def test_no_file_has_a_name_while_transactions_are_encoded_nor_afterwards(tmp_path: Path) -> None:
    left = tmp_path / ".corpus-0-tokens.draft"
    left.write_bytes(b"of a run that was killed as it began")
    seen = []

    def watched() -> Iterator[Encoded]:
        for each in shuffled(drawn(20)):
            seen.extend(tmp_path.iterdir())
            yield each
        raise ParseError("a record that cannot be encoded")

    with pytest.raises(ParseError, match="cannot be encoded"):
        spooled(watched, tmp_path, ALONE)
    left.write_bytes(b"of another one")
    corpus = spooled(partial(shuffled, drawn(20)), tmp_path, ALONE)
    assert seen == list(tmp_path.iterdir()) == []
    assert same(corpus[3], drawn(20)[3])


def test_files_that_get_a_name_when_theirs_is_removed_stand_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS does it with open ones, in the folder where they are."""
    kept = []

    def rename(path: str | Path, *, dir_fd: int | None = None) -> None:
        kept.append(f".nfs{len(kept)}")
        os.rename(path, Path(path).with_name(kept[-1]), src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", rename)
    corpus = spooled(partial(shuffled, drawn(20)), tmp_path, ALONE)
    assert all(same(one, other) for one, other in zip(corpus, drawn(20), strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_the_other_processes_of_a_machine_wait_and_encode_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_the_first = list[FileIO]()

    def first_process() -> Iterator[None]:
        drafts = [tmp_path / f".corpus-0-{name}.draft" for name in FILES]
        of_the_first.extend(FileIO(draft, "w+") for draft in drafts)
        yield
        assert sorted(tmp_path.iterdir()) == sorted(drafts)
        for draft in drafts:
            draft.unlink()
        _write(shuffled(drawn(20)), tmp_path, *of_the_first)
        yield

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(World, "barrier", partial(next, first_process()))
    corpus = spooled(lambda: pytest.fail("encodes"), tmp_path, World(1, 2, ALONE.device))
    assert all(same(one, other) for one, other in zip(corpus, drawn(20), strict=True))
    for file in of_the_first:
        file.close()


@pytest.mark.parametrize(
    ("given", "known_as"),
    [
        ({}, (True, 0)),
        ({"RANK": "8", "LOCAL_RANK": "0", "GROUP_RANK": "1"}, (True, 8)),
        ({"RANK": "11", "LOCAL_RANK": "3"}, (False, 8)),
        ({"RANK": "3"}, (True, 3)),
    ],
)
def test_a_process_knows_its_machine_by_whatever_it_was_started(
    given: dict[str, str], known_as: tuple[bool, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By torchrun, by srun with GPUs of its own, one per container, or alone."""
    for name in ("RANK", "LOCAL_RANK", "GROUP_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert (first_here(), machine()) == known_as


def test_no_transaction_is_an_empty_corpus(tmp_path: Path) -> None:
    corpus = spooled(list, tmp_path, ALONE)
    assert (len(corpus), corpus.blocks, list(corpus)) == (0, None, [])


@pytest.fixture
def _small_files() -> Iterator[None]:
    """A disk that takes a part of what is written, then refuses."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_001, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("_small_files")
def test_a_disk_that_refuses_is_one_line_and_nothing_is_left(tmp_path: Path) -> None:
    (one,) = drawn(1)
    long = replace(one, **{name: np.tile(getattr(one, name), 2000 // len(one)) for name in COLUMNS})
    with pytest.raises(ArtifactError) as refused:
        spooled(partial(shuffled, [long]), tmp_path, ALONE)
    assert str(refused.value).startswith(f"cannot keep the encoded transactions in {tmp_path}: ")
    assert "free some space" in str(refused.value) and "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="cannot keep the encoded transactions"):
        spooled(partial(shuffled, drawn(60)), tmp_path / "file", ALONE)


def test_a_file_system_that_cannot_map_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(np, "memmap", refuse)
    with pytest.raises(ArtifactError, match=r"cannot keep the encoded transactions in .*: No such device"):
        spooled(partial(shuffled, drawn(20)), tmp_path, ALONE)
