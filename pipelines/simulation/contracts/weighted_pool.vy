# pragma version ~=0.4.3
"""
A weighted pool of up to four tokens that keeps its own record of each balance; the pool is its own share.
Weights are 1, 2 or 4, so that every exponent is a power followed by square roots.
"""
import ledger

initializes: ledger
exports: ledger.__interface__

interface Token:
    def balanceOf(account: address) -> uint256: view
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

event LOG_SWAP:
    caller: indexed(address)
    tokenIn: indexed(address)
    tokenOut: indexed(address)
    tokenAmountIn: uint256
    tokenAmountOut: uint256

event LOG_JOIN:
    caller: indexed(address)
    tokenIn: indexed(address)
    tokenAmountIn: uint256

event LOG_EXIT:
    caller: indexed(address)
    tokenOut: indexed(address)
    tokenAmountOut: uint256

ONE: constant(uint256) = 10**18
FEE: constant(uint256) = 3 * 10**15
tokens: DynArray[address, 4]
getBalance: public(HashMap[address, uint256])
getWeight: public(HashMap[address, uint256])


@deploy
def __init__(name_: String[32], tokens_: DynArray[address, 4], weights: DynArray[uint256, 4]):
    ledger.__init__(name_, "WPOOL", 18)
    self.tokens = tokens_
    for i: uint256 in range(len(tokens_), bound=4):
        assert weights[i] in [1, 2, 4], "weight"
        self.getWeight[tokens_[i]] = weights[i]


@internal
@pure
def _power(base: uint256, up: uint256, down: uint256) -> uint256:
    """
    base ** (up / down) for a fraction base of 18 decimals, rounded up; up and down are 1, 2 or 4.
    """
    result: uint256 = base
    for i: uint256 in range(2):
        if 2 ** i < up:
            result = (result * result + ONE - 1) // ONE
    for i: uint256 in range(2):
        if 2 ** i < down:
            result = isqrt(result * ONE) + 1
    return result


@internal
@view
def _out(tokenIn: address, amount: uint256, tokenOut: address) -> uint256:
    held: uint256 = self.getBalance[tokenIn]
    net: uint256 = amount - amount * FEE // ONE
    ratio: uint256 = (held * ONE + held + net - 1) // (held + net)
    kept: uint256 = min(ONE, self._power(ratio, self.getWeight[tokenIn], self.getWeight[tokenOut]))
    return self.getBalance[tokenOut] * (ONE - kept) // ONE


@internal
@view
def _in(tokenIn: address, tokenOut: address, amount: uint256) -> uint256:
    left: uint256 = (self.getBalance[tokenOut] - amount) * ONE // self.getBalance[tokenOut]
    kept: uint256 = self._power(left, self.getWeight[tokenOut], self.getWeight[tokenIn])
    net: uint256 = self.getBalance[tokenIn] * (ONE - kept) // kept
    return net * ONE // (ONE - FEE) + 1


@external
@view
def getCurrentTokens() -> DynArray[address, 4]:
    return self.tokens


@external
@view
def calcOutGivenIn(tokenIn: address, amount: uint256, tokenOut: address) -> uint256:
    return self._out(tokenIn, amount, tokenOut)


@external
@view
def calcInGivenOut(tokenIn: address, tokenOut: address, amount: uint256) -> uint256:
    return self._in(tokenIn, tokenOut, amount)


@internal
def _swap(tokenIn: address, paid: uint256, tokenOut: address, got: uint256):
    assert tokenIn != tokenOut, "SAME_TOKEN"
    self.getBalance[tokenIn] += paid
    self.getBalance[tokenOut] -= got
    log LOG_SWAP(
        caller=msg.sender, tokenIn=tokenIn, tokenOut=tokenOut, tokenAmountIn=paid, tokenAmountOut=got
    )
    assert extcall Token(tokenIn).transferFrom(msg.sender, self, paid)
    assert extcall Token(tokenOut).transfer(msg.sender, got)


@external
@nonreentrant
def swapExactAmountIn(tokenIn: address, amount: uint256, tokenOut: address, least: uint256) -> uint256:
    got: uint256 = self._out(tokenIn, amount, tokenOut)
    assert got >= least, "LIMIT_OUT"
    self._swap(tokenIn, amount, tokenOut, got)
    return got


@external
@nonreentrant
def swapExactAmountOut(tokenIn: address, most: uint256, tokenOut: address, amount: uint256) -> uint256:
    paid: uint256 = self._in(tokenIn, tokenOut, amount)
    assert paid <= most, "LIMIT_IN"
    self._swap(tokenIn, paid, tokenOut, amount)
    return paid


@external
@nonreentrant
def joinPool(share: uint256, maxAmountsIn: DynArray[uint256, 4]):
    first: bool = ledger.totalSupply == 0
    for i: uint256 in range(len(self.tokens), bound=4):
        token: address = self.tokens[i]
        amount: uint256 = maxAmountsIn[i]
        if not first:
            amount = self.getBalance[token] * share // ledger.totalSupply + 1
        assert amount <= maxAmountsIn[i], "LIMIT_IN"
        self.getBalance[token] += amount
        log LOG_JOIN(caller=msg.sender, tokenIn=token, tokenAmountIn=amount)
        assert extcall Token(token).transferFrom(msg.sender, self, amount)
    ledger._mint(msg.sender, share)


@external
@nonreentrant
def exitPool(share: uint256, minAmountsOut: DynArray[uint256, 4]):
    supply: uint256 = ledger.totalSupply
    ledger._burn(msg.sender, share)
    for i: uint256 in range(len(self.tokens), bound=4):
        token: address = self.tokens[i]
        amount: uint256 = self.getBalance[token] * share // supply
        assert amount >= minAmountsOut[i], "LIMIT_OUT"
        self.getBalance[token] -= amount
        log LOG_EXIT(caller=msg.sender, tokenOut=token, tokenAmountOut=amount)
        assert extcall Token(token).transfer(msg.sender, amount)


@external
@nonreentrant
def gulp(token: address):
    assert self.getWeight[token] > 0, "NOT_BOUND"
    self.getBalance[token] = staticcall Token(token).balanceOf(self)
