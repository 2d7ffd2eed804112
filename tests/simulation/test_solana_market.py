"""The swap and lending program: what it pays, what it refuses, and that the binary is its source's."""

import struct
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("solders", reason="solders, which contains LiteSVM, is not installed")

from solders.instruction import AccountMeta, Instruction

from pipelines.simulation.engine import SimulationError
from pipelines.simulation.solana import market as m
from pipelines.simulation.solana.actors import Label, Market, Pool, User
from pipelines.simulation.solana.program import FOLDER, MARKET, code_of, compile_source, link
from pipelines.simulation.solana.tokens import launch, mint_to
from pipelines.simulation.solana.world import World

NOBODY = Label(kind="test")
RICH = 10**15


class Bank:
    """One pool, a market that looks at its price accounts and one that does not, and a user."""

    def __init__(self) -> None:
        self.world = world = World(5, users=4)
        issuer, self.user = world.users[0], world.users[1]
        tokens = []
        while len(tokens) < 2:
            token = launch(world, issuer, NOBODY, clawback=False)
            tokens += [token] if token.program == m.TOKEN else []
        for owner in (issuer, self.user):
            for token in tokens:
                parts = [*world.opening(issuer, owner, token), mint_to(token, owner, RICH)]
                world.must(issuer, parts, NOBODY)
        swap, lender = m.deploy(world)
        pair = (tokens[0], tokens[1])
        self.pool = m.found_pool(world, swap, issuer, pair, (10**12, 4 * 10**12))
        self.checked, self.trusting = (
            Market(
                m.found_pool(world, lender, issuer, pair, (0, 10**13), checked=checked, price=self.pool),
                self.pool,
                checked,
            )
            for checked in (True, False)
        )

    def try_(self, *parts: Instruction, user: User | None = None) -> str:
        """The program's error, or nothing where it succeeded."""
        done = self.world.send(user or self.user, parts, NOBODY)
        return "" if done.ok else done.error

    def held(self) -> tuple[int, int]:
        return tuple(self.world.balance(self.user, token) for token in self.pool.tokens)  # type: ignore[return-value]  # two tokens


@pytest.fixture
def bank() -> Bank:
    return Bank()


AMOUNTS = [(0, 10**9), (1, 10**9), (0, 10**12), (1, 7_777_777), (0, 10**14)]


@pytest.mark.parametrize(("side", "amount"), AMOUNTS)
def test_a_swap_pays_the_constant_product_less_the_fee(bank: Bank, side: int, amount: int) -> None:
    before, stock = bank.held(), m.reserves(bank.world, bank.pool)
    quoted = m.quote(bank.world, bank.pool, side, amount)
    assert bank.try_(m.swap(bank.pool, bank.user, side, amount, quoted)) == ""
    gained = [now - then for now, then in zip(bank.held(), before, strict=True)]
    assert (gained[side], gained[1 - side]) == (-amount, quoted)
    now = m.reserves(bank.world, bank.pool)
    assert now[0] * now[1] >= stock[0] * stock[1]


def test_swaps_that_must_not_happen_do_not(bank: Bank) -> None:
    quoted = m.quote(bank.world, bank.pool, 0, 10**9)
    assert "6002" in bank.try_(m.swap(bank.pool, bank.user, 0, 10**9, quoted + 1))
    pool = bank.pool
    mine = Pool(
        pool.program,
        pool.state,
        pool.authority,
        pool.tokens,
        (bank.user.account(pool.tokens[0]), pool.vaults[1]),
        pool.begun,
    )
    assert "6001" in bank.try_(m.swap(mine, bank.user, 0, 10**9, 1))
    honest = m.swap(pool, bank.user, 0, 10**9, 1)
    metas = [AccountMeta(meta.pubkey, False, meta.is_writable) for meta in honest.accounts]
    other = bank.world.users[2]
    assert "6004" in bank.try_(Instruction(honest.program_id, honest.data, metas), user=other)


def test_loans_stay_below_three_quarters_of_the_collateral(bank: Bank) -> None:
    world, market, user = bank.world, bank.checked, bank.user
    opening = m.open_position(world, market, user)
    worth = m.worth(world, market, 10**9)
    assert worth == 4 * 10**9
    assert bank.try_(*opening, m.borrow(market, user, 10**9, worth * 3 // 4)) == ""
    assert "6003" in bank.try_(m.borrow(market, user, 0, 4))
    assert "6002" in bank.try_(m.repay(market, user, worth, 10**9))
    assert "6003" in bank.try_(m.repay(market, user, 0, 10))
    before = bank.held()
    assert bank.try_(m.repay(market, user, worth * 3 // 4, 10**9)) == ""
    assert bank.held() == (before[0] + 10**9, before[1] - worth * 3 // 4)
    thief = world.users[2]
    market.positions[thief] = market.positions[user]
    for token in bank.pool.tokens:
        world.must(token.issuer, world.opening(token.issuer, thief, token), NOBODY)
    assert "6001" in bank.try_(m.repay(market, thief, 0, 0), user=thief)


def test_only_the_trusting_market_takes_price_accounts_of_ones_own(bank: Bank) -> None:
    own = (bank.pool.vaults[1], bank.pool.vaults[0])
    for market, error in ((bank.checked, "6001"), (bank.trusting, "")):
        opening = m.open_position(bank.world, market, bank.user)
        fair = m.borrow(market, bank.user, 10**6, 10**6)
        assert bank.try_(*opening, fair) == ""
        assert error in bank.try_(m.borrow(market, bank.user, 10**6, 1, own))


def test_the_linker_refuses_what_the_loader_cannot_run() -> None:
    with pytest.raises(SimulationError, match="calls 7, which is no syscall"):
        link(struct.pack("<BBhi", 0x85, 0, 0, 7))
    with pytest.raises(SimulationError, match="no code"):
        code_of(MARKET.read_bytes().replace(b".text", b".tixt").replace(b".rel.dyn", b".ral.dyn"))


@pytest.mark.skipif(
    find_spec("ziglang") is None, reason="ziglang, which compiles the program, is not installed"
)
def test_the_binary_is_what_the_source_compiles_to() -> None:
    assert compile_source(Path(FOLDER / "market.c")) == MARKET.read_bytes()
