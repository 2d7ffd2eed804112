"""signatures import and labels import: every form of export, files that are not, and what people then see."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from blockscan.errors import ArtifactError, ParseError, StoreError
from blockscan.findings import Evidence, Frame
from blockscan.store import open_store
from blockscan.store_labels import Label
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceSource, Transaction, walk
from pipelines.cli_import import labels_app, signatures_app
from pipelines.decoding import name_evidence, name_frames, signatures_in
from pipelines.imports import import_labels, import_signatures
from pipelines.signature_exports import candidates_of
from tokenizer.signature_file import load
from tokenizer.signatures import selector_of, topic_of

A, B = ("0x" + digit * 40 for digit in "ab")
TRANSFER = "transfer(address,uint256)"
FOO = "fooBar(uint256,bytes)"
DAY = "2024-05-31"


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


ABI = [
    {"type": "constructor", "inputs": [{"type": "address", "name": "owner"}]},
    {
        "type": "function",
        "name": "fooBar",
        "inputs": [{"type": "uint256", "name": "x"}, {"type": "bytes", "name": "![](http://evil.test)"}],
        "outputs": [{"type": "bool", "name": ""}],
        "stateMutability": "view",
    },
    {
        "type": "function",
        "name": "deep",
        "inputs": [
            {
                "type": "tuple[2][]",
                "components": [
                    {"type": "address", "name": "a"},
                    {"type": "tuple", "components": [{"type": "int8", "name": "b"}]},
                ],
            }
        ],
    },
    {
        "type": "event",
        "name": "Done",
        "anonymous": False,
        "inputs": [
            {"type": "address", "indexed": True, "name": "who"},
            {"type": "uint256", "indexed": False, "name": "what"},
        ],
    },
    {"type": "event", "name": "Hidden", "anonymous": True, "inputs": []},
    {"type": "error", "name": "TooBad", "inputs": []},
    {"type": "fallback"},
]
OF_ABI = {FOO, "deep((address,(int8))[2][])", "Done(address indexed,uint256)", "TooBad()"}
FOO_CODE = selector_of(FOO)
LISTS: dict[str, Any] = {
    "quoted.csv": f'id,created_at,text_signature,hex_signature\n12345678,2016-07-09,"{FOO}",0x{FOO_CODE}\n',
    "openchain.csv": f"0x{FOO_CODE},{FOO}\n",
    "bare.txt": f"{FOO}\n",
    "tabs.tsv": f"0x{FOO_CODE.upper()}\t{FOO}\r\n",
    "4byte.json": {
        "count": 1,
        "results": [{"id": 1, "text_signature": FOO, "hex_signature": f"0x{FOO_CODE}"}],
    },
    "lines.jsonl": f'{{"selector": "0x{FOO_CODE}", "signature": "{FOO}"}}\n{{"signature": "{FOO}"}}\n',
    "lookup.json": {
        "ok": True,
        "result": {"event": {}, "function": {f"0x{FOO_CODE}": [{"name": FOO, "filtered": False}]}},
    },
    "identifiers.json": {FOO: FOO_CODE},
    "strings.json": [FOO],
    "by-selector.json": {f"0x{FOO_CODE}": FOO},
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_signatures_in_every_form(tmp_path: Path, name: str) -> None:
    found = list(candidates_of(write(tmp_path / name, LISTS[name])))
    assert {each.text for each in found} == {FOO}
    stated = {"bare.txt": {""}, "strings.json": {""}, "lines.jsonl": {FOO_CODE, ""}}
    assert {each.stated for each in found} - stated.get(name, {FOO_CODE, ""}) == set()
    done = import_signatures([tmp_path / name], tmp_path / "out.json", date=DAY)
    assert done.rejected == 0
    assert load(tmp_path / "out.json").functions[FOO_CODE] == (FOO,)


@pytest.mark.parametrize("content", [ABI, {"abi": ABI, "bytecode": "0x", "methodIdentifiers": {"x()": "0"}}])
def test_json_abis_bare_and_in_artifacts(tmp_path: Path, content: Any) -> None:
    path = write(tmp_path / "Vault.json", content)
    assert {each.text for each in candidates_of(path)} == OF_ABI
    done = import_signatures([path], tmp_path / "out.json", date=DAY)
    assert (done.added, done.rejected, done.functions, done.events) == (4, 0, 3, 1)
    held = load(tmp_path / "out.json")
    assert held.events[topic_of("Done(address,uint256)")] == ("Done(address indexed,uint256)",)


def test_compressed_files_and_second_imports(tmp_path: Path) -> None:
    path = tmp_path / "export.csv.gz"
    path.write_bytes(gzip.compress(f"0x{FOO_CODE},{FOO}\n".encode()))
    out = tmp_path / "out.json"
    assert import_signatures([path], out, date=DAY).added == 1
    before = out.read_bytes()
    assert import_signatures([path], out, date="2030-01-01").added == 0
    assert out.read_bytes() == before
    write(tmp_path / "more.txt", f"{FOO}\n{TRANSFER}\n")
    done = import_signatures([tmp_path / "more.txt"], out, date=DAY)
    assert (done.added, done.known, done.functions) == (3, 1, 2)
    assert [source.name for source in load(out).sources] == ["export.csv.gz", "more.txt"]


def test_names_that_do_not_hash_to_their_selector_are_rejected(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", f"0xdeadbeef,{FOO}\n0x{FOO_CODE},{FOO}\n0x12345678,bad(uint)\n")
    done = import_signatures([path], tmp_path / "out.json", date=DAY)
    assert (done.added, done.rejected) == (1, 2)
    assert "does not hash to 0xdeadbeef" in done.lines[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no signature"),
        ("a,b\n1,2\n", "holds no signature"),
        ('{"abi": [', "x.json: not valid JSON"),
        ('{"a": 1}\n{"b": \n', "x.json:2: not valid JSON"),
        ("[" * 30_000, "nested more than"),
        ([{"type": "function", "name": "f", "inputs": [{"type": "tuple"}]}], "holds no signature"),
    ],
)
def test_files_without_signatures_are_named_and_change_nothing(
    tmp_path: Path, content: Any, message: str
) -> None:
    good = write(tmp_path / "good.txt", FOO)
    with pytest.raises((ArtifactError, ParseError), match=message):
        import_signatures([good, write(tmp_path / "x.json", content)], tmp_path / "out.json", date=DAY)
    assert not (tmp_path / "out.json").exists()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["a", "a(", "1", "(", "a(b$"])
def test_a_long_line_of_anything_is_looked_through_once(tmp_path: Path, piece: str) -> None:
    path = write(tmp_path / "x.txt", f"{piece * (400_000 // len(piece))}\n9{FOO} 0x{FOO_CODE}\n")
    done = import_signatures([path], tmp_path / "out.json", date=DAY)
    assert (done.added, done.rejected) == (1, 0)


def test_an_abi_nested_by_an_attacker_is_rejected(tmp_path: Path) -> None:
    parameter: dict[str, Any] = {"type": "bool"}
    for _ in range(300):
        parameter = {"type": "tuple", "components": [parameter]}
    entry = {"type": "function", "name": "f", "inputs": [parameter]}
    path = write(tmp_path / "deep.json", [entry, *ABI])
    done = import_signatures([path], tmp_path / "out.json", date=DAY)
    assert (done.added, done.rejected) == (4, 1)


def transaction(root: Call) -> Transaction:
    return Transaction(
        "ethereum", "0x1", 1, None, 0, None, A, True, 1, root, TraceSource.CALL_TRACER_LOGS, LogOrder.EXACT
    )


def frame_of(number: int) -> Frame:
    return Frame(number, -1, 0, "CALL", A, B, "0x?", "0", "", 0.0, ())


def word(text: str) -> bytes:
    return int(text, 16).to_bytes(32)


def test_names_and_arguments_appear_on_the_painted_tree(tmp_path: Path) -> None:
    def call(kind: CallKind, data: bytes, *steps: Call | Log) -> Call:
        return Call(kind, A, B, data, b"", 0, None, None, steps)

    argument = (7).to_bytes(32) + (64).to_bytes(32) + (2).to_bytes(32) + b"hi".ljust(32, b"\0")
    log = Log(B, (bytes.fromhex(topic_of("Done(address,uint256)")), word(A)), (9).to_bytes(32))
    create = call(CallKind.CREATE, bytes.fromhex(FOO_CODE) + argument)
    steps = (log, Log(B, (), b""), create, call(CallKind.CALL, b""))
    tx = transaction(call(CallKind.CALL, bytes.fromhex(FOO_CODE) + argument, *steps))
    frames = [frame_of(place) for place, _ in enumerate(walk(tx.root))]
    path = tmp_path / "signatures.json"
    unnamed = name_frames(frames, tx, signatures_in(path), {})
    assert [frame.selector for frame in unnamed][:2] == [
        f"0x{FOO_CODE}",
        "0x" + topic_of("Done(address,uint256)"),
    ]
    import_signatures([write(tmp_path / "Vault.json", ABI)], path, date=DAY)
    named = name_frames(frames, tx, signatures_in(path), {})
    assert [frame.selector for frame in named] == [
        f"0x{FOO_CODE} fooBar(7, 0x6869)",
        f"0x{topic_of('Done(address,uint256)')[:8]}… Done({A}, 9)",
        "0x?",
        "0x?",
        "0x?",
    ]
    path.write_text(path.read_text().replace("fooBar", "barFoo"))
    with pytest.raises(ArtifactError, match="was changed"):
        signatures_in(path)
    with pytest.raises(ValueError, match="zip"):
        name_frames(frames[:-1], tx, signatures_in(tmp_path / "none"), {})


def test_functions_and_events_in_facts_have_their_names(tmp_path: Path) -> None:
    done = topic_of("Done(address,uint256)")
    unknown = "ab" * 32
    import_signatures([write(tmp_path / "Vault.json", ABI)], tmp_path / "s.json", date=DAY)
    told = {
        f"7 as argument 1 of 0x{FOO_CODE}": f"7 as argument 1 of {FOO}",
        f"0x{FOO_CODE} of {A} beside 0x0badf00d": f"{FOO} of {A} beside 0x0badf00d",
        f"number 1 of event 0x{done} is small": "number 1 of event Done(address,uint256) is small",
        f"number 1 of event 0x{unknown} is small": "number 1 of event 0xabababab... is small",
        f"90% of the {A} of {B}": f"90% of the {A} of {B}",
    }
    facts = [Evidence(0, "number_high", found, (), 1.0, 0.01) for found in told]
    named = name_evidence(facts, signatures_in(tmp_path / "s.json").name)
    assert [each.found for each in named] == list(told.values())


FORTA = {
    "data": {
        "labels": {
            "events": [
                {
                    "id": "0x1",
                    "label": {
                        "label": "scammer-eoa",
                        "entity": A.upper().replace("0X", "0x"),
                        "entityType": "ADDRESS",
                        "confidence": 0.8,
                        "remove": False,
                    },
                    "createdAt": "2023-04-05T06:07:08.123456789Z",
                    "source": {"bot": {"id": "0xbot", "image": "x"}, "chainId": 1},
                },
                {
                    "label": {
                        "label": "exploit",
                        "entity": "0x" + "1" * 64,
                        "entityType": "TRANSACTION",
                        "confidence": 1,
                    }
                },
            ]
        }
    }
}
EXPORTS: list[tuple[str, Any, list[Label]]] = [
    (
        "etherscan.csv",
        f'Address,Name Tag,Balance,Txn Count\n{A},"Binance: Hot, 14",1 Ether,5\n{B.upper()[2:]},x,,\n',
        [Label(A, "Binance: Hot, 14", "etherscan.csv", DAY, 0.5)],
    ),
    (
        "full.csv",
        f"address,name,source,date,confidence,chain\n{A},Mixer,us,2020-01-02,0.25,137\n{B},Y,,1588888888,,\n",
        [
            Label(A, "Mixer", "us", "2020-01-02", 0.25, "polygon"),
            Label(B, "Y", "full.csv", "2020-05-07", 0.5),
        ],
    ),
    ("forta.json", FORTA, [Label(A, "scammer-eoa", "0xbot", "2023-04-05", 0.8)]),
    (
        "finding.json",
        {"labels": [{"entityType": "Address", "entity": A, "label": "attacker", "confidence": 0.9}]},
        [Label(A, "attacker", "finding.json", DAY, 0.9)],
    ),
    (
        "keyed.json",
        {A: {"name": "Vault", "labels": ["defi"]}, B: {"labels": ["cex", "hot"]}},
        [Label(A, "Vault", "keyed.json", DAY, 0.5), Label(B, "cex, hot", "keyed.json", DAY, 0.5)],
    ),
    ("names.json", {A: "Alice"}, [Label(A, "Alice", "names.json", DAY, 0.5)]),
    (
        "lines.jsonl",
        f'{{"address": "{A}", "label": "one", "timestamp": 1588888888000}}\n'
        f'{{"address": "{B}", "tag": "two"}}\n',
        [Label(A, "one", "lines.jsonl", "2020-05-07", 0.5), Label(B, "two", "lines.jsonl", DAY, 0.5)],
    ),
    (
        "solana.csv",
        "account,label,chain\nTokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA,SPL Token,solana\n",
        [Label("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA", "SPL Token", "solana.csv", DAY, 0.5, "solana")],
    ),
]


@pytest.mark.parametrize(("name", "content", "expected"), EXPORTS, ids=[name for name, *_ in EXPORTS])
def test_labels_in_every_form(tmp_path: Path, name: str, content: Any, expected: Sequence[Label]) -> None:
    store = tmp_path / "scores.sqlite"
    path = write(tmp_path / name, content)
    done = import_labels([path], store, date=DAY, source=None, confidence=0.5)
    assert (done.given, done.changed) == (len(expected), len(expected))
    assert len(done.rejected) == (name == "etherscan.csv")
    assert import_labels([path], store, date=DAY, source=None, confidence=0.5).changed == 0
    with open_store(store, read_only=True) as results:
        for label in expected:
            assert results.labels([label.address, "0x0"], label.chain or "ethereum") == {
                label.address: (label,)
            }
            assert label.chain == "" or results.labels([label.address], "bsc") == {}


def test_several_sources_stand_side_by_side_until_they_withdraw(tmp_path: Path) -> None:
    store = tmp_path / "scores.sqlite"
    for source, sure in (("a", None), ("b", 0.9), ("c", 0.2)):
        path = write(tmp_path / "x.csv", f"address,name\n{A},Mixer\n")
        import_labels([path], store, date=DAY, source=source, confidence=sure)
    with open_store(store) as results:
        assert [label.source for label in results.labels([A], "ethereum")[A]] == ["b", "c", "a"]
    row = {"entity": A, "label": "Mixer", "remove": True, "source": {"id": "b"}}
    done = import_labels([write(tmp_path / "x.json", [row])], store, date=DAY, source=None, confidence=None)
    assert (done.given, done.withdrawn) == (0, 1)
    with open_store(store) as results:
        assert [label.source for label in results.labels([A], "ethereum")[A]] == ["c", "a"]
        many = [f"0x{place:040x}" for place in range(1200)]
        results.put_labels([Label(address, "n", "s", DAY, None) for address in many])
        assert len(results.labels(many, "ethereum")) == 1200
        assert results.verify() == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense,x,,", "x.csv:2: not an address: 'nonsense'"),
        (f"{A},,,", "x.csv:2: no name"),
        (f"{A},x,2,", "the confidence is '2', not from 0 to 1"),
        (f"{A},x,high,", "the confidence is 'high'"),
        (f"{A},x,,31/12/2020", r"not a date \(YYYY-MM-DD\): '31/12/2020'"),
    ],
)
def test_lines_that_cannot_be_read_are_reported(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "x.csv", f"address,name,confidence,date\n{line}\n{B},fine,,\n")
    done = import_labels([path], tmp_path / "s.sqlite", date=DAY, source=None, confidence=None)
    assert done.given == 1
    (found,) = done.rejected
    with pytest.raises(ParseError, match=message):
        raise ParseError(found)


def test_a_chain_id_that_is_none_costs_its_label_and_no_other(tmp_path: Path) -> None:
    records = [{"address": A, "name": "x", "chainId": "9" * 5000}, {"address": B, "name": "y", "chainId": 56}]
    path = write(tmp_path / "x.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    done = import_labels([path], tmp_path / "s.sqlite", date=DAY, source=None, confidence=None)
    assert done.given == 1 and "not a chain id: '999" in done.rejected[0] and len(done.rejected[0]) < 100


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("who,what\n1,2\n", "columns address and name are needed, found who, what"),
        ("", "found nothing"),
        ('{"a": ', "are no JSON"),
        ("[]", "holds no label"),
        (b"\xff\xfe", "no UTF-8"),
    ],
)
def test_files_that_hold_no_labels_are_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ArtifactError, match=message):
        import_labels([path], tmp_path / "s.sqlite", date=DAY, source=None, confidence=None)
    assert not (tmp_path / "s.sqlite").exists()
    with pytest.raises(ArtifactError, match="cannot be read"):
        import_labels([tmp_path / "none"], tmp_path / "s.sqlite", date=DAY, source=None, confidence=None)


def test_hostile_names_are_stored_without_control_characters(tmp_path: Path) -> None:
    name = "\x1b[31m![](http://evil.test)\u202e" + "x" * 500
    path = write(tmp_path / "x.json", [{"address": A, "name": name}])
    import_labels([path], tmp_path / "s.sqlite", date=DAY, source="a\nb", confidence=None)
    with open_store(tmp_path / "s.sqlite") as results:
        (label,) = results.labels([A], "ethereum")[A]
    assert label.name.isprintable()
    assert (len(label.name), label.source) == (200, "a b")


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.add_typer(signatures_app, name="signatures")
    app.add_typer(labels_app, name="labels")
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_commands(tmp_path: Path) -> None:
    path, out = (
        write(tmp_path / "x.csv", f"0x{FOO_CODE},{FOO}\n0x00000000,bad(uint)\n"),
        tmp_path / "out.json",
    )
    done = run("signatures", "import", path, "--out", out, "--json")
    assert done.exit_code == 3
    assert json.loads(done.stdout) == {"added": 1, "known": 0, "rejected": 1, "functions": 1, "events": 0}
    assert "rejected: x.csv: 'bad(uint)': not a canonical type" in done.stderr
    labels, store = write(tmp_path / "l.csv", f"address,name\n{A},Mixer\n"), tmp_path / "s.sqlite"
    done = run("labels", "import", labels, "--store", store, "--source", "us", "--date", DAY, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"given": 1, "changed": 1, "withdrawn": 0, "rejected": 0}
    with open_store(store) as results:
        assert results.labels([A], "") == {A: (Label(A, "Mixer", "us", DAY, None),)}
    bad = run("labels", "import", labels, "--store", store, "--date", "tomorrow")
    assert "a day like 2024-05-31 is needed" in str(bad.exception)


def test_a_store_that_is_only_read_is_not_written(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.sqlite"):
        pass
    with (
        open_store(tmp_path / "s.sqlite", read_only=True) as results,
        pytest.raises(StoreError, match="cannot be written"),
    ):
        results.put_labels([Label(A, "x", "y", DAY, None)])
