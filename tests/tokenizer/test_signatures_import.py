"""The table of known signatures, strict decoding against eth_abi, and the file of imported signatures."""

import json
from pathlib import Path
from typing import Any

import eth_abi
import pytest
from eth_abi.exceptions import DecodingError
from eth_utils import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from blockscan.errors import ArtifactError, ParseError
from tokenizer.abi import canonical, decode_arguments, parse_signature, value_text
from tokenizer.known_signatures import EVENTS, FUNCTIONS
from tokenizer.signature_file import EMPTY, Candidate, add, load, save
from tokenizer.signatures import BUILT_IN, Signatures, selector_of, signature, topic_of

# Selectors as the protocols' documents and explorers print them, not computed here.
KNOWN = {
    "transfer(address,uint256)": "a9059cbb",
    "transferFrom(address,address,uint256)": "23b872dd",
    "approve(address,uint256)": "095ea7b3",
    "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)": "d505accf",
    "safeTransferFrom(address,address,uint256)": "42842e0e",
    "safeTransferFrom(address,address,uint256,bytes)": "b88d4fde",
    "setApprovalForAll(address,bool)": "a22cb465",
    "safeTransferFrom(address,address,uint256,uint256,bytes)": "f242432a",
    "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)": "2eb2c2d6",
    "onERC1155BatchReceived(address,address,uint256[],uint256[],bytes)": "bc197c81",
    "deposit(uint256,address)": "6e553f65",
    "redeem(uint256,address,address)": "ba087652",
    "flashLoan(address,address,uint256,bytes)": "5cffe9de",
    "onFlashLoan(address,address,uint256,uint256,bytes)": "23e30c8b",
    "maxFlashLoan(address)": "613255ab",
    "flashFee(address,uint256)": "d9d98ce4",
    "swap(uint256,uint256,address,bytes)": "022c0d9f",
    "swapExactTokensForTokens(uint256,uint256,address[],address,uint256)": "38ed1739",
    "swap(address,bool,int256,uint160,bytes)": "128acb08",
    "exactInputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))": "414bf389",
    "uniswapV3SwapCallback(int256,int256,bytes)": "fa461e33",
    "swap((address,address,uint24,int24,address),(bool,int256,uint160),bytes)": "f3cd914c",
    "modifyLiquidity((address,address,uint24,int24,address),(int24,int24,int256,bytes32),bytes)": "5a6bcfda",
    "initialize((address,address,uint24,int24,address),uint160)": "6276cbbe",
    "beforeSwap(address,(address,address,uint24,int24,address),(bool,int256,uint160),bytes)": "575e24b4",
    "unlock(bytes)": "48c89491",
    "take(address,address,uint256)": "0b0d9c09",
    "settle()": "11da60b4",
    "execute(bytes,bytes[],uint256)": "3593564c",
    "permitTransferFrom(((address,uint256),uint256,uint256),(address,uint256),address,bytes)": "30f28b7a",
    "deposit(address,uint256,address,uint16)": "e8eda9df",
    "supply(address,uint256,address,uint16)": "617ba037",
    "borrow(address,uint256,uint256,uint16,address)": "a415bcad",
    "flashLoanSimple(address,address,uint256,bytes,uint16)": "42b0b77c",
    "liquidationCall(address,address,address,uint256,bool)": "00a718a9",
    "redeemUnderlying(uint256)": "852a12e3",
    "liquidateBorrow(address,uint256,address)": "f5e3c462",
    "enterMarkets(address[])": "c2998238",
    "supply(address,uint256)": "f2b9fdb8",
    "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)": "6a761202",
    "setup(address[],uint256,address,bytes,address,address,uint256,address)": "b63e800d",
    "multiSend(bytes)": "8d80ff0a",
    "createProxyWithNonce(address,bytes,uint256)": "1688f0b9",
    "aggregate((address,bytes)[])": "252dba42",
    "tryAggregate(bool,(address,bytes)[])": "bce38bd7",
    "aggregate3((address,bool,bytes)[])": "82ad56cb",
    "aggregate3Value((address,bool,uint256,bytes)[])": "174dea71",
    "multicall(bytes[])": "ac9650d8",
    "deposit()": "d0e30db0",
    "withdraw(uint256)": "2e1a7d4d",
    "propose(address[],uint256[],bytes[],string)": "7d5e81e2",
    "propose(address[],uint256[],string[],bytes[],string)": "da95691a",
    "castVote(uint256,uint8)": "56781388",
    "queue(uint256)": "ddf0b009",
    "execute(address[],uint256[],bytes[],bytes32)": "2656227d",
    "schedule(address,uint256,bytes,bytes32,bytes32,uint256)": "01d5062a",
    "scheduleBatch(address[],uint256[],bytes[],bytes32,bytes32,uint256)": "8f2a0bb0",
    "queueTransaction(address,uint256,string,bytes,uint256)": "3a66f901",
    "executeTransaction(address,uint256,string,bytes,uint256)": "0825f38f",
    "delegate(address)": "5c19a95c",
    "Error(string)": "08c379a0",
    "Panic(uint256)": "4e487b71",
}
KNOWN_EVENTS = {
    "Transfer(address,address,uint256)": "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
    "Swap(address,uint256,uint256,uint256,uint256,address)": (
        "d78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822"
    ),
    "Swap(address,address,int256,int256,uint160,uint128,int24)": (
        "c42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67"
    ),
    "Swap(bytes32,address,int128,int128,uint160,uint128,int24,uint24)": (
        "40e9cecb9f5f1f1c5b9c97dec2917b7ee92e57ba5563708daca94dd84ad7112f"
    ),
    "OwnershipTransferred(address,address)": (
        "8be0079c531659141344cd1fd0a4f28419497f9722a3daafe3b4186f6b6457e0"
    ),
}
A, B = ("0x" + digit * 40 for digit in "ab")
TRANSFER = bytes.fromhex("a9059cbb")


