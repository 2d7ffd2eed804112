# pragma version ~=0.4.3
"""
A fund (ERC-4626's interface) with few, large shares ("seats"); every conversion rounds down.
"""
import ledger

initializes: ledger
exports: ledger.__interface__

interface Token:
    def balanceOf(account: address) -> uint256: view
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

event Deposit:
    sender: indexed(address)
    owner: indexed(address)
    assets: uint256
    shares: uint256

event Withdraw:
    sender: indexed(address)
    receiver: indexed(address)
    owner: indexed(address)
    assets: uint256
    shares: uint256

asset: public(immutable(address))
seat: public(immutable(uint256))


@deploy
def __init__(asset_: address, seat_: uint256, name_: String[32], symbol_: String[16]):
    ledger.__init__(name_, symbol_, 0)
    asset = asset_
    seat = seat_


@internal
@view
def _held() -> uint256:
    return staticcall Token(asset).balanceOf(self)


@internal
@view
def _shares(assets: uint256) -> uint256:
    if ledger.totalSupply == 0:
        return assets // seat
    return assets * ledger.totalSupply // self._held()


@external
@view
def totalAssets() -> uint256:
    return self._held()


@external
@view
def convertToShares(assets: uint256) -> uint256:
    return self._shares(assets)


@external
@view
def convertToAssets(shares: uint256) -> uint256:
    return shares * self._held() // ledger.totalSupply


@internal
def _pay(shares: uint256, assets: uint256, receiver: address, owner: address):
    if owner != msg.sender:
        ledger._spend(owner, msg.sender, shares)
    ledger._burn(owner, shares)
    assert extcall Token(asset).transfer(receiver, assets)
    log Withdraw(sender=msg.sender, receiver=receiver, owner=owner, assets=assets, shares=shares)


@external
def deposit(assets: uint256, receiver: address) -> uint256:
    shares: uint256 = self._shares(assets)
    assert shares > 0, "less than a seat"
    assert extcall Token(asset).transferFrom(msg.sender, self, assets)
    ledger._mint(receiver, shares)
    log Deposit(sender=msg.sender, owner=receiver, assets=assets, shares=shares)
    return shares


@external
def withdraw(assets: uint256, receiver: address, owner: address) -> uint256:
    shares: uint256 = self._shares(assets)
    self._pay(shares, assets, receiver, owner)
    return shares


@external
def redeem(shares: uint256, receiver: address, owner: address) -> uint256:
    assets: uint256 = shares * self._held() // ledger.totalSupply
    self._pay(shares, assets, receiver, owner)
    return assets
