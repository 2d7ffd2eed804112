# pragma version ~=0.4.3
"""
Keeps ether for its depositors and pays it back on demand, writing the new balance down last.
"""

event Deposited:
    account: indexed(address)
    amount: uint256

event Withdrawn:
    account: indexed(address)
    amount: uint256

balances: public(HashMap[address, uint256])


@external
@payable
def deposit():
    self.balances[msg.sender] += msg.value
    log Deposited(account=msg.sender, amount=msg.value)


@external
@payable
def depositFor(account: address):
    self.balances[account] += msg.value
    log Deposited(account=account, amount=msg.value)


@external
def withdraw(amount: uint256):
    held: uint256 = self.balances[msg.sender]
    assert held >= amount, "balance"
    raw_call(msg.sender, b"", value=amount)
    self.balances[msg.sender] = held - amount
    log Withdrawn(account=msg.sender, amount=amount)


@external
@payable
def __default__():
    self.balances[msg.sender] += msg.value
    log Deposited(account=msg.sender, amount=msg.value)
