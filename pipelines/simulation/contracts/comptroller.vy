# pragma version ~=0.4.3
"""
Decides for a family of lending markets who may borrow how much against what (Compound's interface).
"""

interface Market:
    def underlying() -> address: view
    def getAccountSnapshot(account: address) -> (uint256, uint256, uint256, uint256): view
    def exchangeRateStored() -> uint256: view

interface Oracle:
    def price(token: address) -> uint256: view

event MarketListed:
    cToken: address

event MarketEntered:
    cToken: address
    account: address

event MarketExited:
    cToken: address
    account: address

event NewCollateralFactor:
    cToken: address
    oldCollateralFactorMantissa: uint256
    newCollateralFactorMantissa: uint256

event NewPriceOracle:
    oldPriceOracle: address
    newPriceOracle: address

admin: public(immutable(address))
oracle: public(address)
markets: DynArray[address, 24]
listed: public(HashMap[address, bool])
asset: HashMap[address, address]
collateralFactor: public(HashMap[address, uint256])
checkMembership: public(HashMap[address, HashMap[address, bool]])

CLOSE: constant(uint256) = 50
INCENTIVE: constant(uint256) = 108


@deploy
def __init__(oracle_: address):
    admin = msg.sender
    self.oracle = oracle_


@external
def _supportMarket(market: address) -> uint256:
    assert msg.sender == admin and not self.listed[market], "unauthorized"
    self.listed[market] = True
    self.markets.append(market)
    self.asset[market] = staticcall Market(market).underlying()
    log MarketListed(cToken=market)
    return 0


@external
def _setCollateralFactor(market: address, factor: uint256) -> uint256:
    assert msg.sender == admin and self.listed[market], "unauthorized"
    log NewCollateralFactor(
        cToken=market, oldCollateralFactorMantissa=self.collateralFactor[market],
        newCollateralFactorMantissa=factor,
    )
    self.collateralFactor[market] = factor
    return 0


@external
def _setPriceOracle(oracle_: address) -> uint256:
    assert msg.sender == admin, "unauthorized"
    log NewPriceOracle(oldPriceOracle=self.oracle, newPriceOracle=oracle_)
    self.oracle = oracle_
    return 0


@external
@view
def getAllMarkets() -> DynArray[address, 24]:
    return self.markets


@internal
@view
def _price(market: address) -> uint256:
    return staticcall Oracle(self.oracle).price(self.asset[market])


@internal
@view
def _liquidity(account: address, changed: address, tokens: uint256, amount: uint256) -> (uint256, uint256):
    """What the account may still borrow and what it lacks, after `tokens` leave and `amount` is borrowed."""
    worth: uint256 = 0
    owed: uint256 = 0
    for market: address in self.markets:
        if not self.checkMembership[account][market]:
            continue
        code: uint256 = 0
        held: uint256 = 0
        debt: uint256 = 0
        rate: uint256 = 0
        code, held, debt, rate = staticcall Market(market).getAccountSnapshot(account)
        if market == changed:
            debt += amount
            held -= tokens
        if held == 0 and debt == 0:
            continue
        price: uint256 = self._price(market)
        worth += held * rate // 10**18 * price // 10**18 * self.collateralFactor[market] // 10**18
        owed += debt * price // 10**18
    if worth >= owed:
        return worth - owed, 0
    return 0, owed - worth


@external
@view
def getAccountLiquidity(account: address) -> (uint256, uint256, uint256):
    spare: uint256 = 0
    short: uint256 = 0
    spare, short = self._liquidity(account, empty(address), 0, 0)
    return 0, spare, short


@internal
def _enter(market: address, account: address):
    assert self.listed[market], "market not listed"
    if not self.checkMembership[account][market]:
        self.checkMembership[account][market] = True
        log MarketEntered(cToken=market, account=account)


@external
def enterMarkets(cTokens: DynArray[address, 8]) -> DynArray[uint256, 8]:
    codes: DynArray[uint256, 8] = []
    for market: address in cTokens:
        self._enter(market, msg.sender)
        codes.append(0)
    return codes


@internal
@view
def _check(account: address, market: address, tokens: uint256, amount: uint256):
    spare: uint256 = 0
    short: uint256 = 0
    spare, short = self._liquidity(account, market, tokens, amount)
    assert short == 0, "insufficient liquidity"


@external
def exitMarket(market: address) -> uint256:
    code: uint256 = 0
    held: uint256 = 0
    debt: uint256 = 0
    rate: uint256 = 0
    code, held, debt, rate = staticcall Market(market).getAccountSnapshot(msg.sender)
    assert debt == 0, "nonzero borrow balance"
    self._check(msg.sender, market, held, 0)
    self.checkMembership[msg.sender][market] = False
    log MarketExited(cToken=market, account=msg.sender)
    return 0


@external
def borrowAllowed(market: address, borrower: address, amount: uint256) -> uint256:
    assert msg.sender == market, "sender must be cToken"
    self._enter(market, borrower)
    self._check(borrower, market, 0, amount)
    return 0


@external
@view
def redeemAllowed(market: address, redeemer: address, tokens: uint256) -> uint256:
    if self.checkMembership[redeemer][market]:
        self._check(redeemer, market, tokens, 0)
    return 0


@external
@view
def liquidateBorrowAllowed(market: address, borrower: address, debt: uint256, amount: uint256) -> uint256:
    spare: uint256 = 0
    short: uint256 = 0
    spare, short = self._liquidity(borrower, empty(address), 0, 0)
    assert short > 0, "insufficient shortfall"
    assert amount <= debt * CLOSE // 100, "too much repay"
    return 0


@external
@view
def liquidateCalculateSeizeTokens(borrowed: address, collateral: address, amount: uint256) -> uint256:
    assert self.listed[borrowed] and self.listed[collateral], "market not listed"
    value: uint256 = amount * self._price(borrowed) // self._price(collateral) * INCENTIVE // 100
    return value * 10**18 // staticcall Market(collateral).exchangeRateStored()
