# pragma version ~=0.4.3
"""
Creates one pool per pair of tokens.
"""

event PairCreated:
    token0: indexed(address)
    token1: indexed(address)
    pair: address
    count: uint256

blueprint: immutable(address)
getPair: public(HashMap[address, HashMap[address, address]])
allPairsLength: public(uint256)


@deploy
def __init__(blueprint_: address):
    blueprint = blueprint_


@external
def createPair(a: address, b: address) -> address:
    assert a != b and self.getPair[a][b] == empty(address), "PAIR_EXISTS"
    token0: address = a
    token1: address = b
    if convert(a, uint160) > convert(b, uint160):
        token0 = b
        token1 = a
    pair: address = create_from_blueprint(blueprint, token0, token1)
    self.getPair[a][b] = pair
    self.getPair[b][a] = pair
    self.allPairsLength += 1
    log PairCreated(token0=token0, token1=token1, pair=pair, count=self.allPairsLength)
    return pair
