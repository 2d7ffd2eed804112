"""Where training data came from, for the manifest and the model card: block range and hashes, no paths."""

from pathlib import Path
from typing import Any

from blockscan.archive import Archive
from blockscan.archive_parts import PartInfo, part_info
from blockscan.artifact import file_sha256
from blockscan.errors import ArtifactError
from pipelines.model_dir import ModelDir


def provenance(source: Path, span: tuple[int, int] | None, *, excluded: int, preset: str) -> dict[str, Any]:
    """What a model card should say of the data besides its digest.

    Args:
        source: the archive, or the file, that the transactions were read from.
        span: their first and last block, where one is known.
        excluded: how many hashes were listed to be left out.
        preset: name or path of the preset; of a path, only the name of the file is told.

    Returns:
        `first_block`, `last_block` (None where no block is known), `chain_ids`, `excluded`, `preset`, and
        `parts`: the name of every archive part that holds some of the blocks, and the SHA-256 of its file.

    Raises:
        ArtifactError: a part cannot be read.
    """
    paths = Archive(source).part_paths() if source.is_dir() else [source]
    infos = {path: part_info(path) for path in paths if path.suffix == ".parquet"}
    used = [path for path in paths if path not in infos or _holds(infos[path], span)]
    return {
        "first_block": span and span[0],
        "last_block": span and span[1],
        "chain_ids": sorted({info.chain_id for info in infos.values() if info.chain_id is not None}),
        "excluded": excluded,
        "preset": Path(preset).stem,
        "parts": {_name(path, infos): _sha256(path) for path in used},
    }


def tokenizer_files(directory: ModelDir) -> dict[str, bytes]:
    """Name and content of the tokenizer's files but its manifest.

    Raises:
        ArtifactError: a file cannot be read.
    """
    paths = sorted(path for path in directory.tokenizer.iterdir() if path.name != "manifest.json")
    return {path.name: path.read_bytes() for path in paths}


def _holds(info: PartInfo, span: tuple[int, int] | None) -> bool:
    """Whether a part may hold a block of the span; the part of a file, numbered by its lines, always may."""
    return bool(info.input) or (span is not None and info.first <= span[1] and info.last >= span[0])


def _name(path: Path, infos: dict[Path, PartInfo]) -> str:
    """Parts name themselves; what a file of the user's is called is nobody's business."""
    return path.stem if path in infos else "file"


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}; check the archive") from error
