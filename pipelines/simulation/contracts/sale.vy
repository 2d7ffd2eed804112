# pragma version ~=0.4.3
"""
Sells numbered collectibles (a subset of ERC-721) and lets owners trade them at a fixed price.
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    tokenId: indexed(uint256)

event Approval:
    owner: indexed(address)
    approved: indexed(address)
    tokenId: indexed(uint256)

event Listed:
    tokenId: indexed(uint256)
    price: uint256

name: public(String[32])
creator: public(immutable(address))
price: public(immutable(uint256))
cap: public(immutable(uint256))
totalSupply: public(uint256)
ownerOf: public(HashMap[uint256, address])
balanceOf: public(HashMap[address, uint256])
getApproved: public(HashMap[uint256, address])
listing: public(HashMap[uint256, uint256])


@deploy
def __init__(name_: String[32], price_: uint256, cap_: uint256):
    self.name = name_
    creator = msg.sender
    price = price_
    cap = cap_


@internal
def _move(owner: address, to: address, tokenId: uint256):
    self.ownerOf[tokenId] = to
    self.balanceOf[owner] -= 1
    self.balanceOf[to] += 1
    self.getApproved[tokenId] = empty(address)
    self.listing[tokenId] = 0
    log Transfer(sender=owner, receiver=to, tokenId=tokenId)


@external
@payable
def mint(count: uint256):
    assert msg.value == price * count, "wrong price"
    assert self.totalSupply + count <= cap, "sold out"
    for i: uint256 in range(count, bound=20):
        self.totalSupply += 1
        self.ownerOf[self.totalSupply] = msg.sender
        log Transfer(sender=empty(address), receiver=msg.sender, tokenId=self.totalSupply)
    self.balanceOf[msg.sender] += count


@external
def approve(to: address, tokenId: uint256):
    assert self.ownerOf[tokenId] == msg.sender, "not owner"
    self.getApproved[tokenId] = to
    log Approval(owner=msg.sender, approved=to, tokenId=tokenId)


@external
def transferFrom(owner: address, to: address, tokenId: uint256):
    assert self.ownerOf[tokenId] == owner, "not owner"
    assert msg.sender == owner or msg.sender == self.getApproved[tokenId], "not approved"
    self._move(owner, to, tokenId)


@external
def list(tokenId: uint256, amount: uint256):
    assert self.ownerOf[tokenId] == msg.sender, "not owner"
    self.listing[tokenId] = amount
    log Listed(tokenId=tokenId, price=amount)


@external
@payable
def buy(tokenId: uint256):
    seller: address = self.ownerOf[tokenId]
    assert self.listing[tokenId] > 0 and msg.value == self.listing[tokenId], "not for sale"
    self._move(seller, msg.sender, tokenId)
    raw_call(creator, b"", value=msg.value // 40)
    raw_call(seller, b"", value=msg.value - msg.value // 40)


@external
def withdraw():
    assert msg.sender == creator, "not creator"
    raw_call(creator, b"", value=self.balance)
