# pragma version ~=0.4.3
"""
Performs packed calls one after another; wallets call it with delegatecall (MultiSend's interface).
"""


@external
@payable
def multiSend(transactions: Bytes[6144]):
    at: uint256 = 0
    for _: uint256 in range(24):
        if at >= len(transactions):
            break
        target: address = convert(slice(transactions, at + 1, 20), address)
        amount: uint256 = extract32(transactions, at + 21, output_type=uint256)
        size: uint256 = extract32(transactions, at + 53, output_type=uint256)
        raw_call(target, slice(transactions, at + 85, size), value=amount)
        at += 85 + size
