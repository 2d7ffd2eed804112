"""A JSON-RPC server on loopback over a made-up chain that can reorganise, and that misbehaves on demand.

Load it with `runpy.run_path`, as the other helpers of the suite.
"""

import hashlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
A, B, C = ("0x" + digit * 40 for digit in "abc")
KEY = "s3cr3tk3y"
EMPTY_ROOT = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"


def digest(*parts: object) -> str:
    return "0x" + hashlib.sha256(repr(parts).encode()).hexdigest()


class Refuse(Exception):
    """Answer with a JSON-RPC error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Fault:
    """What happens to one HTTP answer instead of, or on top of, the true one."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: bool = False  # half of the body under the whole one's length
    reset: bool = False
    hang: float = 0.0  # seconds before the answer
    drip: float = 0.0  # seconds between single bytes
    flood: int = 0  # bytes of an endless string


class Chain:
    """Blocks with `txs` transactions each: A calls B, B calls C, which logs; every third one fails."""

    def __init__(self, blocks: int = 10, txs: int = 3, chain_id: int = 1, *, now: bool = False) -> None:
        self.txs = txs
        self.data = ""  # calldata of every transaction, where it is to be long
        self.chain_id = chain_id
        self.absent: set[str] = set()
        self.change: Callable[[str, list[Any], Any], Any] = lambda method, params, result: result
        self.entries: list[Json] = []
        self.places: dict[str, tuple[str, int]] = {}
        self.salt = 0
        self.now = now
        self.lag = {"safe": 2, "finalized": 4}
        self.lock = threading.Lock()
        self.grow(blocks)

    def grow(self, count: int, keep: tuple[Json, ...] = ()) -> None:
        """Add blocks; `keep` lists transactions to include again in the first of them."""
        with self.lock:
            for _ in range(count):
                self.entries.append(self.make(len(self.entries), keep))
                keep = ()

    def reorganise(self, depth: int, length: int, *, again: bool = False) -> None:
        """Replace the last `depth` blocks by `length` others; `again` includes their first transactions."""
        with self.lock:
            gone = self.entries[-depth:]
            del self.entries[-depth:]
            self.salt += 1
        keep = tuple(gone[0]["block"]["transactions"]) if again else ()
        self.grow(length, keep)

    def make(self, number: int, keep: tuple[Json, ...] = ()) -> Json:
        block_hash = digest("block", number, self.salt)
        parent = self.entries[-1]["block"]["hash"] if self.entries else digest("none")
        stamp = int(time.time()) if self.now else 1_700_000_000 + 12 * number
        count = 0 if number == 0 else self.txs
        bodies = [dict(tx) for tx in keep] or [self.transaction(number, place) for place in range(count)]
        entry: Json = {"receipts": [], "traces": []}
        for place, tx in enumerate(bodies):
            tx |= {"transactionIndex": hex(place), "blockHash": block_hash, "blockNumber": hex(number)}
            self.places[tx["hash"]] = (hex(number), place)
            entry["receipts"].append(self.receipt(tx, place))
            entry["traces"].append({"txHash": tx["hash"], "result": self.trace(tx)})
        entry["block"] = {
            "number": hex(number),
            "hash": block_hash,
            "parentHash": parent,
            "timestamp": hex(stamp),
            "transactionsRoot": digest("root", number) if bodies else EMPTY_ROOT,
            "transactions": bodies,
        }
        return entry

    def transaction(self, number: int, place: int) -> Json:
        tx_hash = digest("tx", number, place, self.salt)
        return {"hash": tx_hash, "from": A, "to": B, "value": hex(number), "gas": "0xffff", "type": "0x2",
                "input": self.data or "0xa9059cbb" + tx_hash[2:]}  # fmt: skip

    @staticmethod
    def failed(tx: Json) -> bool:
        return int(tx["hash"][-2:], 16) % 3 == 0

    def receipt(self, tx: Json, place: int) -> Json:
        ok = not self.failed(tx)
        logs = [{**self.log(tx), "logIndex": hex(place)}] if ok else []
        return {"transactionHash": tx["hash"], "blockHash": tx["blockHash"], "status": hex(ok),
                "blockNumber": tx["blockNumber"], "transactionIndex": hex(place), "gasUsed": "0x5300",
                "contractAddress": None, "logs": logs}  # fmt: skip

    @staticmethod
    def log(tx: Json) -> Json:
        return {"address": C, "topics": [tx["hash"]], "data": "0x01"}

    def trace(self, tx: Json) -> Json:
        inner = {"type": "CALL", "from": B, "to": C, "value": "0x0", "input": "0x", "output": "0x",
                 "gasUsed": "0x9", "logs": [{**self.log(tx), "position": "0x0"}]}  # fmt: skip
        root = {"type": "CALL", "from": tx["from"], "to": tx["to"], "value": tx["value"], "output": "0x",
                "input": tx["input"], "gasUsed": "0x5300", "calls": [inner]}  # fmt: skip
        return root | {"error": "execution reverted"} if self.failed(tx) else root

    def find(self, name: Any) -> Json | None:
        last = len(self.entries) - 1
        if isinstance(name, str) and len(name) == 66:
            return next((each for each in self.entries if each["block"]["hash"] == name), None)
        tags = {tag: max(0, last - lag) for tag, lag in self.lag.items()}
        number = last if name in ("latest", "pending") else tags.get(name)
        number = int(name, 16) if number is None else number
        return self.entries[number] if 0 <= number <= last else None

    def item(self, tx_hash: str, part: str) -> Any:
        where = self.places.get(tx_hash)
        entry = where and self.find(where[0])
        return entry and entry[part][where[1]]

    def call(self, method: str, params: list[Any]) -> Any:
        answer = getattr(self, method, None)
        if method in self.absent or not method.startswith(("eth_", "debug_", "trace_")) or answer is None:
            raise Refuse(-32601, f"the method {method} does not exist/is not available")
        with self.lock:
            return self.change(method, params, answer(*params))

    def eth_chainId(self) -> str:
        return hex(self.chain_id)

    def eth_blockNumber(self) -> str:
        return hex(len(self.entries) - 1)

    def eth_getBlockByNumber(self, name: str, full: bool) -> Any:
        entry = self.find(name)
        if entry is None or full:
            return entry and entry["block"]
        return entry["block"] | {"transactions": [tx["hash"] for tx in entry["block"]["transactions"]]}

    def eth_getBlockReceipts(self, name: str) -> Any:
        entry = self.find(name)
        return entry and entry["receipts"]

    def eth_getTransactionReceipt(self, tx_hash: str) -> Any:
        return self.item(tx_hash, "receipts")

    def debug_traceTransaction(self, tx_hash: str, options: Any = None) -> Any:
        found = self.item(tx_hash, "traces")
        if found is None:
            raise Refuse(-32000, "transaction not found")
        return found["result"]

    def debug_traceBlockByNumber(self, name: str, options: Any = None) -> Any:
        entry = self.find(name)
        if entry is None or int(entry["block"]["number"], 16) == 0:
            raise Refuse(-32000, "block not found" if entry is None else "genesis is not traceable")
        return entry["traces"]

    def trace_block(self, name: str) -> Any:
        entry = self.find(name)
        if entry is None:
            raise Refuse(-32000, "block not found")
        return [line for each in entry["traces"] for line in parity(each["result"], each["txHash"])]


