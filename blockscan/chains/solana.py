"""Solana: raw blocks and records -> Transactions. Pure; fetching is in `solana_rpc`.

Two forms are read: `rpc` (the body `block` of getBlock) and `record` (one JSON object per transaction:
a getTransaction result, bare or in the node's answer, or one under `tx` beside `signature`, `slot` and
`block_time`). Encodings are `json` and `jsonParsed`; versions legacy, 0 (address lookup tables) and 1
(SIMD-0385).
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from blockscan.archive import RawBlock
from blockscan.chains.decode import decode, read_document
from blockscan.chains.frames import list_of, mapping
from blockscan.chains.solana_layouts import COMPUTE_BUDGET, SYSTEM, VOTE, decode_instruction
from blockscan.chains.solana_logs import Frame, attach
from blockscan.chains.solana_message import account_keys, config_data, key_of, read_frames, signer_count
from blockscan.chains.solana_meta import amount_changes, count, error_texts, integer
from blockscan.errors import ParseError
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceSource, Transaction

NOT_RUN = "not executed"
_PLACES = ("tx_index", "transactionIndex", "index")
"""Names under which records say a transaction's place in its slot, counted from 0."""
_VERSIONS = (None, "legacy", 0, 1, "0", "1")
_MAINNET = ("", "mainnet", "mainnet-beta", "mainnet_likely")


def parse(raw: RawBlock, *, votes: bool = False) -> list[Transaction]:
    """Every transaction of a raw block, in block order.

    Validators' votes are left out, unless asked for or among the row's `tx_hashes`: ingest keeps those it was
    asked to keep.

    Raises:
        ParseError: a body is not JSON or not of its form, or a transaction has no meta.
    """
    if raw.form == "record":
        return [read_document(raw.bodies.get("record", b"null"), parse_record)]
    envelope = decode(raw.bodies.get("block", b"null"))
    if not isinstance(envelope, Mapping) or "result" not in envelope:
        raise ParseError(f"slot {raw.number}: the block answer is not a JSON-RPC result")
    block = envelope["result"]
    if block is None:  # a slot that its leader skipped
        return []
    block = mapping(block, f"the block of slot {raw.number}")
    time = block.get("blockTime")
    found = []
    for index, entry in enumerate(list_of(block, "transactions")):
        if not votes and is_vote(entry) and _signature(entry) not in raw.tx_hashes:
            continue
        found.append(
            _transaction(
                entry,
                chain=raw.chain,
                slot=raw.number,
                block_hash=raw.hash,
                index=index,
                time=None if time is None else count(time, "blockTime"),
            )
        )
    return found


def parse_record(record: object) -> Transaction:
    """One transaction from a JSONL record, a bare getTransaction result, or a node's answer that holds one.

    Only facts of the chain are read; any label that the record carries is never looked at.

    Raises:
        ParseError: a required field is missing, or a field is not of its type; or the node answered an error,
            nothing, or a block.
    """
    outer = _result(mapping(record, "a record"))
    entry = mapping(outer["tx"], "`tx`") if "tx" in outer else outer
    slot = outer.get("slot") if outer.get("slot") is not None else entry.get("slot")
    time = outer.get("block_time") if outer.get("block_time") is not None else entry.get("blockTime")
    given = ((name, each.get(name)) for each in (outer, entry) for name in _PLACES)
    places = (count(value, name) for name, value in given if value is not None)
    network = str(outer.get("network") or "").lower()
    return _transaction(
        entry,
        chain="solana" if network in _MAINNET else f"solana-{network}"[:40],
        slot=None if slot is None else count(slot, "slot"),
        block_hash=None,
        index=next(places, None),
        time=None if time is None else count(time, "blockTime"),
        signature=outer.get("signature"),
    )


def is_vote(entry: object) -> bool:
    """Whether a transaction of a block does nothing but vote."""
    try:
        signed = mapping(mapping(entry, "a transaction")["transaction"], "`transaction`")
        message = mapping(signed["message"], "`message`")
        keys = [key_of(key) for key in list_of(message, "accountKeys")]
        instructions = list_of(message, "instructions")
        programs = {one.get("programId") or keys[one["programIdIndex"]] for one in instructions}
    except (ParseError, KeyError, IndexError, TypeError, AttributeError):
        return False
    return VOTE in programs and programs <= {VOTE, COMPUTE_BUDGET}


def only_votes(transaction: Transaction) -> bool:
    """Whether a parsed transaction does nothing but vote."""
    programs = {step.target for step in transaction.root.steps if isinstance(step, Call)}
    return VOTE in programs and programs <= {VOTE, COMPUTE_BUDGET}


