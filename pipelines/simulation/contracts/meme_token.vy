# pragma version ~=0.4.3
"""
A deflationary token: a share of everything that is sold to its pool is later burned from the pool.
Its burn takes anybody's name, and a sale is whatever reaches the pool.
"""
import ledger

initializes: ledger
exports: (
    ledger.name, ledger.symbol, ledger.decimals, ledger.totalSupply,
    ledger.balanceOf, ledger.allowance, ledger.approve,
)

interface Pair:
    def sync(): nonpayable

event PairChanged:
    pair: indexed(address)

event Deflate:
    caller: indexed(address)
    amount: uint256

owner: public(address)
pair: public(address)
rate: public(immutable(uint256))
pending: public(uint256)


@deploy
def __init__(name_: String[32], symbol_: String[16], decimals_: uint8, supply: uint256, rate_: uint256):
    ledger.__init__(name_, symbol_, decimals_)
    rate = rate_
    self.owner = msg.sender
    ledger._mint(msg.sender, supply)


@external
def setPair(pair_: address):
    assert msg.sender == self.owner, "owner"
    self.pair = pair_
    log PairChanged(pair=pair_)


@internal
def _transfer(holder: address, to: address, amount: uint256):
    ledger._move(holder, to, amount)
    if to == self.pair and to != empty(address):
        self.pending += amount * rate // 100


@external
def transfer(to: address, amount: uint256) -> bool:
    self._transfer(msg.sender, to, amount)
    return True


@external
def transferFrom(holder: address, to: address, amount: uint256) -> bool:
    ledger._spend(holder, msg.sender, amount)
    self._transfer(holder, to, amount)
    return True


@external
def burn(account: address, amount: uint256):
    ledger._burn(account, amount)


@external
def deflate():
    amount: uint256 = min(self.pending, ledger.balanceOf[self.pair] * 99 // 100)
    self.pending = 0
    ledger._burn(self.pair, amount)
    extcall Pair(self.pair).sync()
    log Deflate(caller=msg.sender, amount=amount)
