# pragma version ~=0.4.3
"""
Promises tokens to people over time and mints them on release.
"""

interface Token:
    def mint(to: address, amount: uint256): nonpayable

event GrantAdded:
    account: indexed(address)
    amount: uint256
    end: uint256

event Released:
    account: indexed(address)
    amount: uint256

struct Grant:
    start: uint256
    end: uint256
    amount: uint256
    released: uint256

token: public(immutable(address))
owner: public(immutable(address))
grants: public(HashMap[address, Grant])


@deploy
def __init__(token_: address):
    token = token_
    owner = msg.sender


@internal
@view
def _releasable(account: address) -> uint256:
    found: Grant = self.grants[account]
    if found.amount == 0:
        return 0
    passed: uint256 = min(block.timestamp, found.end) - found.start
    return found.amount * passed // (found.end - found.start) - found.released


@external
@view
def releasable(account: address) -> uint256:
    return self._releasable(account)


@external
def addGrant(account: address, amount: uint256, duration: uint256):
    assert msg.sender == owner, "Ownable: caller is not the owner"
    assert self.grants[account].amount == 0, "has a grant"
    end: uint256 = block.timestamp + duration
    self.grants[account] = Grant(start=block.timestamp, end=end, amount=amount, released=0)
    log GrantAdded(account=account, amount=amount, end=end)


@external
def release():
    amount: uint256 = self._releasable(msg.sender)
    self.grants[msg.sender].released += amount
    extcall Token(token).mint(msg.sender, amount)
    log Released(account=msg.sender, amount=amount)
