# pragma version ~=0.4.3
"""
A wallet of several owners, used behind minimal proxies; anyone who calls initWallet becomes its owner.
"""

event OwnersSet:
    owners: DynArray[address, 5]
    threshold: uint256

event Submission:
    index: indexed(uint256)
    owner: indexed(address)

event Confirmation:
    index: indexed(uint256)
    owner: indexed(address)

event Execution:
    index: indexed(uint256)

event Deposit:
    sender: indexed(address)
    value: uint256

struct Proposal:
    target: address
    value: uint256
    data: Bytes[1024]
    confirmations: uint256
    done: bool

owners: public(DynArray[address, 5])
threshold: public(uint256)
count: public(uint256)
proposals: HashMap[uint256, Proposal]
confirmed: HashMap[uint256, HashMap[address, bool]]


@external
@payable
def __default__():
    log Deposit(sender=msg.sender, value=msg.value)


@external
def initWallet(owners_: DynArray[address, 5], threshold_: uint256):
    self.owners = owners_
    self.threshold = threshold_
    log OwnersSet(owners=owners_, threshold=threshold_)


@internal
def _confirm(index: uint256, owner: address):
    assert owner in self.owners, "not owner"
    assert not self.confirmed[index][owner], "confirmed"
    self.confirmed[index][owner] = True
    self.proposals[index].confirmations += 1
    log Confirmation(index=index, owner=owner)
    if self.proposals[index].confirmations >= self.threshold and not self.proposals[index].done:
        self.proposals[index].done = True
        raw_call(self.proposals[index].target, self.proposals[index].data, value=self.proposals[index].value)
        log Execution(index=index)


@external
def submitTransaction(target: address, amount: uint256, data: Bytes[1024]) -> uint256:
    index: uint256 = self.count
    self.count += 1
    self.proposals[index].target = target
    self.proposals[index].value = amount
    self.proposals[index].data = data
    log Submission(index=index, owner=msg.sender)
    self._confirm(index, msg.sender)
    return index


@external
def confirmTransaction(index: uint256):
    self._confirm(index, msg.sender)
