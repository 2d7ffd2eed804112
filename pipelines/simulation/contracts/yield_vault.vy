# pragma version ~=0.4.3
"""
A yield vault (ERC-4626's interface): part of its assets lies idle, its strategist invests the rest.
"""
import ledger

initializes: ledger
exports: ledger.__interface__

interface Token:
    def balanceOf(account: address) -> uint256: view
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

interface Strategy:
    def investedBalance() -> uint256: view
    def invest(): nonpayable
    def withdrawToVault(amount: uint256): nonpayable

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

event Invest:
    amount: uint256

asset: public(immutable(address))
strategy: public(immutable(address))
owner: public(immutable(address))


@deploy
def __init__(asset_: address, strategy_: address, name_: String[32], symbol_: String[16]):
    ledger.__init__(name_, symbol_, 18)
    asset = asset_
    strategy = strategy_
    owner = msg.sender


@internal
@view
def _idle() -> uint256:
    return staticcall Token(asset).balanceOf(self)


@internal
@view
def _total() -> uint256:
    return self._idle() + staticcall Strategy(strategy).investedBalance()


@external
@view
def totalAssets() -> uint256:
    return self._total()


@external
@view
def convertToAssets(shares: uint256) -> uint256:
    return shares * self._total() // ledger.totalSupply


@external
def deposit(assets: uint256, receiver: address) -> uint256:
    shares: uint256 = assets
    if ledger.totalSupply > 0:
        shares = assets * ledger.totalSupply // self._total()
    assert extcall Token(asset).transferFrom(msg.sender, self, assets)
    ledger._mint(receiver, shares)
    log Deposit(sender=msg.sender, owner=receiver, assets=assets, shares=shares)
    return shares


@external
def redeem(shares: uint256, receiver: address, holder: address) -> uint256:
    assets: uint256 = shares * self._total() // ledger.totalSupply
    if holder != msg.sender:
        ledger._spend(holder, msg.sender, shares)
    ledger._burn(holder, shares)
    idle: uint256 = self._idle()
    if assets > idle:
        extcall Strategy(strategy).withdrawToVault(assets - idle)
        assets = min(assets, self._idle())
    assert extcall Token(asset).transfer(receiver, assets)
    log Withdraw(sender=msg.sender, receiver=receiver, owner=holder, assets=assets, shares=shares)
    return assets


@external
def earn(keep_bps: uint256):
    assert msg.sender == owner, "owner"
    idle: uint256 = self._idle()
    target: uint256 = self._total() * keep_bps // 10000
    assert idle > target, "nothing to invest"
    assert extcall Token(asset).transfer(strategy, idle - target)
    extcall Strategy(strategy).invest()
    log Invest(amount=idle - target)
