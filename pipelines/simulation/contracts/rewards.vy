# pragma version ~=0.4.3
"""
A staking pool that pays ether rewards in proportion to stakes; the claim is cleared after it is paid.
"""

event Staked:
    account: indexed(address)
    amount: uint256

event Unstaked:
    account: indexed(address)
    amount: uint256

event Claimed:
    account: indexed(address)
    amount: uint256

event Notified:
    sender: indexed(address)
    amount: uint256

staked: public(HashMap[address, uint256])
paid: public(HashMap[address, uint256])
owed: public(HashMap[address, uint256])
total: public(uint256)
per_unit: public(uint256)


@internal
def _accrue(account: address):
    self.owed[account] += self.staked[account] * (self.per_unit - self.paid[account]) // 10**18
    self.paid[account] = self.per_unit


@external
@payable
def stake():
    self._accrue(msg.sender)
    self.staked[msg.sender] += msg.value
    self.total += msg.value
    log Staked(account=msg.sender, amount=msg.value)


@external
def unstake(amount: uint256):
    self._accrue(msg.sender)
    self.staked[msg.sender] -= amount
    self.total -= amount
    raw_call(msg.sender, b"", value=amount)
    log Unstaked(account=msg.sender, amount=amount)


@external
@payable
def notifyReward():
    if self.total > 0:
        self.per_unit += msg.value * 10**18 // self.total
    log Notified(sender=msg.sender, amount=msg.value)


@external
def getReward():
    self._accrue(msg.sender)
    amount: uint256 = self.owed[msg.sender]
    raw_call(msg.sender, b"", value=amount)
    self.owed[msg.sender] = 0
    log Claimed(account=msg.sender, amount=amount)
