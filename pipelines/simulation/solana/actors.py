"""Who and what is in the Solana world: wallets, tokens, pools, markets, labels."""

from __future__ import annotations

from dataclasses import dataclass, field

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from pipelines.simulation.solana import instructions as ix


@dataclass(frozen=True)
class Label:
    """A row of labels.csv without the hash; the columns are `pipelines.labels`'."""

    label: str = "benign"
    stage: str = ""
    family: str = ""
    incident: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Style:
    """How a wallet's software writes transactions: version, compute limit and price (0: none)."""

    version: int | None
    limit: int
    price: int


@dataclass(eq=False)
class User:
    """A wallet: its key, its software, the tokens that it has accounts for."""

    key: Keypair
    style: Style
    tokens: list[Token] = field(default_factory=list)
    deposit: User | None = None
    """The user's deposit address at the exchange, once there is one."""
    address: Pubkey = field(init=False)
    """The wallet's public key."""

    def __post_init__(self) -> None:
        """Derive the public key once: it is asked for all the time."""
        self.address = self.key.pubkey()

    def account(self, token: Token) -> Pubkey:
        """The wallet's associated account for a token."""
        return ix.associated(self.address, token.mint, token.program)


@dataclass(eq=False)
class Token:
    """A mint: its program, decimals and authorities; `holders` have an account of it."""

    mint: Pubkey
    program: str
    decimals: int
    issuer: User
    freezable: bool
    clawback: bool
    """Whether the issuer is permanent delegate of every account (Token-2022)."""
    fixed: bool = False
    """Whether the mint authority was given up."""
    holders: list[User] = field(default_factory=list)

    @property
    def unit(self) -> int:
        """Base units of one token."""
        return int(10**self.decimals)


@dataclass(eq=False)
class Pool:
    """A constant-product swap of two tokens: its state account, its authority, its two vaults."""

    program: Pubkey
    state: Pubkey
    authority: Pubkey
    tokens: tuple[Token, Token]
    vaults: tuple[Pubkey, Pubkey]
    begun: tuple[int, int]
    """What it began with, which gives the price to which market makers bring it back."""


@dataclass(eq=False)
class Market:
    """Loans of token b against token a, priced by the vaults of a pool; unless `checked`, of any accounts."""

    vault: Pool
    price: Pool
    checked: bool
    positions: dict[User, Pubkey] = field(default_factory=dict)
