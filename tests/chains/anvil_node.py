"""A fresh anvil on a free port, for tests marked `node`. Load it with `runpy.run_path`."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

_beside = str(Path(sys.executable).with_name("anvil"))
BINARY = os.environ.get("ANVIL") or shutil.which("anvil") or shutil.which(_beside)
WHY = "no anvil at hand; put it into PATH or beside python, or name it in ANVIL"
FIRST, SECOND = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266", "0x70997970c51812dc3a010c7d01b50e0d17dc79c8"


class Anvil:
    """A running anvil: `call` for whatever the test sends."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, method: str, *params: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = requests.post(self.url, json=request, timeout=30).json()
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def send(self, **fields: str) -> str:
        return str(self.call("eth_sendTransaction", {"from": FIRST, "gas": "0xf4240", **fields}))

    def pay(self, count: int) -> None:
        """Mine one block of plain transfers."""
        for place in range(count):
            self.send(to=SECOND, value=hex(place + 1), gas="0x5208")
        self.call("evm_mine")


@contextmanager
def start(*arguments: str) -> Iterator[Anvil]:
    """Run anvil without automatic mining while the context is open."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(BINARY), "--port", str(port), "--silent", "--no-mining", "--order", "fifo", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    node = Anvil(f"http://127.0.0.1:{port}")
    try:
        for _ in range(200):
            try:
                node.call("eth_chainId")
                break
            except requests.ConnectionError:
                time.sleep(0.05)
        yield node
    finally:
        process.terminate()
        process.wait()
