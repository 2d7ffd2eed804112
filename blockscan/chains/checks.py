"""Do a node's answers hold together? Checked before anything is stored; pure.

Providers answer with empty traces, traces of another block and receipts of another fork. What passes
here: the block asked for, one receipt and one trace per transaction, root frames that are the
transactions, logs of traces that are those of receipts.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from blockscan.archive import RawBlock
from blockscan.chains.blocks import (
    TRACERS,
    Parts,
    frame_logs,
    is_creation,
    is_standard,
    is_system,
    receipt_logs,
)
from blockscan.chains.frames import read_address, read_bytes, read_count, read_quantity
from blockscan.errors import ChainError
from blockscan.transaction import LogOrder, TraceSource, TraceStatus, Transaction

EMPTY_ROOT = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
"""Root hash of an empty transaction trie (yellow paper, 4.3)."""


class InvalidAnswer(ChainError):
    """A node's answers for a block contradict each other or the request. `raw` holds them."""

    def __init__(self, text: str, raw: RawBlock | None = None) -> None:
        """Say what is wrong."""
        super().__init__(text)
        self.raw = raw


def check_block(block: Mapping[str, Any], number: int, chain_id: int | None) -> None:
    """The block is the one asked for, and whole.

    Raises:
        InvalidAnswer, ParseError: it is not.
    """
    if read_quantity(block.get("number"), "number") != number:
        raise InvalidAnswer("the node answered with another block")
    read_count(block.get("timestamp"), "timestamp")
    entries = block.get("transactions")
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise InvalidAnswer("`transactions` must be a list of objects")
    root = block.get("transactionsRoot")
    if isinstance(root, str) and (root == EMPTY_ROOT) != (not entries):
        raise InvalidAnswer("the list of transactions does not fit transactionsRoot")
    for entry in entries:
        found = entry.get("chainId")
        if chain_id is not None and found is not None and read_quantity(found, "chainId") != chain_id:
            raise InvalidAnswer(f"a transaction of another chain: id {found!s:.20}, not {chain_id}")


def check_receipts(block: Mapping[str, Any], receipts: Any) -> None:
    """One receipt per transaction, in order, all of this very block.

    Asked for last, they also prove that the block hash did not change while the traces were fetched.

    Raises:
        InvalidAnswer: they are not.
    """
    if not isinstance(receipts, list) or not all(isinstance(receipt, Mapping) for receipt in receipts):
        raise InvalidAnswer("receipts and traces must be lists of objects")
    if {str(receipt.get("blockHash")) for receipt in receipts} - {str(block.get("hash"))}:
        raise InvalidAnswer("receipts of another block hash (a reorg?)")
    if [receipt.get("transactionHash") for receipt in receipts] != [
        entry.get("hash") for entry in block["transactions"]
    ]:
        raise InvalidAnswer("the receipts are not those of the block's transactions")


def check_traces(raw: RawBlock, parts: Parts) -> None:
    """One trace per transaction, none of another block.

    Raises:
        InvalidAnswer: it is not so.
    """
    if parts.traces is None:
        return
    if not isinstance(parts.traces, list) or not all(isinstance(trace, Mapping) for trace in parts.traces):
        raise InvalidAnswer("receipts and traces must be lists of objects")
    tracer = raw.source in TRACERS
    named = [
        trace.get("txHash" if tracer or "untraced" in trace else "transactionHash") for trace in parts.traces
    ]
    hashes = [entry.get("hash") for entry in parts.entries]
    if tracer and hashes and named == [None] * len(hashes):
        return  # in order, without hashes: the root frames will tell
    if tracer and len(named) != len(set(named)):
        raise InvalidAnswer("two traces of one transaction")
    system = {entry.get("hash") for entry in parts.entries if is_system(entry)}
    found = {name for name in named if name}
    if found - set(hashes) or set(hashes) - found - system:
        raise InvalidAnswer("the traces are not those of the block's transactions")
    if not tracer and {trace.get("blockHash", raw.hash) for trace in parts.traces} - {raw.hash}:
        raise InvalidAnswer("traces of another block hash (a reorg?)")


def check_transactions(raw: RawBlock, parts: Parts, transactions: list[Transaction]) -> None:
    """Every root frame is its transaction, and the logs of traces are those of receipts.

    Raises:
        InvalidAnswer: it is not so.
    """
    in_frames = any(_logged(each) for each in transactions)
    pairs = zip(transactions, parts.entries, parts.receipts, strict=True)
    for transaction, entry, receipt in pairs:
        where = f"transaction {transaction.hash[:70]}"
        if transaction.source is not TraceSource.RECEIPT:
            _check_root(transaction, entry, receipt, where)
            if transaction.status is TraceStatus.COMPLETE:
                _check_logs(raw, transaction, receipt, where, in_frames=in_frames)


def _logged(transaction: Transaction) -> bool:
    known = transaction.log_order in (LogOrder.EXACT, LogOrder.FRAME)
    return known and transaction.source in TRACERS and bool(frame_logs(transaction.root))


def _check_root(
    transaction: Transaction, entry: Mapping[str, Any], receipt: Mapping[str, Any], where: str
) -> None:
    root = transaction.root
    status = receipt.get("status")
    if status is not None and (read_quantity(status, "status") == 1) != root.ok:
        raise InvalidAnswer(f"{where}: the trace fails and the receipt does not")
    if not is_standard(entry):
        return
    to = entry.get("to")
    target = receipt.get("contractAddress") if to is None else to
    sent = entry.get("input") if entry.get("input") is not None else entry.get("data")
    same = (
        is_creation(root) == (to is None)
        and (target is None or root.target in (None, read_address(target, "to")))
        and (root.target is not None or to is None)
        and root.data == read_bytes(sent, "input")
        and root.value == read_quantity(entry.get("value"), "value")
    )
    if not same:
        raise InvalidAnswer(f"{where}: the trace's root frame is not the transaction")


def _check_logs(
    raw: RawBlock, transaction: Transaction, receipt: Mapping[str, Any], where: str, *, in_frames: bool
) -> None:
    known = transaction.log_order in (LogOrder.EXACT, LogOrder.FRAME)
    expected = receipt_logs(raw, receipt) or []
    if known and Counter(frame_logs(transaction.root)) != Counter(expected):
        raise InvalidAnswer(f"{where}: the trace's logs are not the receipt's")
    if not known and in_frames and transaction.source in TRACERS and expected:
        raise InvalidAnswer(f"{where}: the trace has no logs, and the receipt has {len(expected)}")
