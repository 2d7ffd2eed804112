"""Files as cryo and ethereum-etl write them, made from the recorded chain by a writer of the test's own."""

import csv
import gzip
import itertools
import json
import lzma
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blockscan.archive import RawBlock
from blockscan.chains import table_files
from blockscan.chains.declared import with_declared
from blockscan.chains.decode import decode
from blockscan.chains.encode import encode
from blockscan.chains.ethereum import parse_block, parse_record
from blockscan.chains.table_files import in_block_order, look_through
from blockscan.chains.tables import nest, read_tables, recognise
from blockscan.errors import ChainError, ParseError
from blockscan.transaction import Call, CallKind, LogOrder, TraceSource, Transaction

RECORDING = Path(__file__).resolve().parents[2] / "pipelines" / "simulation" / "recording"
BLOCKS = range(95, 125)
Json = dict[str, Any]
Rows = list[Json]


@pytest.fixture(scope="module")
def recorded() -> list[Json]:
    """Thirty blocks; calls that fail inside of good transactions, CREATE2 and SELFDESTRUCT are planted."""
    with lzma.open(RECORDING / "blocks.jsonl.xz") as lines:
        entries = [json.loads(line) for line in itertools.islice(lines, BLOCKS.start, BLOCKS.stop)]
    inner = [
        frame
        for entry in entries
        for tx in entry["traces"]
        for place, frame in frames(tx)
        if place and int(frame.get("to") or "0xff", 16) > 0x11  # precompiles are left out of every tree
    ]
    for count, frame in enumerate(inner):
        if frame["type"] == "CREATE":
            frame["type"] = "CREATE2"
        elif count % 11 == 0:
            frame["error"] = "execution reverted"
        elif count % 31 == 0 and not frame.get("calls"):
            frame |= {"type": "SELFDESTRUCT", "input": "0x", "output": None}
    return entries


def number(text: str | None) -> int:
    return int(text or "0x0", 16)


def raw(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text[2:])


def frames(tx: Json) -> Iterator[tuple[list[int], Json]]:
    """Every frame of a recorded trace with its trace address, outermost first."""
    pending: list[tuple[list[int], Json]] = [([], tx["result"])]
    while pending:
        place, frame = pending.pop(0)
        yield place, frame
        pending += [([*place, n], call) for n, call in enumerate(frame.get("calls", []))]


def same(transactions: list[Transaction], expected: list[Transaction]) -> None:
    assert [each.hash for each in transactions] == [each.hash for each in expected]
    assert len(expected) > 100
    for one, other in zip(transactions, expected, strict=True):
        assert one == other, one.hash


def over_rpc(
    recorded: list[Json],
    source: TraceSource = TraceSource.CALL_TRACER,
    *,
    logs: bool = True,
    change: Callable[[Json], Json] = lambda frame: frame,
) -> list[Transaction]:
    """The same transactions from JSON-RPC bodies; frames carry no logs, and each may be changed."""

    def bare(frame: Json) -> Json:
        calls = [bare(call) for call in frame.get("calls", [])]
        return change({key: value for key, value in frame.items() if key != "logs"} | {"calls": calls})

    found = []
    for entry in recorded:
        block = entry["block"]
        receipts = [receipt if logs else receipt | {"logs": None} for receipt in entry["receipts"]]
        traces = [trace | {"result": bare(trace["result"])} for trace in entry["traces"]]
        answers = {"block": block, "receipts": receipts, "traces": traces}
        bodies = {name: json.dumps({"result": answer}).encode() for name, answer in answers.items()}
        place = (number(block["number"]), block["hash"], block["parentHash"], number(block["timestamp"]))
        hashes = tuple(tx["hash"] for tx in block["transactions"])
        raw_block = RawBlock("evm-7001", *place, TraceSource.CALL_TRACER, "rpc", hashes, bodies)
        found += parse_block(raw_block)
    names = {
        TraceSource.CALL_TRACER: source,
        TraceSource.CALL_TRACER_LOGS: {
            TraceSource.TRACE_BLOCK: TraceSource.TRACE_BLOCK_LOGS,
            TraceSource.CALL_TRACER: TraceSource.CALL_TRACER_LOGS,
        }[source],
    }
    return [replace(each, source=names[each.source]) for each in found]


