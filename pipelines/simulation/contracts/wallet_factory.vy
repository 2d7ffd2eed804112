# pragma version ~=0.4.3
"""
Makes wallets as minimal proxies of one implementation.
"""

event WalletCreated:
    wallet: indexed(address)
    creator: indexed(address)

implementation: public(immutable(address))


@deploy
def __init__(implementation_: address):
    implementation = implementation_


@external
def createWallet(owners: DynArray[address, 5], threshold: uint256) -> address:
    wallet: address = create_minimal_proxy_to(implementation)
    raw_call(wallet, abi_encode(owners, threshold, method_id=method_id("initWallet(address[],uint256)")))
    log WalletCreated(wallet=wallet, creator=msg.sender)
    return wallet
