"""The world's contracts: Vyper sources compiled ahead of time, and calldata for their functions.

`python -m pipelines.simulation.compile [NAME...]` rewrites contracts/compiled/*.json; only that needs Vyper.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

FOLDER = Path(__file__).parent / "contracts"
COMPILED = FOLDER / "compiled"
_MODULES = {"ledger"}
_BLUEPRINTS = {"pair"}


def sources() -> Iterator[str]:
    """Yield the names of the contracts that are deployed, in alphabetical order."""
    for path in sorted(FOLDER.glob("*.vy")):
        if path.stem not in _MODULES:
            yield path.stem


def compile_one(name: str) -> str:
    """Compile a contract (Vyper 0.4.3, Cancun) and return the JSON text of its file in COMPILED."""
    import vyper
    from vyper.compiler.input_bundle import FilesystemInputBundle
    from vyper.compiler.settings import OptimizationLevel, Settings

    path = FOLDER / f"{name}.vy"
    wanted = "blueprint_bytecode" if name in _BLUEPRINTS else "bytecode"
    out = vyper.compile_code(
        path.read_text(encoding="utf-8"),
        contract_path=path,
        input_bundle=FilesystemInputBundle([FOLDER]),
        output_formats=["abi", wanted],
        settings=Settings(evm_version="cancun", optimize=OptimizationLevel.GAS),
    )
    result = {"abi": out["abi"], "bytecode": out[wanted]}
    return json.dumps(result, indent=None, separators=(",", ":"), sort_keys=True) + "\n"


class Contract:
    """The interface and creation code of one compiled contract."""

    def __init__(self, abi: list[dict[str, Any]], bytecode: str) -> None:
        self.code = bytes.fromhex(bytecode.removeprefix("0x"))
        self._functions: dict[str, tuple[bytes, list[str], list[str]]] = {}
        self._constructor: list[str] = []
        for entry in abi:
            inputs = [_type(item) for item in entry.get("inputs", [])]
            if entry["type"] == "constructor":
                self._constructor = inputs
            elif entry["type"] == "function":
                outputs = [_type(item) for item in entry["outputs"]]
                selector = keccak(text=f"{entry['name']}({','.join(inputs)})")[:4]
                self._functions[entry["name"]] = (selector, inputs, outputs)

    def create(self, *args: Any) -> bytes:
        """Return creation code followed by the constructor's encoded arguments."""
        return self.code + encode(self._constructor, args)

    def data(self, function: str, *args: Any) -> bytes:
        """Return the calldata of `function(*args)`."""
        selector, inputs, _ = self._functions[function]
        return selector + encode(inputs, args)

    def least(self, function: str) -> int:
        """Return the fewest bytes that `function` can return: a word for each of its outputs."""
        return 32 * len(self._functions[function][2])

    def result(self, function: str, output: bytes) -> Any:
        """Decode what `function` returned: one value, or a tuple of them."""
        values = decode(self._functions[function][2], output)
        return values[0] if len(values) == 1 else values


@cache
def contract(name: str) -> Contract:
    """Return a compiled contract by the stem of its source file."""
    entry = json.loads((COMPILED / f"{name}.json").read_text(encoding="utf-8"))
    return Contract(entry["abi"], entry["bytecode"])


def _type(item: dict[str, Any]) -> str:
    if not item["type"].startswith("tuple"):
        return str(item["type"])
    fields = ",".join(_type(part) for part in item["components"])
    return f"({fields}){item['type'].removeprefix('tuple')}"


if __name__ == "__main__":
    for wanted in sys.argv[1:] or sources():
        (COMPILED / f"{wanted}.json").write_text(compile_one(wanted), encoding="utf-8")