def from_tables(*paths: Path, chain: str = "evm-7001") -> list[Transaction]:
    rejected: list[str] = []
    found = []
    for record in read_tables(paths, chain=chain, reject=rejected.append):
        read_back = decode(encode(record))
        found.append(with_declared(parse_record(read_back), read_back))
    assert rejected == []
    return found


def cryo_rows(recorded: list[Json]) -> dict[str, Rows]:
    tables: dict[str, Rows] = {"transactions": [], "logs": [], "geth_calls": [], "traces": []}
    for entry in recorded:
        block, kept = entry["block"], {"chain_id": 7001, "block_number": number(entry["block"]["number"])}
        for tx, receipt, trace in zip(block["transactions"], entry["receipts"], entry["traces"], strict=True):
            at = kept | {
                "transaction_index": number(tx["transactionIndex"]),
                "transaction_hash": raw(tx["hash"]),
            }
            tables["transactions"].append(
                at
                | {"from_address": raw(tx["from"]), "to_address": raw(tx["to"]), "value": number(tx["value"])}
                | {"nonce": number(tx["nonce"]), "input": raw(tx["input"]), "gas_limit": number(tx["gas"])}
                | {"gas_used": number(receipt["gasUsed"]), "success": receipt["status"] == "0x1"}
                | {"block_hash": raw(block["hash"]), "timestamp": number(block["timestamp"])}
            )
            for log in receipt["logs"]:
                topics = [raw(topic) for topic in log["topics"]] + [None] * 4
                cells = {f"topic{place}": topics[place] for place in range(4)}
                cells |= {"log_index": number(log["logIndex"]), "address": raw(log["address"])}
                tables["logs"].append(at | cells | {"data": raw(log["data"])})
            failed: list[list[int]] = []
            for place, frame in frames(trace):
                cells = {"from": raw(frame["from"]), "to": raw(frame.get("to")), "error": frame.get("error")}
                cells |= {"value": number(frame.get("value")), "input": raw(frame["input"])}
                cells |= {"output": raw(frame.get("output")), "used": number(frame["gasUsed"])}
                tables["geth_calls"].append(
                    at
                    | {"typ": frame["type"], "trace_address": " ".join(map(str, place))}
                    | {"from_address": cells["from"], "to_address": cells["to"], "value": cells["value"]}
                    | {"gas": number(frame.get("gas")), "gas_used": cells["used"], "input": cells["input"]}
                    | {"output": cells["output"], "error": cells["error"]}
                )
                if cells["error"] or any(place[: len(above)] == above for above in failed):
                    failed.append(place)
                else:
                    tables["traces"].append(at | parity_cells(frame, place, cells))
    return tables


def parity_cells(frame: Json, place: list[int], cells: Json) -> Json:
    creates = frame["type"] in ("CREATE", "CREATE2")
    ends = frame["type"] == "SELFDESTRUCT"
    name = {"DELEGATECALL": "delegate_call", "STATICCALL": "static_call", "CALLCODE": "call_code"}
    return {
        "action_type": "create" if creates else "suicide" if ends else "call",
        "action_call_type": None if creates or ends else name.get(frame["type"], "call"),
        "action_from": cells["from"],
        "action_to": None if creates else cells["to"],
        "action_value": str(cells["value"]),
        "action_input": None if creates or ends else cells["input"],
        "action_init": cells["input"] if creates else None,
        "result_gas_used": cells["used"],
        "result_output": None if creates or ends else cells["output"],
        "result_code": cells["output"] if creates else None,
        "result_address": cells["to"] if creates else None,
        "trace_address": "_".join(map(str, place)),
        "subtraces": len(frame.get("calls", [])),
        "error": None,
    }


