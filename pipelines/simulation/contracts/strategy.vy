# pragma version ~=0.4.3
"""
Invests a vault's asset in one coin of a stable-swap pool; worth what that coin's withdrawal would fetch now.
"""

interface Token:
    def balanceOf(account: address) -> uint256: view
    def approve(spender: address, amount: uint256) -> bool: nonpayable
    def transfer(to: address, amount: uint256) -> bool: nonpayable

interface Pool:
    def balanceOf(account: address) -> uint256: view
    def calc_withdraw_one_coin(share: uint256, i: int128) -> uint256: view
    def add_liquidity(amounts: DynArray[uint256, 3], min_mint: uint256) -> uint256: nonpayable
    def remove_liquidity_one_coin(share: uint256, i: int128, min_amount: uint256) -> uint256: nonpayable

asset: public(immutable(address))
pool: public(immutable(address))
index: immutable(uint256)
count: immutable(uint256)
vault: public(address)


@deploy
def __init__(asset_: address, pool_: address, index_: uint256, count_: uint256):
    asset = asset_
    pool = pool_
    index = index_
    count = count_
    extcall Token(asset_).approve(pool_, max_value(uint256))


@external
def setVault(vault_: address):
    assert self.vault == empty(address), "set"
    self.vault = vault_


@external
@view
def investedBalance() -> uint256:
    share: uint256 = staticcall Pool(pool).balanceOf(self)
    if share == 0:
        return 0
    return staticcall Pool(pool).calc_withdraw_one_coin(share, convert(index, int128))


@external
def invest():
    assert msg.sender == self.vault, "vault"
    amounts: DynArray[uint256, 3] = []
    for i: uint256 in range(count, bound=3):
        if i == index:
            amounts.append(staticcall Token(asset).balanceOf(self))
        else:
            amounts.append(0)
    extcall Pool(pool).add_liquidity(amounts, 0)


@external
def withdrawToVault(amount: uint256):
    assert msg.sender == self.vault, "vault"
    share: uint256 = staticcall Pool(pool).balanceOf(self)
    worth: uint256 = staticcall Pool(pool).calc_withdraw_one_coin(share, convert(index, int128))
    part: uint256 = min(share, share * amount // worth + 1)
    got: uint256 = extcall Pool(pool).remove_liquidity_one_coin(part, convert(index, int128), 0)
    assert extcall Token(asset).transfer(self.vault, got)
