# pragma version ~=0.4.3
"""
What a bridge's manager remembers: the keys of its keepers and which messages have been executed.
"""

event OwnershipTransferred:
    previousOwner: indexed(address)
    newOwner: indexed(address)

owner: public(address)
keys: Bytes[80]
executed: HashMap[uint64, HashMap[bytes32, bool]]


@deploy
def __init__(keys_: Bytes[80]):
    self.owner = msg.sender
    self.keys = keys_


@external
def transferOwnership(account: address):
    assert msg.sender == self.owner, "not owner"
    log OwnershipTransferred(previousOwner=self.owner, newOwner=account)
    self.owner = account


@external
@view
def getCurEpochConPubKeyBytes() -> Bytes[80]:
    return self.keys


@external
def putCurEpochConPubKeyBytes(keys_: Bytes[80]) -> bool:
    assert msg.sender == self.owner, "not owner"
    self.keys = keys_
    return True


@external
@view
def checkIfFromChainTxExist(chainId: uint64, id: bytes32) -> bool:
    return self.executed[chainId][id]


@external
def markFromChainTxExist(chainId: uint64, id: bytes32) -> bool:
    assert msg.sender == self.owner, "not owner"
    self.executed[chainId][id] = True
    return True
