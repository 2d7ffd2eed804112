# pragma version ~=0.4.3
"""
An ERC-20 whose balances all grow when its owner rebases; accounts hold parts of a fixed whole.
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

event Approval:
    owner: indexed(address)
    spender: indexed(address)
    value: uint256

event LogRebase:
    epoch: indexed(uint256)
    totalSupply: uint256

# Far more parts than units, so that a transfer moves exactly what it says after any rebase.
PARTS_PER_UNIT: constant(uint256) = 10**24

name: public(String[32])
symbol: public(String[16])
decimals: public(uint8)
totalSupply: public(uint256)
allowance: public(HashMap[address, HashMap[address, uint256]])
owner: public(address)
epoch: public(uint256)
parts: HashMap[address, uint256]
whole: uint256
per_unit: uint256


@deploy
def __init__(name_: String[32], symbol_: String[16], decimals_: uint8, supply: uint256):
    self.name = name_
    self.symbol = symbol_
    self.decimals = decimals_
    self.owner = msg.sender
    self.totalSupply = supply
    self.per_unit = PARTS_PER_UNIT
    self.whole = supply * PARTS_PER_UNIT
    self.parts[msg.sender] = self.whole
    log Transfer(sender=empty(address), receiver=msg.sender, value=supply)


@external
@view
def balanceOf(account: address) -> uint256:
    return self.parts[account] // self.per_unit


@external
def rebase(epoch: uint256, extra: uint256) -> uint256:
    assert msg.sender == self.owner, "owner"
    self.epoch = epoch
    self.totalSupply += extra
    self.per_unit = self.whole // self.totalSupply
    log LogRebase(epoch=epoch, totalSupply=self.totalSupply)
    return self.totalSupply


@internal
def _move(owner: address, to: address, amount: uint256):
    assert to != empty(address), "ERC20: transfer to the zero address"
    moved: uint256 = amount * self.per_unit
    assert self.parts[owner] >= moved, "ERC20: transfer amount exceeds balance"
    self.parts[owner] -= moved
    self.parts[to] += moved
    log Transfer(sender=owner, receiver=to, value=amount)


@external
def approve(spender: address, amount: uint256) -> bool:
    self.allowance[msg.sender][spender] = amount
    log Approval(owner=msg.sender, spender=spender, value=amount)
    return True


@external
def transfer(to: address, amount: uint256) -> bool:
    self._move(msg.sender, to, amount)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    allowed: uint256 = self.allowance[owner][msg.sender]
    assert allowed >= amount, "ERC20: insufficient allowance"
    if allowed != max_value(uint256):
        self.allowance[owner][msg.sender] = allowed - amount
    self._move(owner, to, amount)
    return True
