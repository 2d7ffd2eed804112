# pragma version ~=0.4.3
"""
Swaps along paths of pools and adds or removes liquidity (Uniswap v2's router interface).
"""

interface Token:
    def balanceOf(account: address) -> uint256: view
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

interface Wrapped:
    def deposit(): payable
    def withdraw(amount: uint256): nonpayable

interface Factory:
    def getPair(a: address, b: address) -> address: view
    def createPair(a: address, b: address) -> address: nonpayable

interface Pair:
    def getReserves() -> (uint112, uint112, uint32): view
    def swap(amount0Out: uint256, amount1Out: uint256, to: address, data: Bytes[16384]): nonpayable
    def mint(to: address) -> uint256: nonpayable
    def burn(to: address) -> (uint256, uint256): nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

factory: public(immutable(address))
WETH: public(immutable(address))


@deploy
def __init__(factory_: address, weth_: address):
    factory = factory_
    WETH = weth_


@external
@payable
def __default__():
    assert msg.sender == WETH


@internal
@view
def _pair(a: address, b: address) -> address:
    pair: address = staticcall Factory(factory).getPair(a, b)
    assert pair != empty(address), "NO_PAIR"
    return pair


@internal
@view
def _reserves(pair: address, a: address, b: address) -> (uint256, uint256):
    r0: uint112 = 0
    r1: uint112 = 0
    when: uint32 = 0
    r0, r1, when = staticcall Pair(pair).getReserves()
    if convert(a, uint160) < convert(b, uint160):
        return convert(r0, uint256), convert(r1, uint256)
    return convert(r1, uint256), convert(r0, uint256)


@internal
@view
def _out(amount: uint256, r_in: uint256, r_out: uint256) -> uint256:
    assert r_in > 0 and r_out > 0, "INSUFFICIENT_LIQUIDITY"
    return amount * 997 * r_out // (r_in * 1000 + amount * 997)


@internal
@view
def _amounts_out(amount: uint256, path: DynArray[address, 5]) -> DynArray[uint256, 5]:
    assert len(path) >= 2, "INVALID_PATH"
    amounts: DynArray[uint256, 5] = [amount]
    for i: uint256 in range(len(path) - 1, bound=4):
        r_in: uint256 = 0
        r_out: uint256 = 0
        r_in, r_out = self._reserves(self._pair(path[i], path[i + 1]), path[i], path[i + 1])
        amounts.append(self._out(amounts[i], r_in, r_out))
    return amounts


@external
@view
def getAmountsOut(amountIn: uint256, path: DynArray[address, 5]) -> DynArray[uint256, 5]:
    return self._amounts_out(amountIn, path)


@internal
def _swap(amounts: DynArray[uint256, 5], path: DynArray[address, 5], to: address):
    for i: uint256 in range(len(path) - 1, bound=4):
        receiver: address = to
        if i + 2 < len(path):
            receiver = self._pair(path[i + 1], path[i + 2])
        pair: address = self._pair(path[i], path[i + 1])
        if convert(path[i], uint160) < convert(path[i + 1], uint160):
            extcall Pair(pair).swap(0, amounts[i + 1], receiver, b"")
        else:
            extcall Pair(pair).swap(amounts[i + 1], 0, receiver, b"")


@external
def swapExactTokensForTokens(
    amountIn: uint256, amountOutMin: uint256, path: DynArray[address, 5], to: address, deadline: uint256
) -> DynArray[uint256, 5]:
    assert deadline >= block.timestamp, "EXPIRED"
    amounts: DynArray[uint256, 5] = self._amounts_out(amountIn, path)
    assert amounts[len(amounts) - 1] >= amountOutMin, "INSUFFICIENT_OUTPUT_AMOUNT"
    assert extcall Token(path[0]).transferFrom(msg.sender, self._pair(path[0], path[1]), amountIn)
    self._swap(amounts, path, to)
    return amounts


@external
@payable
def swapExactETHForTokens(
    amountOutMin: uint256, path: DynArray[address, 5], to: address, deadline: uint256
) -> DynArray[uint256, 5]:
    assert deadline >= block.timestamp, "EXPIRED"
    assert path[0] == WETH, "INVALID_PATH"
    amounts: DynArray[uint256, 5] = self._amounts_out(msg.value, path)
    assert amounts[len(amounts) - 1] >= amountOutMin, "INSUFFICIENT_OUTPUT_AMOUNT"
    extcall Wrapped(WETH).deposit(value=msg.value)
    assert extcall Token(WETH).transfer(self._pair(path[0], path[1]), msg.value)
    self._swap(amounts, path, to)
    return amounts


