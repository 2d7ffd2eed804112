# pragma version ~=0.4.3
"""
A market for collectibles: sellers list at a fixed price and keep the piece, buyers make offers for any piece
of a collection. A listing stands until it is cancelled or bought, wherever the piece has been meanwhile.
"""

event Listed:
    collection: indexed(address)
    tokenId: indexed(uint256)
    seller: indexed(address)
    price: uint256

event Cancelled:
    collection: indexed(address)
    tokenId: indexed(uint256)
    seller: indexed(address)

event Sold:
    collection: indexed(address)
    tokenId: indexed(uint256)
    seller: indexed(address)
    buyer: address
    price: uint256

event Offered:
    index: indexed(uint256)
    collection: indexed(address)
    bidder: indexed(address)
    price: uint256

event OfferWithdrawn:
    index: indexed(uint256)

interface Collection:
    def ownerOf(tokenId: uint256) -> address: view
    def transferFrom(owner: address, to: address, tokenId: uint256): nonpayable

struct Offer:
    collection: address
    bidder: address
    price: uint256

owner: public(address)
listing: public(HashMap[address, HashMap[address, HashMap[uint256, uint256]]])
offers: public(HashMap[uint256, Offer])
count: public(uint256)
fees: public(uint256)


@deploy
def __init__():
    self.owner = msg.sender


@external
def list(collection: address, tokenId: uint256, price: uint256):
    assert staticcall Collection(collection).ownerOf(tokenId) == msg.sender, "not owner"
    self.listing[msg.sender][collection][tokenId] = price
    log Listed(collection=collection, tokenId=tokenId, seller=msg.sender, price=price)


@external
def cancel(collection: address, tokenId: uint256):
    self.listing[msg.sender][collection][tokenId] = 0
    log Cancelled(collection=collection, tokenId=tokenId, seller=msg.sender)


@internal
def _settle(collection: address, tokenId: uint256, seller: address, buyer: address, price: uint256):
    fee: uint256 = price // 40
    self.fees += fee
    extcall Collection(collection).transferFrom(seller, buyer, tokenId)
    raw_call(seller, b"", value=price - fee)
    log Sold(collection=collection, tokenId=tokenId, seller=seller, buyer=buyer, price=price)


@external
@payable
def buy(collection: address, tokenId: uint256, seller: address):
    price: uint256 = self.listing[seller][collection][tokenId]
    assert price > 0 and msg.value == price, "not for sale"
    self.listing[seller][collection][tokenId] = 0
    self._settle(collection, tokenId, seller, msg.sender, price)


@external
@payable
def makeOffer(collection: address) -> uint256:
    assert msg.value > 0, "no ether"
    self.count += 1
    self.offers[self.count] = Offer(collection=collection, bidder=msg.sender, price=msg.value)
    log Offered(index=self.count, collection=collection, bidder=msg.sender, price=msg.value)
    return self.count


@external
def withdrawOffer(index: uint256):
    offer: Offer = self.offers[index]
    assert offer.bidder == msg.sender, "not yours"
    self.offers[index] = empty(Offer)
    raw_call(msg.sender, b"", value=offer.price)
    log OfferWithdrawn(index=index)


@external
def acceptOffer(index: uint256, tokenId: uint256):
    offer: Offer = self.offers[index]
    assert offer.price > 0, "no offer"
    self.offers[index] = empty(Offer)
    self._settle(offer.collection, tokenId, msg.sender, offer.bidder, offer.price)


@external
def withdrawFees():
    assert msg.sender == self.owner, "not owner"
    amount: uint256 = self.fees
    self.fees = 0
    raw_call(self.owner, b"", value=amount)