def _result(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record, taken out of the JSON-RPC answer that it may have come in."""
    if "jsonrpc" in record:
        if record.get("error") is not None:
            said = mapping(record["error"], "`error`").get("message")
            raise ParseError(f"the node answered an error, {str(said)[:200]!r}; ask it again")
        if record.get("result") is None:
            raise ParseError("the node answered no transaction (`result` is null); ask one that keeps it")
        record = mapping(record["result"], "`result`")
    if "transaction" in record or "tx" in record:
        return record
    if "transactions" in record:
        raise ParseError(
            "a block of getBlock does not say its slot; give answers of getTransaction, one on a line, or "
            "fetch the slots with --rpc URL --blocks A:B"
        )
    raise ParseError("the record has no `transaction`; give answers of getTransaction, one on a line")


def _signature(entry: object) -> object:
    """The first signature of a transaction that `is_vote` could read."""
    signed = mapping(mapping(entry, "a transaction")["transaction"], "`transaction`")
    return next(iter(list_of(signed, "signatures")), None)


def _transaction(
    entry: object,
    *,
    chain: str,
    slot: int | None,
    block_hash: str | None,
    index: int | None,
    time: int | None,
    signature: object = None,
) -> Transaction:
    entry = mapping(entry, "a transaction")
    if entry.get("version") not in _VERSIONS:
        raise ParseError(
            f"transaction version {str(entry['version'])[:20]!r} is not known; 0, 1 and legacy are"
        )
    signed = mapping(entry.get("transaction"), "`transaction` (encoding json or jsonParsed)")
    message = mapping(signed.get("message"), "`message`")
    meta = mapping(entry.get("meta"), "`meta`")
    if signature is None:
        signature = _signature(entry)
    if not isinstance(signature, str) or not 0 < len(signature) <= 200 or not signature.isprintable():
        raise ParseError("the transaction has no usable signature")
    keys = account_keys(message, meta)
    frames, status = read_frames(message, meta, keys)
    messages = list_of(meta, "logMessages")
    if not all(isinstance(line, str) for line in messages):
        raise ParseError("`logMessages` must hold texts")
    log_order, loose = attach(frames, messages, keys[0])
    root_error = _set_errors(frames, meta.get("err"))
    root = Call(
        kind=CallKind.INSTRUCTION,
        caller=keys[0],
        target=keys[0],
        data=config_data(message),
        output=b"",
        value=integer(meta.get("fee", 0), "fee"),
        error=root_error,
        gas_used=None,
        steps=(*_calls(frames, keys[0]), *loose, *amount_changes(meta, keys)),
        accounts=tuple(keys[: signer_count(message)]),
    )
    units = meta.get("computeUnitsConsumed")
    return Transaction(
        chain=chain,
        hash=signature,
        block_number=slot,
        block_hash=block_hash,
        index=index,
        time=time,
        sender=keys[0],
        ok=root_error is None,
        gas_used=None if units is None else count(units, "computeUnitsConsumed"),
        root=root,
        source=TraceSource.SOLANA if log_order is LogOrder.ABSENT else TraceSource.SOLANA_LOGS,
        log_order=log_order,
        status=status,
    )


def _set_errors(frames: Sequence[Frame], err: object) -> str | None:
    """Write the transaction's error into its top-level instruction, and say what never ran."""
    root_error, place, text = error_texts(err)
    if place is None:
        return root_error
    tops = [frame for frame in frames if frame.parent < 0]
    if place < len(tops):
        tops[place].error = text
        for frame in tops[place + 1 :]:
            frame.error = NOT_RUN
    return root_error


def _calls(frames: Sequence[Frame], payer: str) -> list[Call]:
    """The top-level calls, built deepest first."""
    calls: list[Call | None] = [None] * len(frames)
    for place in range(len(frames) - 1, -1, -1):
        frame = frames[place]
        steps: list[Call | Log] = [
            cast(Call, calls[step]) if isinstance(step, int) else step for step in frame.steps
        ]
        calls[place] = Call(
            kind=CallKind.INSTRUCTION,
            caller=payer if frame.parent < 0 else frames[frame.parent].program,
            target=frame.program,
            data=frame.data,
            output=frame.output,
            value=_lamports(frame.program, frame.data),
            error=frame.error,
            gas_used=frame.units,
            steps=tuple(steps),
            accounts=frame.accounts,
        )
    return [cast(Call, calls[place]) for place, frame in enumerate(frames) if frame.parent < 0]


def _lamports(program: str, data: bytes) -> int:
    """What a System instruction moves; token programs move tokens."""
    found = decode_instruction(program, data) if program == SYSTEM else None
    if found is None:
        return 0
    layout, arguments = found
    moved = [
        value for (name, _), value in zip(layout.arguments, arguments, strict=True) if name == "lamports"
    ]
    return sum(value for value in moved if isinstance(value, int))
