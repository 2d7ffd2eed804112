# pragma version ~=0.4.3
"""
Borrowing with leverage in several assets at once, with sub-accounts, a discount for liquidators that grows
with the shortfall, and gifts to the reserves that nobody checks (in the manner of Euler's first version).
"""

interface Token:
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

interface Oracle:
    def price(token: address) -> uint256: view

event Deposit:
    underlying: indexed(address)
    account: indexed(address)
    amount: uint256

event Withdraw:
    underlying: indexed(address)
    account: indexed(address)
    amount: uint256

event Borrow:
    underlying: indexed(address)
    account: indexed(address)
    amount: uint256

event Repay:
    underlying: indexed(address)
    account: indexed(address)
    amount: uint256

event Liquidation:
    liquidator: indexed(address)
    violator: indexed(address)
    underlying: indexed(address)
    collateral: address
    repay: uint256
    yield_: uint256

event DonateToReserves:
    underlying: indexed(address)
    account: indexed(address)
    amount: uint256

event FactorSet:
    previous: uint256
    current: uint256

SELF: constant(uint256) = 95

governor: public(immutable(address))
oracle: public(immutable(address))
assets: public(DynArray[address, 4])
factor: public(uint256)
reserves: public(HashMap[address, uint256])
balance_of: HashMap[address, HashMap[address, uint256]]
debt_of: HashMap[address, HashMap[address, uint256]]


@deploy
def __init__(oracle_: address, assets_: DynArray[address, 4], factor_: uint256):
    governor = msg.sender
    oracle = oracle_
    self.assets = assets_
    self.factor = factor_


@internal
@pure
def _account(owner: address, sub: uint256) -> address:
    assert sub < 256, "e/sub-account-id-too-big"
    return convert(convert(owner, uint160) ^ convert(sub, uint160), address)


@internal
@view
def _status(account: address) -> (uint256, uint256):
    """Risk-adjusted collateral and debt in wei; a debt is covered by the same asset at 95 percent."""
    worth: uint256 = 0
    owed: uint256 = 0
    for asset: address in self.assets:
        held: uint256 = self.balance_of[asset][account]
        debt: uint256 = self.debt_of[asset][account]
        if held == 0 and debt == 0:
            continue
        price: uint256 = staticcall Oracle(oracle).price(asset)
        same: uint256 = min(held * SELF // 100, debt)
        spare: uint256 = held - min(held, same * 100 // SELF)
        worth += (same + spare * self.factor // 100) * price // 10**18
        owed += debt * price // 10**18
    return worth, owed


@internal
@view
def _check(account: address):
    worth: uint256 = 0
    owed: uint256 = 0
    worth, owed = self._status(account)
    assert worth >= owed, "e/collateral-violation"


@external
@view
def computeLiquidity(account: address) -> (uint256, uint256):
    return self._status(account)


@external
@view
def balanceOf(underlying: address, account: address) -> uint256:
    return self.balance_of[underlying][account]


@external
@view
def debtOf(underlying: address, account: address) -> uint256:
    return self.debt_of[underlying][account]


@external
def setFactor(factor: uint256):
    assert msg.sender == governor and factor < SELF, "e/unauthorized"
    log FactorSet(previous=self.factor, current=factor)
    self.factor = factor


@external
def deposit(underlying: address, subAccountId: uint256, amount: uint256):
    account: address = self._account(msg.sender, subAccountId)
    assert underlying in self.assets, "e/market-not-activated"
    assert extcall Token(underlying).transferFrom(msg.sender, self, amount)
    self.balance_of[underlying][account] += amount
    log Deposit(underlying=underlying, account=account, amount=amount)


@external
def withdraw(underlying: address, subAccountId: uint256, amount: uint256):
    account: address = self._account(msg.sender, subAccountId)
    self.balance_of[underlying][account] -= amount
    self._check(account)
    assert extcall Token(underlying).transfer(msg.sender, amount)
    log Withdraw(underlying=underlying, account=account, amount=amount)


@external
def mint(underlying: address, subAccountId: uint256, amount: uint256):
    """Borrow and deposit the same amount in one step."""
    account: address = self._account(msg.sender, subAccountId)
    assert underlying in self.assets, "e/market-not-activated"
    self.balance_of[underlying][account] += amount
    self.debt_of[underlying][account] += amount
    self._check(account)
    log Borrow(underlying=underlying, account=account, amount=amount)
    log Deposit(underlying=underlying, account=account, amount=amount)


@external
def burn(underlying: address, subAccountId: uint256, amount: uint256):
    """Pay debt with a deposit of the same asset."""
    account: address = self._account(msg.sender, subAccountId)
    paid: uint256 = min(amount, self.debt_of[underlying][account])
    self.balance_of[underlying][account] -= paid
    self.debt_of[underlying][account] -= paid
    log Withdraw(underlying=underlying, account=account, amount=paid)
    log Repay(underlying=underlying, account=account, amount=paid)


@external
def borrow(underlying: address, subAccountId: uint256, amount: uint256):
    account: address = self._account(msg.sender, subAccountId)
    self.debt_of[underlying][account] += amount
    self._check(account)
    assert extcall Token(underlying).transfer(msg.sender, amount)
    log Borrow(underlying=underlying, account=account, amount=amount)


@external
def repay(underlying: address, subAccountId: uint256, amount: uint256):
    account: address = self._account(msg.sender, subAccountId)
    paid: uint256 = min(amount, self.debt_of[underlying][account])
    assert extcall Token(underlying).transferFrom(msg.sender, self, paid)
    self.debt_of[underlying][account] -= paid
    log Repay(underlying=underlying, account=account, amount=paid)


@external
def donateToReserves(underlying: address, subAccountId: uint256, amount: uint256):
    account: address = self._account(msg.sender, subAccountId)
    self.balance_of[underlying][account] -= amount
    self.reserves[underlying] += amount
    log DonateToReserves(underlying=underlying, account=account, amount=amount)


@external
def liquidate(violator: address, underlying: address, collateral: address, repay_: uint256, subAccountId: uint256):
    """Take over debt of an unhealthy account with its collateral, at a discount of up to 20 percent."""
    account: address = self._account(msg.sender, subAccountId)
    assert violator != account, "e/liq/self-liquidation"
    worth: uint256 = 0
    owed: uint256 = 0
    worth, owed = self._status(violator)
    assert worth < owed, "e/liq/healthy"
    discount: uint256 = min(10**18 - worth * 10**18 // owed, 2 * 10**17)
    keep: uint256 = 10**18 - discount
    price: uint256 = staticcall Oracle(oracle).price(underlying)
    worth_per: uint256 = staticcall Oracle(oracle).price(collateral)
    moved: uint256 = min(repay_, self.debt_of[underlying][violator])
    seized: uint256 = moved * price // worth_per * 10**18 // keep
    held: uint256 = self.balance_of[collateral][violator]
    if seized > held:
        seized = held
        moved = held * worth_per // price * keep // 10**18
    self.debt_of[underlying][violator] -= moved
    self.debt_of[underlying][account] += moved
    self.balance_of[collateral][violator] -= seized
    self.balance_of[collateral][account] += seized
    self._check(account)
    log Liquidation(
        liquidator=account, violator=violator, underlying=underlying, collateral=collateral, repay=moved, yield_=seized
    )
