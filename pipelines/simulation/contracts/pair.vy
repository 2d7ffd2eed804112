# pragma version ~=0.4.3
"""
A constant-product pool of two tokens with a 0.3 percent fee and flash swaps (Uniswap v2's interface).
"""
import ledger

initializes: ledger
exports: ledger.__interface__

interface Token:
    def balanceOf(account: address) -> uint256: view
    def transfer(to: address, amount: uint256) -> bool: nonpayable

event Mint:
    sender: indexed(address)
    amount0: uint256
    amount1: uint256

event Burn:
    sender: indexed(address)
    amount0: uint256
    amount1: uint256
    to: indexed(address)

event Swap:
    sender: indexed(address)
    amount0In: uint256
    amount1In: uint256
    amount0Out: uint256
    amount1Out: uint256
    to: indexed(address)

event Sync:
    reserve0: uint112
    reserve1: uint112

MINIMUM_LIQUIDITY: constant(uint256) = 1000

factory: public(immutable(address))
token0: public(immutable(address))
token1: public(immutable(address))
reserve0: uint112
reserve1: uint112
updated: uint32


@deploy
def __init__(a: address, b: address):
    ledger.__init__("Pool Share", "POOL", 18)
    factory = msg.sender
    token0 = a
    token1 = b


@external
@view
def getReserves() -> (uint112, uint112, uint32):
    return self.reserve0, self.reserve1, self.updated


@internal
def _sync(balance0: uint256, balance1: uint256):
    self.reserve0 = convert(balance0, uint112)
    self.reserve1 = convert(balance1, uint112)
    self.updated = convert(block.timestamp, uint32)
    log Sync(reserve0=self.reserve0, reserve1=self.reserve1)


@internal
@view
def _held(token: address) -> uint256:
    return staticcall Token(token).balanceOf(self)


@nonreentrant
@external
def mint(to: address) -> uint256:
    balance0: uint256 = self._held(token0)
    balance1: uint256 = self._held(token1)
    amount0: uint256 = balance0 - convert(self.reserve0, uint256)
    amount1: uint256 = balance1 - convert(self.reserve1, uint256)
    liquidity: uint256 = 0
    supply: uint256 = ledger.totalSupply
    if supply == 0:
        liquidity = isqrt(amount0 * amount1) - MINIMUM_LIQUIDITY
        ledger._mint(self, MINIMUM_LIQUIDITY)
    else:
        liquidity = min(
            amount0 * supply // convert(self.reserve0, uint256),
            amount1 * supply // convert(self.reserve1, uint256),
        )
    assert liquidity > 0, "INSUFFICIENT_LIQUIDITY_MINTED"
    ledger._mint(to, liquidity)
    self._sync(balance0, balance1)
    log Mint(sender=msg.sender, amount0=amount0, amount1=amount1)
    return liquidity


@nonreentrant
@external
def burn(to: address) -> (uint256, uint256):
    liquidity: uint256 = ledger.balanceOf[self]
    if ledger.totalSupply > liquidity:
        liquidity -= MINIMUM_LIQUIDITY
    supply: uint256 = ledger.totalSupply
    amount0: uint256 = liquidity * self._held(token0) // supply
    amount1: uint256 = liquidity * self._held(token1) // supply
    assert amount0 > 0 and amount1 > 0, "INSUFFICIENT_LIQUIDITY_BURNED"
    ledger._burn(self, liquidity)
    assert extcall Token(token0).transfer(to, amount0)
    assert extcall Token(token1).transfer(to, amount1)
    self._sync(self._held(token0), self._held(token1))
    log Burn(sender=msg.sender, amount0=amount0, amount1=amount1, to=to)
    return amount0, amount1


@nonreentrant
@external
def swap(amount0Out: uint256, amount1Out: uint256, to: address, data: Bytes[16384]):
    r0: uint256 = convert(self.reserve0, uint256)
    r1: uint256 = convert(self.reserve1, uint256)
    assert amount0Out < r0 and amount1Out < r1, "INSUFFICIENT_LIQUIDITY"
    if amount0Out > 0:
        assert extcall Token(token0).transfer(to, amount0Out)
    if amount1Out > 0:
        assert extcall Token(token1).transfer(to, amount1Out)
    if len(data) > 0:
        raw_call(
            to,
            abi_encode(
                msg.sender, amount0Out, amount1Out, data,
                method_id=method_id("uniswapV2Call(address,uint256,uint256,bytes)"),
            ),
        )
    balance0: uint256 = self._held(token0)
    balance1: uint256 = self._held(token1)
    in0: uint256 = 0
    in1: uint256 = 0
    if balance0 > r0 - amount0Out:
        in0 = balance0 - (r0 - amount0Out)
    if balance1 > r1 - amount1Out:
        in1 = balance1 - (r1 - amount1Out)
    assert in0 > 0 or in1 > 0, "INSUFFICIENT_INPUT_AMOUNT"
    assert (balance0 * 1000 - in0 * 3) * (balance1 * 1000 - in1 * 3) >= r0 * r1 * 1000000, "K"
    self._sync(balance0, balance1)
    log Swap(
        sender=msg.sender, amount0In=in0, amount1In=in1, amount0Out=amount0Out, amount1Out=amount1Out, to=to
    )


@external
def skim(to: address):
    extcall Token(token0).transfer(to, self._held(token0) - convert(self.reserve0, uint256))
    extcall Token(token1).transfer(to, self._held(token1) - convert(self.reserve1, uint256))


@external
def sync():
    self._sync(self._held(token0), self._held(token1))
