import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from blockscan.findings import Evidence, Frame, TxScore
from blockscan.store import Run, open_store

HOSTILE = (
    "![](http://evil.test/m.png) <img src=http://evil.test/i.png onerror=window.pwned=1> "
    "<script>window.pwned=1</script> [a](javascript:window.pwned=1)"
)
START = 1_700_000_000


def tx_hash(number: int) -> str:
    return f"0x{number:064x}"


def make_evidence(node: int, p_value: float) -> Evidence:
    return Evidence(node, "selector", HOSTILE, (HOSTILE, "transfer(address,uint256)"), 8.0, p_value)


def make_frame(node: int, parent: int, depth: int) -> Frame:
    """Frame 3 is the surprising one."""
    found = (make_evidence(3, 0.0005),) if node == 3 else ()
    heat = 0.825 if node == 3 else 0.0
    return Frame(node, parent, depth, "CALL", HOSTILE, HOSTILE, HOSTILE, "1", HOSTILE, heat, found)


def make_score(number: int, p_value: float) -> TxScore:
    return TxScore(
        chain=HOSTILE,
        tx_hash=tx_hash(number),
        block_number=number,
        tx_index=0,
        time=START + number * 60,
        sender=HOSTILE,
        target=HOSTILE,
        value=1.0,
        p_value=p_value,
        reason=f"reason {number} {HOSTILE}",
        evidence=(make_evidence(3, 0.0005),),
        calls=5,
        tokens=80,
        windows=1,
        source=HOSTILE,
        trace_status=HOSTILE,
        model=HOSTILE,
        calibration=HOSTILE,
    )


@pytest.fixture(scope="session")
def hostile_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 alerts; number 0 is the most unusual, with a tree of five frames; number 1 has a chain of 1,100."""
    tree = [make_frame(0, -1, 0), *(make_frame(node, node - 1, node) for node in (1, 2))]
    tree += [make_frame(3, 1, 2), make_frame(4, 0, 1)]
    chain = [make_frame(node, node - 1, node) for node in range(1100)]
    rows = [
        (make_score(number, (number + 1) / 5000), "high", (tree, chain)[number % 2]) for number in range(60)
    ]
    path = tmp_path_factory.mktemp("browser") / "results.db"
    with open_store(path) as store:
        store.write(rows)
        store.set_status(f"{HOSTILE}:{tx_hash(2)}", "acknowledged", note=HOSTILE, by=HOSTILE)
        counts = {HOSTILE: 60}
        store.record_run(Run(HOSTILE, START, None, (HOSTILE,), counts, HOSTILE, (HOSTILE,), 0.01, HOSTILE))
    return path


@pytest.fixture(scope="session")
def pictures() -> ModuleType:
    """docs/screenshot.py, which knows how to serve a store and how to start Chromium."""
    pytest.importorskip("playwright", reason="playwright is not installed (extra [dev])")
    path = Path(__file__).parents[2] / "docs" / "screenshot.py"
    spec = importlib.util.spec_from_file_location("screenshot", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not module.CHROMIUM.is_file():
        pytest.skip(f"Chromium is not installed at {module.CHROMIUM} (apt-get install chromium)")
    return module


@pytest.fixture(scope="module")
def address(pictures: ModuleType, hostile_store: Path) -> Iterator[str]:
    """Where the dashboard serves the hostile store."""
    with pictures.served(hostile_store) as found:
        yield found


@pytest.fixture(scope="module")
def browser(pictures: ModuleType) -> Iterator[Any]:
    """One Chromium; for a module only, since an open one keeps this thread's event loop."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium
        started = chromium.launch(executable_path=pictures.CHROMIUM, args=list(pictures.BROWSER_FLAGS))
        yield started
        started.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of a fresh profile."""
    context = browser.new_context(viewport={"width": 1280, "height": 1400})
    context.set_default_timeout(30_000)
    yield context.new_page()
    context.close()
