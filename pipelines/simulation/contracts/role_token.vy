# pragma version ~=0.4.3
"""
An ERC-20 with roles (AccessControl's interface) and an owner.
Minting is checked only once a role has been granted, so a team that never grants one leaves it open.
"""
import ledger

initializes: ledger
exports: ledger.__interface__

event RoleGranted:
    role: indexed(bytes32)
    account: indexed(address)
    sender: indexed(address)

event RoleRevoked:
    role: indexed(bytes32)
    account: indexed(address)
    sender: indexed(address)

event OwnershipTransferred:
    previous: indexed(address)
    current: indexed(address)

MINTER_ROLE: public(constant(bytes32)) = keccak256("MINTER_ROLE")
owner: public(address)
hasRole: public(HashMap[bytes32, HashMap[address, bool]])
enforced: public(bool)


@deploy
def __init__(name_: String[32], symbol_: String[16], decimals_: uint8, supply: uint256):
    ledger.__init__(name_, symbol_, decimals_)
    self.owner = msg.sender
    ledger._mint(msg.sender, supply)


@internal
@view
def _only_owner():
    assert msg.sender == self.owner, "Ownable: caller is not the owner"


@external
def grantRole(role: bytes32, account: address):
    self._only_owner()
    self.hasRole[role][account] = True
    self.enforced = True
    log RoleGranted(role=role, account=account, sender=msg.sender)


@external
def revokeRole(role: bytes32, account: address):
    self._only_owner()
    self.hasRole[role][account] = False
    log RoleRevoked(role=role, account=account, sender=msg.sender)


@external
def transferOwnership(account: address):
    self._only_owner()
    log OwnershipTransferred(previous=self.owner, current=account)
    self.owner = account


@external
def mint(to: address, amount: uint256):
    if self.enforced:
        assert self.hasRole[MINTER_ROLE][msg.sender], "AccessControl: missing role"
    ledger._mint(to, amount)


@external
def burn(amount: uint256):
    ledger._burn(msg.sender, amount)
