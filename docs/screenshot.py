"""Take the README's picture: `python docs/screenshot.py --store results.db --out docs/dashboard.png`.

Needs Chromium and playwright (extra `[dev]`). Shows the most unusual alert's transaction page.
"""

import argparse
import contextlib
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from blockscan.store import open_store
from dashboard.launch import launch

CHROMIUM = Path("/usr/bin/chromium")
BROWSER_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
_READY = '[data-testid="stApp"][data-test-script-state="notRunning"]'
_PATIENCE_S = 60


@contextlib.contextmanager
def served(store: Path) -> Iterator[str]:
    """The address of a dashboard on `store`, served while the context lasts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = launch(store, port=port)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=5).close()
                break
            except OSError as error:
                if time.monotonic() > deadline or server.poll() is not None:
                    raise TimeoutError(f"the dashboard did not start on {address}") from error
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait()


def settled(page: Page) -> None:
    """Wait until the view has run to its end and nothing of it is stale."""
    page.wait_for_selector(_READY)
    page.wait_for_function("document.querySelectorAll('[data-stale=\"true\"]').length === 0")


def screenshot(
    store: Path, out: Path, *, view: str | None = None, dark: bool = False, height: int = 1400
) -> None:
    """Write a PNG, 1,280 pixels wide, of a view; without one, of the top alert's transaction.

    Raises:
        StoreError: there is no store, or it cannot be read.
    """
    with open_store(store, read_only=True) as results:
        top = results.alerts(limit=1)
    place = f"transaction?tx={top[0].score.tx_hash}" if top else ""
    with served(store) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(BROWSER_FLAGS))
        page = browser.new_page(
            viewport={"width": 1280, "height": height}, color_scheme="dark" if dark else "light"
        )
        page.goto(f"{address}/{place if view is None else view}")
        settled(page)
        # The charts and the canvas of tables draw after the view has run.
        page.wait_for_timeout(2000)
        page.screenshot(path=out)
        browser.close()


def main() -> None:
    """Parse the command line and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--view", help="what follows the slash in the address: alerts, or nothing: the overview"
    )
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--height", type=int, default=1400)
    given = parser.parse_args()
    screenshot(given.store, given.out, view=given.view, dark=given.dark, height=given.height)


if __name__ == "__main__":
    main()