def write_cryo(folder: Path, recorded: list[Json], datasets: str, *, hexed: bool, words: str) -> Path:
    """Files of ten blocks each; 256-bit numbers as `words` (binary, string, f64)."""
    folder.mkdir(exist_ok=True)
    columns = {"value", "gas", "gas_used"}
    for dataset, rows in cryo_rows(recorded).items():
        if dataset not in datasets.split():
            continue
        wide = columns if dataset == "geth_calls" else columns & {"value"}
        for first in range(BLOCKS.start + 1, BLOCKS.stop + 1, 10):
            part = [row for row in rows if first <= row["block_number"] < first + 10]
            cells = [cryo_cells(row, wide, hexed=hexed, words=words) for row in part]
            name = f"evm-7001__{dataset}__{first:08d}_to_{first + 9:08d}.parquet"
            pq.write_table(pa.Table.from_pylist(cells), folder / name)
    return folder


def cryo_cells(row: Json, wide: set[str], *, hexed: bool, words: str) -> Json:
    written: Json = {}
    for name, value in row.items():
        if name in wide:
            whole = {"binary": value.to_bytes(32), "string": str(value), "f64": float(value)}
            written |= {f"{name}_{word}": whole[word] for word in words.split()}
        else:
            written[name] = value
    if hexed:
        as_hex = {name: "0x" + cell.hex() for name, cell in written.items() if isinstance(cell, bytes)}
        written |= as_hex
    return written


@pytest.mark.parametrize(
    ("hexed", "words"),
    [(False, "binary string f64"), (True, "binary f64"), (False, "string"), (True, "string")],
)
def test_geth_calls_of_cryo_are_the_transactions_of_the_node(
    tmp_path: Path, recorded: list[Json], hexed: bool, words: str
) -> None:
    folder = write_cryo(tmp_path / "cryo", recorded, "transactions logs geth_calls", hexed=hexed, words=words)
    found = from_tables(folder)
    same(found, over_rpc(recorded))
    assert {each.log_order for each in found} == {LogOrder.ROOT, LogOrder.EXACT}


def test_without_logs_the_source_says_so(tmp_path: Path, recorded: list[Json]) -> None:
    folder = write_cryo(tmp_path, recorded, "transactions geth_calls", hexed=False, words="binary")
    found = from_tables(folder)
    same(found, over_rpc(recorded, logs=False))
    assert {(each.source, each.log_order) for each in found} == {(TraceSource.CALL_TRACER, LogOrder.ABSENT)}


def test_geth_calls_alone_lack_only_block_hash_and_time(tmp_path: Path, recorded: list[Json]) -> None:
    folder = write_cryo(tmp_path, recorded, "geth_calls", hexed=False, words="binary")
    expected = [replace(each, block_hash=None, time=None) for each in over_rpc(recorded, logs=False)]
    same(from_tables(folder), expected)


def test_logs_count_as_absent_where_no_file_of_them_covers_the_block(
    tmp_path: Path, recorded: list[Json]
) -> None:
    folder = write_cryo(tmp_path, recorded, "transactions logs geth_calls", hexed=False, words="binary")
    next(folder.glob("*logs*_to_00000115*")).unlink()
    for each in from_tables(folder):
        covered = not 106 <= (each.block_number or 0) <= 115
        assert (each.source is TraceSource.CALL_TRACER_LOGS) == covered


