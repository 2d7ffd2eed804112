# pragma version ~=0.4.3
"""
An ERC-20 that tells registered senders and receivers about every transfer (ERC-777's hooks).
"""
import ledger

initializes: ledger
exports: (
    ledger.name, ledger.symbol, ledger.decimals, ledger.totalSupply,
    ledger.balanceOf, ledger.allowance, ledger.approve,
)

interface Registry:
    def getInterfaceImplementer(account: address, interfaceHash: bytes32) -> address: view

interface Holder:
    def tokensToSend(
        operator: address, sender: address, to: address, amount: uint256, data: Bytes[128], extra: Bytes[32]
    ): nonpayable
    def tokensReceived(
        operator: address, sender: address, to: address, amount: uint256, data: Bytes[128], extra: Bytes[32]
    ): nonpayable

event Sent:
    operator: indexed(address)
    sender: indexed(address)
    to: indexed(address)
    amount: uint256
    data: Bytes[128]

SENDER: constant(bytes32) = keccak256("ERC777TokensSender")
RECIPIENT: constant(bytes32) = keccak256("ERC777TokensRecipient")

registry: public(immutable(address))


@deploy
def __init__(name_: String[32], symbol_: String[16], decimals_: uint8, supply: uint256, registry_: address):
    ledger.__init__(name_, symbol_, decimals_)
    registry = registry_
    ledger._mint(msg.sender, supply)


@internal
def _send(operator: address, owner: address, to: address, amount: uint256, data: Bytes[128]):
    hook: address = staticcall Registry(registry).getInterfaceImplementer(owner, SENDER)
    if hook != empty(address):
        extcall Holder(hook).tokensToSend(operator, owner, to, amount, data, b"")
    ledger._move(owner, to, amount)
    hook = staticcall Registry(registry).getInterfaceImplementer(to, RECIPIENT)
    if hook != empty(address):
        extcall Holder(hook).tokensReceived(operator, owner, to, amount, data, b"")


@external
def transfer(to: address, amount: uint256) -> bool:
    self._send(msg.sender, msg.sender, to, amount, b"")
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    ledger._spend(owner, msg.sender, amount)
    self._send(msg.sender, owner, to, amount, b"")
    return True


@external
def send(to: address, amount: uint256, data: Bytes[128]):
    self._send(msg.sender, msg.sender, to, amount, data)
    log Sent(operator=msg.sender, sender=msg.sender, to=to, amount=amount, data=data)


@external
def burn(amount: uint256, data: Bytes[128]):
    ledger._burn(msg.sender, amount)
