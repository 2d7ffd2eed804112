# pragma version ~=0.4.3
"""
Hands out a token to the accounts under a Merkle root (MerkleDistributor's interface), in several waves.
"""

event Claimed:
    index: uint256
    account: address
    amount: uint256

event RootUpdated:
    root: bytes32

interface Token:
    def balanceOf(account: address) -> uint256: view
    def transfer(to: address, amount: uint256) -> bool: nonpayable

owner: public(address)
token: public(immutable(address))
merkleRoot: public(bytes32)
isClaimed: public(HashMap[uint256, bool])


@deploy
def __init__(token_: address, root: bytes32):
    self.owner = msg.sender
    token = token_
    self.merkleRoot = root


@external
def setMerkleRoot(root: bytes32):
    assert msg.sender == self.owner, "not owner"
    self.merkleRoot = root
    log RootUpdated(root=root)


@external
def claim(index: uint256, account: address, amount: uint256, merkleProof: DynArray[bytes32, 16]):
    assert not self.isClaimed[index], "MerkleDistributor: Drop already claimed."
    node: bytes32 = keccak256(
        concat(convert(index, bytes32), convert(account, bytes20), convert(amount, bytes32))
    )
    for sibling: bytes32 in merkleProof:
        if convert(node, uint256) <= convert(sibling, uint256):
            node = keccak256(concat(node, sibling))
        else:
            node = keccak256(concat(sibling, node))
    assert node == self.merkleRoot, "MerkleDistributor: Invalid proof."
    self.isClaimed[index] = True
    assert extcall Token(token).transfer(account, amount)
    log Claimed(index=index, account=account, amount=amount)


@external
def withdraw(to: address):
    assert msg.sender == self.owner, "not owner"
    assert extcall Token(token).transfer(to, staticcall Token(token).balanceOf(self))