def test_receipts_and_logs_alone_give_the_outermost_frame(tmp_path: Path, recorded: list[Json]) -> None:
    folder = write_cryo(tmp_path, recorded, "transactions logs", hexed=True, words="string")
    expected = over_rpc(recorded)
    found = from_tables(folder)
    assert [each.hash for each in found] == [each.hash for each in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.source is TraceSource.RECEIPT
        assert (one.sender, one.ok, one.gas_used, one.time) == (
            other.sender,
            other.ok,
            other.gas_used,
            other.time,
        )
        assert (one.root.data, one.root.value, one.root.kind) == (
            other.root.data,
            other.root.value,
            other.root.kind,
        )
        assert one.root.steps == tuple(step for step in other.root.steps if not isinstance(step, Call))
        assert one.root.target == other.root.target or one.root.kind is CallKind.CREATE


def without_failed(call: Call) -> Call:
    kept = (step for step in call.steps if not isinstance(step, Call) or step.ok)
    return replace(
        call,
        kind=CallKind.CREATE if call.kind is CallKind.CREATE2 else call.kind,
        steps=tuple(without_failed(step) if isinstance(step, Call) else step for step in kept),
    )


def test_traces_of_cryo_are_the_nodes_but_for_failed_calls(tmp_path: Path, recorded: list[Json]) -> None:
    folder = write_cryo(tmp_path, recorded, "transactions logs traces", hexed=False, words="binary")
    found = from_tables(folder)
    expected = over_rpc(recorded, TraceSource.TRACE_BLOCK)
    failed = [each for each in found if not each.ok]
    assert failed
    assert {each.source for each in failed} == {TraceSource.RECEIPT}
    good = [each for each in expected if each.ok]
    same(
        [each for each in found if each.ok],
        [replace(each, root=without_failed(each.root)) for each in good],
    )
    lacking = [each for each in read_tables([folder], reject=print) if "missing" in each]
    holed = {each.hash for each in good if without_failed(each.root) != plain_creates(each.root)}
    assert {each["tx_hash"] for each in lacking} == holed
    assert holed


def plain_creates(call: Call) -> Call:
    return replace(
        call,
        kind=CallKind.CREATE if call.kind is CallKind.CREATE2 else call.kind,
        steps=tuple(plain_creates(step) if isinstance(step, Call) else step for step in call.steps),
    )


def test_traces_of_cryo_alone_are_refused(tmp_path: Path, recorded: list[Json]) -> None:
    folder = write_cryo(tmp_path, recorded, "traces", hexed=False, words="binary")
    with pytest.raises(ChainError, match="leave out failed transactions; add its txs"):
        list(read_tables([folder], reject=print))


def etl_rows(recorded: list[Json], *, geth: bool) -> dict[str, Rows]:
    tables: dict[str, Rows] = {"transactions": [], "receipts": [], "logs": [], "traces": []}
    for entry in recorded:
        block = entry["block"]
        of_block = {"block_number": number(block["number"]), "block_hash": block["hash"]}
        for tx, receipt, trace in zip(block["transactions"], entry["receipts"], entry["traces"], strict=True):
            at = {"transaction_index": number(tx["transactionIndex"])}
            tables["transactions"].append(
                {"hash": tx["hash"], "nonce": number(tx["nonce"]), **of_block, **at}
                | {"from_address": tx["from"], "to_address": tx["to"], "value": number(tx["value"])}
                | {"gas": number(tx["gas"]), "gas_price": number(tx["gasPrice"]), "input": tx["input"]}
                | {"block_timestamp": number(block["timestamp"])}
            )
            at = {"transaction_hash": tx["hash"], **at, **of_block}
            tables["receipts"].append(
                at
                | {"cumulative_gas_used": 0, "gas_used": number(receipt["gasUsed"]), "root": None}
                | {"contract_address": receipt["contractAddress"], "status": number(receipt["status"])}
            )
            for log in receipt["logs"]:
                cells = {"log_index": number(log["logIndex"]), "address": log["address"]}
                tables["logs"].append(cells | at | {"data": log["data"], "topics": log["topics"]})
            at.pop("block_hash")
            for place, frame in frames(trace):
                tables["traces"].append(etl_trace(at, place, frame, geth=geth))
    return tables


def etl_trace(at: Json, place: list[int], frame: Json, *, geth: bool) -> Json:
    kind = frame["type"].lower()
    creates = kind in ("create", "create2")
    named = {"selfdestruct": "suicide"}.get(kind, kind if creates else "call")
    failed = frame.get("error") and not geth
    return at | {
        "transaction_hash": None if geth else at["transaction_hash"],
        "from_address": frame["from"],
        "to_address": frame.get("to"),
        "value": number(frame.get("value")),
        "input": frame["input"],
        "output": None if failed else frame.get("output"),
        "trace_type": named if geth or not creates else "create",
        "call_type": kind if named == "call" else None,
        "reward_type": None,
        "gas": number(frame.get("gas")),
        "gas_used": None if failed else number(frame["gasUsed"]),
        "subtraces": len(frame.get("calls", [])),
        "trace_address": place,
        "error": frame.get("error"),
        "status": 0 if frame.get("error") else 1,
    }


def write_etl(folder: Path, recorded: list[Json], datasets: str, *, form: str, geth: bool) -> Path:
    """Files in no order at all, as several workers write them."""
    folder.mkdir(exist_ok=True)
    for dataset, rows in etl_rows(recorded, geth=geth).items():
        if dataset not in datasets.split():
            continue
        for part in (0, 1):
            shuffled = [row for row in rows if row["block_number"] % 2 == part]
            random.Random(part).shuffle(shuffled)
            write_rows(folder / f"{dataset}-{part}.{form}", shuffled)
    return folder


def write_rows(path: Path, rows: Rows) -> None:
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as stream:
        if ".json" in path.name:
            stream.writelines(json.dumps(row | {"type": "x"}) + "\n" for row in rows)
            return
        table = csv.DictWriter(stream, rows[0], lineterminator="\r\n")
        table.writeheader()
        for row in rows:
            lists = {name: ",".join(map(str, cell)) for name, cell in row.items() if isinstance(cell, list)}
            table.writerow(row | lists)


def parity_failures(frame: Json) -> Json:
    left_out = {"output", "gasUsed"} if frame.get("error") else set()
    kind = "CREATE" if frame["type"] == "CREATE2" else frame["type"]
    return {key: value for key, value in frame.items() if key not in left_out} | {"type": kind}


@pytest.mark.parametrize("form", ["csv", "json", "csv.gz"])
def test_traces_of_ethereum_etl_are_the_transactions_of_the_node(
    tmp_path: Path, recorded: list[Json], form: str
) -> None:
    datasets = "transactions receipts logs traces"
    folder = write_etl(tmp_path / "etl", recorded, datasets, form=form, geth=False)
    # Of failed frames trace_block says neither gas nor data.
    same(from_tables(folder), over_rpc(recorded, TraceSource.TRACE_BLOCK, change=parity_failures))


def test_geth_traces_of_ethereum_etl_are_joined_by_place(tmp_path: Path, recorded: list[Json]) -> None:
    folder = write_etl(tmp_path, recorded, "transactions receipts traces", form="csv", geth=True)
    same(from_tables(folder), over_rpc(recorded, logs=False))


def test_unsorted_files_are_read_in_bounded_pieces(
    tmp_path: Path, recorded: list[Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_etl(tmp_path, recorded, "transactions receipts traces", form="json", geth=True)
    monkeypatch.setattr(table_files, "_SORTED_AT_ONCE", 50)
    same(from_tables(folder), over_rpc(recorded, logs=False))


def test_rows_of_many_files_come_once_and_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "_SORTED_AT_ONCE", 3)
    held = [5, 1, 3, 1, 9, 2, 9, 9, 9, 4], [2, 2, 6, 8], [7], []
    files = []
    for place, blocks in enumerate(held):
        path = tmp_path / f"x{place}.csv"
        path.write_text("\n".join(["block_number,at", *(f"{block},{place}" for block in blocks)]) + "\n")
        files.append(look_through(path, "block_number"))
    assert files[3] is None
    rows = in_block_order([file for file in files if file], "block_number")
    found = [(block, int(row.cell("at"))) for block, row in rows]
    assert [block for block, _ in found] == sorted(block for blocks in held for block in blocks)
    assert sorted(found) == sorted((block, place) for place, blocks in enumerate(held) for block in blocks)


def test_the_same_file_twice_changes_nothing(tmp_path: Path, recorded: list[Json]) -> None:
    folder = write_cryo(tmp_path, recorded, "transactions logs geth_calls", hexed=False, words="binary")
    for path in list(folder.iterdir()):
        (folder / f"copy-{path.name}").write_bytes(path.read_bytes())
    same(from_tables(folder), over_rpc(recorded))


def test_files_are_recognised_by_their_columns(tmp_path: Path, recorded: list[Json]) -> None:
    cryo = write_cryo(
        tmp_path / "c", recorded, "transactions logs geth_calls traces", hexed=True, words="binary"
    )
    etl = write_etl(tmp_path / "e", recorded, "transactions receipts logs traces", form="csv", geth=False)
    named = {recognise(path) for path in cryo.iterdir()}
    assert named == {"cryo txs", "cryo logs", "cryo geth_calls", "cryo traces"}
    named = {recognise(path) for path in etl.iterdir()}
    tool = "ethereum-etl"
    assert named == {f"{tool} transactions", f"{tool} receipts", f"{tool} logs", f"{tool} traces"}
    transfers = tmp_path / "token_transfers.csv"
    transfers.write_text(
        "token_address,from_address,to_address,value,transaction_hash,log_index,block_number\n"
    )
    records = tmp_path / "records.jsonl"
    records.write_text('{"tx_hash": "0x1", "trace": {}}\n')
    assert [recognise(transfers), recognise(records), recognise(tmp_path / "x.txt")] == [None] * 3


def one_row(path: Path, **change: Any) -> list[Path]:
    row = {"block_number": 1, "transaction_index": 0, "transaction_hash": b"\1" * 32, "success": True}
    row |= {"from_address": b"\2" * 20, "to_address": b"\3" * 20, "input": b"", "value_binary": b"\0" * 32}
    kept = {name: cell for name, cell in (row | change).items() if cell is not ...}
    pq.write_table(pa.Table.from_pylist([kept]), path)
    return [path]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"from_address": b"\2" * 19}, r"t.parquet row 1: column from_address: 20 bytes are needed"),
        ({"from_address": "0xzz"}, r"column from_address: hexadecimal digits or bytes"),
        ({"input": ...}, r"\(cryo txs\) has no column input; export it with it"),
        ({"value_binary": ...}, r"column value: there is no such column"),
        ({"value_binary": ..., "value_f64": 1.5}, r"column value_f64: a whole number is needed"),
        (
            {"value_binary": ..., "value_f64": 1e18},
            r"column value_f64: a rounded number; export it as binary",
        ),
        ({"value_binary": ..., "value_string": "-1"}, r"column value_string: a whole number is needed"),
        ({"block_number": None}, r"column block_number: a block number is needed"),
        ({"transaction_hash": None}, r"column transaction_hash: a value is needed"),
    ],
)
def test_errors_name_file_and_column(tmp_path: Path, change: Json, message: str) -> None:
    with pytest.raises((ParseError, ChainError), match=message):
        list(read_tables(one_row(tmp_path / "t.parquet", **change), reject=print))


