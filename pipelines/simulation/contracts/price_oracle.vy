# pragma version ~=0.4.3
"""
Time-weighted prices of tokens in wei per 10**18 units, from samples of pools that may move two percent per
block; or prices that the administrator posts. A feed averages over ten to twenty minutes, a new one over its
whole life, and its very first sample is the pool's price of the moment.
"""

interface Pair:
    def getReserves() -> (uint112, uint112, uint32): view
    def token0() -> address: view

event Observation:
    token: indexed(address)
    sample: uint256
    price: uint256

event FeedSet:
    token: indexed(address)
    pair: address

event PricePosted:
    token: indexed(address)
    previousPrice: uint256
    price: uint256

struct Feed:
    pair: address
    sample: uint256
    updated: uint256
    cumulative: uint256
    older_time: uint256
    older: uint256
    newer_time: uint256
    newer: uint256

WINDOW: constant(uint256) = 600

admin: public(immutable(address))
feeds: public(HashMap[address, Feed])
posted: public(HashMap[address, uint256])


@deploy
def __init__():
    admin = msg.sender


@external
def setFeed(token: address, pair: address):
    assert msg.sender == admin, "admin"
    self.feeds[token] = empty(Feed)
    self.feeds[token].pair = pair
    log FeedSet(token=token, pair=pair)


@external
def setDirectPrice(token: address, price: uint256):
    assert msg.sender == admin, "admin"
    log PricePosted(token=token, previousPrice=self.posted[token], price=price)
    self.posted[token] = price


@internal
@view
def _spot(token: address, pair: address) -> uint256:
    r0: uint112 = 0
    r1: uint112 = 0
    when: uint32 = 0
    r0, r1, when = staticcall Pair(pair).getReserves()
    if staticcall Pair(pair).token0() == token:
        return convert(r1, uint256) * 10**18 // convert(r0, uint256)
    return convert(r0, uint256) * 10**18 // convert(r1, uint256)


@internal
@view
def _price(token: address) -> uint256:
    if self.posted[token] > 0:
        return self.posted[token]
    feed: Feed = self.feeds[token]
    assert feed.updated > 0, "no price"
    if block.timestamp == feed.older_time:
        return feed.sample
    total: uint256 = feed.cumulative + feed.sample * (block.timestamp - feed.updated)
    return (total - feed.older) // (block.timestamp - feed.older_time)


@external
def update(token: address) -> uint256:
    feed: Feed = self.feeds[token]
    spot: uint256 = self._spot(token, feed.pair)
    if feed.updated == 0:
        feed.sample = spot
        feed.older_time = block.timestamp
        feed.newer_time = block.timestamp
    else:
        passed: uint256 = block.timestamp - feed.updated
        feed.cumulative += feed.sample * passed
        step: uint256 = feed.sample * min(passed, WINDOW // 2) // WINDOW
        feed.sample = min(max(spot, feed.sample - step), feed.sample + step)
        if block.timestamp - feed.newer_time >= WINDOW:
            feed.older_time = feed.newer_time
            feed.older = feed.newer
            feed.newer_time = block.timestamp
            feed.newer = feed.cumulative
    feed.updated = block.timestamp
    self.feeds[token] = feed
    price: uint256 = self._price(token)
    log Observation(token=token, sample=feed.sample, price=price)
    return price


@external
@view
def price(token: address) -> uint256:
    return self._price(token)
