"""Which parser reads what: the one place that knows every chain family."""

from collections.abc import Mapping

from blockscan.archive import RawBlock
from blockscan.chains import ethereum, solana
from blockscan.chains.solana_layouts import COMPUTE_BUDGET
from blockscan.transaction import Call, TraceSource, Transaction

SOLANA_SOURCES = (TraceSource.SOLANA, TraceSource.SOLANA_LOGS)


def parse(raw: RawBlock) -> list[Transaction]:
    """Every transaction of an archive row, of whichever family it is.

    Raises:
        ParseError: see the family's `parse`.
    """
    return solana.parse(raw) if raw.source in SOLANA_SOURCES else ethereum.parse(raw)


def parse_record(record: object, *, family: str = "evm") -> Transaction:
    """One transaction of a JSONL record, of whichever family it is.

    Args:
        record: parsed JSON.
        family: whose parser says what is wrong with a record that is of neither family.

    Raises:
        ParseError: see the family's `parse_record`.
    """
    if is_solana(record) or (family == "solana" and not is_evm(record)):
        return solana.parse_record(record)
    return ethereum.parse_record(record)


def is_solana(record: object) -> bool:
    """Whether a record holds a getTransaction result: bare, under `tx`, or in the answer of a node."""
    if not isinstance(record, Mapping):
        return False
    inner = record.get("result") if "jsonrpc" in record else record.get("tx", record)
    return isinstance(inner, Mapping) and "transaction" in inner and "meta" in inner


def is_evm(record: object) -> bool:
    """Whether a record holds a trace, as those of EVM chains do."""
    return isinstance(record, Mapping) and "trace" in record


def family_of(transaction: Transaction) -> str:
    """The archive family that a transaction belongs to."""
    return "solana" if transaction.source in SOLANA_SOURCES else "evm"


def main_target(transaction: Transaction) -> str | None:
    """What a transaction is addressed to: the contract called, or the first program that does any work.

    None for a contract creation that failed; the payer where a Solana message has no such instruction.
    """
    if family_of(transaction) == "evm":
        return transaction.root.target
    programs = (step.target for step in transaction.root.steps if isinstance(step, Call))
    return next((each for each in programs if each != COMPUTE_BUDGET), transaction.root.target)