def parity(trace: Json, tx_hash: str) -> list[Json]:
    """A callTracer tree as trace_block entries, in pre-order (precompiles left out, as parity does)."""
    entries: list[Json] = []
    waiting: list[tuple[Json, list[int]]] = [(trace, [])]
    while waiting:
        frame, place = waiting.pop()
        calls = [call for call in frame.get("calls", []) if not precompile(call)]
        entries.append(parity_entry(frame, place, len(calls), tx_hash))
        waiting += [(call, [*place, index]) for index, call in enumerate(calls)][::-1]
    return entries


def precompile(frame: Json) -> bool:
    calls = ("CALL", "STATICCALL", "DELEGATECALL", "CALLCODE")
    return frame["type"] in calls and 0 < int(frame["to"], 16) <= 0x11


def parity_entry(frame: Json, place: list[int], subtraces: int, tx_hash: str) -> Json:
    kind, error = frame["type"], frame.get("error")
    common = {"traceAddress": place, "subtraces": subtraces, "transactionHash": tx_hash}
    used = frame.get("gasUsed")
    if kind == "SELFDESTRUCT":
        action = {"address": frame["from"], "refundAddress": frame["to"], "balance": frame.get("value")}
        return common | {"type": "suicide", "action": action, "result": None}
    if kind in ("CREATE", "CREATE2"):
        action = {"from": frame["from"], "value": frame.get("value"), "init": frame["input"], "gas": "0x0"}
        action |= {"creationMethod": kind.lower()}
        result: Json | None = {"address": frame.get("to"), "code": frame.get("output", "0x"), "gasUsed": used}
    else:
        action = {"callType": kind.lower(), "from": frame["from"], "to": frame["to"], "gas": "0x0"}
        action |= {"value": frame.get("value", "0x0"), "input": frame.get("input", "0x")}
        result = {"output": frame.get("output", "0x"), "gasUsed": used}
    entry = common | {"type": "create" if "init" in action else "call", "action": action, "result": result}
    if error:
        shown = "Reverted" if error == "execution reverted" else error
        entry |= {"error": shown, "result": None}
    return entry


