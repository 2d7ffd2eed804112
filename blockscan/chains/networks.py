"""EVM chains by name: what `--chain base` means."""

import difflib
from dataclasses import dataclass

from blockscan.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Network:
    """A chain: EIP-155 id, the name that transactions carry, usual seconds between blocks."""

    chain_id: int
    name: str
    block_seconds: float


NETWORKS = {
    "mainnet": Network(1, "ethereum", 12.0),
    "arbitrum": Network(42161, "arbitrum", 0.25),
    "base": Network(8453, "base", 2.0),
    "bnb": Network(56, "bsc", 0.75),
    "polygon": Network(137, "polygon", 2.0),
    "optimism": Network(10, "optimism", 2.0),
    "avalanche": Network(43114, "avalanche", 1.5),
}
_ALIASES = {"ethereum": "mainnet", "bsc": "bnb"}
_BY_ID = {network.chain_id: network for network in NETWORKS.values()}
_UNKNOWN_SECONDS = 2.0


def network(name: str) -> Network:
    """The network of a preset name, in any case.

    Raises:
        ConfigError: unknown; names the nearest.
    """
    key = _key(name)
    if key not in NETWORKS:
        raise ConfigError(
            f"unknown chain {name[:40]!r}{nearest(name)}; known are {', '.join(NETWORKS)}, "
            "others by --chain-id N"
        )
    return NETWORKS[key]


def canonical(name: str) -> str:
    """The name that transactions of a network carry, whichever of its names is given; others as they are."""
    key = _key(name)
    return NETWORKS[key].name if key in NETWORKS else name


def nearest(name: str) -> str:
    """The end of a message on an unknown name: which known one is like it, if one is."""
    near = [] if _key(name) in NETWORKS else difflib.get_close_matches(_key(name), NETWORKS, 1)
    return f"; the nearest known one is {near[0]!r}" if near else ""


def _key(name: str) -> str:
    key = name.lower()
    return _ALIASES.get(key, key)


def chain_name(chain_id: int) -> str:
    """Readable name of an EIP-155 chain id."""
    return _BY_ID[chain_id].name if chain_id in _BY_ID else f"evm-{chain_id}"


def block_seconds(chain_id: int) -> float:
    """Usual seconds between blocks; two where the chain is not known here."""
    return _BY_ID[chain_id].block_seconds if chain_id in _BY_ID else _UNKNOWN_SECONDS
