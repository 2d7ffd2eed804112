"""Solana's getBlock and getTransaction answers -> Transactions, hand-made and real."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from blockscan.archive import RawBlock
from blockscan.chains.anchor import discriminator, load_idl, read_idl
from blockscan.chains.base58 import b58decode, b58encode, key_bytes
from blockscan.chains.solana import NOT_RUN, parse, parse_record
from blockscan.chains.solana_layouts import (
    ASSOCIATED_TOKEN,
    COMPUTE_BUDGET,
    LAYOUTS,
    MEMO,
    STAKE,
    SYSTEM,
    TOKEN,
    TOKEN_2022,
    VOTE,
    decode_instruction,
)
from blockscan.errors import ParseError
from blockscan.transaction import Call, Log, LogOrder, TraceSource, TraceStatus, Transaction, walk

REAL = Path(__file__).parents[3] / "shared" / "data" / "solana" / "transactions.jsonl.gz"
A, B, C, D, MINT, ROUTER, POOL = (b58encode(bytes([byte]) * 32) for byte in range(0x41, 0x48))
RENT = "SysvarRent111111111111111111111111111111111"
Json = dict[str, Any]


def message(*instructions: Json, keys: list[Any], signers: int = 1) -> Json:
    header = {"numRequiredSignatures": signers}
    return {"accountKeys": keys, "header": header, "instructions": list(instructions), "recentBlockhash": A}


def answer(body: Json, **meta: Any) -> Json:
    plain = {"err": None, "fee": 5000, "preBalances": [], "postBalances": [], "innerInstructions": []}
    transaction = {"message": body, "signatures": ["5" * 88]}
    return {"slot": 7, "blockTime": 9, "version": "legacy", "transaction": transaction, "meta": plain | meta}


def raw(program: int, accounts: list[int], data: bytes, height: int | None = None) -> Json:
    return {
        "programIdIndex": program,
        "accounts": accounts,
        "data": b58encode(data),
        "stackHeight": height,
    }


def steps(call: Call, kind: type) -> list[Any]:
    return [step for step in call.steps if isinstance(step, kind)]


KEYS = [A, B, C, SYSTEM, TOKEN, ROUTER, POOL]
TRANSFER = LAYOUTS["spl-token:transfer"].pack([77])
PAY = LAYOUTS["system:transfer"].pack([1000])
INNER = [
    {
        "index": 1,
        "instructions": [raw(6, [1], b"\1", 2), raw(4, [1, 2, 0], TRANSFER, 3), raw(3, [0, 1], PAY, 2)],
    }
]
LOGS = [
    f"Program {SYSTEM} invoke [1]",
    f"Program {SYSTEM} success",
    f"Program {ROUTER} invoke [1]",
    "Program log: before",
    f"Program {POOL} invoke [2]",
    f"Program {TOKEN} invoke [3]",
    "Program log: Instruction: Transfer",
    f"Program {TOKEN} consumed 4645 of 9000 compute units",
    f"Program {TOKEN} success",
    "Program data: 3q2+7w== AQ==",
    f"Program return: {POOL} pQAAAAAAAAA=",
    f"Program {POOL} consumed 5000 of 10000 compute units",
    f"Program {POOL} success",
    "Program log: after",
    f"Program {SYSTEM} invoke [2]",
    f"Program {SYSTEM} success",
    f"Program {ROUTER} consumed 20000 of 30000 compute units",
    f"Program {ROUTER} success",
]


def routed(**meta: Any) -> Transaction:
    body = message(raw(3, [0, 1], PAY), raw(5, [0, 1, 2], b"\7"), keys=KEYS)
    return parse_record(answer(body, **({"innerInstructions": INNER, "logMessages": LOGS} | meta)))


def test_instructions_nest_by_height_and_logs_stand_where_they_were_printed() -> None:
    seen = routed()
    assert (seen.sender, seen.ok, seen.block_number, seen.time) == (A, True, 7, 9)
    assert (seen.source, seen.log_order, seen.status) == (
        TraceSource.SOLANA_LOGS,
        LogOrder.EXACT,
        TraceStatus.COMPLETE,
    )
    assert (seen.root.caller, seen.root.target, seen.root.value, seen.root.accounts) == (A, A, 5000, (A,))
    pay, route = steps(seen.root, Call)
    assert (pay.target, pay.value, pay.accounts, pay.caller) == (SYSTEM, 1000, (A, B), A)
    before, pool, after, tip = route.steps
    assert (before, after) == (Log(ROUTER, (), b"", text="before"), Log(ROUTER, (), b"", text="after"))
    assert isinstance(pool, Call) and isinstance(tip, Call)
    assert (pool.caller, pool.output, pool.gas_used) == (ROUTER, (165).to_bytes(8, "little"), 5000)
    token, first, second = pool.steps
    assert isinstance(token, Call)
    assert (token.caller, token.target, token.data, token.accounts) == (POOL, TOKEN, TRANSFER, (B, C, A))
    assert token.steps == (Log(TOKEN, (), b"", text="Instruction: Transfer"),)
    assert (first, second) == (Log(POOL, (), b"\xde\xad\xbe\xef"), Log(POOL, (), b"\1"))
    assert (tip.caller, tip.value, route.gas_used) == (ROUTER, 1000, 20000)


def test_older_records_without_heights_hang_flat_and_say_so() -> None:
    flat = [{"index": 1, "instructions": [one | {"stackHeight": None} for one in INNER[0]["instructions"]]}]
    seen = routed(innerInstructions=flat)
    route = steps(seen.root, Call)[1]
    assert seen.status is TraceStatus.FLAT and seen.log_order is LogOrder.EXACT
    assert [(call.target, call.caller) for call in steps(route, Call)] == [
        (POOL, ROUTER),
        (TOKEN, ROUTER),
        (SYSTEM, ROUTER),
    ]
    assert steps(route, Call)[1].steps == (Log(TOKEN, (), b"", text="Instruction: Transfer"),)


def test_truncated_logs_are_kept_as_far_as_they_go() -> None:
    seen = routed(logMessages=[*LOGS[:7], "Log truncated"])
    assert seen.log_order is LogOrder.CUT
    route = steps(seen.root, Call)[1]
    assert [call.target for call in steps(route, Call)] == [POOL, SYSTEM]
    assert len([visit for visit in walk(seen.root) if isinstance(visit.step, Log)]) == 2


@pytest.mark.parametrize(
    "logs",
    [
        [f"Program {POOL} invoke [1]", "Program log: of another transaction"],
        ["Program log: of nobody"],
        [f"Program {SYSTEM} invoke [2]", "Program log: too deep"],
        [*LOGS[:3], f"Program {SYSTEM} success", "Program log: out of turn"],
    ],
)
def test_logs_that_fit_no_instruction_stand_at_the_end_of_the_root(logs: list[str]) -> None:
    seen = routed(logMessages=logs)
    assert seen.log_order is LogOrder.ROOT
    assert seen.root.steps[-1] == Log(A, (), b"", text=logs[-1].removeprefix("Program log: "))
    assert [call.gas_used for call in steps(seen.root, Call)] == [None, None]


def test_a_transaction_without_logs_says_so() -> None:
    seen = routed(logMessages=None)
    assert (seen.source, seen.log_order) == (TraceSource.SOLANA, LogOrder.ABSENT)
    assert [visit.step for visit in walk(seen.root) if isinstance(visit.step, Log)] == []


def test_what_failed_and_what_never_ran_are_told_apart() -> None:
    body = message(raw(3, [0, 1], PAY), raw(5, [0], b"\7"), raw(3, [0, 2], PAY), keys=KEYS)
    logs = [
        *LOGS[:2],
        f"Program {ROUTER} invoke [1]",
        f"Program {SYSTEM} invoke [2]",
        "Transfer: insufficient lamports 5, need 1000",
        f"Program {SYSTEM} failed: custom program error: 0x1",
        f"Program {ROUTER} failed: custom program error: 0x1",
    ]
    inner = [{"index": 1, "instructions": [raw(3, [0, 1], PAY, 2)]}]
    err = {"InstructionError": [1, {"Custom": 1}]}
    seen = parse_record(answer(body, innerInstructions=inner, logMessages=logs, err=err))
    assert not seen.ok and seen.root.error == "failed"
    paid, failed, never = steps(seen.root, Call)
    assert (paid.error, failed.error, never.error) == (None, "custom program error: 0x1", NOT_RUN)
    assert failed.steps[0].error == "custom program error: 0x1"
    assert failed.steps[0].steps[0].text == "Transfer: insufficient lamports 5, need 1000"
    other = parse_record(answer(body, err={"InsufficientFundsForRent": {"account_index": 2}}))
    assert (other.root.error, other.ok) == ("InsufficientFundsForRent", False)


def test_changed_balances_are_logs_of_the_mint_or_of_the_system_program() -> None:
    def holds(amount: str) -> list[Json]:
        ui = {"amount": amount, "decimals": 6, "uiAmountString": "?"}
        return [{"accountIndex": 1, "mint": MINT, "owner": D, "uiTokenAmount": ui}]

    seen = routed(
        preBalances=[10_000, 5, 0],
        postBalances=[4_000, 5, 1_000],
        preTokenBalances=holds("900"),
        postTokenBalances=holds("0"),
    )
    changes = [
        (
            log.emitter,
            log.accounts,
            *(int.from_bytes(log.data[at : at + 32], signed=True) for at in (0, 32, 64)),
        )
        for log in steps(seen.root, Log)
    ]
    assert changes == [
        (SYSTEM, (A,), -6_000, 4_000, 9),
        (SYSTEM, (C,), 1_000, 1_000, 9),
        (MINT, (B, D), -900, 0, 6),
    ]


def test_lookup_tables_and_versions() -> None:
    body = message(raw(2, [0, 3, 4], b"\7"), keys=[A, B, ROUTER])
    loaded = {"writable": [C], "readonly": [D]}
    seen = parse_record(answer(body, loadedAddresses=loaded) | {"version": 0})
    assert steps(seen.root, Call)[0].accounts == (A, C, D)
    config = {"computeUnitLimit": 200_000, "heapSize": None, "priorityFee": 7}
    first = parse_record(
        answer(body | {"transactionConfig": config}, loadedAddresses=loaded) | {"version": 1}
    )
    assert first.root.data[:9] == b"\1" + (200_000).to_bytes(8, "little")
    with pytest.raises(ParseError, match="version '2' is not known"):
        parse_record(answer(body) | {"version": 2})


def test_block_skips_votes_unless_asked_for() -> None:
    vote = answer(message(raw(1, [0], b"\2"), keys=[A, VOTE]))
    pay = answer(message(raw(2, [0, 1], PAY), keys=[A, B, SYSTEM]))
    result = {"blockhash": "h", "blockTime": 5, "transactions": [vote, pay]}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()
    block = RawBlock("solana", 7, "h", "g", 5, TraceSource.SOLANA_LOGS, "rpc", (), {"block": body})
    (only,) = parse(block)
    assert (only.index, only.block_number, only.block_hash, only.time) == (1, 7, "h", 5)
    assert [one.index for one in parse(block, votes=True)] == [0, 1]


PAIRS = [
    (SYSTEM, [A, B], PAY, "transfer", {"source": A, "destination": B, "lamports": 1000}),
    (
        SYSTEM,
        [A, B],
        bytes(4) + (5).to_bytes(8, "little") + (165).to_bytes(8, "little") + key_bytes(TOKEN),
        "createAccount",
        {"source": A, "newAccount": B, "lamports": 5, "space": 165, "owner": TOKEN},
    ),
    (TOKEN, [B, C, A], TRANSFER, "transfer", {"source": B, "destination": C, "authority": A, "amount": "77"}),
    (
        TOKEN_2022,
        [B, MINT, C, A],
        b"\x0c" + (77).to_bytes(8, "little") + b"\x06",
        "transferChecked",
        {
            **{"source": B, "mint": MINT, "destination": C, "authority": A},
            "tokenAmount": {"amount": "77", "decimals": 6, "uiAmount": 7.7e-05, "uiAmountString": "0.000077"},
        },
    ),
    (
        TOKEN,
        [B, C, A, D],
        b"\x04" + (9).to_bytes(8, "little"),
        "approve",
        {"source": B, "delegate": C, "multisigOwner": A, "signers": [D], "amount": "9"},
    ),
    (
        TOKEN,
        [MINT, A],
        b"\x06\x00\x00",
        "setAuthority",
        {"mint": MINT, "authority": A, "authorityType": "mintTokens", "newAuthority": None},
    ),
    (
        TOKEN,
        [B, A],
        b"\x06\x02\x01" + key_bytes(D),
        "setAuthority",
        {"account": B, "authority": A, "authorityType": "accountOwner", "newAuthority": D},
    ),
    (
        TOKEN,
        [B, MINT, A, RENT],
        b"\x01",
        "initializeAccount",
        {"account": B, "mint": MINT, "owner": A, "rentSysvar": RENT},
    ),
    (
        TOKEN,
        [MINT],
        b"\x15\x07\x00",
        "getAccountDataSize",
        {"mint": MINT, "extensionTypes": ["immutableOwner"]},
    ),
    (
        TOKEN,
        [MINT],
        b"\x14\x06" + key_bytes(A) + b"\x00",
        "initializeMint2",
        {"mint": MINT, "mintAuthority": A, "decimals": 6},
    ),
    (
        ASSOCIATED_TOKEN,
        [A, B, C, MINT, SYSTEM, TOKEN],
        b"",
        "create",
        {
            "source": A,
            "account": B,
            "wallet": C,
            "mint": MINT,
            "systemProgram": SYSTEM,
            "tokenProgram": TOKEN,
        },
    ),
    (
        STAKE,
        [B, C, RENT, A],
        b"\x01\0\0\0" + key_bytes(D) + b"\x01\0\0\0",
        "authorize",
        {
            "stakeAccount": B,
            "clockSysvar": C,
            "authority": RENT,
            "custodian": A,
            "newAuthority": D,
            "authorityType": "Withdrawer",
        },
    ),
    (
        STAKE,
        [B, RENT],
        bytes(4)
        + key_bytes(A)
        + key_bytes(C)
        + (-3).to_bytes(8, "little", signed=True)
        + bytes(8)
        + key_bytes(D),
        "initialize",
        {
            **{"stakeAccount": B, "rentSysvar": RENT, "authorized": {"staker": A, "withdrawer": C}},
            "lockup": {"unixTimestamp": -3, "epoch": 0, "custodian": D},
        },
    ),
]


@pytest.mark.parametrize(("program", "accounts", "data", "name", "info"), PAIRS)
def test_json_and_json_parsed_give_the_same_transaction(
    program: str, accounts: list[str], data: bytes, name: str, info: Json
) -> None:
    keys = list(dict.fromkeys([A, *accounts, program]))
    plain = raw(keys.index(program), [keys.index(one) for one in accounts], data)
    parsed_keys = [
        {"pubkey": key, "signer": key == A, "writable": True, "source": "transaction"} for key in keys
    ]
    parsed = {"program": "?", "programId": program, "parsed": {"type": name, "info": info}, "stackHeight": 1}
    first = parse_record(answer(message(plain, keys=keys)))
    body = message(parsed, keys=parsed_keys)
    del body["header"]
    second = parse_record(answer(body))
    assert first == second
    found = decode_instruction(program, steps(second.root, Call)[0].data)
    assert found is not None and found[0].name.endswith(f":{name}")


def test_a_parsed_memo_is_its_text_and_an_unknown_parsed_form_is_kept() -> None:
    memo = {"program": "spl-memo", "programId": MEMO, "parsed": "hello"}
    other = {
        "program": "vote",
        "programId": VOTE,
        "parsed": {"type": "x", "info": {"voteAccount": B, "n": 3}},
    }
    first, second = steps(parse_record(answer(message(memo, other, keys=[A]))).root, Call)
    assert first.data == b"hello"
    assert json.loads(second.data) == other["parsed"] and second.accounts == (B,)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"meta": None}, "`meta` must be an object"),
        ({"transaction": ["AQ==", "base64"]}, "encoding json or jsonParsed"),
        (
            {"transaction": {"signatures": ["x"], "message": message(raw(9, [], b""), keys=[A])}},
            "account 9 of 1",
        ),
        ({"transaction": {"signatures": ["x"], "message": message(keys=[])}}, "no account keys"),
        ({"transaction": {"signatures": ["x"], "message": message(keys=[["x"]])}}, "not a base58 key"),
        ({"transaction": {"signatures": ["x"], "message": message(keys=["O" * 32])}}, "not a base58 key"),
        ({"transaction": {"signatures": [], "message": message(keys=[A])}}, "no usable signature"),
        ({"slot": 2**63}, r"`slot` is not below 2\^63"),
        ({"blockTime": 2**63}, r"`blockTime` is not below 2\^63"),
    ],
)
def test_malformed_answers_are_refused_in_one_line(change: Json, reason: str) -> None:
    with pytest.raises(ParseError, match=reason) as caught:
        parse_record(answer(message(keys=[A])) | change)
    assert "\n" not in str(caught.value)


def test_an_error_of_an_instruction_before_the_first_is_one_of_the_transaction() -> None:
    transaction = parse_record(answer(message(keys=[A]), err={"InstructionError": [-5, "x"]}))
    assert transaction.root.error == "InstructionError"


def test_hostile_nesting_is_refused() -> None:
    with pytest.raises(ParseError, match="`stackHeight` 3 cannot follow 1"):
        routed(innerInstructions=[{"index": 1, "instructions": [raw(4, [], b"\3", 3)]}], logMessages=None)
    with pytest.raises(ParseError, match="that is not there"):
        routed(innerInstructions=[{"index": 5, "instructions": []}], logMessages=None)


def test_base58_is_its_own_inverse_and_has_no_zero() -> None:
    assert b58decode("JxF12TrwUP45BMd", "x") == b"Hello World"
    assert b58encode(b"\0\0Hello World") == "11JxF12TrwUP45BMd"
    with pytest.raises(ParseError, match="not base58"):
        b58decode("0OIl", "x")


def test_an_idl_names_instructions_and_reads_their_arguments(tmp_path: Path) -> None:
    assert discriminator("route").hex() == "e517cb977ae3ad2a"  # Jupiter's, as its transactions carry it
    assert discriminator("initializeV2") == discriminator("initialize_v2")
    arguments = [
        *({"name": "amount", "type": "u64"}, {"name": "to", "type": {"option": "publicKey"}}),
        *({"name": "note", "type": "string"}, {"name": "plan", "type": {"defined": "Plan"}}),
    ]
    idl = {
        "name": "vault",
        "instructions": [{"name": "payOut", "args": arguments, "accounts": [{"name": "vault"}]}],
    }
    path = tmp_path / "vault.json"
    path.write_text(json.dumps(idl))
    data = discriminator("payOut") + (5).to_bytes(8, "little") + b"\1" + key_bytes(D) + b"\2\0\0\0hi\xff"
    found = load_idl(path).decode(data)
    assert found is not None
    assert (found[0].name, found[0].accounts, found[1]) == ("payOut", ("vault",), (5, D, "hi"))
    assert load_idl(path).decode(b"\0" * 8) is None
    with pytest.raises(ParseError, match="an IDL is an object"):
        read_idl([])


@pytest.mark.skipif(not REAL.is_file(), reason="the recorded mainnet transactions are not here")
def test_all_real_transactions_parse() -> None:
    with gzip.open(REAL, "rt") as lines:
        records = [json.loads(line) for line in lines]
    seen = [parse_record(record) for record in records]
    assert len(seen) == 906
    for record, transaction in zip(records, seen, strict=True):
        meta = record["tx"]["meta"]
        assert (transaction.hash, transaction.ok) == (record["signature"], meta["err"] is None)
        told = len(record["tx"]["transaction"]["message"]["instructions"])
        told += sum(len(group["instructions"]) for group in meta["innerInstructions"] or ())
        assert sum(isinstance(visit.step, Call) for visit in walk(transaction.root)) == told + 1
        logs = meta.get("logMessages") or []
        text = [
            log.text for log in (v.step for v in walk(transaction.root)) if isinstance(log, Log) and log.text
        ]
        printed = [line for line in logs if line.startswith("Program log: ") and line != "Program log: "]
        if transaction.log_order is LogOrder.EXACT and not any("\n" in line for line in logs):
            assert [line for line in text if f"Program log: {line}" in printed] == [
                line.removeprefix("Program log: ") for line in printed
            ]
    orders = [transaction.log_order for transaction in seen]
    assert orders.count(LogOrder.EXACT) > 870 and orders.count(LogOrder.CUT) == 2
    well_known = [
        decode_instruction(call.target, call.data)
        for transaction in seen
        for call in (visit.step for visit in walk(transaction.root))
        if isinstance(call, Call)
        and call.target in (SYSTEM, TOKEN, COMPUTE_BUDGET, ASSOCIATED_TOKEN)
        and call.data
    ]
    assert len(well_known) > 4000
    assert sum(found is None for found in well_known) < 10
