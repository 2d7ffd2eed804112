"""Merkle trees over 32-byte leaves, with pairs hashed in order of place or in order of value."""

from __future__ import annotations

from collections.abc import Sequence

from eth_utils.crypto import keccak

_PADDING = keccak(b"")


def layers(leaves: Sequence[bytes], *, by_value: bool) -> list[list[bytes]]:
    """Return the tree's layers, leaves first, root last; padded to a power of two.

    Args:
        leaves: at least one hash of 32 bytes.
        by_value: hash the smaller of a pair first (as MerkleDistributor does), else the left one.
    """
    size = 1 << (len(leaves) - 1).bit_length()
    result = [[*leaves, *[_PADDING] * (size - len(leaves))]]
    while len(result[-1]) > 1:
        row = result[-1]
        pairs = zip(row[::2], row[1::2], strict=True)
        result.append([keccak(b"".join(sorted(pair)) if by_value else pair[0] + pair[1]) for pair in pairs])
    return result


def proof(tree: list[list[bytes]], index: int) -> list[bytes]:
    """Return the siblings on the way from a leaf to the root."""
    return [row[(index >> depth) ^ 1] for depth, row in enumerate(tree[:-1])]
