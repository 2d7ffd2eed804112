# pragma version ~=0.4.3
"""
One market of a lending pool: supply a token (or ether) for shares, borrow it against others (Compound's
interface). Like the forks that were attacked it pays out before it writes, with a lock per market only.
"""
import ledger

initializes: ledger
exports: (
    ledger.name, ledger.symbol, ledger.decimals, ledger.totalSupply,
    ledger.balanceOf, ledger.allowance, ledger.approve,
)

interface Token:
    def balanceOf(account: address) -> uint256: view
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

interface Comptroller:
    def borrowAllowed(market: address, borrower: address, amount: uint256) -> uint256: nonpayable
    def redeemAllowed(market: address, redeemer: address, tokens: uint256) -> uint256: view
    def liquidateBorrowAllowed(market: address, borrower: address, debt: uint256, amount: uint256) -> uint256: view
    def liquidateCalculateSeizeTokens(borrowed: address, collateral: address, amount: uint256) -> uint256: view
    def listed(market: address) -> bool: view

interface Market:
    def seize(liquidator: address, borrower: address, tokens: uint256) -> uint256: nonpayable

event Mint:
    minter: address
    mintAmount: uint256
    mintTokens: uint256

event Redeem:
    redeemer: address
    redeemAmount: uint256
    redeemTokens: uint256

event Borrow:
    borrower: address
    borrowAmount: uint256
    accountBorrows: uint256
    totalBorrows: uint256

event RepayBorrow:
    payer: address
    borrower: address
    repayAmount: uint256
    accountBorrows: uint256
    totalBorrows: uint256

event LiquidateBorrow:
    liquidator: address
    borrower: address
    repayAmount: uint256
    cTokenCollateral: address
    seizeTokens: uint256

event ReservesAdded:
    benefactor: address
    addAmount: uint256
    newTotalReserves: uint256

YEAR: constant(uint256) = 31_536_000

underlying: public(immutable(address))
comptroller: public(immutable(address))
initial_rate: immutable(uint256)
totalBorrows: public(uint256)
totalReserves: public(uint256)
borrowIndex: public(uint256)
accrualTimestamp: public(uint256)
principal: HashMap[address, uint256]
index: HashMap[address, uint256]


@deploy
def __init__(name_: String[32], symbol_: String[16], underlying_: address, comptroller_: address, rate: uint256):
    ledger.__init__(name_, symbol_, 8)
    underlying = underlying_
    comptroller = comptroller_
    initial_rate = rate
    self.borrowIndex = 10**18
    self.accrualTimestamp = block.timestamp


@internal
@view
def _cash() -> uint256:
    if underlying == empty(address):
        return self.balance
    return staticcall Token(underlying).balanceOf(self)


@internal
@view
def _rate(cash: uint256) -> uint256:
    if ledger.totalSupply == 0:
        return initial_rate
    return (cash + self.totalBorrows - self.totalReserves) * 10**18 // ledger.totalSupply


@internal
@view
def _owed(account: address) -> uint256:
    if self.principal[account] == 0:
        return 0
    return self.principal[account] * self.borrowIndex // self.index[account]


