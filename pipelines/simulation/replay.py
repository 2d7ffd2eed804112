"""Serves a recording as a node would: JSON-RPC over HTTP on loopback, without EVM or compiler.

Blocks stay compressed in memory and are parsed when asked for, so a recording of thousands of
transactions costs a few megabytes. Only what was recorded can be asked: callTracer with logs, no state.
"""

from __future__ import annotations

import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import signature
from pathlib import Path
from threading import Thread
from typing import Any

import orjson

from blockscan.errors import ArtifactError

Json = dict[str, Any]
_PARSE, _REQUEST, _METHOD, _PARAMS, _SERVER = -32700, -32600, -32601, -32602, -32000
_MAX_BODY = 4 * 2**20
_KEPT_BLOCKS = 8


class RpcFailure(Exception):
    """A JSON-RPC error to answer with (https://www.jsonrpc.org/specification#error_object)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Recording:
    """A recording's blocks by number, by hash and by transaction."""

    def __init__(self, folder: Path) -> None:
        """Read `folder` (meta.json, blocks.jsonl.xz); raise ArtifactError if it is not a recording."""
        self._lines: list[bytes] = []
        self._by_hash: dict[str, int] = {}
        self._by_transaction: dict[str, tuple[int, int]] = {}
        try:
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            self.chain_id, self.first = int(meta["chain_id"]), int(meta["first_block"])
            with lzma.open(folder / "blocks.jsonl.xz", "rb") as file:
                for line in file:
                    self._index(json.loads(line))
                    self._lines.append(zlib.compress(line, 1))
        except (OSError, EOFError, ValueError, KeyError, lzma.LZMAError) as error:
            raise ArtifactError(f"{folder}: not a readable recording ({error}); record it again") from error
        if not self._lines:
            raise ArtifactError(f"{folder}: the recording has no blocks; record it again")
        self.entry = lru_cache(_KEPT_BLOCKS)(self._parse)

    def _index(self, entry: Json) -> None:
        number = self.first + len(self._lines)
        self._by_hash[entry["block"]["hash"]] = number
        for position, tx in enumerate(entry["block"]["transactions"]):
            self._by_transaction[tx["hash"]] = (number, position)

    def _parse(self, number: int) -> Json:
        entry: Json = json.loads(zlib.decompress(self._lines[number - self.first]))
        return entry

    @property
    def last(self) -> int:
        """Number of the newest block."""
        return self.first + len(self._lines) - 1

    def find(self, block: object) -> Json | None:
        """Return the entry of a block named by number (hex), tag or hash; None if there is none."""
        number = self._number(block)
        return self.entry(number) if number is not None and self.first <= number <= self.last else None

    def _number(self, block: object) -> int | None:
        if block == "earliest":
            return self.first
        if block in ("latest", "safe", "finalized", "pending"):
            return self.last
        if not isinstance(block, str) or not block.startswith("0x"):
            raise RpcFailure(_PARAMS, f"invalid block: {json.dumps(block)[:80]}")
        if len(block) == 66:
            return self._by_hash.get(block.lower())
        try:
            return int(block, 16)
        except ValueError:
            raise RpcFailure(_PARAMS, f"invalid block number: {block[:80]}") from None

    def transaction(self, tx_hash: object, part: str) -> Any:
        """Return a transaction's item of `part` (receipts, traces; block: its body), None if unknown."""
        if not isinstance(tx_hash, str):
            raise RpcFailure(_PARAMS, "invalid transaction hash")
        place = self._by_transaction.get(tx_hash.lower())
        if place is None:
            return None
        entry = self.entry(place[0])
        items = entry["block"]["transactions"] if part == "block" else entry[part]
        return items[place[1]]