class Server:
    """A running server: its URL holds a key; `fault(method, count)` decides per HTTP request."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.fault: Callable[[str, int], Fault | None] = lambda method, count: None
        self.asked: Counter[str] = Counter()
        self.requests = 0
        self.url = ""
        self.biggest_batch = 0
        self.closing = threading.Event()

    def respond(self, raw: bytes) -> tuple[str, bytes]:
        request = json.loads(raw)
        calls = request if isinstance(request, list) else [request]
        self.biggest_batch = max(self.biggest_batch, len(calls))
        answers = [self.one(call) for call in calls]
        body = json.dumps(answers if isinstance(request, list) else answers[0]).encode()
        return str(calls[0]["method"]), body

    def one(self, call: Json) -> Json:
        self.asked[call["method"]] += 1
        try:
            return {"jsonrpc": "2.0", "id": call["id"],
                    "result": self.chain.call(call["method"], call["params"])}  # fmt: skip
        except Refuse as error:
            return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": error.code, "message": str(error)}}


class Handler(BaseHTTPRequestHandler):
    """One connection of a served chain; `self.server` carries the Server as `app`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30

    def do_POST(self) -> None:
        app: Server = self.server.app  # type: ignore[attr-defined]  # set by `serve`
        raw = self.rfile.read(length := int(self.headers["Content-Length"]))
        if len(raw) < length:  # the client died
            self.close_connection = True
            return
        method, body = app.respond(raw)
        app.requests += 1
        fault = app.fault(method, app.requests) or Fault()
        app.closing.wait(fault.hang)
        if fault.reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        self.close_connection = fault.reset or fault.cut
        if fault.reset:
            return
        try:
            self.answer(fault, body if fault.body is None else fault.body, app.closing)
        except OSError:
            self.close_connection = True

    def answer(self, fault: Fault, body: bytes, closing: threading.Event) -> None:
        self.send_response(fault.status)
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(fault.flood or len(body)))
        self.end_headers()
        if fault.flood:
            self.flood(fault.flood)
        elif fault.drip:
            for byte in body:
                self.wfile.write(bytes([byte]))
                if closing.wait(fault.drip):
                    return
        else:
            self.wfile.write(body[: len(body) // 2] if fault.cut else body)

    def flood(self, length: int) -> None:
        head = b'{"jsonrpc":"2.0","id":1,"result":"'
        self.wfile.write(head)
        left = length - len(head)
        while left > 0:
            left -= self.wfile.write(b"x" * min(left, 1 << 20)) or 0

    def log_message(self, format: str, *args: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    """Says nothing of clients that die."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def serve(chain: Chain, port: int = 0) -> Iterator[Server]:
    """Serve a chain on loopback while the context is open."""
    server = Server(chain)
    http = Quiet(("127.0.0.1", port), Handler)
    http.app = server  # type: ignore[attr-defined]  # the handler finds its server there
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.url = f"http://user:{KEY}@127.0.0.1:{http.server_address[1]}/v2/{KEY}?apikey={KEY}"
    try:
        yield server
    finally:
        server.closing.set()
        http.shutdown()
        http.server_close()
        thread.join()
