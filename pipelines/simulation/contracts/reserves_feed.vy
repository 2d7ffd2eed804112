# pragma version ~=0.4.3
"""
Values a share of a constant-product pool by the reserves that the pool has now.
"""

interface Pair:
    def getReserves() -> (uint112, uint112, uint32): view
    def token0() -> address: view
    def totalSupply() -> uint256: view

pair: public(immutable(address))
quote: public(immutable(address))


@deploy
def __init__(pair_: address, quote_: address):
    pair = pair_
    quote = quote_


@external
@view
def price() -> uint256:
    r0: uint112 = 0
    r1: uint112 = 0
    when: uint32 = 0
    r0, r1, when = staticcall Pair(pair).getReserves()
    reserve: uint256 = convert(r1, uint256)
    if staticcall Pair(pair).token0() == quote:
        reserve = convert(r0, uint256)
    return 2 * reserve * 10**18 // staticcall Pair(pair).totalSupply()