def test_small_doubles_are_exact(tmp_path: Path) -> None:
    paths = one_row(tmp_path / "t.parquet", value_binary=..., value_f64=2.0**52)
    (record,) = read_tables(paths, reject=print)
    assert parse_record(record).root.value == 2**52


def test_files_that_cannot_be_used_are_named(tmp_path: Path, recorded: list[Json]) -> None:
    damaged = tmp_path / "transactions.parquet"
    damaged.write_bytes(b"PAR1 nothing")
    with pytest.raises(ChainError, match=r"transactions\.parquet cannot be read"):
        list(read_tables([damaged], reject=print))
    damaged.unlink()
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(ChainError, match="no table of cryo or ethereum-etl"):
        list(read_tables([other], reject=print))
    with pytest.raises(ChainError, match="neither transactions nor traces"):
        list(read_tables([tmp_path], reject=print))
    with pytest.raises(ChainError, match="does not exist"):
        list(read_tables([tmp_path / "absent"], reject=print))
    write_etl(tmp_path, recorded, "transactions", form="csv", geth=False)
    one_row(tmp_path / "t.parquet")
    with pytest.raises(ChainError, match=r"both .* are given; give one of them"):
        list(read_tables([tmp_path], reject=print))


def test_what_cannot_be_joined_is_reported(tmp_path: Path, recorded: list[Json]) -> None:
    write_etl(tmp_path, recorded, "transactions logs", form="json", geth=False)
    rejected: list[str] = []
    assert list(read_tables([tmp_path], reject=rejected.append)) == []
    assert "nothing says whether it succeeded; add the table of receipts or of traces" in rejected[0]
    for path in tmp_path.glob("transactions*"):
        path.unlink()
    write_etl(tmp_path, recorded[:1], "transactions", form="json", geth=False)
    (tmp_path / "transactions-1.json").unlink(missing_ok=True)
    rejected.clear()
    list(read_tables([tmp_path], reject=rejected.append))
    assert any("transactions that no table of them holds" in line for line in rejected)


