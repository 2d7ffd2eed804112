# pragma version ~=0.4.3
"""
Lends ether against collectibles, up to 60 percent of the floor price that the pool's owner posts.
"""

event Borrowed:
    collection: indexed(address)
    tokenId: indexed(uint256)
    borrower: indexed(address)
    amount: uint256

event Repaid:
    collection: indexed(address)
    tokenId: indexed(uint256)
    payer: indexed(address)
    amount: uint256

event Auctioned:
    collection: indexed(address)
    tokenId: indexed(uint256)
    buyer: indexed(address)

event FloorPosted:
    collection: indexed(address)
    price: uint256

interface Collection:
    def transferFrom(owner: address, to: address, tokenId: uint256): nonpayable

struct Loan:
    borrower: address
    amount: uint256
    due: uint256

TERM: constant(uint256) = 1200
owner: public(address)
floorPrice: public(HashMap[address, uint256])
supplied: public(HashMap[address, uint256])
loans: public(HashMap[address, HashMap[uint256, Loan]])


@deploy
def __init__():
    self.owner = msg.sender


@external
def setFloor(collection: address, price: uint256):
    assert msg.sender == self.owner, "not owner"
    self.floorPrice[collection] = price
    log FloorPosted(collection=collection, price=price)


@external
@payable
def supply():
    self.supplied[msg.sender] += msg.value


@external
def withdraw(amount: uint256):
    self.supplied[msg.sender] -= amount
    raw_call(msg.sender, b"", value=amount)


@external
def borrow(collection: address, tokenId: uint256, amount: uint256):
    assert amount <= self.floorPrice[collection] * 6 // 10, "beyond the limit"
    self.loans[collection][tokenId] = Loan(borrower=msg.sender, amount=amount, due=block.timestamp + TERM)
    extcall Collection(collection).transferFrom(msg.sender, self, tokenId)
    raw_call(msg.sender, b"", value=amount)
    log Borrowed(collection=collection, tokenId=tokenId, borrower=msg.sender, amount=amount)


@external
@payable
def repay(collection: address, tokenId: uint256):
    loan: Loan = self.loans[collection][tokenId]
    assert loan.amount > 0 and msg.value == loan.amount * 101 // 100, "wrong amount"
    self.loans[collection][tokenId] = empty(Loan)
    extcall Collection(collection).transferFrom(self, loan.borrower, tokenId)
    log Repaid(collection=collection, tokenId=tokenId, payer=msg.sender, amount=msg.value)


@external
@payable
def auction(collection: address, tokenId: uint256):
    """
    Whoever pays an overdue loan gets the piece.
    """
    loan: Loan = self.loans[collection][tokenId]
    assert loan.amount > 0 and block.timestamp > loan.due, "not overdue"
    assert msg.value >= loan.amount, "too little"
    self.loans[collection][tokenId] = empty(Loan)
    extcall Collection(collection).transferFrom(self, msg.sender, tokenId)
    log Auctioned(collection=collection, tokenId=tokenId, buyer=msg.sender)
