# pragma version ~=0.4.3
"""
Gives every piece of a collection a fixed amount of a token, to whoever holds the piece when it is claimed.
"""

event AirDrop:
    account: indexed(address)
    amount: uint256
    count: uint256

interface Token:
    def balanceOf(account: address) -> uint256: view
    def transfer(to: address, amount: uint256) -> bool: nonpayable

interface Collection:
    def ownerOf(tokenId: uint256) -> address: view

owner: public(immutable(address))
token: public(immutable(address))
collection: public(immutable(address))
amountPerPiece: public(uint256)
claimed: public(HashMap[uint256, bool])


@deploy
def __init__(token_: address, collection_: address, amount: uint256):
    owner = msg.sender
    token = token_
    collection = collection_
    self.amountPerPiece = amount


@external
def claimTokens(tokenIds: DynArray[uint256, 20]):
    for id: uint256 in tokenIds:
        assert staticcall Collection(collection).ownerOf(id) == msg.sender, "not the holder"
        assert not self.claimed[id], "claimed"
        self.claimed[id] = True
    amount: uint256 = len(tokenIds) * self.amountPerPiece
    assert extcall Token(token).transfer(msg.sender, amount)
    log AirDrop(account=msg.sender, amount=amount, count=len(tokenIds))


@external
def claimUnclaimedTokens():
    assert msg.sender == owner, "not owner"
    assert extcall Token(token).transfer(owner, staticcall Token(token).balanceOf(self))
