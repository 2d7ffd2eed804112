"""What a record says about its own origin, where that differs from a node's callTracer answer."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from blockscan.errors import ParseError
from blockscan.transaction import TraceSource, Transaction

_WITH_LOGS = {
    TraceSource.CALL_TRACER: TraceSource.CALL_TRACER_LOGS,
    TraceSource.TRACE_BLOCK: TraceSource.TRACE_BLOCK_LOGS,
    TraceSource.RECEIPT: TraceSource.RECEIPT,
}


def with_declared(transaction: Transaction, record: Mapping[str, Any]) -> Transaction:
    """Settle source and block hash by the record's `trace_source` and `block_hash`.

    `trace_source` names the source without regard to logs (callTracer, trace_block or receipt); whether there
    are logs is seen in the record. Without these fields the transaction stays as it is.

    Raises:
        ParseError: an unknown source, or a block hash that is no text.
    """
    block_hash = record.get("block_hash")
    if block_hash is not None and (not isinstance(block_hash, str) or len(block_hash) > 200):
        raise ParseError("the record's `block_hash` is not a hash")
    transaction = replace(transaction, block_hash=block_hash or transaction.block_hash)
    named = record.get("trace_source")
    if named is None:
        return transaction
    bare = next((source for source in _WITH_LOGS if source.value == named), None)
    if bare is None:
        known = ", ".join(source.value for source in _WITH_LOGS)
        raise ParseError(f"the record's `trace_source` is {str(named)[:40]!r}; it is one of {known}")
    logged = transaction.source in (TraceSource.CALL_TRACER_LOGS, TraceSource.TRACE_BLOCK_LOGS)
    return replace(transaction, source=_WITH_LOGS[bare] if logged else bare)
