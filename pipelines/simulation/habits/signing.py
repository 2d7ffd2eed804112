"""Signatures that people make off the chain and contracts check with ecrecover."""

from __future__ import annotations

from eth_utils.crypto import keccak

from pipelines.simulation.engine import Account

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Order of secp256k1: if (r, s, v) is a valid signature, so is (r, ORDER - s, the other v)."""


def sign(account: Account, digest: bytes) -> bytes:
    """Return the 65 bytes r, s, v (27 or 28) of the account's deterministic signature (RFC 6979)."""
    made = account.key.sign_msg_hash(digest)
    r, s, v = int(made.r), int(made.s), int(made.v)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([27 + v])


def personal(content: bytes) -> bytes:
    """Return what a wallet signs for a 32-byte message (EIP-191, version 0x45)."""
    return keccak(b"\x19Ethereum Signed Message:\n32" + content)
