# pragma version ~=0.4.3
"""
A stable-swap pool of two or three coins of equal value, one of which may be ether; the pool is its own share.
"""
import ledger

initializes: ledger
exports: ledger.__interface__

interface Token:
    def decimals() -> uint8: view
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

event TokenExchange:
    buyer: indexed(address)
    sold_id: int128
    tokens_sold: uint256
    bought_id: int128
    tokens_bought: uint256

event AddLiquidity:
    provider: indexed(address)
    token_amounts: DynArray[uint256, 3]
    token_supply: uint256

event RemoveLiquidity:
    provider: indexed(address)
    token_amounts: DynArray[uint256, 3]
    token_supply: uint256

event RemoveLiquidityOne:
    provider: indexed(address)
    token_id: int128
    token_amount: uint256
    coin_amount: uint256

NATIVE: constant(address) = 0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE
A: public(immutable(uint256))
fee: public(immutable(uint256))
coins: public(DynArray[address, 3])
balances: public(DynArray[uint256, 3])
scales: DynArray[uint256, 3]


@deploy
def __init__(name_: String[32], coins_: DynArray[address, 3], amplification: uint256, fee_bps: uint256):
    ledger.__init__(name_, "STABLE", 18)
    A = amplification
    fee = fee_bps
    self.coins = coins_
    for coin: address in coins_:
        self.balances.append(0)
        if coin == NATIVE:
            self.scales.append(1)
        else:
            self.scales.append(10 ** convert(18 - staticcall Token(coin).decimals(), uint256))


@internal
@view
def _scaled() -> DynArray[uint256, 3]:
    xs: DynArray[uint256, 3] = []
    for i: uint256 in range(len(self.coins), bound=3):
        xs.append(self.balances[i] * self.scales[i])
    return xs


@internal
@pure
def _invariant(xs: DynArray[uint256, 3], amplification: uint256) -> uint256:
    n: uint256 = len(xs)
    total: uint256 = 0
    for x: uint256 in xs:
        total += x
    if total == 0:
        return 0
    d: uint256 = total
    leverage: uint256 = amplification * n
    for _: uint256 in range(64):
        product: uint256 = d
        for x: uint256 in xs:
            product = product * d // (x * n)
        before: uint256 = d
        d = (leverage * total + product * n) * d // ((leverage - 1) * d + (n + 1) * product)
        if max(d, before) - min(d, before) <= 1:
            break
    return d


@internal
@pure
def _other(xs: DynArray[uint256, 3], j: uint256, d: uint256, amplification: uint256) -> uint256:
    """
    The balance of coin j that keeps the invariant d with the other balances as given.
    """
    n: uint256 = len(xs)
    leverage: uint256 = amplification * n
    c: uint256 = d
    total: uint256 = 0
    for i: uint256 in range(n, bound=3):
        if i != j:
            total += xs[i]
            c = c * d // (xs[i] * n)
    c = c * d // (leverage * n)
    b: uint256 = total + d // leverage
    y: uint256 = d
    for _: uint256 in range(64):
        before: uint256 = y
        y = (y * y + c) // (2 * y + b - d)
        if max(y, before) - min(y, before) <= 1:
            break
    return y


@internal
@payable
def _pull(i: uint256, amount: uint256):
    self.balances[i] += amount
    if self.coins[i] == NATIVE:
        assert msg.value == amount, "ether"
    elif amount > 0:
        assert extcall Token(self.coins[i]).transferFrom(msg.sender, self, amount)


@internal
def _pay(i: uint256, amount: uint256):
    self.balances[i] -= amount
    if self.coins[i] == NATIVE:
        raw_call(msg.sender, b"", value=amount)
    else:
        assert extcall Token(self.coins[i]).transfer(msg.sender, amount)


@internal
@view
def _dy(i: uint256, j: uint256, dx: uint256) -> uint256:
    xs: DynArray[uint256, 3] = self._scaled()
    d: uint256 = self._invariant(xs, A)
    xs[i] += dx * self.scales[i]
    out: uint256 = (xs[j] - self._other(xs, j, d, A) - 1) // self.scales[j]
    return out - out * fee // 10000


@internal
@view
def _one_coin(share: uint256, i: uint256) -> uint256:
    xs: DynArray[uint256, 3] = self._scaled()
    d: uint256 = self._invariant(xs, A)
    left: uint256 = d - d * share // ledger.totalSupply
    out: uint256 = (xs[i] - self._other(xs, i, left, A) - 1) // self.scales[i]
    return out - out * fee // 20000


@external
@view
def get_dy(i: int128, j: int128, dx: uint256) -> uint256:
    return self._dy(convert(i, uint256), convert(j, uint256), dx)


@external
@view
def get_virtual_price() -> uint256:
    return self._invariant(self._scaled(), A) * 10**18 // ledger.totalSupply


@external
@view
def calc_withdraw_one_coin(share: uint256, i: int128) -> uint256:
    return self._one_coin(share, convert(i, uint256))


@external
@payable
@nonreentrant
def exchange(i: int128, j: int128, dx: uint256, min_dy: uint256) -> uint256:
    out: uint256 = self._dy(convert(i, uint256), convert(j, uint256), dx)
    assert out >= min_dy, "Exchange resulted in fewer coins than expected"
    self._pull(convert(i, uint256), dx)
    self._pay(convert(j, uint256), out)
    log TokenExchange(buyer=msg.sender, sold_id=i, tokens_sold=dx, bought_id=j, tokens_bought=out)
    return out


@external
@payable
@nonreentrant
def add_liquidity(amounts: DynArray[uint256, 3], min_mint: uint256) -> uint256:
    before: uint256 = self._invariant(self._scaled(), A)
    for i: uint256 in range(len(self.coins), bound=3):
        self._pull(i, amounts[i])
    after: uint256 = self._invariant(self._scaled(), A)
    minted: uint256 = after
    if ledger.totalSupply > 0:
        minted = ledger.totalSupply * (after - before) // before
    assert minted >= min_mint, "Fewer shares than expected"
    ledger._mint(msg.sender, minted)
    log AddLiquidity(provider=msg.sender, token_amounts=amounts, token_supply=ledger.totalSupply)
    return minted


@external
@nonreentrant
def remove_liquidity(share: uint256, min_amounts: DynArray[uint256, 3]) -> DynArray[uint256, 3]:
    supply: uint256 = ledger.totalSupply
    ledger._burn(msg.sender, share)
    paid: DynArray[uint256, 3] = []
    for i: uint256 in range(len(self.coins), bound=3):
        amount: uint256 = self.balances[i] * share // supply
        assert amount >= min_amounts[i], "Withdrawal resulted in fewer coins than expected"
        self._pay(i, amount)
        paid.append(amount)
    log RemoveLiquidity(provider=msg.sender, token_amounts=paid, token_supply=ledger.totalSupply)
    return paid


@external
@nonreentrant
def remove_liquidity_one_coin(share: uint256, i: int128, min_amount: uint256) -> uint256:
    out: uint256 = self._one_coin(share, convert(i, uint256))
    assert out >= min_amount, "Not enough coins removed"
    ledger._burn(msg.sender, share)
    self._pay(convert(i, uint256), out)
    log RemoveLiquidityOne(provider=msg.sender, token_id=i, token_amount=share, coin_amount=out)
    return out
