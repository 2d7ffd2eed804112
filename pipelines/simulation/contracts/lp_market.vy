# pragma version ~=0.4.3
"""
A lending market: its collateral is the share of a pool, valued by a feed; one debt token.
"""

interface Token:
    def balanceOf(account: address) -> uint256: view
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

interface Feed:
    def price() -> uint256: view

event Supply:
    account: indexed(address)
    amount: uint256
    shares: uint256

event Redeem:
    account: indexed(address)
    amount: uint256
    shares: uint256

event Deposit:
    account: indexed(address)
    amount: uint256

event Withdraw:
    account: indexed(address)
    amount: uint256

event Borrow:
    account: indexed(address)
    amount: uint256

event Repay:
    payer: indexed(address)
    account: indexed(address)
    amount: uint256

event Liquidate:
    liquidator: indexed(address)
    account: indexed(address)
    repaid: uint256
    seized: uint256

collateral_token: public(immutable(address))
debt_token: public(immutable(address))
feed: public(immutable(address))
factor: public(immutable(uint256))
shares: public(HashMap[address, uint256])
total_shares: public(uint256)
total_debt: public(uint256)
collateral: public(HashMap[address, uint256])
debt: public(HashMap[address, uint256])


@deploy
def __init__(collateral_: address, debt_: address, feed_: address, factor_: uint256):
    collateral_token = collateral_
    debt_token = debt_
    feed = feed_
    factor = factor_


@internal
@view
def _value(amount: uint256) -> uint256:
    return amount * staticcall Feed(feed).price() // 10**18


@internal
@view
def _funds() -> uint256:
    return staticcall Token(debt_token).balanceOf(self) + self.total_debt


@external
@view
def price() -> uint256:
    return self._value(10**18)


@external
@view
def limit(account: address) -> uint256:
    return self._value(self.collateral[account]) * factor // 100


@external
@view
def cash() -> uint256:
    return staticcall Token(debt_token).balanceOf(self)


@external
def supply(amount: uint256):
    minted: uint256 = amount
    if self.total_shares > 0:
        minted = amount * self.total_shares // self._funds()
    assert extcall Token(debt_token).transferFrom(msg.sender, self, amount)
    self.shares[msg.sender] += minted
    self.total_shares += minted
    log Supply(account=msg.sender, amount=amount, shares=minted)


@external
def redeem(share: uint256):
    amount: uint256 = share * self._funds() // self.total_shares
    self.shares[msg.sender] -= share
    self.total_shares -= share
    assert extcall Token(debt_token).transfer(msg.sender, amount)
    log Redeem(account=msg.sender, amount=amount, shares=share)


@external
def deposit(amount: uint256):
    assert extcall Token(collateral_token).transferFrom(msg.sender, self, amount)
    self.collateral[msg.sender] += amount
    log Deposit(account=msg.sender, amount=amount)


@external
def withdraw(amount: uint256):
    self.collateral[msg.sender] -= amount
    assert self._value(self.collateral[msg.sender]) * factor // 100 >= self.debt[msg.sender], "undercollateralised"
    assert extcall Token(collateral_token).transfer(msg.sender, amount)
    log Withdraw(account=msg.sender, amount=amount)


@external
def borrow(amount: uint256):
    self.debt[msg.sender] += amount
    self.total_debt += amount
    assert self._value(self.collateral[msg.sender]) * factor // 100 >= self.debt[msg.sender], "undercollateralised"
    assert extcall Token(debt_token).transfer(msg.sender, amount)
    log Borrow(account=msg.sender, amount=amount)


@external
def repay(account: address, amount: uint256):
    paid: uint256 = min(amount, self.debt[account])
    assert extcall Token(debt_token).transferFrom(msg.sender, self, paid)
    self.debt[account] -= paid
    self.total_debt -= paid
    log Repay(payer=msg.sender, account=account, amount=paid)


@external
def liquidate(account: address, amount: uint256):
    assert self._value(self.collateral[account]) * factor // 100 < self.debt[account], "healthy"
    paid: uint256 = min(amount, self.debt[account])
    seized: uint256 = min(paid * 108 // 100 * 10**18 // self._value(10**18), self.collateral[account])
    assert extcall Token(debt_token).transferFrom(msg.sender, self, paid)
    self.debt[account] -= paid
    self.total_debt -= paid
    self.collateral[account] -= seized
    assert extcall Token(collateral_token).transfer(msg.sender, seized)
    log Liquidate(liquidator=msg.sender, account=account, repaid=paid, seized=seized)
