# pragma version ~=0.4.3
"""
Runs a list of calls for its owner, also inside flash loans and flash swaps, and may react to incoming ether.
Long arguments are passed with raw calls, since a typed call would be padded to the longest possible one.
"""

struct Step:
    target: address
    value: uint256
    data: Bytes[576]

interface Token:
    def approve(spender: address, amount: uint256) -> bool: nonpayable

owner: public(immutable(address))
hook_target: address
hook_data: Bytes[256]
hook_value: uint256
hook_left: uint256


@deploy
def __init__():
    owner = msg.sender


@internal
def _run(steps: DynArray[Step, 16]):
    for step: Step in steps:
        raw_call(step.target, step.data, value=step.value)


@external
@payable
def run(steps: DynArray[Step, 16]):
    assert msg.sender == owner, "owner"
    self._run(steps)


@external
@payable
def flash(lender: address, token: address, amount: uint256, data: Bytes[16384]):
    assert msg.sender == owner, "owner"
    raw_call(
        lender,
        abi_encode(
            self, token, amount, data, method_id=method_id("flashLoan(address,address,uint256,bytes)")
        ),
    )


@external
@payable
def flashSwap(pair: address, amount0: uint256, amount1: uint256, data: Bytes[16384]):
    assert msg.sender == owner, "owner"
    raw_call(
        pair,
        abi_encode(amount0, amount1, self, data, method_id=method_id("swap(uint256,uint256,address,bytes)")),
    )


@external
def onReceive(target: address, data: Bytes[256], amount: uint256, times: uint256):
    assert msg.sender == owner or msg.sender == self, "owner"
    self.hook_target = target
    self.hook_data = data
    self.hook_value = amount
    self.hook_left = times


@external
def onFlashLoan(
    initiator: address, token: address, amount: uint256, fee: uint256, data: Bytes[16384]
) -> bytes32:
    assert initiator == self or initiator == owner, "initiator"
    self._run(abi_decode(data, DynArray[Step, 16]))
    extcall Token(token).approve(msg.sender, amount + fee)
    return keccak256("ERC3156FlashBorrower.onFlashLoan")


@external
def uniswapV2Call(sender: address, amount0: uint256, amount1: uint256, data: Bytes[16384]):
    assert sender == self or sender == owner, "sender"
    self._run(abi_decode(data, DynArray[Step, 16]))


@external
@payable
def __default__():
    if self.hook_left > 0:
        self.hook_left -= 1
        raw_call(self.hook_target, self.hook_data, value=self.hook_value)
