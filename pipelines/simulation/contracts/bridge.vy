# pragma version ~=0.4.3
"""
The vault of a bridge: locks what leaves for another chain, unlocks what comes back in a manager's message.
"""

event LockEvent:
    fromAssetHash: indexed(address)
    fromAddress: indexed(address)
    toChainId: uint64
    toAddress: address
    amount: uint256

event UnlockEvent:
    toAssetHash: indexed(address)
    toAddress: indexed(address)
    amount: uint256

owner: public(address)
manager: public(address)
listed: public(HashMap[address, bool])
proxyHashMap: public(HashMap[uint64, address])


@deploy
def __init__(manager_: address):
    self.owner = msg.sender
    self.manager = manager_
    self.listed[empty(address)] = True


@external
@payable
def __default__():
    pass


@external
def setManagerProxy(manager_: address):
    assert msg.sender == self.owner, "not owner"
    self.manager = manager_


@external
def bindProxyHash(chainId: uint64, target: address):
    assert msg.sender == self.owner, "not owner"
    self.proxyHashMap[chainId] = target


@external
def bindAssetHash(asset: address, allowed: bool):
    assert msg.sender == self.owner, "not owner"
    self.listed[asset] = allowed


@external
@payable
def lock(asset: address, toChainId: uint64, toAddress: address, amount: uint256) -> bool:
    """
    Takes an approved token, or the ether that comes along (asset: the zero address).
    """
    assert self.listed[asset], "not listed"
    if msg.value > 0:
        assert asset == empty(address) and msg.value == amount, "wrong value"
    else:
        raw_call(
            asset,
            abi_encode(
                msg.sender, self, amount, method_id=method_id("transferFrom(address,address,uint256)")
            ),
        )
    args: Bytes[96] = abi_encode(asset, toAddress, amount)
    raw_call(
        self.manager,
        abi_encode(
            toChainId, self.proxyHashMap[toChainId],
            method_id("unlock(bytes,bytes,uint64)", output_type=bytes4), args,
            method_id=method_id("crossChain(uint64,address,bytes4,bytes)"),
        ),
    )
    log LockEvent(
        fromAssetHash=asset, fromAddress=msg.sender, toChainId=toChainId, toAddress=toAddress, amount=amount
    )
    return True


@external
def unlock(args: Bytes[512], fromContractAddr: Bytes[20], fromChainId: uint64) -> bool:
    assert msg.sender == self.manager, "not manager"
    assert convert(fromContractAddr, address) == self.proxyHashMap[fromChainId], "not a peer"
    asset: address = empty(address)
    to: address = empty(address)
    amount: uint256 = 0
    asset, to, amount = abi_decode(args, (address, address, uint256))
    if asset == empty(address):
        raw_call(to, b"", value=amount)
    else:
        raw_call(asset, abi_encode(to, amount, method_id=method_id("transfer(address,uint256)")))
    log UnlockEvent(toAssetHash=asset, toAddress=to, amount=amount)
    return True
