# pragma version ~=0.4.3
"""
Holds collectibles of one collection and issues one fungible share for each; shares can be flash-minted.
"""
import ledger

initializes: ledger
exports: ledger.__interface__

event Minted:
    nftIds: DynArray[uint256, 20]
    to: address

event Redeemed:
    nftIds: DynArray[uint256, 20]
    to: address

event FlashLoan:
    receiver: indexed(address)
    amount: uint256

interface Collection:
    def transferFrom(owner: address, to: address, tokenId: uint256): nonpayable

ONE: constant(uint256) = 10**18
assetAddress: public(immutable(address))


@deploy
def __init__(collection: address, name_: String[32], symbol_: String[16]):
    ledger.__init__(name_, symbol_, 18)
    assetAddress = collection


@external
def mint(tokenIds: DynArray[uint256, 20]) -> uint256:
    for id: uint256 in tokenIds:
        extcall Collection(assetAddress).transferFrom(msg.sender, self, id)
    ledger._mint(msg.sender, len(tokenIds) * ONE)
    log Minted(nftIds=tokenIds, to=msg.sender)
    return len(tokenIds)


@external
def redeem(specificIds: DynArray[uint256, 20]):
    ledger._burn(msg.sender, len(specificIds) * ONE)
    for id: uint256 in specificIds:
        extcall Collection(assetAddress).transferFrom(self, msg.sender, id)
    log Redeemed(nftIds=specificIds, to=msg.sender)


@external
@view
def maxFlashLoan(token: address) -> uint256:
    return max_value(uint256) - ledger.totalSupply if token == self else 0


@external
@view
def flashFee(token: address, amount: uint256) -> uint256:
    assert token == self, "unsupported"
    return 0


@external
def flashLoan(receiver: address, token: address, amount: uint256, data: Bytes[16384]) -> bool:
    assert token == self, "unsupported"
    ledger._mint(receiver, amount)
    answer: Bytes[32] = raw_call(
        receiver,
        abi_encode(
            msg.sender, token, amount, convert(0, uint256), data,
            method_id=method_id("onFlashLoan(address,address,uint256,uint256,bytes)"),
        ),
        max_outsize=32,
    )
    assert convert(answer, bytes32) == keccak256("ERC3156FlashBorrower.onFlashLoan"), "callback failed"
    ledger._spend(receiver, self, amount)
    ledger._burn(receiver, amount)
    log FlashLoan(receiver=receiver, amount=amount)
    return True
