"""Kinds of evidence and times as a person reads them, in a terminal and in the dashboard."""

from datetime import UTC, datetime

from blockscan.safetext import safe_text

FACTS = {
    "calls": "number of calls",
    "depth": "depth of the call tree",
    "input_bytes": "input of all calls together",
    "new_edges": "calls between two that never met",
    "rare_callee": "callees that their callers hardly ever call",
    "rare_function": "function that its contract hardly ever runs",
    "rare_functions": "functions that their contracts hardly ever run",
    "new_caller": "new caller of a function that only few call",
    "unknown_target": "target that the past does not know",
    "reentry": "contract entered while it was at work",
    "gain": "gain of the sender's side",
    "free_gain": "gain of the sender's side without a payment",
    "more_in_than_out": "gain in more tokens than were paid with",
    "loss": "loss of a contract",
    "bystander_loss": "loss of accounts that make no call themselves",
    "drained": "share of a balance taken away",
    "emptied": "balances of those who sign, emptied",
    "largest_transfer": "size of a transfer",
    "number_high": "argument larger than functions of this name are called with",
    "number_low": "argument smaller than functions of this name are called with",
    "rare_company": "functions that hardly ever meet",
    "rare_sequence": "function that hardly ever follows the one before",
    "rare_caller": "caller of a kind that functions of this name hardly ever have",
    "rare_role": "addresses that functions of this name hardly ever get",
    "rare_report": "number in an event that mostly stands for something else",
    "overdrawn": "more taken out within minutes than put in",
    "joint_gain": "gain without a payment within minutes",
    "withdrawn": "withdrawal of what others had put in",
    "replayed": "input that was sent before",
    "taken_over": "balances taken by who was handed the account within minutes",
    "minted": "size of a mint",
    "lookalike": "payment to an address that looks like one paid before",
}
"""What a fact about a whole transaction is called; other evidence is a value in its trace."""
FACT_REASONS = {
    "calls": "size,",
    "depth": "depth,",
    "input_bytes": "input of all calls together,",
    "new_edges": "call between two that never met,",
    "rare_callee": "call to a contract that the caller hardly ever calls,",
    "rare_function": "function that its contract hardly ever runs,",
    "rare_functions": "functions that their contracts hardly ever run, such as",
    "new_caller": "new caller of a function that only few call,",
    "unknown_target": "target that the past does not know,",
    "reentry": "contract entered while it was at work,",
    "gain": "gain of the sender's side,",
    "free_gain": "gain of the sender's side without a payment,",
    "more_in_than_out": "gain of the sender's side in more tokens than it paid with,",
    "loss": "loss of a contract,",
    "bystander_loss": "loss of an account that makes no call itself,",
    "drained": "share of a balance taken away,",
    "emptied": "balances of those who sign, emptied,",
    "largest_transfer": "size of a transfer,",
    "number_high": "large argument for a function of this name,",
    "number_low": "small or negative argument for a function of this name,",
    "rare_company": "functions that hardly ever meet in one transaction,",
    "rare_sequence": "function that hardly ever follows the one before,",
    "rare_caller": "caller of a kind that functions of this name hardly ever have,",
    "rare_role": "address that functions of this name hardly ever get,",
    "rare_report": "number in an event that mostly stands for something else,",
    "overdrawn": "more taken out within minutes than put in,",
    "joint_gain": "gain without a payment within minutes,",
    "withdrawn": "withdrawal of what others had put in,",
    "replayed": "input that was sent before,",
    "taken_over": "balances taken by who was handed the account within minutes,",
    "minted": "size of a mint,",
    "lookalike": "payment to another address that looks like one paid before,",
}
"""The same in a reason, which says what was found after it."""
FORMER_FACTS = {
    "rare_path": "calls from functions that hardly ever lead there",
    "argument_high": "argument larger than the function is called with",
    "argument_low": "argument smaller than the function is called with",
}
"""What facts are called that scores in stores of before name."""
WHOLE = ("calls", "input_bytes")
"""Facts of all calls together, which no frame shows."""


def is_fact(field: str) -> bool:
    """Whether evidence is a fact about the whole transaction: the model expects nothing in its place."""
    return field in FACTS or field in FORMER_FACTS


def evidence_name(field: str) -> str:
    """What evidence is about, safe to show."""
    return FACTS.get(field) or FORMER_FACTS.get(field) or safe_text(field.replace("_", " "))


def call_shown(field: str, node: int) -> str:
    """The number of the call that shows evidence; "all" of what no single one shows."""
    return "all" if field in WHOLE else str(node)


def all_left(count: int) -> str:
    """What is said of scores whose every transaction is on no block of its chain any more."""
    return f"all {count:,} scored transactions left the chain in reorganisations, so none of them counts"


def utc(time: int | None) -> str:
    """A Unix time as `2023-11-14 22:13:20 UTC`."""
    if time is None:
        return "unknown"
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{time} s after 1970"
