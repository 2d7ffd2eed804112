import http.client
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from blockscan.errors import ConfigError, StoreError
from blockscan.store import open_store
from dashboard import launch

ROOT = Path(launch.__file__).parents[1]


def test_the_server_listens_on_loopback_and_tells_nothing() -> None:
    line = launch.command(port=8600)
    assert line[1:4] == ["-m", "streamlit", "run"]
    assert Path(line[4]).is_file()
    for flag in (
        "--server.address=127.0.0.1",
        "--server.port=8600",
        "--server.headless=true",
        "--client.showErrorDetails=none",
        "--browser.gatherUsageStats=false",
        "--server.allowedHosts=127.0.0.1",
    ):
        assert flag in line


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.4", "example.com", ""])
def test_other_addresses_need_a_word(address: str) -> None:
    with pytest.raises(ConfigError, match="--allow-remote"):
        launch.command(port=8600, address=address)
    allowed = launch.command(port=8600, address=address, allow_remote=True)
    assert f"--server.address={address}" in allowed
    assert not any("allowedHosts" in flag for flag in allowed)


@pytest.mark.parametrize("address", ["localhost", "::1", "127.0.0.2"])
def test_loopback_addresses_are_accepted(address: str) -> None:
    assert f"--server.allowedHosts={address}" in launch.command(port=8600, address=address)


@pytest.mark.parametrize("port", [0, -1, 70_000])
def test_ports_are_checked(port: int) -> None:
    with pytest.raises(ConfigError, match="not a port"):
        launch.command(port=port)


def test_nothing_starts_without_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(launch.subprocess, "Popen", lambda *args, **named: started.append((args, named)))
    with pytest.raises(StoreError, match="no store at"):
        launch.launch(tmp_path / "results.db", port=8600)
    assert started == []
    open_store(tmp_path / "results.db").close()
    launch.launch(tmp_path / "results.db", port=8600)
    assert started[0][1]["env"]["BLOCKSCAN_STORE"] == str(tmp_path / "results.db")


def test_the_command_line_reports_one_line(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "dashboard.launch", "--store", str(tmp_path / "results.db")]
    done = subprocess.run(
        line, capture_output=True, text=True, timeout=60, cwd=Path(launch.__file__).parents[1]
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no store at")
    assert done.stderr.count("\n") == 1


def test_launching_does_not_import_streamlit() -> None:
    code = "import sys, dashboard.launch; sys.exit('streamlit' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def handshake(port: int, host: str) -> int:
    """The status that the server's websocket answers to a page which calls it `host`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Host": f"{host}:{port}"}
    connection.request("GET", "/_stcore/stream", headers=upgrade | key | {"Origin": f"http://{host}:{port}"})
    status = connection.getresponse().status
    connection.close()
    return status


def test_the_server_runs_refuses_other_names_and_ends_with_its_launcher(tmp_path: Path) -> None:
    open_store(tmp_path / "results.db").close()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = [sys.executable, "-m", "dashboard.launch", "--port", str(port)]
    line += ["--store", str(tmp_path / "results.db")]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(line, cwd=ROOT, stdout=quiet, stderr=quiet) as server:
        try:
            deadline = time.monotonic() + 60
            while not listening(port):
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert handshake(port, "127.0.0.1") == 101
            assert handshake(port, "rebound.test") == 403
        finally:
            server.terminate()
    assert not listening(port)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
