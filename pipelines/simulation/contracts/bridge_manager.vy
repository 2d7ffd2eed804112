# pragma version ~=0.4.3
"""
Sends messages to other chains and executes those that the keepers have signed, on whatever contract and
with whatever method the message names; it also owns the contract that knows the keepers.
"""

interface Data:
    def getCurEpochConPubKeyBytes() -> Bytes[80]: view
    def putCurEpochConPubKeyBytes(keys_: Bytes[80]) -> bool: nonpayable
    def checkIfFromChainTxExist(chainId: uint64, id: bytes32) -> bool: view
    def markFromChainTxExist(chainId: uint64, id: bytes32) -> bool: nonpayable

event CrossChainEvent:
    sender: indexed(address)
    txId: bytes32
    toChainId: uint64
    rawdata: Bytes[1024]

event VerifyHeaderAndExecuteTxEvent:
    fromChainId: uint64
    toContract: address
    crossChainTxHash: bytes32

event ChangeBookKeeperEvent:
    keys: Bytes[80]

owner: public(address)
data: public(immutable(address))
chainId: public(immutable(uint64))
count: public(uint256)


@deploy
def __init__(data_: address, chainId_: uint64):
    self.owner = msg.sender
    data = data_
    chainId = chainId_


@external
def crossChain(toChainId: uint64, toContract: address, method: bytes4, args: Bytes[512]) -> bool:
    self.count += 1
    id: bytes32 = keccak256(abi_encode(self, self.count))
    message: Bytes[1024] = abi_encode(id, chainId, msg.sender, toContract, method, args)
    log CrossChainEvent(sender=msg.sender, txId=id, toChainId=toChainId, rawdata=message)
    return True


@internal
@view
def _verify(digest: bytes32, signatures: Bytes[260]):
    keys: Bytes[80] = staticcall Data(data).getCurEpochConPubKeyBytes()
    count: uint256 = len(keys) // 20
    needed: uint256 = count - (count - 1) // 3
    for i: uint256 in range(needed, bound=4):
        r: bytes32 = extract32(signatures, i * 65)
        s: bytes32 = extract32(signatures, i * 65 + 32)
        v: uint256 = convert(slice(signatures, i * 65 + 64, 1), uint256)
        assert ecrecover(digest, v, r, s) == convert(slice(keys, i * 20, 20), address), "bad signature"


@external
def verifyHeaderAndExecuteTx(rawdata: Bytes[1024], signatures: Bytes[260]) -> bool:
    self._verify(keccak256(concat(rawdata, convert(chainId, bytes32))), signatures)
    id: bytes32 = empty(bytes32)
    from_chain: uint64 = 0
    sender: address = empty(address)
    target: address = empty(address)
    method: bytes4 = empty(bytes4)
    args: Bytes[512] = b""
    id, from_chain, sender, target, method, args = abi_decode(
        rawdata, (bytes32, uint64, address, address, bytes4, Bytes[512])
    )
    assert not staticcall Data(data).checkIfFromChainTxExist(from_chain, id), "executed"
    assert extcall Data(data).markFromChainTxExist(from_chain, id)
    assert target.is_contract, "not a contract"
    origin: Bytes[20] = slice(convert(sender, bytes32), 12, 20)
    raw_call(target, concat(method, abi_encode(args, origin, from_chain)))
    log VerifyHeaderAndExecuteTxEvent(fromChainId=from_chain, toContract=target, crossChainTxHash=id)
    return True


@external
def changeBookKeeper(keys: Bytes[80], signatures: Bytes[260]) -> bool:
    """
    The keepers hand over to the next ones.
    """
    self._verify(keccak256(concat(convert(chainId, bytes32), keys)), signatures)
    assert extcall Data(data).putCurEpochConPubKeyBytes(keys)
    log ChangeBookKeeperEvent(keys=keys)
    return True


@external
def resetBookKeeper(keys: Bytes[80]) -> bool:
    """
    The owner's way out when keys are lost.
    """
    assert msg.sender == self.owner, "not owner"
    assert extcall Data(data).putCurEpochConPubKeyBytes(keys)
    log ChangeBookKeeperEvent(keys=keys)
    return True
