# pragma version ~=0.4.3
"""
Holds a treasury and does what its governor decided, after a delay (TimelockController's interface) or at once.
"""

event CallScheduled:
    id: indexed(bytes32)
    target: address
    amount: uint256
    data: Bytes[1024]
    delay: uint256

event CallExecuted:
    id: indexed(bytes32)
    target: address
    amount: uint256
    data: Bytes[1024]

event MinDelayChange:
    old: uint256
    new: uint256

admin: public(address)
governor: public(address)
getMinDelay: public(uint256)
getTimestamp: public(HashMap[bytes32, uint256])


@deploy
def __init__(delay: uint256):
    self.admin = msg.sender
    self.getMinDelay = delay


@external
@payable
def __default__():
    pass


@internal
@pure
def _id(target: address, amount: uint256, data: Bytes[1024], predecessor: bytes32, salt: bytes32) -> bytes32:
    return keccak256(abi_encode(target, amount, data, predecessor, salt))


@external
def setGovernor(account: address):
    assert msg.sender == self.admin, "not admin"
    self.admin = empty(address)
    self.governor = account


@external
def updateDelay(delay: uint256):
    assert msg.sender == self, "only timelock"
    log MinDelayChange(old=self.getMinDelay, new=delay)
    self.getMinDelay = delay


@external
def schedule(
    target: address, amount: uint256, data: Bytes[1024], predecessor: bytes32, salt: bytes32, delay: uint256
):
    assert msg.sender == self.governor, "not governor"
    assert delay >= self.getMinDelay, "insufficient delay"
    id: bytes32 = self._id(target, amount, data, predecessor, salt)
    self.getTimestamp[id] = block.timestamp + delay
    log CallScheduled(id=id, target=target, amount=amount, data=data, delay=delay)


@external
def execute(target: address, amount: uint256, data: Bytes[1024], predecessor: bytes32, salt: bytes32):
    assert msg.sender == self.governor, "not governor"
    id: bytes32 = self._id(target, amount, data, predecessor, salt)
    assert 0 < self.getTimestamp[id] and self.getTimestamp[id] <= block.timestamp, "not ready"
    self.getTimestamp[id] = 0
    raw_call(target, data, value=amount)
    log CallExecuted(id=id, target=target, amount=amount, data=data)


@external
def executeNow(target: address, amount: uint256, data: Bytes[1024], predecessor: bytes32, salt: bytes32):
    assert msg.sender == self.governor, "not governor"
    raw_call(target, data, value=amount)
    id: bytes32 = self._id(target, amount, data, predecessor, salt)
    log CallExecuted(id=id, target=target, amount=amount, data=data)
