# pragma version ~=0.4.3
"""
Staking with rewards in proportion to stakes and time; the stake is a share token that can be moved on.
Some farms settle both sides when shares move, others leave the receiver with a clean slate.
"""
import ledger

initializes: ledger
exports: (
    ledger.name, ledger.symbol, ledger.decimals, ledger.totalSupply,
    ledger.balanceOf, ledger.allowance, ledger.approve,
)

event Deposit:
    user: indexed(address)
    amount: uint256

event Withdraw:
    user: indexed(address)
    amount: uint256

event Harvest:
    user: indexed(address)
    to: indexed(address)
    amount: uint256

event RewardAdded:
    amount: uint256

interface Token:
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

owner: public(address)
lpToken: public(immutable(address))
rewardToken: public(immutable(address))
settles: immutable(bool)
accRewardPerShare: public(uint256)
reserve: public(uint256)
paid: HashMap[address, uint256]
owed: HashMap[address, uint256]


@deploy
def __init__(stake: address, reward: address, settles_: bool, name_: String[32], symbol_: String[16]):
    ledger.__init__(name_, symbol_, 18)
    self.owner = msg.sender
    lpToken = stake
    rewardToken = reward
    settles = settles_


@internal
@view
def _pending(account: address) -> uint256:
    gained: uint256 = self.accRewardPerShare - self.paid[account]
    return self.owed[account] + ledger.balanceOf[account] * gained // 10**18


@internal
def _settle(account: address):
    self.owed[account] = self._pending(account)
    self.paid[account] = self.accRewardPerShare


@internal
def _harvest(account: address, to: address):
    self._settle(account)
    amount: uint256 = min(self.owed[account], self.reserve)
    self.owed[account] -= amount
    self.reserve -= amount
    if amount > 0:
        assert extcall Token(rewardToken).transfer(to, amount)
    log Harvest(user=account, to=to, amount=amount)


@internal
def _pass(sender: address, to: address, amount: uint256):
    self._settle(sender)
    if settles:
        self._settle(to)
    ledger._move(sender, to, amount)


@external
@view
def pendingReward(account: address) -> uint256:
    return self._pending(account)


@external
def deposit(amount: uint256):
    self._settle(msg.sender)
    assert extcall Token(lpToken).transferFrom(msg.sender, self, amount)
    ledger._mint(msg.sender, amount)
    log Deposit(user=msg.sender, amount=amount)


@external
def withdraw(amount: uint256):
    self._harvest(msg.sender, msg.sender)
    ledger._burn(msg.sender, amount)
    assert extcall Token(lpToken).transfer(msg.sender, amount)
    log Withdraw(user=msg.sender, amount=amount)


@external
def harvest(to: address):
    self._harvest(msg.sender, to)


@external
def transfer(to: address, amount: uint256) -> bool:
    self._pass(msg.sender, to, amount)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    ledger._spend(owner, msg.sender, amount)
    self._pass(owner, to, amount)
    return True


@external
def fund(amount: uint256):
    assert msg.sender == self.owner, "not owner"
    assert extcall Token(rewardToken).transferFrom(msg.sender, self, amount)
    self.reserve += amount
    if ledger.totalSupply > 0:
        self.accRewardPerShare += amount * 10**18 // ledger.totalSupply
    log RewardAdded(amount=amount)


@external
def setOwner(account: address):
    assert msg.sender == self.owner, "not owner"
    self.owner = account
