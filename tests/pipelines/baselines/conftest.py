"""Small transactions of two habits, and the settings of a test."""

from collections.abc import Callable

import numpy as np
import pytest

from blockscan.config import Config, ModelConfig, ScoreConfig, TokenizerConfig, TrainConfig
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceSource, Transaction
from pipelines.baselines.setting import Setting
from tokenizer.txtokenizer import TxTokenizer

MODEL = ModelConfig(layers=2, width=32, heads=2, feed_forward=48, longest=96, window=16)
TRAIN = TrainConfig(steps=12, batch_tokens=512, learning_rate=3e-3, bf16=False)


def address(number: int) -> str:
    return f"0x{number + (0xAB << 150):040x}"


def call(
    caller: str,
    target: str | None,
    *steps: Call | Log,
    data: bytes = b"",
    output: bytes = b"",
    value: int = 0,
    error: str | None = None,
    kind: CallKind = CallKind.CALL,
) -> Call:
    return Call(kind, caller, target, data, output, value, error, None, steps)


def transaction(which: int, root: Call, gas: int | None = 21_000) -> Transaction:
    return Transaction(
        chain="ethereum",
        hash=f"0x{which:064x}",
        block_number=which,
        block_hash="0xb",
        index=0,
        time=which,
        sender=root.caller,
        ok=root.ok,
        gas_used=gas,
        root=root,
        source=TraceSource.CALL_TRACER_LOGS,
        log_order=LogOrder.EXACT,
    )


def ordinary(which: int, rng: np.random.Generator) -> Transaction:
    """A plain transfer, or a token transfer through a router with its log."""
    sender, amount = address(1000 + which), int(rng.integers(1, 10**6)) * 10**12
    if which % 3 == 0:
        return transaction(which, call(sender, address(2000 + which), value=amount))
    word = amount.to_bytes(32)
    event = Log(address(2), (b"\x11" * 32, bytes(12) + bytes.fromhex(sender[2:])), word)
    inner = call(address(1), address(2), event, data=b"\xa9\x05\x9c\xbb" + word, output=(1).to_bytes(32))
    root = call(sender, address(1), inner, data=b"\x12\x34\x56\x78" + word)
    return transaction(which, root, 60_000 + which)


def odd(which: int) -> Transaction:
    """Forty nested calls, with logs, of functions and contracts that nobody else has."""
    node = call(address(9), address(8))
    for i in range(40):
        event = Log(address(9000 + i), (bytes([i]) * 32,), b"\xee" * 64)
        node = call(
            address(9001 + i), address(9000 + i), node, event, data=bytes([0xF0, 0xF1, i, 7]) + b"\xee" * 96
        )
    return transaction(which, call(address(9), address(9040), node, data=b"\xde\xad\xbe\xef"), 5_000_000)


@pytest.fixture(scope="session")
def train() -> list[Transaction]:
    rng = np.random.default_rng(5)
    return [ordinary(which, rng) for which in range(120)]


@pytest.fixture(scope="session")
def test() -> list[Transaction]:
    """Thirty ordinary ones, then two that are not."""
    rng = np.random.default_rng(6)
    return [*(ordinary(which, rng) for which in range(500, 530)), odd(600), odd(601)]


@pytest.fixture(scope="session")
def tokenizer(train: list[Transaction]) -> TxTokenizer:
    return TxTokenizer.fit(train, TokenizerConfig(addresses=50, selectors=50, topics=20, words=20))


@pytest.fixture
def setting(tokenizer: TxTokenizer) -> Callable[[], Setting]:
    """The same setting at every call, with a generator of its own."""
    config = Config(model=MODEL, train=TRAIN, score=ScoreConfig(batch_tokens=1024))
    return lambda: Setting(tokenizer, np.random.default_rng(3), config)


def deep_and_wide(calls: int) -> Transaction:
    """So many calls, the first thousand of them nested."""
    node = call(address(3), address(4), data=b"\x01\x02\x03\x04")
    for _ in range(1000):
        node = call(address(3), address(4), node, data=b"\x01\x02\x03\x04")
    leaves = [call(address(3), address(10_000 + i), data=b"\x01\x02\x03\x04") for i in range(calls - 1002)]
    return transaction(1, call(address(5), address(3), node, *leaves))


@pytest.fixture
def huge() -> Callable[[int], Transaction]:
    return deep_and_wide