def test_known_selectors_and_topics_are_those_of_their_protocols() -> None:
    assert set(KNOWN) <= set(FUNCTIONS)
    assert {text: selector_of(text) for text in KNOWN} == KNOWN
    for text, code in KNOWN.items():
        assert text in BUILT_IN.functions(bytes.fromhex(code))
    assert {text: topic_of(text) for text in KNOWN_EVENTS} == KNOWN_EVENTS
    for text, code in KNOWN_EVENTS.items():
        assert text in map(canonical, BUILT_IN.events(bytes.fromhex(code)))


def test_the_table_holds_canonical_signatures_once() -> None:
    assert len(FUNCTIONS) == len(set(FUNCTIONS)) > 500
    assert len(EVENTS) == len(set(EVENTS)) > 120
    for text in (*FUNCTIONS, *EVENTS):
        parsed = parse_signature(text)
        assert any(parsed.indexed) <= (text in EVENTS)
        assert sum(parsed.indexed) <= 3
    assert selector_of("transfer(address,uint256)") == keccak(text="transfer(address,uint256)")[:4].hex()


@pytest.mark.parametrize(
    "text",
    [
        "transfer",
        "transfer(address,uint256",
        "transfer(address,uint256)x",
        "transfer(address, uint256)",
        "transfer(uint)",
        "transfer(uint7)",
        "transfer(uint264)",
        "transfer(bytes33)",
        "transfer(bytes0)",
        "transfer(())",
        "transfer(uint256[0])",
        "transfer(address,)",
        "9lives(uint256)",
        "a b()",
        "f(" + "(" * 7 + "bool" + ")" * 7 + ")",
        "f(bool" + "[]" * 7 + ")",
        "f(" + ",".join(["uint256"] * 200) + ")",
        "a\x1b[31m(bool)",
    ],
)
def test_what_is_no_canonical_signature_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        parse_signature(text)


ELEMENTARY = st.sampled_from(
    ["address", "bool", "string", "bytes", "uint8", "uint256", "int24", "int256", "bytes4", "bytes32"]
)
TYPES = st.recursive(
    ELEMENTARY,
    lambda inner: st.one_of(
        inner.map(lambda kind: f"{kind}[]"),
        st.builds("{}[{}]".format, inner, st.integers(1, 3)),
        st.lists(inner, min_size=1, max_size=3).map(lambda items: f"({','.join(items)})"),
    ),
    max_leaves=6,
)


