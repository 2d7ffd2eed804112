# pragma version ~=0.4.3
"""
A savings pool used behind proxies: its operator invests the savings and returns them with yield.
"""

interface Token:
    def balanceOf(account: address) -> uint256: view
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

event Initialized:
    operator: indexed(address)
    fee: uint256

event Deposit:
    account: indexed(address)
    amount: uint256
    shares: uint256

event Withdraw:
    account: indexed(address)
    amount: uint256
    shares: uint256

event Invested:
    strategy: indexed(address)
    amount: uint256

event Harvested:
    amount: uint256
    gained: uint256

event OwnershipTransferred:
    previous: indexed(address)
    current: indexed(address)

event FeeSet:
    fee: uint256
    recipient: indexed(address)

event PauseSet:
    paused: bool

# A call of initialize from within initialize is welcome, as in OpenZeppelin's Initializable.
initializing: uint256
initialized: uint256
token: public(address)
owner: public(address)
recipient: public(address)
fee: public(uint256)
fees: public(uint256)
invested: public(uint256)
paused: public(bool)
totalShares: public(uint256)
shares: public(HashMap[address, uint256])


@external
def initialize(token_: address, owner_: address, fee_: uint256):
    nested: bool = self.initializing != 0
    assert nested or self.initialized == 0, "already initialized"
    if not nested:
        self.initialized = 1
    self.token = token_
    self.owner = owner_
    self.recipient = owner_
    self.fee = fee_
    log Initialized(operator=owner_, fee=fee_)


@internal
@view
def _only_owner():
    assert msg.sender == self.owner, "Ownable: caller is not the owner"


@internal
@view
def _assets() -> uint256:
    return staticcall Token(self.token).balanceOf(self) + self.invested - self.fees


@external
@view
def totalAssets() -> uint256:
    return self._assets()


@internal
def _deposit(account: address, amount: uint256):
    assert not self.paused, "Pausable: paused"
    made: uint256 = amount
    if self.totalShares > 0:
        made = amount * self.totalShares // self._assets()
    assert extcall Token(self.token).transferFrom(msg.sender, self, amount)
    self.shares[account] += made
    self.totalShares += made
    log Deposit(account=account, amount=amount, shares=made)


@external
def deposit(amount: uint256):
    self._deposit(msg.sender, amount)


@external
def withdraw(share: uint256):
    assert not self.paused, "Pausable: paused"
    amount: uint256 = share * self._assets() // self.totalShares
    self.shares[msg.sender] -= share
    self.totalShares -= share
    assert extcall Token(self.token).transfer(msg.sender, amount)
    log Withdraw(account=msg.sender, amount=amount, shares=share)


@external
def invest(strategy: address, amount: uint256):
    self._only_owner()
    self.invested += amount
    assert extcall Token(self.token).transfer(strategy, amount)
    log Invested(strategy=strategy, amount=amount)


@external
def harvest(amount: uint256, gained: uint256):
    self._only_owner()
    assert extcall Token(self.token).transferFrom(msg.sender, self, amount + gained)
    self.invested -= amount
    self.fees += gained * self.fee // 10000
    log Harvested(amount=amount, gained=gained)


@external
def collectFees() -> uint256:
    amount: uint256 = self.fees
    self.fees = 0
    assert extcall Token(self.token).transfer(self.recipient, amount)
    return amount


@external
def setFee(fee_: uint256, recipient_: address):
    self._only_owner()
    assert fee_ <= 10000, "fee"
    self.fee = fee_
    self.recipient = recipient_
    log FeeSet(fee=fee_, recipient=recipient_)


@external
def setPaused(paused_: bool):
    self._only_owner()
    self.paused = paused_
    log PauseSet(paused=paused_)


@external
def transferOwnership(account: address):
    self._only_owner()
    log OwnershipTransferred(previous=self.owner, current=account)
    self.owner = account
