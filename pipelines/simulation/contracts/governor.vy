# pragma version ~=0.4.3
"""
A governor (Governor's interface) whose votes are deposited tokens, counted as they are now.
Two thirds of all votes may execute a proposal at once, without the timelock's delay.
"""

interface Token:
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

interface Timelock:
    def getMinDelay() -> uint256: view

event DelegateChanged:
    delegator: indexed(address)
    previous: indexed(address)
    current: indexed(address)

event DelegateVotesChanged:
    delegate: indexed(address)
    previous: uint256
    current: uint256

event ProposalCreated:
    id: uint256
    proposer: address
    targets: DynArray[address, 4]
    values: DynArray[uint256, 4]
    calldatas: DynArray[Bytes[1024], 4]
    voteEnd: uint256
    description: String[128]

event VoteCast:
    voter: indexed(address)
    proposalId: uint256
    support: uint8
    weight: uint256

event ProposalQueued:
    id: uint256
    eta: uint256

event ProposalExecuted:
    id: uint256

struct Proposal:
    start: uint256
    end: uint256
    votes_for: uint256
    votes_against: uint256
    eta: uint256
    executed: bool

token: public(immutable(address))
timelock: public(immutable(address))
quorum_bps: immutable(uint256)
votingPeriod: public(uint256)
emergencyPeriod: public(immutable(uint256))
deposits: public(HashMap[address, uint256])
delegates: public(HashMap[address, address])
getVotes: public(HashMap[address, uint256])
total: public(uint256)
count: public(uint256)
proposals: public(HashMap[uint256, Proposal])
targets: HashMap[uint256, DynArray[address, 4]]
values: HashMap[uint256, DynArray[uint256, 4]]
calldatas: HashMap[uint256, DynArray[Bytes[1024], 4]]
hasVoted: public(HashMap[uint256, HashMap[address, bool]])
last: HashMap[address, uint256]


@deploy
def __init__(token_: address, timelock_: address, period: uint256, emergency: uint256, quorum: uint256):
    token = token_
    timelock = timelock_
    self.votingPeriod = period
    emergencyPeriod = emergency
    quorum_bps = quorum


@internal
@view
def _state(id: uint256) -> uint256:
    found: Proposal = self.proposals[id]
    if found.executed:
        return 7
    if found.eta > 0:
        return 5
    if block.timestamp < found.end:
        return 1
    if found.votes_for > found.votes_against and found.votes_for * 10000 >= self.total * quorum_bps:
        return 4
    return 3


@external
@view
def clock() -> uint256:
    return block.timestamp


@external
@view
def state(id: uint256) -> uint256:
    return self._state(id)


@internal
@view
def _delegate(account: address) -> address:
    chosen: address = self.delegates[account]
    return account if chosen == empty(address) else chosen


@internal
def _add(account: address, amount: uint256):
    before: uint256 = self.getVotes[account]
    self.getVotes[account] = before + amount
    log DelegateVotesChanged(delegate=account, previous=before, current=before + amount)


@internal
def _remove(account: address, amount: uint256):
    assert self.last[account] == 0 or self._state(self.last[account]) != 1, "voted on an active proposal"
    before: uint256 = self.getVotes[account]
    self.getVotes[account] = before - amount
    log DelegateVotesChanged(delegate=account, previous=before, current=before - amount)


@external
def deposit(amount: uint256):
    assert extcall Token(token).transferFrom(msg.sender, self, amount)
    self.deposits[msg.sender] += amount
    self.total += amount
    self._add(self._delegate(msg.sender), amount)


@external
def withdraw(amount: uint256):
    self._remove(self._delegate(msg.sender), amount)
    self.deposits[msg.sender] -= amount
    self.total -= amount
    assert extcall Token(token).transfer(msg.sender, amount)


@external
def delegate(to: address):
    before: address = self._delegate(msg.sender)
    self._remove(before, self.deposits[msg.sender])
    self.delegates[msg.sender] = to
    log DelegateChanged(delegator=msg.sender, previous=before, current=to)
    self._add(to, self.deposits[msg.sender])


@external
def propose(
    targets: DynArray[address, 4],
    values: DynArray[uint256, 4],
    calldatas: DynArray[Bytes[1024], 4],
    description: String[128],
) -> uint256:
    assert self.getVotes[msg.sender] * 1000 >= self.total, "below proposal threshold"
    assert len(targets) == len(values) and len(targets) == len(calldatas), "lengths differ"
    self.count += 1
    id: uint256 = self.count
    end: uint256 = block.timestamp + self.votingPeriod
    self.proposals[id].start = block.timestamp
    self.proposals[id].end = end
    self.targets[id] = targets
    self.values[id] = values
    self.calldatas[id] = calldatas
    log ProposalCreated(
        id=id,
        proposer=msg.sender,
        targets=targets,
        values=values,
        calldatas=calldatas,
        voteEnd=end,
        description=description,
    )
    return id


@external
def castVote(id: uint256, support: uint8) -> uint256:
    assert self._state(id) == 1, "not active"
    assert not self.hasVoted[id][msg.sender], "already voted"
    weight: uint256 = self.getVotes[msg.sender]
    self.hasVoted[id][msg.sender] = True
    self.last[msg.sender] = id
    if support == 1:
        self.proposals[id].votes_for += weight
    else:
        self.proposals[id].votes_against += weight
    log VoteCast(voter=msg.sender, proposalId=id, support=support, weight=weight)
    return weight


@external
def queue(id: uint256):
    assert self._state(id) == 4, "not successful"
    delay: uint256 = staticcall Timelock(timelock).getMinDelay()
    self.proposals[id].eta = block.timestamp + delay
    for i: uint256 in range(len(self.targets[id]), bound=4):
        signature: Bytes[4] = method_id("schedule(address,uint256,bytes,bytes32,bytes32,uint256)")
        arguments: Bytes[1280] = abi_encode(
            self.targets[id][i], self.values[id][i], self.calldatas[id][i], empty(bytes32), convert(id, bytes32), delay
        )
        raw_call(timelock, concat(signature, arguments))
    log ProposalQueued(id=id, eta=block.timestamp + delay)


@internal
def _run(id: uint256, signature: Bytes[4]):
    self.proposals[id].executed = True
    for i: uint256 in range(len(self.targets[id]), bound=4):
        arguments: Bytes[1248] = abi_encode(
            self.targets[id][i], self.values[id][i], self.calldatas[id][i], empty(bytes32), convert(id, bytes32)
        )
        raw_call(timelock, concat(signature, arguments))
    log ProposalExecuted(id=id)


@external
def execute(id: uint256):
    assert self._state(id) == 5 and self.proposals[id].eta <= block.timestamp, "not ready"
    self._run(id, method_id("execute(address,uint256,bytes,bytes32,bytes32)"))


@external
def emergencyCommit(id: uint256):
    assert self._state(id) == 1, "not active"
    assert self.proposals[id].start + emergencyPeriod <= block.timestamp, "too early"
    assert self.proposals[id].votes_for * 3 >= self.total * 2, "no two-thirds majority"
    self._run(id, method_id("executeNow(address,uint256,bytes,bytes32,bytes32)"))


@external
def setVotingPeriod(period: uint256):
    assert msg.sender == timelock, "not timelock"
    self.votingPeriod = period
