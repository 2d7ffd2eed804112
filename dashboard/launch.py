"""Start the dashboard on a store: `python -m dashboard.launch --store results.db`."""

import argparse
import ipaddress
import os
import signal
import subprocess
import sys
from pathlib import Path

from blockscan.errors import BlockScanError, ConfigError
from blockscan.store import open_store
from dashboard import STORE_VARIABLE

PORT = 8501


def command(*, port: int, address: str = "127.0.0.1", allow_remote: bool = False) -> list[str]:
    """The command line that serves the dashboard.

    Raises:
        ConfigError: an address that other machines reach, without `allow_remote`, or no port number.
    """
    local = _is_local(address)
    if not local and not allow_remote:
        raise ConfigError(
            f"{address} lets other machines in, and the dashboard asks nobody for a password; "
            "keep 127.0.0.1, or give --allow-remote behind a proxy that does"
        )
    if not 0 < port < 65_536:
        raise ConfigError(f"{port} is not a port; give a number from 1 to 65535")
    options = {
        "server.address": address,
        "server.port": str(port),
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": "false",
        "client.toolbarMode": "viewer",
        "browser.gatherUsageStats": "false",
        "theme.light.primaryColor": "#2f6690",
        "theme.dark.primaryColor": "#6fa8d6",
    }
    app = Path(__file__).with_name("app.py")
    flags = [f"--{name}={value}" for name, value in options.items()]
    if local:
        # A page of another site must not reach the dashboard through a name that points to this machine.
        hosts = sorted({"localhost", "127.0.0.1", "::1", address})
        flags += [f"--server.allowedHosts={host}" for host in hosts]
    return [sys.executable, "-m", "streamlit", "run", str(app), *flags]


def launch(
    store: Path, *, port: int = PORT, address: str = "127.0.0.1", allow_remote: bool = False
) -> subprocess.Popen[bytes]:
    """Start serving `store` and return the server's process; the caller waits for it or ends it.

    Raises:
        ConfigError: see `command`.
        StoreError: there is no store, or it cannot be read.
    """
    line = command(port=port, address=address, allow_remote=allow_remote)
    open_store(store, read_only=True).close()
    return subprocess.Popen(line, env=os.environ | {STORE_VARIABLE: str(store.absolute())})


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, serve until interrupted, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dashboard.launch", description=__doc__)
    parser.add_argument("--store", type=Path, required=True, help="the score store to show")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--address", default="127.0.0.1", help="where to listen; loopback unless told")
    parser.add_argument("--allow-remote", action="store_true", help="accept an address that others can reach")
    given = parser.parse_args(arguments)
    try:
        server = launch(given.store, port=given.port, address=given.address, allow_remote=given.allow_remote)
    except BlockScanError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    signal.signal(signal.SIGTERM, lambda _number, _frame: server.terminate())
    try:
        return server.wait()
    except KeyboardInterrupt:
        server.terminate()
        server.wait()
        return 0


def _is_local(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
