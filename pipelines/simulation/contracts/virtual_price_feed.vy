# pragma version ~=0.4.3
"""
Values a share of a stable-swap pool by the pool's virtual price.
"""

interface Pool:
    def get_virtual_price() -> uint256: view

pool: public(immutable(address))
unit: immutable(uint256)


@deploy
def __init__(pool_: address, unit_: uint256):
    pool = pool_
    unit = unit_


@external
@view
def price() -> uint256:
    return staticcall Pool(pool).get_virtual_price() * unit // 10**18
