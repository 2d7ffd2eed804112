# pragma version ~=0.4.3
"""
An interest-bearing token: a share of a lending desk's deposits, priced at what they have become worth.
Its transfer reads both balances before it writes them, so that one to oneself leaves the larger.
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

event Mint:
    minter: indexed(address)
    tokenAmount: uint256
    assetAmount: uint256
    price: uint256

event Burn:
    burner: indexed(address)
    tokenAmount: uint256
    assetAmount: uint256
    price: uint256

event Lent:
    desk: indexed(address)
    amount: uint256

event Returned:
    desk: indexed(address)
    amount: uint256
    interest: uint256

loanTokenAddress: public(immutable(address))
desk: public(immutable(address))
lent: public(uint256)


@deploy
def __init__(name_: String[32], symbol_: String[16], decimals_: uint8, asset: address):
    ledger.__init__(name_, symbol_, decimals_)
    loanTokenAddress = asset
    desk = msg.sender


@internal
@view
def _price() -> uint256:
    if ledger.totalSupply == 0:
        return 10**18
    held: uint256 = staticcall Token(loanTokenAddress).balanceOf(self)
    return (held + self.lent) * 10**18 // ledger.totalSupply


@external
@view
def tokenPrice() -> uint256:
    return self._price()


@external
@view
def assetBalanceOf(account: address) -> uint256:
    return ledger.balanceOf[account] * self._price() // 10**18


@external
def mint(receiver: address, depositAmount: uint256) -> uint256:
    price: uint256 = self._price()
    minted: uint256 = depositAmount * 10**18 // price
    assert minted > 0, "17"
    assert extcall Token(loanTokenAddress).transferFrom(msg.sender, self, depositAmount)
    ledger._mint(receiver, minted)
    log Mint(minter=receiver, tokenAmount=minted, assetAmount=depositAmount, price=price)
    return minted


@external
def burn(receiver: address, burnAmount: uint256) -> uint256:
    price: uint256 = self._price()
    paid: uint256 = burnAmount * price // 10**18
    ledger._burn(msg.sender, burnAmount)
    assert extcall Token(loanTokenAddress).transfer(receiver, paid)
    log Burn(burner=msg.sender, tokenAmount=burnAmount, assetAmount=paid, price=price)
    return paid


@internal
def _transfer(owner: address, to: address, amount: uint256):
    assert to != empty(address), "15"
    left: uint256 = ledger.balanceOf[owner] - amount
    now: uint256 = ledger.balanceOf[to] + amount
    ledger.balanceOf[owner] = left
    ledger.balanceOf[to] = now
    log ledger.Transfer(sender=owner, receiver=to, value=amount)


@external
def transfer(to: address, amount: uint256) -> bool:
    self._transfer(msg.sender, to, amount)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    ledger._spend(owner, msg.sender, amount)
    self._transfer(owner, to, amount)
    return True


@external
def lend(amount: uint256):
    assert msg.sender == desk, "desk"
    self.lent += amount
    assert extcall Token(loanTokenAddress).transfer(desk, amount)
    log Lent(desk=desk, amount=amount)


@external
def giveBack(amount: uint256, interest: uint256):
    self.lent -= amount
    assert extcall Token(loanTokenAddress).transferFrom(msg.sender, self, amount + interest)
    log Returned(desk=msg.sender, amount=amount, interest=interest)