def test_a_tree_as_deep_as_the_evm_allows_is_read_and_written(tmp_path: Path) -> None:
    paths = one_row(tmp_path / "t.parquet")
    rows = [
        {"block_number": 1, "transaction_index": 0, "transaction_hash": b"\1" * 32, "typ": "CALL"}
        | {"from_address": b"\2" * 20, "to_address": b"\3" * 20, "value_string": "0", "gas_used_string": "1"}
        | {"input": b"", "output": b"", "error": None, "trace_address": " ".join(["0"] * depth)}
        for depth in range(1024)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "calls.parquet")
    (transaction,) = from_tables(*paths, tmp_path / "calls.parquet")
    depth, call = 0, transaction.root
    while call.steps:
        assert isinstance(call.steps[0], Call)
        depth, call = depth + 1, call.steps[0]
    assert depth == 1023


def test_frames_without_a_place_are_refused(tmp_path: Path) -> None:
    from blockscan.chains.table_rows import FrameRow

    def frame(*place: int, kind: str = "CALL") -> FrameRow:
        return FrameRow("0x1", 0, place, {"type": kind}, None, None)

    assert nest([frame(), frame(0), frame(1)])[1]
    assert not nest([frame(), frame(1)])[1]
    for rows, message in [
        ([frame(0)], "no caller"),
        ([], "outermost frame is missing"),
        ([frame(), frame(0), frame(0, kind="CREATE")], "two different frames"),
    ]:
        with pytest.raises(ParseError, match=message):
            nest(rows)


def test_declared_sources_are_known_ones() -> None:
    record = {"tx_hash": "0x1", "trace": {"type": "CALL", "from": "0x" + "1" * 40}, "trace_source": "guess"}
    with pytest.raises(ParseError, match="one of callTracer, trace_block, receipt"):
        with_declared(parse_record(record | {"trace_source": None}), record)


def test_json_of_any_depth_is_written_as_orjson_writes_it() -> None:
    value: Any = {"a": [1, "x\n", None, True, {}, [], {"b": 1.5}]}
    nested: Any = 1
    for _ in range(3000):
        nested = [nested, {"k": 2}]
    assert encode(value) == json.dumps(value, separators=(",", ":")).encode()
    deep = {"a": nested, "b": value}
    text = encode(deep)
    assert text.count(b"[") == 3002
    read_back = decode(text)
    assert read_back["b"] == value
    assert encode(read_back) == text
