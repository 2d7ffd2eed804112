"""The JSON-RPC transport against a server that misbehaves on purpose."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from blockscan.chains.transport import Endpoint, MethodRefused, redact
from blockscan.errors import RpcError

Answer = tuple[int, bytes]


@contextmanager
def server(answer: Callable[[str, int], Answer]) -> Iterator[str]:
    """Serve `answer(method, number of this request)` on loopback."""
    count = 0

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal count
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            count += 1
            status, body = answer(request["method"], count)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://user:s3cret@127.0.0.1:{http.server_address[1]}/v2/k3y"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def ok(result: object) -> Answer:
    return 200, json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()


def error(code: int, message: str) -> Answer:
    return 200, json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message}}).encode()


def endpoint(url: str) -> Endpoint:
    return Endpoint(url, timeout=5, attempts=3, pause=0.001)


@pytest.mark.parametrize(
    "fault",
    [
        (429, b""),
        (503, b"busy"),
        error(-32005, "limit exceeded"),
        (200, b'{"jsonrpc": "2.0", "resu'),
        (200, b"[]"),
    ],
    ids=["429", "503", "-32005", "truncated", "not a response"],
)
def test_passing_faults_are_retried(fault: Answer) -> None:
    with server(lambda method, count: ok("0x1") if count == 3 else fault) as url:
        assert endpoint(url).fetch("eth_chainId", [])[0] == "0x1"


@pytest.mark.parametrize(
    "fault", [(429, b""), (403, b"no"), error(-32005, "k"), error(-32601, "k"), (200, b"{")]
)
def test_lasting_faults_end_in_one_line_without_the_key(fault: Answer) -> None:
    with server(lambda method, count: fault) as url, pytest.raises(RpcError) as caught:
        endpoint(url).fetch("eth_chainId", [])
    text = f"{caught.value!s} {caught.value!r}"
    assert "eth_chainId" in text and "http://127.0.0.1" in text and "\n" not in str(caught.value)
    assert "s3cret" not in text and "k3y" not in text and caught.value.__cause__ is None


def test_a_refused_method_is_asked_once() -> None:
    asked: list[int] = []

    def answer(method: str, count: int) -> Answer:
        asked.append(count)
        return error(-32601, "the method does not exist")

    with server(answer) as url, pytest.raises(MethodRefused):
        endpoint(url).fetch("debug_traceBlockByNumber", [])
    assert asked == [1]


def test_no_server_at_all_is_an_rpc_error() -> None:
    with pytest.raises(RpcError, match="no answer"):
        Endpoint("http://127.0.0.1:9/k3y", timeout=1, attempts=2, pause=0.001).fetch("eth_chainId", [])
    for url in ("ws://x", "not a url", "http://", "http://["):
        with pytest.raises(RpcError, match="must begin with http"):
            Endpoint(url)


@pytest.mark.parametrize(
    "host", ["h:99999", "h:0", "h:-1", "h:rpc", "a..b", ".", "<host>", "{node}:1", "*.x", "a" * 64]
)
def test_a_host_or_port_that_cannot_be_one_is_refused_before_any_attempt(host: str) -> None:
    with pytest.raises(RpcError, match=r"name a valid host, and a port, if any, from 1 to 65535") as caught:
        Endpoint(f"http://{host}/k3ykey")
    assert "k3ykey" not in str(caught.value)


@pytest.mark.parametrize("host", ["geth_1:8545", "[::1]:8545", "node.example.", "münchen.example", "h:65535"])
def test_unusual_hosts_are_taken(host: str) -> None:
    assert Endpoint(f"http://{host}/").attempts


def test_redaction_hides_every_place_of_a_key() -> None:
    assert redact("https://u:p@node.example:8545/v3/KEY?apikey=K") == "https://node.example:8545/…"
    assert redact("http://127.0.0.1:8545") == "http://127.0.0.1:8545"


def test_a_3000_deep_answer_does_not_crash() -> None:
    body = b'{"jsonrpc":"2.0","id":1,"result":' + b'{"calls":[' * 3000 + b"{}" + b"]}" * 3000 + b"}"
    with server(lambda method, count: (200, body)) as url:
        result, raw = endpoint(url).fetch("debug_traceBlockByNumber", [])
    assert raw == body and isinstance(result["calls"][0], dict)