def value_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values that eth_abi encodes as this type."""
    if kind.name == "array":
        size = (0, 3) if kind.length == -1 else (kind.length, kind.length)
        return st.lists(value_of(kind.items[0]), min_size=size[0], max_size=size[1])
    if kind.name == "tuple":
        return st.tuples(*map(value_of, kind.items))
    if kind.name.startswith(("uint", "int")):
        bits = int(kind.name.lstrip("uint"))
        low, high = (0, 2**bits) if kind.name[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1))
        return st.integers(low, high - 1)
    plain = {"address": st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())}
    plain |= {"bool": st.booleans(), "string": st.text(max_size=40), "bytes": st.binary(max_size=70)}
    if kind.name in plain:
        return plain[kind.name]
    size = int(kind.name[5:])
    return st.binary(min_size=size, max_size=size)


def same_shape(value: Any) -> Any:
    """Lists for every sequence."""
    return [same_shape(item) for item in value] if isinstance(value, list | tuple) else value


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_eth_abi_encodes_is_read_and_nothing_else(data: st.DataObject) -> None:
    texts = data.draw(st.lists(TYPES, max_size=3))
    try:
        types = parse_signature(f"f({','.join(texts)})").inputs
    except ParseError:
        return  # nests too deep
    values = data.draw(st.tuples(*map(value_of, types)))
    encoded = eth_abi.encode(texts, values)
    assert same_shape(decode_arguments(types, encoded)) == same_shape(values)
    assert decode_arguments(types, encoded + bytes(32)) is None
    if encoded:
        place = data.draw(st.integers(0, len(encoded) - 1))
        changed = bytearray(encoded)
        changed[place] ^= data.draw(st.integers(1, 255))
        try:
            expected = eth_abi.decode(texts, bytes(changed))
            strict = eth_abi.encode(texts, expected) == changed
        except (DecodingError, UnicodeDecodeError, OverflowError, ValueError):
            strict = False
        assert (decode_arguments(types, bytes(changed)) is not None) == strict


def test_offsets_that_read_the_same_bytes_again_are_refused_at_once() -> None:
    depth, wide = 6, 60
    types = parse_signature(f"f(uint256{'[]' * depth})").inputs
    word = (32).to_bytes(32)
    level = wide.to_bytes(32) + b"".join((32 * wide).to_bytes(32) for _ in range(wide))
    assert decode_arguments(types, word + level * depth) is None
    assert decode_arguments(types, word + (2**255).to_bytes(32)) is None
    huge = parse_signature("f(uint256[999999999][999999999])").inputs
    assert decode_arguments(huge, bytes(64)) is None


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ("bytes", [32, 1, (7 << 248) + 1]),
        ("string", [32, 1, 0xFF << 248]),
        ("bool", [2]),
        ("address", [1 << 160]),
        ("int8", [128]),
        ("bytes4", [1]),
        ("uint8[]", [64, 0, 0]),
        ("bytes", [32, 1]),
    ],
)
def test_other_encodings_of_a_value_are_refused(types: str, words: list[int]) -> None:
    data = b"".join(word.to_bytes(32) for word in words)
    assert decode_arguments(parse_signature(f"f({types})").inputs, data) is None


def call(text: str, *values: Any) -> bytes:
    types = text[text.index("(") + 1 : -1]
    return bytes.fromhex(selector_of(text)) + eth_abi.encode(eth_abi_types(types), values)


def eth_abi_types(types: str) -> list[str]:
    return [] if not types else types.split(",")


def test_arguments_are_shown() -> None:
    data = call("transfer(address,uint256)", A, 5)
    assert BUILT_IN.call_text(data) == f"0xa9059cbb transfer({A}, 5)"
    assert BUILT_IN.call_text(data + b"\0") == "0xa9059cbb transfer(address,uint256): arguments do not fit"
    assert BUILT_IN.call_text(b"\1\2\3\4" + data) == "0x01020304"
    long = TRANSFER + bytes(65 * 1024)
    assert BUILT_IN.call_text(long) == "0xa9059cbb transfer(address,uint256): data too long to be read"
    assert signature(TRANSFER) == "transfer(address,uint256)"
    assert signature(b"\1\2\3\4") == "0x01020304"


def test_all_readings_of_an_ambiguous_selector_are_shown() -> None:
    first, second = "transfer(address,uint256)", "many_msg_babbage(bytes1)"
    assert selector_of(second) == "a9059cbb"  # a collision that 4byte knows
    third = "func_2093253501(bytes)"
    both = Signatures({"a9059cbb": (second,), "aaaaaaaa": ("f(uint256)", "g(bytes32)", third)}, {})
    assert both.functions(TRANSFER) == (first, second)
    assert both.call_text(call(first, A, 5)) == f"0xa9059cbb transfer({A}, 5)"
    assert both.call_text(TRANSFER + b"\7" + bytes(31)) == "0xa9059cbb many_msg_babbage(0x07)"
    text = both.call_text(bytes.fromhex("aaaaaaaa") + (7).to_bytes(32))
    assert text == f"0xaaaaaaaa f(7) or g(0x{'00' * 31}07)"
    assert both.name(TRANSFER) == f"{first} or {second}"
    crowd = Signatures({"aaaaaaaa": tuple(f"f{n}(uint256)" for n in range(9))}, {})
    assert crowd.name(bytes.fromhex("aaaaaaaa")).endswith("f2(uint256) or 6 others")


def word(text: str) -> bytes:
    return int(text, 16).to_bytes(32)


def test_events_are_read_by_their_indexed_parameters() -> None:
    topic = bytes.fromhex(KNOWN_EVENTS["Transfer(address,address,uint256)"])
    erc20 = BUILT_IN.log_text([topic, word(A), word(B)], (9).to_bytes(32))
    assert erc20 == f"0xddf252ad… Transfer({A}, {B}, 9)"
    assert BUILT_IN.log_text([topic, word(A), word(B), (9).to_bytes(32)], b"") == erc20
    assert BUILT_IN.log_text([topic], b"").endswith("Transfer(address,address,uint256): arguments do not fit")
    assert BUILT_IN.log_text([], b"") == ""
    assert BUILT_IN.log_text([b"\1" * 32], b"") == "0x" + "01" * 32
    unmarked = Signatures({}, {"11" * 32: ("Moved(address,uint256)",)})
    data = (2).to_bytes(32)
    readings = unmarked.log_text([b"\x11" * 32, (1).to_bytes(32)], data)
    one, two = f"0x{1:040x}", f"0x{2:040x}"
    assert readings == f"0x11111111… Moved({one}, 2) or Moved({two}, 1)"
    hashed = Signatures({}, {"11" * 32: ("Named(string indexed,uint256)",)})
    assert hashed.log_text([b"\x11" * 32, b"\xff" * 32], data) == f"0x11111111… Named(0x{'ff' * 32}, 2)"


def test_texts_of_attackers_are_harmless_and_short() -> None:
    hostile = "\x1b[31m![](http://evil.test)\u202e" + "x" * 500
    shown = BUILT_IN.call_text(call("Error(string)", hostile))
    assert shown.isprintable()
    assert len(shown) < 100
    many = call("enterMarkets(address[])", [A] * 100)
    types = parse_signature("f(address[])").inputs
    assert BUILT_IN.call_text(many).endswith(f"[{A}, {A}, {A}, … 100 in all])")
    assert value_text(types[0], []) == "[]"
    blob = parse_signature("f(bytes)").inputs[0]
    assert value_text(blob, b"\1" * 40) == f"0x{'01' * 32}… (40 bytes)"


def test_a_file_grows_and_says_where_everything_is_from(tmp_path: Path) -> None:
    first, lines = add(
        EMPTY,
        [Candidate("foo(uint256)"), Candidate("bar(bool)", kind="function"), Candidate("bad(uint)")],
        name="one.csv",
        sha256="1",
        date="2024-01-01",
    )
    assert len(lines) == 1
    assert "not a canonical type" in lines[0]
    wrong = Candidate("bar(bool)", stated="ffffffff")
    event = Candidate("Done(address indexed)", kind="event")
    second, lines = add(
        first, [wrong, event, Candidate("foo(uint256)")], name="two.json", sha256="2", date="2024-02-02"
    )
    assert "does not hash to 0xffffffff" in lines[0]
    path = tmp_path / "model" / "signatures.json"
    save(path, second)
    opened = load(path)
    assert opened == second
    assert opened.functions[selector_of("foo(uint256)")] == ("foo(uint256)",)
    assert opened.events[topic_of("foo(uint256)")] == ("foo(uint256)",)
    assert selector_of("Done(address)") not in opened.functions
    assert opened.events[topic_of("Done(address)")] == ("Done(address indexed)",)
    assert topic_of("bar(bool)") not in opened.events
    assert [(s.name, s.date, s.added, s.known, s.rejected) for s in opened.sources] == [
        ("one.csv", "2024-01-01", 3, 0, 1),
        ("two.json", "2024-02-02", 1, 2, 1),
    ]
    assert add(opened, [event], name="two.json", sha256="2", date="2025-01-01") == (opened, ())
    assert opened.signatures().name(bytes.fromhex(selector_of("foo(uint256)"))) == "foo(uint256)"


def test_a_function_with_indexed_parameters_is_refused() -> None:
    wrong = Candidate("f(address indexed)", kind="function")
    file, (line,) = add(EMPTY, [wrong], name="one.csv", sha256="1", date="2024-01-01")
    assert "a function has no indexed parameters" in line and not file.functions


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signatures.json"
    held, _ = add(EMPTY, [Candidate("foo(uint256)")], name="a", sha256="1", date="2024-01-01")
    save(path, held)
    content = json.loads(path.read_text())
    content["functions"]["a9059cbb"] = ["harmless()"]
    for text, message in [
        (json.dumps(content), "was changed since it was written"),
        (json.dumps(content | {"version": 9}), "no file of signatures of version 1"),
        (json.dumps({"sha256": "x"}), "is no file of signatures"),
        ("[]", "is no file of signatures"),
        ("nonsense", "is no file of signatures"),
    ]:
        path.write_text(text)
        with pytest.raises(ArtifactError, match=message):
            load(path)
    with pytest.raises(ArtifactError, match="cannot be read"):
        load(tmp_path / "absent.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        save(tmp_path / "file" / "signatures.json", held)
