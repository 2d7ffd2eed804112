# pragma version ~=0.4.3
"""
A stablecoin: minters with allowances, a pauser, and a list of accounts that may not use it.
"""
import ledger

initializes: ledger
exports: (
    ledger.name, ledger.symbol, ledger.decimals, ledger.totalSupply,
    ledger.balanceOf, ledger.allowance, ledger.approve,
)

event Pause: pass
event Unpause: pass

event Blacklisted:
    _account: indexed(address)

event UnBlacklisted:
    _account: indexed(address)

event MinterConfigured:
    minter: indexed(address)
    minterAllowedAmount: uint256

event Mint:
    minter: indexed(address)
    to: indexed(address)
    amount: uint256

event Burn:
    burner: indexed(address)
    amount: uint256

owner: public(immutable(address))
paused: public(bool)
isBlacklisted: public(HashMap[address, bool])
minterAllowance: public(HashMap[address, uint256])


@deploy
def __init__(name_: String[32], symbol_: String[16], decimals_: uint8, supply: uint256):
    ledger.__init__(name_, symbol_, decimals_)
    owner = msg.sender
    self.paused = True
    ledger._mint(msg.sender, supply)


@internal
def _check(a: address, b: address):
    assert not self.paused, "Pausable: paused"
    assert not self.isBlacklisted[a] and not self.isBlacklisted[b], "Blacklistable: account is blacklisted"


@external
def transfer(to: address, amount: uint256) -> bool:
    self._check(msg.sender, to)
    ledger._move(msg.sender, to, amount)
    return True


@external
def transferFrom(owner_: address, to: address, amount: uint256) -> bool:
    self._check(owner_, to)
    ledger._spend(owner_, msg.sender, amount)
    ledger._move(owner_, to, amount)
    return True


@external
def pause():
    assert msg.sender == owner, "owner"
    self.paused = True
    log Pause()


@external
def unpause():
    assert msg.sender == owner, "owner"
    self.paused = False
    log Unpause()


@external
def blacklist(account: address):
    assert msg.sender == owner, "owner"
    self.isBlacklisted[account] = True
    log Blacklisted(_account=account)


@external
def unBlacklist(account: address):
    assert msg.sender == owner, "owner"
    self.isBlacklisted[account] = False
    log UnBlacklisted(_account=account)


@external
def configureMinter(minter: address, amount: uint256) -> bool:
    assert msg.sender == owner, "owner"
    self.minterAllowance[minter] = amount
    log MinterConfigured(minter=minter, minterAllowedAmount=amount)
    return True


@external
def mint(to: address, amount: uint256) -> bool:
    self._check(msg.sender, to)
    self.minterAllowance[msg.sender] -= amount
    ledger._mint(to, amount)
    log Mint(minter=msg.sender, to=to, amount=amount)
    return True


@external
def burn(amount: uint256):
    self._check(msg.sender, msg.sender)
    ledger._burn(msg.sender, amount)
    log Burn(burner=msg.sender, amount=amount)