@internal
def _accrue(cash: uint256):
    passed: uint256 = block.timestamp - self.accrualTimestamp
    if passed == 0:
        return
    used: uint256 = 0
    if self.totalBorrows > 0:
        used = self.totalBorrows * 10**18 // (cash + self.totalBorrows)
    growth: uint256 = (2 * 10**16 + used // 5) * passed // YEAR
    self.totalReserves += self.totalBorrows * growth // 10**19
    self.totalBorrows += self.totalBorrows * growth // 10**18
    self.borrowIndex += self.borrowIndex * growth // 10**18
    self.accrualTimestamp = block.timestamp


@internal
@payable
def _pull(amount: uint256) -> uint256:
    """Take `amount` (ether: what was sent) from the caller and return it."""
    if underlying == empty(address):
        return msg.value
    assert msg.value == 0, "not payable"
    assert extcall Token(underlying).transferFrom(msg.sender, self, amount)
    return amount


@internal
def _pay(to: address, amount: uint256):
    if underlying == empty(address):
        raw_call(to, b"", value=amount)
    else:
        assert extcall Token(underlying).transfer(to, amount)


@internal
def _set_debt(account: address, debt: uint256):
    self.principal[account] = debt
    self.index[account] = self.borrowIndex


@external
@view
def getCash() -> uint256:
    return self._cash()


@external
@view
def exchangeRateStored() -> uint256:
    return self._rate(self._cash())


@external
@view
def borrowBalanceStored(account: address) -> uint256:
    return self._owed(account)


@external
@view
def getAccountSnapshot(account: address) -> (uint256, uint256, uint256, uint256):
    return 0, ledger.balanceOf[account], self._owed(account), self._rate(self._cash())


@nonreentrant
@external
def accrueInterest() -> uint256:
    self._accrue(self._cash())
    return 0


@nonreentrant
@external
@payable
def mint(amount: uint256 = 0) -> uint256:
    cash: uint256 = self._cash() - msg.value
    self._accrue(cash)
    minted: uint256 = self._pull(amount)
    tokens: uint256 = minted * 10**18 // self._rate(cash)
    ledger._mint(msg.sender, tokens)
    log Mint(minter=msg.sender, mintAmount=minted, mintTokens=tokens)
    return 0


@internal
def _redeem(tokens: uint256, amount: uint256):
    assert staticcall Comptroller(comptroller).redeemAllowed(self, msg.sender, tokens) == 0
    assert ledger.balanceOf[msg.sender] >= tokens, "balance"
    self._pay(msg.sender, amount)
    ledger._burn(msg.sender, tokens)
    log Redeem(redeemer=msg.sender, redeemAmount=amount, redeemTokens=tokens)


@nonreentrant
@external
def redeem(tokens: uint256) -> uint256:
    cash: uint256 = self._cash()
    self._accrue(cash)
    self._redeem(tokens, tokens * self._rate(cash) // 10**18)
    return 0


@nonreentrant
@external
def redeemUnderlying(amount: uint256) -> uint256:
    cash: uint256 = self._cash()
    self._accrue(cash)
    self._redeem(amount * 10**18 // self._rate(cash), amount)
    return 0


@nonreentrant
@external
def borrow(amount: uint256) -> uint256:
    self._accrue(self._cash())
    assert extcall Comptroller(comptroller).borrowAllowed(self, msg.sender, amount) == 0
    debt: uint256 = self._owed(msg.sender) + amount
    self._pay(msg.sender, amount)
    self._set_debt(msg.sender, debt)
    self.totalBorrows += amount
    log Borrow(borrower=msg.sender, borrowAmount=amount, accountBorrows=debt, totalBorrows=self.totalBorrows)
    return 0


@internal
@payable
def _repay(borrower: address, amount: uint256) -> uint256:
    debt: uint256 = self._owed(borrower)
    paid: uint256 = self._pull(min(amount, debt))
    back: uint256 = paid - min(paid, debt)
    paid -= back
    self._set_debt(borrower, debt - paid)
    self.totalBorrows -= min(paid, self.totalBorrows)
    log RepayBorrow(
        payer=msg.sender, borrower=borrower, repayAmount=paid, accountBorrows=debt - paid,
        totalBorrows=self.totalBorrows,
    )
    if back > 0:
        self._pay(msg.sender, back)
    return paid


@nonreentrant
@external
@payable
def repayBorrow(amount: uint256 = 0) -> uint256:
    self._accrue(self._cash() - msg.value)
    self._repay(msg.sender, amount)
    return 0


@nonreentrant
@external
@payable
def liquidateBorrow(borrower: address, amount: uint256, collateral: address) -> uint256:
    self._accrue(self._cash() - msg.value)
    assert borrower != msg.sender, "liquidator is borrower"
    assert staticcall Comptroller(comptroller).liquidateBorrowAllowed(self, borrower, self._owed(borrower), amount) == 0
    paid: uint256 = self._repay(borrower, amount)
    tokens: uint256 = staticcall Comptroller(comptroller).liquidateCalculateSeizeTokens(self, collateral, paid)
    assert extcall Market(collateral).seize(msg.sender, borrower, tokens) == 0
    log LiquidateBorrow(
        liquidator=msg.sender, borrower=borrower, repayAmount=paid, cTokenCollateral=collateral, seizeTokens=tokens
    )
    return 0


@nonreentrant
@external
def seize(liquidator: address, borrower: address, tokens: uint256) -> uint256:
    assert staticcall Comptroller(comptroller).listed(msg.sender), "unauthorized"
    ledger._move(borrower, liquidator, tokens)
    return 0


@nonreentrant
@external
@payable
def _addReserves(amount: uint256 = 0) -> uint256:
    self._accrue(self._cash() - msg.value)
    added: uint256 = self._pull(amount)
    self.totalReserves += added
    log ReservesAdded(benefactor=msg.sender, addAmount=added, newTotalReserves=self.totalReserves)
    return 0


@external
def transfer(to: address, tokens: uint256) -> bool:
    assert staticcall Comptroller(comptroller).redeemAllowed(self, msg.sender, tokens) == 0
    ledger._move(msg.sender, to, tokens)
    return True


@external
def transferFrom(owner: address, to: address, tokens: uint256) -> bool:
    assert staticcall Comptroller(comptroller).redeemAllowed(self, owner, tokens) == 0
    ledger._spend(owner, msg.sender, tokens)
    ledger._move(owner, to, tokens)
    return True
