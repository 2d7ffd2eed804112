"""Merkle Patricia tries in memory (Yellow Paper, appendix D): roots of states, transactions, receipts.

Nodes keep the reference that was computed last, so a root costs one hash per node that has changed since
the last one. No key may be a prefix of another; hashed keys and RLP integers never are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from eth_hash.auto import keccak

EMPTY_ROOT = keccak(b"\x80")


@dataclass(slots=True)
class _Leaf:
    path: bytes
    """The rest of the key, one nibble a byte."""
    value: bytes
    known: bytes | None = None
    """The node's reference in its parent, if nothing below has changed."""


@dataclass(slots=True)
class _Extension:
    path: bytes
    child: _Branch
    known: bytes | None = None


@dataclass(slots=True)
class _Branch:
    children: list[_Node | None] = field(default_factory=lambda: [None] * 16)
    known: bytes | None = None


_Node = _Leaf | _Extension | _Branch


class Trie:
    """A mapping of bytes to non-empty bytes with a Merkle root."""

    def __init__(self) -> None:
        self._top: _Node | None = None

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._top = _inserted(self._top, _nibbles(key), value)

    def discard(self, key: bytes) -> None:
        """Remove a key if it is there."""
        self._top = _removed(self._top, _nibbles(key))

    def root(self) -> bytes:
        """Return the 32-byte root."""
        return EMPTY_ROOT if self._top is None else keccak(_encoded(self._top))


def _nibbles(key: bytes) -> bytes:
    return bytes(int(digit, 16) for digit in key.hex())


def _inserted(node: _Node | None, path: bytes, value: bytes) -> _Node:
    if node is None:
        return _Leaf(path, value)
    node.known = None
    if isinstance(node, _Branch):
        node.children[path[0]] = _inserted(node.children[path[0]], path[1:], value)
        return node
    shared = _shared(node.path, path)
    if shared < len(node.path):
        return _split(node, shared, path, value)
    if isinstance(node, _Leaf):
        node.value = value
    else:
        _inserted(node.child, path[shared:], value)
    return node


def _split(node: _Leaf | _Extension, shared: int, path: bytes, value: bytes) -> _Node:
    """Put a branch where the paths of a node and of a new leaf part."""
    branch = _Branch()
    rest = node.path[shared + 1 :]
    moved: _Node
    if isinstance(node, _Leaf):
        moved = _Leaf(rest, node.value)
    else:
        moved = _Extension(rest, node.child) if rest else node.child
    branch.children[node.path[shared]] = moved
    branch.children[path[shared]] = _Leaf(path[shared + 1 :], value)
    return _Extension(path[:shared], branch) if shared else branch


def _removed(node: _Node | None, path: bytes) -> _Node | None:
    if node is None:
        return None
    node.known = None
    if isinstance(node, _Branch):
        node.children[path[0]] = _removed(node.children[path[0]], path[1:])
        left = [(index, child) for index, child in enumerate(node.children) if child is not None]
        return node if len(left) > 1 else _prefixed(bytes([left[0][0]]), left[0][1])
    if isinstance(node, _Leaf):
        return None if node.path == path else node
    if not path.startswith(node.path):
        return node
    child = _removed(node.child, path[len(node.path) :])
    return None if child is None else _prefixed(node.path, child)


def _prefixed(path: bytes, node: _Node) -> _Node:
    if isinstance(node, _Branch):
        return _Extension(path, node)
    if isinstance(node, _Leaf):
        return _Leaf(path + node.path, node.value)
    return _Extension(path + node.path, node.child)


def _shared(one: bytes, other: bytes) -> int:
    """Return the length of the common prefix."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))


def _reference(node: _Node | None) -> bytes:
    """Return what a parent holds of a node, RLP-encoded: the node itself if short, else its hash."""
    if node is None:
        return b"\x80"
    if node.known is None:
        encoded = _encoded(node)
        node.known = encoded if len(encoded) < 32 else b"\xa0" + keccak(encoded)
    return node.known


def _encoded(node: _Node) -> bytes:
    if isinstance(node, _Branch):
        return _list(b"".join(map(_reference, node.children)) + b"\x80")
    if isinstance(node, _Leaf):
        return _list(_string(_compact(node.path, 2)) + _string(node.value))
    return _list(_string(_compact(node.path, 0)) + _reference(node.child))


def _compact(path: bytes, flag: int) -> bytes:
    """Return nibbles as bytes behind a flag (Yellow Paper, hex-prefix encoding)."""
    odd = len(path) % 2
    nibbles = bytes([flag + 1]) + path if odd else bytes([flag, 0]) + path
    return bytes(high << 4 | low for high, low in zip(nibbles[::2], nibbles[1::2], strict=True))


def _string(data: bytes) -> bytes:
    if len(data) == 1 and data[0] < 0x80:
        return data
    return _length(len(data), 0x80) + data


def _list(payload: bytes) -> bytes:
    return _length(len(payload), 0xC0) + payload


def _length(size: int, offset: int) -> bytes:
    if size < 56:
        return bytes([offset + size])
    encoded = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([offset + 55 + len(encoded)]) + encoded
