# pragma version ~=0.4.3
"""
A collection of numbered collectibles (ERC-721 without its receiver hook), sold by its creator until the cap.
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    tokenId: indexed(uint256)

event Approval:
    owner: indexed(address)
    approved: indexed(address)
    tokenId: indexed(uint256)

event ApprovalForAll:
    owner: indexed(address)
    operator: indexed(address)
    approved: bool

name: public(String[32])
symbol: public(String[16])
creator: public(immutable(address))
price: public(immutable(uint256))
cap: public(immutable(uint256))
totalSupply: public(uint256)
ownerOf: public(HashMap[uint256, address])
balanceOf: public(HashMap[address, uint256])
getApproved: public(HashMap[uint256, address])
isApprovedForAll: public(HashMap[address, HashMap[address, bool]])


@deploy
def __init__(name_: String[32], symbol_: String[16], price_: uint256, cap_: uint256):
    self.name = name_
    self.symbol = symbol_
    creator = msg.sender
    price = price_
    cap = cap_


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
    owner: address = self.ownerOf[tokenId]
    assert msg.sender == owner or self.isApprovedForAll[owner][msg.sender], "not owner"
    self.getApproved[tokenId] = to
    log Approval(owner=owner, approved=to, tokenId=tokenId)


@external
def setApprovalForAll(operator: address, approved: bool):
    self.isApprovedForAll[msg.sender][operator] = approved
    log ApprovalForAll(owner=msg.sender, operator=operator, approved=approved)


@external
def transferFrom(owner: address, to: address, tokenId: uint256):
    assert self.ownerOf[tokenId] == owner and to != empty(address), "not owner"
    assert (
        msg.sender == owner
        or msg.sender == self.getApproved[tokenId]
        or self.isApprovedForAll[owner][msg.sender]
    ), "not approved"
    self.getApproved[tokenId] = empty(address)
    self.ownerOf[tokenId] = to
    self.balanceOf[owner] -= 1
    self.balanceOf[to] += 1
    log Transfer(sender=owner, receiver=to, tokenId=tokenId)


@external
def withdraw():
    assert msg.sender == creator, "not creator"
    raw_call(creator, b"", value=self.balance)
