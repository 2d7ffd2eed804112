# pragma version ~=0.4.3
"""
Lends any token it holds within one transaction (ERC-3156's interface), for a small fee.
"""

interface Token:
    def balanceOf(account: address) -> uint256: view
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

event FlashLoan:
    receiver: indexed(address)
    token: indexed(address)
    amount: uint256
    fee: uint256

fee_bps: immutable(uint256)


@deploy
def __init__(fee_bps_: uint256):
    fee_bps = fee_bps_


@external
@view
def maxFlashLoan(token: address) -> uint256:
    return staticcall Token(token).balanceOf(self)


@external
@view
def flashFee(token: address, amount: uint256) -> uint256:
    return amount * fee_bps // 10000


@external
def flashLoan(receiver: address, token: address, amount: uint256, data: Bytes[16384]) -> bool:
    fee: uint256 = amount * fee_bps // 10000
    assert extcall Token(token).transfer(receiver, amount)
    answer: Bytes[32] = raw_call(
        receiver,
        abi_encode(
            msg.sender, token, amount, fee, data,
            method_id=method_id("onFlashLoan(address,address,uint256,uint256,bytes)"),
        ),
        max_outsize=32,
    )
    assert convert(answer, bytes32) == keccak256("ERC3156FlashBorrower.onFlashLoan"), "callback failed"
    assert extcall Token(token).transferFrom(receiver, self, amount + fee)
    log FlashLoan(receiver=receiver, token=token, amount=amount, fee=fee)
    return True
