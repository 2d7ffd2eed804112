"""Anchor IDLs: imported into a model directory, they name instructions on painted trees."""

import hashlib
import json

import pytest

from blockscan.chains.anchor import discriminator
from blockscan.errors import ArtifactError
from blockscan.findings import Frame
from blockscan.transaction import Call, CallKind, LogOrder, TraceSource, Transaction
from pipelines.decoding import idls_in, name_frames
from tokenizer.signatures import BUILT_IN

PROGRAM = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
IDL = {
    "name": "vault",
    "instructions": [
        {
            "name": "depositFunds",
            "args": [{"name": "amount", "type": "u64"}, {"name": "mode", "type": {"defined": "Mode"}}],
            "accounts": [{"name": "owner"}],
        }
    ],
}


@pytest.fixture
def idl(tmp_path):
    path = tmp_path / "vault.json"
    path.write_text(json.dumps(IDL))
    return path


def instruction(data: bytes) -> Call:
    return Call(CallKind.INSTRUCTION, "payer", PROGRAM, data, b"", 0, None, None, ())


def test_instructions_are_named_by_the_idl_of_their_program(cli, idl, tmp_path):
    model = tmp_path / "model"
    done = cli("signatures", "idl", idl, "--model", model, "--program", PROGRAM, "--json")
    assert json.loads(done.stdout) == {PROGRAM: 1}
    idls = idls_in(model / "idl")
    begin = hashlib.sha256(b"global:deposit_funds").digest()[:8]
    assert begin == discriminator("depositFunds")
    for data, expected in (
        (begin + (77).to_bytes(8, "little") + b"\x01", "depositFunds(amount=77, ...)"),
        (b"\x00" * 16, ""),
    ):
        root = instruction(data)
        transaction = Transaction(
            "solana", "x", 1, None, 0, None, "payer", True, None, root, TraceSource.SOLANA, LogOrder.ABSENT
        )
        frame = Frame(0, -1, 0, "INSTRUCTION", "payer", PROGRAM, "", "", "", 0.0, ())
        (named,) = name_frames([frame], transaction, BUILT_IN, idls)
        assert named.selector == expected


def test_an_idl_without_an_address_needs_one_and_nothing_is_written(cli, idl, tmp_path):
    model = tmp_path / "model"
    refused = cli("signatures", "idl", idl, "--model", model)
    assert refused.exit_code == 1
    assert "--program" in refused.stderr
    wrong = cli("signatures", "idl", idl, "--model", model, "--program", "0x1234")
    assert wrong.exit_code == 1
    (tmp_path / "bad.json").write_text("[]")
    assert "IDL" in cli("signatures", "idl", tmp_path / "bad.json", "--model", model).stderr
    assert not (model / "idl").exists()


def test_a_damaged_stored_idl_is_an_error(tmp_path):
    (tmp_path / f"{PROGRAM}.json").write_text("{")
    with pytest.raises(ArtifactError, match="import it again"):
        idls_in(tmp_path)
