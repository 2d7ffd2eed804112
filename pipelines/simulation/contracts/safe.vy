# pragma version ~=0.4.3
"""
A wallet of several owners who sign off chain (Safe's interface), used behind proxies whose slot 0 names it.
Whether modules may be enabled by the wallet alone, or by anybody, is up to the version.
"""

event SafeReceived:
    sender: indexed(address)
    amount: uint256

event SafeSetup:
    initiator: indexed(address)
    owners: DynArray[address, 5]
    threshold: uint256

event EnabledModule:
    module: indexed(address)

event DisabledModule:
    module: indexed(address)

event ExecutionSuccess:
    txHash: indexed(bytes32)
    payment: uint256

event ExecutionFromModuleSuccess:
    module: indexed(address)

DOMAIN: constant(bytes32) = keccak256("EIP712Domain(uint256 chainId,address verifyingContract)")
SAFE_TX: constant(bytes32) = keccak256(
    "SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 baseGas,"
    "uint256 gasPrice,address gasToken,address refundReceiver,uint256 nonce)"
)

guarded: immutable(bool)
singleton: address
getOwners: public(DynArray[address, 5])
getThreshold: public(uint256)
nonce: public(uint256)
isModuleEnabled: public(HashMap[address, bool])


@deploy
def __init__(guarded_: bool):
    guarded = guarded_
    self.getThreshold = 1


@external
@payable
def __default__():
    log SafeReceived(sender=msg.sender, amount=msg.value)


@external
def setup(owners: DynArray[address, 5], threshold: uint256):
    assert self.getThreshold == 0, "GS200"
    assert 0 < threshold and threshold <= len(owners), "GS201"
    self.getOwners = owners
    self.getThreshold = threshold
    log SafeSetup(initiator=msg.sender, owners=owners, threshold=threshold)


@internal
@view
def _hash(to: address, amount: uint256, data: Bytes[6400], operation: uint8, nonce: uint256) -> bytes32:
    domain: bytes32 = keccak256(abi_encode(DOMAIN, chain.id, self))
    zero: uint256 = 0
    content: bytes32 = keccak256(
        abi_encode(SAFE_TX, to, amount, keccak256(data), operation, zero, zero, zero, zero, zero, nonce)
    )
    return keccak256(concat(0x1901, domain, content))


@external
@view
def getTransactionHash(
    to: address, amount: uint256, data: Bytes[6400], operation: uint8, nonce: uint256
) -> bytes32:
    return self._hash(to, amount, data, operation, nonce)


@internal
@view
def _check(digest: bytes32, signatures: Bytes[325]):
    last: uint256 = 0
    for i: uint256 in range(self.getThreshold, bound=5):
        r: uint256 = extract32(signatures, i * 65, output_type=uint256)
        s: uint256 = extract32(signatures, i * 65 + 32, output_type=uint256)
        v: uint256 = convert(slice(signatures, i * 65 + 64, 1), uint256)
        signer: address = ecrecover(digest, v, r, s)
        assert convert(signer, uint256) > last and signer in self.getOwners, "GS026"
        last = convert(signer, uint256)


@internal
def _execute(to: address, amount: uint256, data: Bytes[6400], operation: uint8):
    if operation == 1:
        raw_call(to, data, is_delegate_call=True)
    else:
        raw_call(to, data, value=amount)


@external
@payable
def execTransaction(
    to: address,
    amount: uint256,
    data: Bytes[6400],
    operation: uint8,
    safeTxGas: uint256,
    baseGas: uint256,
    gasPrice: uint256,
    gasToken: address,
    refundReceiver: address,
    signatures: Bytes[325],
) -> bool:
    digest: bytes32 = self._hash(to, amount, data, operation, self.nonce)
    self.nonce += 1
    self._check(digest, signatures)
    self._execute(to, amount, data, operation)
    log ExecutionSuccess(txHash=digest, payment=0)
    return True


@external
def execTransactionFromModule(to: address, amount: uint256, data: Bytes[6400], operation: uint8) -> bool:
    assert self.isModuleEnabled[msg.sender], "GS104"
    self._execute(to, amount, data, operation)
    log ExecutionFromModuleSuccess(module=msg.sender)
    return True


@external
def enableModule(module: address):
    assert msg.sender == self or not guarded, "GS031"
    self.isModuleEnabled[module] = True
    log EnabledModule(module=module)


@external
def disableModule(module: address):
    assert msg.sender == self or not guarded, "GS031"
    self.isModuleEnabled[module] = False
    log DisabledModule(module=module)
