# pragma version ~=0.4.3
"""
A plain ERC-20 with a minter, any number of decimals.
"""
import ledger

initializes: ledger
exports: ledger.__interface__

event MinterChanged:
    previous: indexed(address)
    current: indexed(address)

minter: public(address)


@deploy
def __init__(name_: String[32], symbol_: String[16], decimals_: uint8, supply: uint256):
    ledger.__init__(name_, symbol_, decimals_)
    self.minter = msg.sender
    ledger._mint(msg.sender, supply)


@external
def mint(to: address, amount: uint256):
    assert msg.sender == self.minter, "not minter"
    ledger._mint(to, amount)


@external
def burn(amount: uint256):
    ledger._burn(msg.sender, amount)


@external
def setMinter(account: address):
    assert msg.sender == self.minter, "not minter"
    log MinterChanged(previous=self.minter, current=account)
    self.minter = account


@external
def increaseAllowance(spender: address, extra: uint256) -> bool:
    ledger.allowance[msg.sender][spender] += extra
    log ledger.Approval(owner=msg.sender, spender=spender, value=ledger.allowance[msg.sender][spender])
    return True
