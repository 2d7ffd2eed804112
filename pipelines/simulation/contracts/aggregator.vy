# pragma version ~=0.4.3
"""
Takes a token, calls whatever exchange the caller names, hands the proceeds back. It trusts that call.
"""

interface Token:
    def balanceOf(account: address) -> uint256: view
    def approve(spender: address, amount: uint256) -> bool: nonpayable
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

event Swapped:
    account: indexed(address)
    tokenIn: indexed(address)
    tokenOut: indexed(address)
    amountIn: uint256
    amountOut: uint256


@external
def swap(
    tokenIn: address, tokenOut: address, amountIn: uint256, amountOutMin: uint256, target: address, data: Bytes[1024]
) -> uint256:
    if amountIn > 0:
        assert extcall Token(tokenIn).transferFrom(msg.sender, self, amountIn)
        assert extcall Token(tokenIn).approve(target, amountIn)
    raw_call(target, data)
    out: uint256 = staticcall Token(tokenOut).balanceOf(self)
    assert out >= amountOutMin, "RETURN_AMOUNT"
    if out > 0:
        assert extcall Token(tokenOut).transfer(msg.sender, out)
    log Swapped(account=msg.sender, tokenIn=tokenIn, tokenOut=tokenOut, amountIn=amountIn, amountOut=out)
    return out
