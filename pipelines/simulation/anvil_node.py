"""A local anvil process that lives no longer than we do, and one kept-alive HTTP connection to it.

anvil is one binary of the Foundry project; `.ci/install-anvil` installs the version that the tests use.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from pipelines.simulation.engine import SimulationError

BINARY = "BLOCKSCAN_ANVIL"
"""Environment variable that names the anvil binary to use."""
_HOST = "127.0.0.1"
_START_ATTEMPTS = 4
_START_SECONDS = 20.0
_ANSWER_SECONDS = 300.0
_STOP_SECONDS = 10.0
_HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNK = 65_536
_FLAGS = (
    *("--no-mining", "--quiet", "--hardfork", "cancun", "--accounts", "0", "--threads", "1"),
    *("--disable-default-create2-deployer", "--prune-history", "--no-request-size-limit", "--no-cors"),
)
# $0 is a scratch directory. Standard input is a pipe from this process: when it closes, for whatever
# reason, the node is killed; when the node dies by itself, so does its keeper.
_KEEPER = """
exec 3<&0
"$@" 3<&- & node=$!
{ read -r _ <&3; kill -9 $node; } 2>/dev/null & watch=$!
wait $node; status=$?
kill $watch 2>/dev/null
rm -rf "$0"
exit $status
"""


def find_anvil() -> str:
    """Return the path of the anvil binary; raise SimulationError if there is none."""
    named = os.environ.get(BINARY)
    if named is not None:
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise SimulationError(f"{BINARY}={named}: no such program; give the path of an anvil binary")
        return named
    beside = (Path(sys.executable).parent, Path("node_modules/.bin"), Path.home() / ".local" / "bin")
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, beside)])
    found = shutil.which("anvil", path=folders)
    if found is None:
        raise SimulationError(
            f"anvil is not installed; run .ci/install-anvil, or set {BINARY}, or use the engine py-evm"
        )
    return found


class AnvilNode:
    """An anvil process on a free loopback port, to be closed."""

    def __init__(self, *, chain_id: int, gas_limit: int) -> None:
        """Start the process; raise SimulationError if it does not come up."""
        flags = [*_FLAGS, "--chain-id", str(chain_id), "--gas-limit", str(gas_limit)]
        binary = find_anvil()
        for _ in range(_START_ATTEMPTS):
            started = self._start(binary, flags)
            if isinstance(started, socket.socket):
                break
            self._end()
        else:
            raise SimulationError(f"{binary} does not start: {started or 'no answer'}")
        self._socket = started
        (answer,) = self.batch([("eth_chainId", [])])
        if answer != hex(chain_id):
            self.close()
            raise SimulationError(f"{binary}: another node answers on its port; run again")

    def _start(self, binary: str, flags: Sequence[str]) -> socket.socket | str:
        """Start the process and connect; return the connection, or what it said before it ended."""
        port = _free_port()
        scratch = tempfile.mkdtemp(prefix="blockscan-anvil-")
        command = [binary, "--host", _HOST, "--port", str(port), "--cache-path", scratch, *flags]
        with tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _KEEPER, scratch, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "HOME": scratch},
                start_new_session=True,
            )
            connection = self._connect(port)
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().replace("\n", " ")
        return said if connection is None else connection

    def _connect(self, port: int) -> socket.socket | None:
        """Return a connection as soon as the process listens; None if it ends or takes too long."""
        give_up = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < give_up:
            with contextlib.suppress(OSError):
                connection = socket.create_connection((_HOST, port), timeout=_ANSWER_SECONDS)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
            time.sleep(0.01)
        return None

    def post(self, body: bytes) -> bytes:
        """Send one JSON-RPC request body and return the answer's; raise SimulationError if the node died."""
        try:
            return self._exchange(body)
        except OSError as error:
            self.close()
            status = self._process.returncode
            raise SimulationError(
                f"anvil stopped answering ({error}; exit status {status}); run again"
            ) from error

    def _exchange(self, body: bytes) -> bytes:
        """Do one HTTP exchange; http.client would take four times as long as the node itself."""
        self._socket.sendall(_HEAD % len(body) + body)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._receive()
        length = _LENGTH.search(received, 0, end + 2)
        if length is None or not received.startswith(b"HTTP/1.1 200 "):
            raise SimulationError(f"anvil answers {received[:200].decode(errors='replace')!r}")
        parts = [received[end + 4 :]]
        missing = int(length[1]) - len(parts[0])
        while missing > 0:
            parts.append(self._receive())
            missing -= len(parts[-1])
        return b"".join(parts)

    def _receive(self) -> bytes:
        found = self._socket.recv(_CHUNK)
        if not found:
            raise ConnectionError("connection closed")
        return found

    def batch(self, requests: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """Send requests (method, parameters) together; return their results in the same order.

        Raises:
            SimulationError: the node died, refused one of them, or its answer cannot be read (orjson
                reads 1,024 levels of nesting: a call tree of about 500).
        """
        body = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
            for number, (method, parameters) in enumerate(requests)
        ]
        answer = self.post(orjson.dumps(body))
        try:
            answers = {item["id"]: item for item in orjson.loads(answer)}
            found = [answers[number] for number in range(len(requests))]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise SimulationError(f"anvil {requests[0][0]}: unreadable answer ({error})") from error
        for (method, _), item in zip(requests, found, strict=True):
            if "result" not in item:
                raise SimulationError(f"anvil {method}: {item.get('error', {}).get('message', 'no result')}")
        return [item["result"] for item in found]

    def close(self) -> None:
        """End the process; more than once is harmless."""
        self._socket.close()
        self._end()

    def _end(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
