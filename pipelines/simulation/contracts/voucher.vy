# pragma version ~=0.4.3
"""
Pays out vouchers that a company signs for its customers; anyone may bring one. A used voucher is
remembered by its signature, and what is signed does not name this contract.
"""

event Claimed:
    receiver: indexed(address)
    amount: uint256
    id: uint256

event SignerChanged:
    signer: indexed(address)

interface Token:
    def transfer(to: address, amount: uint256) -> bool: nonpayable

owner: public(address)
signer: public(address)
token: public(immutable(address))
used: public(HashMap[bytes32, bool])


@deploy
def __init__(token_: address, signer_: address):
    self.owner = msg.sender
    self.signer = signer_
    token = token_


@external
def setSigner(account: address):
    assert msg.sender == self.owner, "not owner"
    self.signer = account
    log SignerChanged(signer=account)


@external
def claim(receiver: address, amount: uint256, id: uint256, signature: Bytes[65]):
    key: bytes32 = keccak256(signature)
    assert not self.used[key], "used"
    self.used[key] = True
    r: bytes32 = extract32(signature, 0)
    s: bytes32 = extract32(signature, 32)
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    if v < 27:
        v += 27
    content: bytes32 = keccak256(abi_encode(receiver, amount, id))
    digest: bytes32 = keccak256(concat(b"\x19Ethereum Signed Message:\n32", content))
    assert ecrecover(digest, v, r, s) == self.signer, "bad signature"
    assert extcall Token(token).transfer(receiver, amount)
    log Claimed(receiver=receiver, amount=amount, id=id)


@external
def withdraw(to: address, amount: uint256):
    assert msg.sender == self.owner, "not owner"
    assert extcall Token(token).transfer(to, amount)
