# pragma version ~=0.4.3
"""
An optimistic bridge: tokens leave with `send`; they come back by messages that are proved against a root
that the updater has vouched for, then processed. The root of a message that was never proved is zero.
"""

event Send:
    token: indexed(address)
    sender: indexed(address)
    destination: uint32
    recipient: bytes32
    amount: uint256

event Update:
    oldRoot: indexed(bytes32)
    newRoot: indexed(bytes32)

event Process:
    messageHash: indexed(bytes32)
    token: indexed(address)
    recipient: indexed(address)
    amount: uint256

event SetConfirmation:
    root: indexed(bytes32)
    confirmAt: uint256

interface Token:
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

PROCESSED: constant(bytes32) = 0x0000000000000000000000000000000000000000000000000000000000000002
owner: public(address)
updater: public(address)
domain: public(immutable(uint32))
committedRoot: public(bytes32)
confirmAt: public(HashMap[bytes32, uint256])
messages: public(HashMap[bytes32, bytes32])


@deploy
def __init__(domain_: uint32, updater_: address, root: bytes32):
    self.owner = msg.sender
    self.updater = updater_
    domain = domain_
    self.committedRoot = root
    self.confirmAt[root] = 1


@external
def send(token: address, amount: uint256, destination: uint32, recipient: bytes32):
    assert extcall Token(token).transferFrom(msg.sender, self, amount)
    log Send(token=token, sender=msg.sender, destination=destination, recipient=recipient, amount=amount)


@external
def update(oldRoot: bytes32, newRoot: bytes32):
    assert msg.sender == self.updater, "not updater"
    assert oldRoot == self.committedRoot, "not current update"
    self.committedRoot = newRoot
    self.confirmAt[newRoot] = block.timestamp
    log Update(oldRoot=oldRoot, newRoot=newRoot)


@external
def setConfirmation(root: bytes32, confirmAt_: uint256):
    assert msg.sender == self.owner, "not owner"
    self.confirmAt[root] = confirmAt_
    log SetConfirmation(root=root, confirmAt=confirmAt_)


@external
@view
def acceptableRoot(root: bytes32) -> bool:
    return self._acceptable(root)


@internal
@view
def _acceptable(root: bytes32) -> bool:
    if root == PROCESSED:
        return False
    return self.confirmAt[root] != 0 and self.confirmAt[root] <= block.timestamp


@internal
def _prove(leaf: bytes32, proof: DynArray[bytes32, 16], index: uint256) -> bool:
    node: bytes32 = leaf
    place: uint256 = index
    for sibling: bytes32 in proof:
        node = keccak256(concat(sibling, node)) if place % 2 == 1 else keccak256(concat(node, sibling))
        place = place // 2
    if not self._acceptable(node):
        return False
    self.messages[leaf] = node
    return True


@internal
def _process(message: Bytes[256]):
    leaf: bytes32 = keccak256(message)
    assert self._acceptable(self.messages[leaf]), "!proven"
    self.messages[leaf] = PROCESSED
    origin: uint32 = 0
    nonce: uint256 = 0
    destination: uint32 = 0
    token: address = empty(address)
    to: address = empty(address)
    amount: uint256 = 0
    origin, nonce, destination, token, to, amount = abi_decode(
        message, (uint32, uint256, uint32, address, address, uint256)
    )
    assert destination == domain, "!destination"
    assert extcall Token(token).transfer(to, amount)
    log Process(messageHash=leaf, token=token, recipient=to, amount=amount)


@external
def prove(leaf: bytes32, proof: DynArray[bytes32, 16], index: uint256) -> bool:
    return self._prove(leaf, proof, index)


@external
def process(message: Bytes[256]) -> bool:
    self._process(message)
    return True


@external
def proveAndProcess(message: Bytes[256], proof: DynArray[bytes32, 16], index: uint256):
    assert self._prove(keccak256(message), proof, index), "!prove"
    self._process(message)
