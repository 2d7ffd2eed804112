# pragma version ~=0.4.3
"""
An ERC-20 that is configured after deployment, as tokens behind proxies are.
The initialiser forgets to check that it has not run before.
"""
import ledger

initializes: ledger
exports: ledger.__interface__

event Initialized:
    minter: indexed(address)
    cap: uint256

minter: public(address)
cap: public(uint256)


@deploy
def __init__():
    ledger.__init__("", "", 18)


@external
def initialize(name_: String[32], symbol_: String[16], minter_: address, cap_: uint256):
    ledger.name = name_
    ledger.symbol = symbol_
    self.minter = minter_
    self.cap = cap_
    log Initialized(minter=minter_, cap=cap_)


@external
def mint(to: address, amount: uint256):
    assert msg.sender == self.minter, "not minter"
    assert ledger.totalSupply + amount <= self.cap, "cap"
    ledger._mint(to, amount)


@external
def burn(amount: uint256):
    ledger._burn(msg.sender, amount)
