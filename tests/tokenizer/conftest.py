"""Hand-made transactions that several tests of the tokenizer share."""

from collections.abc import Callable

import pytest

from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceSource, Transaction


@pytest.fixture(scope="session")
def make_call() -> Callable[..., Call]:
    def make(
        caller: str,
        target: str | None,
        *steps: Call | Log,
        kind: CallKind = CallKind.CALL,
        data: bytes = b"",
        output: bytes = b"",
        value: int = 0,
        error: str | None = None,
    ) -> Call:
        return Call(kind, caller, target, data, output, value, error, None, steps)

    return make


@pytest.fixture(scope="session")
def make_transaction() -> Callable[[Call], Transaction]:
    def make(root: Call) -> Transaction:
        return Transaction(
            chain="ethereum",
            hash="0x" + "ab" * 32,
            block_number=1,
            block_hash=None,
            index=0,
            time=None,
            sender=root.caller,
            ok=root.ok,
            gas_used=None,
            root=root,
            source=TraceSource.CALL_TRACER_LOGS,
            log_order=LogOrder.EXACT,
        )

    return make
