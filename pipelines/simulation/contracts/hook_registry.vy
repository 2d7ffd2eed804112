# pragma version ~=0.4.3
"""
Says which contract answers for an account when a token with hooks moves (ERC-1820's registry).
"""

event InterfaceImplementerSet:
    account: indexed(address)
    interfaceHash: indexed(bytes32)
    implementer: indexed(address)

event ManagerChanged:
    account: indexed(address)
    newManager: indexed(address)

implementers: HashMap[address, HashMap[bytes32, address]]
managers: HashMap[address, address]


@internal
@view
def _manager(account: address) -> address:
    if self.managers[account] == empty(address):
        return account
    return self.managers[account]


@external
@view
def getManager(account: address) -> address:
    return self._manager(account)


@external
def setManager(account: address, manager: address):
    assert msg.sender == self._manager(account), "Not the manager"
    self.managers[account] = manager
    log ManagerChanged(account=account, newManager=manager)


@external
@view
def getInterfaceImplementer(account: address, interfaceHash: bytes32) -> address:
    return self.implementers[account][interfaceHash]


@external
def setInterfaceImplementer(account: address, interfaceHash: bytes32, implementer: address):
    target: address = account
    if target == empty(address):
        target = msg.sender
    assert msg.sender == self._manager(target), "Not the manager"
    self.implementers[target][interfaceHash] = implementer
    log InterfaceImplementerSet(account=target, interfaceHash=interfaceHash, implementer=implementer)
