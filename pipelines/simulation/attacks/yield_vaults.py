"""Vault share arbitrage: push the pool that prices a vault, enter or leave, restore (Harvest 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import (
    Incident,
    attacker,
    home,
    leave,
    padded,
    run_flash,
    run_script,
    run_steps,
    runner,
)
from pipelines.simulation.bytecode import SELF, Step
from pipelines.simulation.compile import contract
from pipelines.simulation.engine import Account
from pipelines.simulation.habits.bots import encode_steps
from pipelines.simulation.habits.saving import as_tuples
from pipelines.simulation.habits.stable_math import StableState
from pipelines.simulation.world import ETH, FOREVER, Part, Place, Session, Token, World, step

Action = tuple[str, int, int, int]
"""(verb, coin given, coin wanted, how much of what is held, in thousandths)."""
_LEAST = 0.3


@dataclass
class VaultState:
    """A copy of a vault, its strategy and their pool, on which to try things."""

    pool: StableState
    index: int
    idle: int
    share: int
    supply: int

    def total(self) -> int:
        """Return the vault's assets as it sees them."""
        return self.idle + (self.pool.one_coin(self.share, self.index) if self.share else 0)

    def deposit(self, assets: int) -> int:
        """Deposit and return the shares."""
        shares = assets * self.supply // self.total()
        self.idle += assets
        self.supply += shares
        return shares

    def redeem(self, shares: int) -> int:
        """Redeem and return the assets."""
        assets = shares * self.total() // self.supply
        self.supply -= shares
        if assets > self.idle:
            worth = self.pool.one_coin(self.share, self.index)
            part = min(self.share, self.share * (assets - self.idle) // worth + 1)
            self.idle += self.pool.remove_one(part, self.index)
            self.share -= part
            assets = min(assets, self.idle)
        self.idle -= assets
        return assets


@dataclass(frozen=True)
class Raid:
    """One way to rob a vault: `stake` of coin `start`, then the actions in order."""

    vault: Place
    pool: Place
    index: int
    start: int
    stake: int
    actions: tuple[Action, ...]

    @property
    def token(self) -> Token:
        """The coin that the raid begins and ends with."""
        token: Token = self.pool.tokens[self.start]
        return token


def raids(vault: Place, pool: Place, index: int) -> Iterator[Raid]:
    """Yield ways to rob a vault whose start coin can be borrowed; stakes are left open."""
    other = (index + 1) % len(pool.tokens)
    for part in (150, 300, 450, 600):
        high = (("deposit", index, 0, part), ("swap", index, other, 1000))
        yield Raid(
            vault, pool, index, index, 0, (*high, ("redeem", index, 0, 1000), ("swap", other, index, 1000))
        )
        low = (("swap", other, index, 1000), ("deposit", index, 0, part), ("swap", index, other, 1000))
        yield Raid(
            vault, pool, index, other, 0, (*low, ("redeem", index, 0, 1000), ("swap", index, other, 1000))
        )


def read(world: World, vault: Place, pool: Place, index: int, strategy: bytes) -> VaultState:
    """Copy the state of a vault."""
    return VaultState(
        StableState.read(world, pool),
        index,
        world.held(pool.tokens[index], vault.address),
        int(world.view("token", pool.address, "balanceOf", strategy)),
        int(world.view("yield_vault", vault.address, "totalSupply")),
    )


def play(raid: Raid, state: VaultState) -> tuple[int, list[int]]:
    """Return what a raid ends with in its start coin, and the amount of each action."""
    pool = replace(state.pool, balances=list(state.pool.balances))
    vault = replace(state, pool=pool)
    held = {raid.start: raid.stake}
    shares, amounts = 0, []
    for verb, given, wanted, part in raid.actions:
        amount = shares if verb == "redeem" else held.get(given, 0) * part // 1000
        amounts.append(amount)
        if verb == "redeem":
            held[given] = held.get(given, 0) + vault.redeem(shares)
            continue
        held[given] -= amount
        if verb == "deposit":
            shares = vault.deposit(amount)
        else:
            held[wanted] = held.get(wanted, 0) + vault.pool.swap(given, wanted, amount)
    return held[raid.start], amounts


def plan(world: World, most: float, *, only_weth: bool) -> tuple[Raid, list[int], int] | None:
    """Return one of the raids that pay (with amounts and gain), staking at most `most` ether."""
    options = []
    lenders = world.places["flash_lender"]
    lent = {t.address: min(world.held(t, p.address) for p in lenders) for t in world.tokens[:2]}
    for vault, pool, index, strategy in world.notes.get("yield_vaults", []):
        state = read(world, vault, pool, index, strategy)
        if state.supply == 0 or state.share == 0:
            continue
        for open_raid in raids(vault, pool, index):
            token = open_raid.token
            if token is not world.weth and (only_weth or token is not world.tokens[1]):
                continue
            for worth in (40.0, 90.0, 160.0, 300.0, 700.0, 1500.0, 2800.0):
                limit = most if token is world.weth else min(most, 300.0)
                raid = replace(open_raid, stake=token.units(worth))
                end, amounts = play(raid, state)
                gain = end - raid.stake - raid.stake // 1000
                if (
                    worth <= limit
                    and (only_weth or raid.stake <= lent[token.address])
                    and gain > token.units(_LEAST)
                ):
                    options.append((raid, amounts, gain))
    return options[int(world.rng.integers(len(options)))] if options else None


def vault_share_arbitrage(world: World, incident: Incident) -> Session:
    """Choose who pays and how many transactions there are, then raid a vault."""
    own_money = world.chance(0.65)
    most = 700.0 if own_money else 3000.0
    found = plan(world, most, only_weth=own_money)
    if found is None:
        return
    stake = found[0].stake / ETH if own_money else 0.5
    who = yield from attacker(world, incident, stake * 1.05 + 1.0)
    incident.variant.append("own-money" if own_money else "flash-loan")
    incident.assets.extend(t for t in found[0].pool.tokens if t is not world.weth)
    draw = world.rng.random()
    if own_money and draw < 0.65:
        yield from _by_hand(world, incident, who, stake)
    elif not own_money and draw < 0.35:
        yield from _by_script(world, incident, who, most)
    else:
        yield from _by_executor(world, incident, who, stake if own_money else most, own_money=own_money)
    if incident.exploits:
        incident.finish()
        yield from leave(world, incident, who)


def _steps(raid: Raid, amounts: list[int], me: bytes) -> list[Step]:
    """Return the raid as steps of a contract `me` that holds the stake."""
    steps = []
    seen: set[tuple[int, str]] = set()
    for (verb, given, wanted, _), amount in zip(raid.actions, amounts, strict=True):
        coin = raid.pool.tokens[given].address
        if verb == "redeem":
            steps.append(step("yield_vault", raid.vault.address, "redeem", amount, me, me))
            continue
        spender = raid.pool.address if verb == "swap" else raid.vault.address
        if (given, verb) not in seen:
            steps.append(step("token", coin, "approve", spender, FOREVER))
            seen.add((given, verb))
        if verb == "swap":
            steps.append(step("stable_pool", spender, "exchange", given, wanted, amount, 0))
        else:
            steps.append(step("yield_vault", spender, "deposit", amount, me))
    return steps


def _by_executor(world: World, incident: Incident, who: Account, most: float, *, own_money: bool) -> Part:
    """One transaction, or with own money two: in at one price, out at the other."""
    tool = yield from runner(world, incident, who)
    found = plan(world, most, only_weth=own_money)
    if found is None:
        return
    raid, amounts, gain = found
    incident.assets = [t for t in raid.pool.tokens if t is not world.weth]
    steps = _steps(raid, amounts, tool.address)
    token = raid.token
    if own_money:
        steps.insert(0, step("weth", token.address, "deposit", value=raid.stake))
        yield from run_steps(world, incident, who, tool, steps)
    elif token is world.weth:
        yield from run_flash(world, incident, who, tool, steps, raid.stake)
    else:
        lender = world.places["flash_lender"][int(world.rng.integers(2))].address
        data = encode_steps(padded(world, steps))
        call = contract("executor").data("flash", lender, token.address, raid.stake, data)
        yield incident.act("exploit", who, tool.address, call)
        home_steps = [step("token", token.address, "transfer", who.address, gain * 9 // 10)]
        yield incident.call("exit", who, "executor", tool.address, "run", as_tuples(home_steps))
    yield from home(world, incident, who, tool)


def _by_script(world: World, incident: Incident, who: Account, most: float) -> Part:
    """A contract written for this raid borrows, raids and repays; a stale one is made anew."""
    incident.variant.append("script")
    for _ in range(6):
        found = plan(world, most, only_weth=False)
        if found is None:
            return
        raid, amounts, gain = found
        incident.assets = [t for t in raid.pool.tokens if t is not world.weth]
        lender, coin = world.places["flash_lender"][int(world.rng.integers(2))].address, raid.token.address
        approve = step("token", coin, "approve", lender, raid.stake * 2)
        outer = [
            step("flash_lender", lender, "flashLoan", SELF, coin, raid.stake, b""),
            step("token", coin, "transfer", who.address, gain // 2),
        ]
        inner = [*_steps(raid, amounts, SELF), approve]
        done = yield from run_script(world, incident, who, outer, inner=inner)
        if done:
            return


def _by_hand(world: World, incident: Incident, who: Account, most: float) -> Part:
    """Four or five ordinary-looking transactions; again if somebody came in between and it did not pay."""
    incident.variant.append("by-hand")
    wrapped = False
    for _ in range(10):
        found = plan(world, most, only_weth=True)
        if found is None:
            if wrapped:
                yield None
                continue
            return
        raid = found[0]
        incident.assets = [t for t in raid.pool.tokens if t is not world.weth]
        coins = raid.pool.tokens[:2]
        missing = raid.stake - world.held(world.weth, who.address)
        if missing > 0:
            yield incident.call("prep", who, "weth", world.weth.address, "deposit", value=missing)
        wrapped = True
        for coin in coins:
            for spender in (raid.pool, raid.vault):
                if world.view("token", coin.address, "allowance", who.address, spender.address) < raid.stake:
                    approve = ("approve", spender.address, FOREVER)
                    yield incident.call("prep", who, "token", coin.address, *approve)
        yield from _act(world, incident, who, raid)
        if incident.gain > 0:
            return


def _act(world: World, incident: Incident, who: Account, raid: Raid) -> Part:
    """Carry out the actions with what is really there at each moment."""
    before = {i: world.held(coin, who.address) for i, coin in enumerate(raid.pool.tokens)}
    before[raid.start] -= raid.stake
    for verb, given, wanted, part in raid.actions:
        if verb == "redeem":
            shares = world.view("yield_vault", raid.vault.address, "balanceOf", who.address)
            call = ("redeem", shares, who.address, who.address)
            yield incident.call("exploit", who, "yield_vault", raid.vault.address, *call)
            continue
        held = world.held(raid.pool.tokens[given], who.address) - before[given]
        amount = held * part // 1000
        if verb == "swap":
            swap = ("exchange", given, wanted, amount, 0)
            yield incident.call("exploit", who, "stable_pool", raid.pool.address, *swap)
        else:
            save = ("deposit", amount, who.address)
            yield incident.call("exploit", who, "yield_vault", raid.vault.address, *save)


FAMILIES = (
    Family(
        name="vault_share_arbitrage",
        tier="mimicry",
        split="eval",
        modelled_on="Harvest Finance (2020)",
        about="Push the stable pool that prices a vault's strategy, enter cheaply or leave dearly, "
        "push it back.",
        run=vault_share_arbitrage,
    ),
)
