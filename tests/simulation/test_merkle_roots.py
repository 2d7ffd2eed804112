"""Our tries against py-evm's, which rehash the whole path for every key."""

import rlp
from eth.constants import BLANK_ROOT_HASH
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st
from trie.hexary import HexaryTrie

from pipelines.simulation.merkle import Trie

# Few nibbles and three bytes: paths part, meet and merge all the time.
KEYS = st.binary(min_size=3, max_size=3).map(lambda key: bytes(byte & 0x11 for byte in key))
VALUES = st.binary(min_size=1, max_size=70)
STEPS = st.lists(st.tuples(KEYS, st.none() | VALUES, st.booleans()), max_size=60)


def test_an_empty_trie():
    assert Trie().root() == BLANK_ROOT_HASH


@given(STEPS)
def test_any_order_of_writes_and_removals_gives_the_same_roots(steps):
    ours, theirs = Trie(), HexaryTrie({})
    for key, value, look in steps:
        if value is None:
            ours.discard(key)
            if key in theirs:
                del theirs[key]
        else:
            ours[key] = theirs[key] = value
        if look:
            assert ours.root() == theirs.root_hash
    assert ours.root() == theirs.root_hash


def test_lists_and_hashed_keys():
    for count in (1, 2, 16, 129, 300):
        for key in (rlp.encode, lambda index: keccak(index.to_bytes(2, "big"))):
            ours, theirs = Trie(), HexaryTrie({})
            for index in range(count):
                ours[key(index)] = theirs[key(index)] = b"v" * (index + 1)
            assert ours.root() == theirs.root_hash