def methods(recording: Recording) -> dict[str, Callable[..., Any]]:
    """Return the JSON-RPC methods that the server answers, each taking its positional parameters."""

    def block(name: object, full: object = None) -> Json | None:
        entry = recording.find(name)
        if entry is None:
            return None
        found: Json = entry["block"]
        if full is not True:
            return found | {"transactions": [tx["hash"] for tx in found["transactions"]]}
        return found

    def receipts(name: object) -> list[Json] | None:
        entry = recording.find(name)
        return None if entry is None else entry["receipts"]

    def trace_block(name: object, options: object = None) -> list[Json]:
        _check_tracer(options)
        entry = recording.find(name)
        if entry is None:
            raise RpcFailure(_SERVER, f"block {name} not found")
        traces: list[Json] = entry["traces"]
        return traces

    def trace_transaction(tx_hash: object, options: object = None) -> Json:
        _check_tracer(options)
        found = recording.transaction(tx_hash, "traces")
        if found is None:
            raise RpcFailure(_SERVER, "transaction not found")
        result: Json = found["result"]
        return result

    return {
        "web3_clientVersion": lambda: "blockscan-replay/1",
        "net_version": lambda: str(recording.chain_id),
        "eth_chainId": lambda: hex(recording.chain_id),
        "eth_blockNumber": lambda: hex(recording.last),
        "eth_getBlockByNumber": block,
        "eth_getBlockByHash": block,
        "eth_getBlockReceipts": receipts,
        "eth_getTransactionByHash": lambda tx_hash: recording.transaction(tx_hash, "block"),
        "eth_getTransactionReceipt": lambda tx_hash: recording.transaction(tx_hash, "receipts"),
        "debug_traceBlockByNumber": trace_block,
        "debug_traceBlockByHash": trace_block,
        "debug_traceTransaction": trace_transaction,
    }


def _check_tracer(options: object) -> None:
    """Refuse what was not recorded; geth's default tracer (opcode logs) is among it."""
    config = options.get("tracerConfig") if isinstance(options, dict) else None
    if not isinstance(options, dict) or options.get("tracer") != "callTracer":
        raise RpcFailure(_PARAMS, "only the callTracer was recorded")
    if not isinstance(config, dict) or config.get("withLog") is not True or config.get("onlyTopCall"):
        raise RpcFailure(_PARAMS, "only tracerConfig {withLog: true} was recorded")


def answer(table: dict[str, Callable[..., Any]], body: bytes) -> bytes:
    """Return the JSON-RPC 2.0 response to a request body (single or batch)."""
    try:
        request = orjson.loads(body)  # refuses deep nesting, where json would exhaust the stack
    except orjson.JSONDecodeError:
        return _encode(_failure(None, _PARSE, "parse error"))
    if isinstance(request, list) and request:
        return _encode([_answer_one(table, item) for item in request])
    return _encode(_answer_one(table, request))


def _answer_one(table: dict[str, Callable[..., Any]], request: object) -> Json:
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        return _failure(None, _REQUEST, "invalid request")
    request_id, params = request.get("id"), request.get("params", [])
    method = table.get(request["method"])
    if method is None:
        return _failure(
            request_id, _METHOD, f"the method {request['method'][:80]} does not exist/is not available"
        )
    if not isinstance(params, list):
        return _failure(request_id, _PARAMS, "params must be an array")
    try:
        arguments = signature(method).bind(*params)
    except TypeError:
        return _failure(request_id, _PARAMS, f"wrong number of params: {len(params)}")
    try:
        return {"jsonrpc": "2.0", "id": request_id, "result": method(*arguments.args)}
    except RpcFailure as failure:
        return _failure(request_id, failure.code, str(failure))


def _failure(request_id: object, code: int, message: str) -> Json:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}


def _encode(response: Json | list[Json]) -> bytes:
    return json.dumps(response, separators=(",", ":")).encode()


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a recording on a free port of 127.0.0.1 while the context is open; yield the URL.

    Raises:
        ArtifactError: the folder is not a recording.
    """
    with listening(methods(Recording(folder))) as url:
        yield url


@contextmanager
def listening(table: dict[str, Callable[..., Any]]) -> Iterator[str]:
    """Answer JSON-RPC by a table of methods on a free port of 127.0.0.1; yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        """One connection, kept alive between requests."""

        protocol_version = "HTTP/1.1"
        # Head and body go out in two writes; with Nagle's algorithm the second waits 40 ms for an ACK.
        disable_nagle_algorithm = True
        timeout = 60

        def do_POST(self) -> None:
            """Answer one request or batch."""
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > _MAX_BODY:
                self.close_connection = True
                self.send_error(413)
                return
            body = answer(table, self.rfile.read(int(length)))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the demo's terminal is not an access log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
