"""What an ingest would do, and what it refuses before it writes anything: a dry run says the same."""

from collections.abc import Sequence
from pathlib import Path

from blockscan.archive import Archive
from blockscan.errors import ArtifactError, ChainError
from pipelines.block_writer import Node
from pipelines.ranges import BlockRange


def require_known(node: Node, blocks: BlockRange) -> None:
    """Refuse a range that ends beyond the newest block.

    Raises:
        ChainError: it does.
    """
    head = node.head()
    if blocks.stop is not None and blocks.stop > head + 1:
        raise ChainError(f"block {blocks.stop - 1:,} does not exist yet; the newest is {head:,}")


def require_same_chain(node: Node, archive: Archive) -> None:
    """Refuse an archive of another chain.

    Raises:
        ArtifactError: it holds blocks of another chain than the node serves.
    """
    others = set(archive.chain_ids()) - {node.chain_id}
    if others:
        raise ArtifactError(
            f"{archive.path} holds blocks of chain id {min(others)}, and the node serves {node.chain_id}; "
            "give another --out or another --rpc"
        )
    if node.chain_id is None and (mixed := set(archive.coverage().chains) - {node.chain}):
        raise ArtifactError(
            f"{archive.path} holds transactions of {min(mixed)}, and the node serves {node.chain}; "
            "give another --out or another --rpc"
        )


def require_files(files: Sequence[Path]) -> None:
    """Refuse inputs that cannot be read.

    Raises:
        ArtifactError: one is not there, or neither a file nor a directory.
    """
    absent = [str(path) for path in files if not path.exists()]
    if absent:
        raise ArtifactError(f"no such file: {', '.join(absent[:3])}; nothing was ingested")
    unread = [str(path) for path in files if not (path.is_file() or path.is_dir())]
    if unread:
        raise ArtifactError(
            f"{unread[0]} is neither a file nor a directory; write what it gives to a file and ingest that"
        )


def missing_blocks(node: Node, blocks: BlockRange, archive: Archive | None) -> list[tuple[int, int]]:
    """The inclusive ranges of a range that no part of an archive accounts for; all of it without one."""
    start, stop = blocks.start, node.head() + 1 if blocks.stop is None else blocks.stop
    missing = []
    for first, last in [] if archive is None else archive.accounted():
        if start < first:
            missing.append((start, min(first, stop) - 1))
        start = max(start, last + 1)
        if start >= stop:
            break
    if start < stop:
        missing.append((start, stop - 1))
    return [(first, last) for first, last in missing if first <= last]
