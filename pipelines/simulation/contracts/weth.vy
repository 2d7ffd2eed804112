# pragma version ~=0.4.3
"""
Wrapped ether.
"""
import ledger

initializes: ledger
exports: ledger.__interface__

event Deposit:
    dst: indexed(address)
    wad: uint256

event Withdrawal:
    src: indexed(address)
    wad: uint256


@deploy
def __init__():
    ledger.__init__("Wrapped Ether", "WETH", 18)


@internal
def _wrap(account: address, amount: uint256):
    ledger.balanceOf[account] += amount
    ledger.totalSupply += amount
    log Deposit(dst=account, wad=amount)


@external
@payable
def deposit():
    self._wrap(msg.sender, msg.value)


@external
def withdraw(amount: uint256):
    ledger.balanceOf[msg.sender] -= amount
    ledger.totalSupply -= amount
    raw_call(msg.sender, b"", value=amount)
    log Withdrawal(src=msg.sender, wad=amount)


@external
@payable
def __default__():
    self._wrap(msg.sender, msg.value)