@external
def swapExactTokensForETH(
    amountIn: uint256, amountOutMin: uint256, path: DynArray[address, 5], to: address, deadline: uint256
) -> DynArray[uint256, 5]:
    assert deadline >= block.timestamp, "EXPIRED"
    assert path[len(path) - 1] == WETH, "INVALID_PATH"
    amounts: DynArray[uint256, 5] = self._amounts_out(amountIn, path)
    out: uint256 = amounts[len(amounts) - 1]
    assert out >= amountOutMin, "INSUFFICIENT_OUTPUT_AMOUNT"
    assert extcall Token(path[0]).transferFrom(msg.sender, self._pair(path[0], path[1]), amountIn)
    self._swap(amounts, path, self)
    extcall Wrapped(WETH).withdraw(out)
    raw_call(to, b"", value=out)
    return amounts


@external
def swapExactTokensForTokensSupportingFeeOnTransferTokens(
    amountIn: uint256, amountOutMin: uint256, path: DynArray[address, 5], to: address, deadline: uint256
):
    assert deadline >= block.timestamp, "EXPIRED"
    assert extcall Token(path[0]).transferFrom(msg.sender, self._pair(path[0], path[1]), amountIn)
    last: address = path[len(path) - 1]
    before: uint256 = staticcall Token(last).balanceOf(to)
    for i: uint256 in range(len(path) - 1, bound=4):
        pair: address = self._pair(path[i], path[i + 1])
        r_in: uint256 = 0
        r_out: uint256 = 0
        r_in, r_out = self._reserves(pair, path[i], path[i + 1])
        out: uint256 = self._out(staticcall Token(path[i]).balanceOf(pair) - r_in, r_in, r_out)
        receiver: address = to
        if i + 2 < len(path):
            receiver = self._pair(path[i + 1], path[i + 2])
        if convert(path[i], uint160) < convert(path[i + 1], uint160):
            extcall Pair(pair).swap(0, out, receiver, b"")
        else:
            extcall Pair(pair).swap(out, 0, receiver, b"")
    assert staticcall Token(last).balanceOf(to) - before >= amountOutMin, "INSUFFICIENT_OUTPUT_AMOUNT"


@internal
def _quote(a: address, b: address, amountA: uint256, amountB: uint256) -> (address, uint256, uint256):
    pair: address = staticcall Factory(factory).getPair(a, b)
    if pair == empty(address):
        return extcall Factory(factory).createPair(a, b), amountA, amountB
    rA: uint256 = 0
    rB: uint256 = 0
    rA, rB = self._reserves(pair, a, b)
    if rA == 0:
        return pair, amountA, amountB
    best: uint256 = amountA * rB // rA
    if best <= amountB:
        return pair, amountA, best
    return pair, amountB * rA // rB, amountB


@external
def addLiquidity(
    tokenA: address, tokenB: address, amountADesired: uint256, amountBDesired: uint256,
    amountAMin: uint256, amountBMin: uint256, to: address, deadline: uint256,
) -> (uint256, uint256, uint256):
    assert deadline >= block.timestamp, "EXPIRED"
    pair: address = empty(address)
    a: uint256 = 0
    b: uint256 = 0
    pair, a, b = self._quote(tokenA, tokenB, amountADesired, amountBDesired)
    assert a >= amountAMin and b >= amountBMin, "INSUFFICIENT_AMOUNT"
    assert extcall Token(tokenA).transferFrom(msg.sender, pair, a)
    assert extcall Token(tokenB).transferFrom(msg.sender, pair, b)
    return a, b, extcall Pair(pair).mint(to)


@external
@payable
def addLiquidityETH(
    token: address, amountTokenDesired: uint256, amountTokenMin: uint256, amountETHMin: uint256,
    to: address, deadline: uint256,
) -> (uint256, uint256, uint256):
    assert deadline >= block.timestamp, "EXPIRED"
    pair: address = empty(address)
    a: uint256 = 0
    b: uint256 = 0
    pair, a, b = self._quote(token, WETH, amountTokenDesired, msg.value)
    assert a >= amountTokenMin and b >= amountETHMin, "INSUFFICIENT_AMOUNT"
    assert extcall Token(token).transferFrom(msg.sender, pair, a)
    extcall Wrapped(WETH).deposit(value=b)
    assert extcall Token(WETH).transfer(pair, b)
    liquidity: uint256 = extcall Pair(pair).mint(to)
    if msg.value > b:
        raw_call(msg.sender, b"", value=msg.value - b)
    return a, b, liquidity


@external
def removeLiquidity(
    tokenA: address, tokenB: address, liquidity: uint256, amountAMin: uint256, amountBMin: uint256,
    to: address, deadline: uint256,
) -> (uint256, uint256):
    assert deadline >= block.timestamp, "EXPIRED"
    pair: address = self._pair(tokenA, tokenB)
    extcall Pair(pair).transferFrom(msg.sender, pair, liquidity)
    return extcall Pair(pair).burn(to)
