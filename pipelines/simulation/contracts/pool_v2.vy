# pragma version ~=0.4.3
"""
The second version of the savings pool: deposits for others, and an exit fee that stays with the savers.
"""
import pool_v1

initializes: pool_v1
exports: (
    pool_v1.initialize,
    pool_v1.token,
    pool_v1.owner,
    pool_v1.recipient,
    pool_v1.fee,
    pool_v1.fees,
    pool_v1.invested,
    pool_v1.paused,
    pool_v1.totalShares,
    pool_v1.shares,
    pool_v1.totalAssets,
    pool_v1.deposit,
    pool_v1.invest,
    pool_v1.harvest,
    pool_v1.collectFees,
    pool_v1.setFee,
    pool_v1.setPaused,
    pool_v1.transferOwnership,
)

interface Token:
    def transfer(to: address, amount: uint256) -> bool: nonpayable

event ExitFeeSet:
    fee: uint256

exitFee: public(uint256)
version: public(uint256)


@external
def migrate(fee: uint256):
    assert self.version == 0, "already migrated"
    assert fee <= 500, "fee"
    self.version = 2
    self.exitFee = fee
    log ExitFeeSet(fee=fee)


@external
def depositFor(account: address, amount: uint256):
    pool_v1._deposit(account, amount)


@external
def withdraw(share: uint256):
    assert not pool_v1.paused, "Pausable: paused"
    amount: uint256 = share * pool_v1._assets() // pool_v1.totalShares
    if share < pool_v1.totalShares:
        amount -= amount * self.exitFee // 10000
    pool_v1.shares[msg.sender] -= share
    pool_v1.totalShares -= share
    assert extcall Token(pool_v1.token).transfer(msg.sender, amount)
    log pool_v1.Withdraw(account=msg.sender, amount=amount, shares=share)
