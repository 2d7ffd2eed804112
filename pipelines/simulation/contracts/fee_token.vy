# pragma version ~=0.4.3
"""
An ERC-20 that keeps one percent of every transfer for its treasury.
"""
import ledger

initializes: ledger
exports: (
    ledger.name, ledger.symbol, ledger.decimals, ledger.totalSupply,
    ledger.balanceOf, ledger.allowance, ledger.approve,
)

treasury: public(address)


@deploy
def __init__(name_: String[32], symbol_: String[16], decimals_: uint8, supply: uint256):
    ledger.__init__(name_, symbol_, decimals_)
    self.treasury = msg.sender
    ledger._mint(msg.sender, supply)


@internal
def _take(owner: address, to: address, amount: uint256):
    fee: uint256 = amount // 100
    if owner == self.treasury or to == self.treasury:
        fee = 0
    ledger._move(owner, to, amount - fee)
    if fee > 0:
        ledger._move(owner, self.treasury, fee)


@external
def transfer(to: address, amount: uint256) -> bool:
    self._take(msg.sender, to, amount)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    ledger._spend(owner, msg.sender, amount)
    self._take(owner, to, amount)
    return True
