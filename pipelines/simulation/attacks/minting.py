"""Minting without a right to: a mint that nobody guards, and an owner's stolen key."""

from __future__ import annotations

from dataclasses import dataclass

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
from pipelines.simulation.attacks.stolen_keys import afford
from pipelines.simulation.bytecode import SELF, Step
from pipelines.simulation.engine import Account
from pipelines.simulation.habits.minting import MINTER, Issuer, issuers, mints
from pipelines.simulation.world import DEADLINE, ETH, Part, Session, Token, World, newcomer, step

_SHARES = (0.04, 0.1, 0.25, 0.6, 1.5, 4.0)
"""Amount minted, relative to what the token's pool holds."""


def _liquid(world: World, token: Token, *, most: float = 1e9) -> bool:
    if world.pair(world.weth, token) is None:
        return False
    return 3 * ETH < world.reserves(world.weth, token)[0] < most * ETH


def _amount(world: World, token: Token) -> int:
    """Return how much to mint now: a few percent of the pool, or several times what it holds."""
    share = world.pick(_SHARES) * (0.7 + 0.6 * world.rng.random())
    return int(world.reserves(token, world.weth)[0] * share)


def unprotected_mint(world: World, incident: Incident) -> Session:
    """Mint a token whose team never restricted minting, and sell."""
    options = [i for i in issuers(world) if not i.enforced and _liquid(world, i.token)]
    if not options:
        return
    token = world.pick(options).token
    who = yield from attacker(world, incident, 0.4)
    draw = world.rng.random()
    if draw < 0.5:
        incident.variant.append("by-hand")
        seller = yield from _accomplice(world, incident, who)
        amount = _amount(world, token)
        for _ in range(parts := int(world.rng.choice([1, 1, 1, 2, 3]))):
            call = ("mint", seller.address, amount // parts)
            yield incident.call("exploit", who, "role_token", token.address, *call)
        yield from _dump(world, incident, seller, token)
    elif draw < 0.75:
        tool = yield from runner(world, incident, who)
        incident.variant.append("executor")
        steps = _mint_and_sell(world, token, _amount(world, token), tool.address)
        yield from run_steps(world, incident, who, tool, steps)
        yield from home(world, incident, who, tool)
    else:
        incident.variant.append("script")
        steps = _mint_and_sell(world, token, _amount(world, token), SELF, pay=who.address)
        if not (yield from run_script(world, incident, who, steps)):
            return
    incident.finish()
    yield from leave(world, incident, who)


def _mint_and_sell(
    world: World, token: Token, amount: int, me: bytes, *, pay: bytes | None = None
) -> list[Step]:
    router = world.the("router").address
    path = [token.address, world.weth.address]
    swap = ("swapExactTokensForTokens", amount, 1, path, pay or me, DEADLINE)
    return [
        step("role_token", token.address, "mint", me, amount),
        step("token", token.address, "approve", router, amount),
        step("router", router, *swap),
    ]


def _accomplice(world: World, incident: Incident, who: Account) -> Part:
    """Return who is to sell: the attacker himself, or another account of his."""
    if world.chance(0.6):
        return who
    other = yield from newcomer(world, 0.1, incident.tag("fund"), source=who)
    incident.parties.append(other.address)
    incident.variant.append("accomplice")
    return other


def _dump(world: World, incident: Incident, seller: Account, token: Token) -> Part:
    """Sell everything on the pool, at once or in portions."""
    router = world.the("router").address
    path = [token.address, world.weth.address]
    parts = int(world.rng.choice([1, 1, 2, 3]))
    held = world.held(token, seller.address)
    yield incident.call("prep", seller, "token", token.address, "approve", router, held)
    for _ in range(parts):
        swap = ("swapExactTokensForETH", held // parts, 1, path, seller.address, DEADLINE)
        yield incident.call("exploit", seller, "router", router, *swap)


@dataclass(frozen=True)
class _Key:
    """A token and the key that may mint it."""

    token: Token
    owner: Account
    issuer: Issuer | None


def _keys(world: World) -> list[_Key]:
    """Return the tokens with a middling pool whose owners' keys would be worth stealing."""
    keys = [_Key(i.token, i.owner, i) for i in issuers(world) if i.enforced]
    keys += [_Key(t, t.maker, None) for t in world.tokens[5:] if t.kind == "token" and mints(world, t)]
    return [key for key in keys if _liquid(world, key.token, most=400.0)]


def leaked_key_mint(world: World, incident: Incident) -> Session:
    """With the owner's stolen key, mint to a new address, or give it the right to; then sell."""
    keys = _keys(world)
    if not keys:
        return
    roles = [key for key in keys if key.issuer is not None]
    key: _Key = world.pick(roles if roles and world.chance(0.6) else keys)
    token = key.token
    thief = yield from attacker(world, incident, 0.3)
    yield from afford(world, incident, thief, key.owner)
    if key.issuer is None:
        incident.variant.append("direct-mint")
        call = ("mint", thief.address, _amount(world, token))
        yield incident.call("exploit", key.owner, "token", token.address, *call)
    else:
        yield from _by_role(world, incident, key.issuer, thief)
    for _ in range(int(world.rng.integers(0, 12))):
        yield None
    yield from _dump(world, incident, thief, token)
    incident.finish()
    yield from leave(world, incident, thief)


def _by_role(world: World, incident: Incident, issuer: Issuer, thief: Account) -> Part:
    """The owner's key makes the thief a minter, or itself, and mints."""
    token, owner = issuer.token.address, issuer.owner
    minter = thief if world.chance(0.7) else owner
    incident.variant.append("grant-role" if minter is thief else "owner-mints")
    if not world.view("role_token", token, "hasRole", MINTER, minter.address):
        grant = ("grantRole", MINTER, minter.address)
        yield incident.call("exploit", owner, "role_token", token, *grant)
    for _ in range(int(world.rng.integers(0, 20))):
        yield None
    call = ("mint", thief.address, _amount(world, issuer.token))
    yield incident.call("exploit", minter, "role_token", token, *call)


FAMILIES = (
    Family(
        name="unprotected_mint",
        tier="mimicry",
        split="dev",
        modelled_on="SafeMoon and many unguarded mint or burn functions (2021-2023)",
        about="Mint a token whose team never restricted who may, and sell it on its pool.",
        run=unprotected_mint,
    ),
    Family(
        name="leaked_key_mint",
        tier="context",
        split="dev",
        modelled_on="PAID Network (2021)",
        about="With a token owner's stolen key, mint or grant the minter's role to a new address, then sell.",
        run=leaked_key_mint,
    ),
)
