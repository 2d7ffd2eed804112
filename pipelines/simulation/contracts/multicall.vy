# pragma version ~=0.4.3
"""
Many calls in one (Multicall's interface).
"""

struct Call:
    target: address
    callData: Bytes[1024]

struct Call3:
    target: address
    allowFailure: bool
    callData: Bytes[1024]

struct Result:
    success: bool
    returnData: Bytes[512]


@external
@payable
def aggregate(calls: DynArray[Call, 160]) -> (uint256, DynArray[Bytes[512], 160]):
    results: DynArray[Bytes[512], 160] = []
    for call: Call in calls:
        results.append(raw_call(call.target, call.callData, max_outsize=512))
    return block.number, results


@external
@payable
def aggregate3(calls: DynArray[Call3, 64]) -> DynArray[Result, 64]:
    results: DynArray[Result, 64] = []
    for call: Call3 in calls:
        ok: bool = False
        data: Bytes[512] = b""
        ok, data = raw_call(call.target, call.callData, max_outsize=512, revert_on_failure=False)
        assert ok or call.allowFailure, "Multicall3: call failed"
        results.append(Result(success=ok, returnData=data))
    return results


@external
@view
def getEthBalance(account: address) -> uint256:
    return account.balance
