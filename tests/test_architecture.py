"""Who may import whom; the rules of the README's tree, enforced on the syntax trees."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("blockscan", "tokenizer", "pipelines", "dashboard")
ALLOWED = {
    "blockscan": {"blockscan"},
    "tokenizer": {"tokenizer", "blockscan"},
    "dashboard": {"dashboard", "blockscan"},
    "pipelines": {"pipelines", "tokenizer", "blockscan"},
}
# library -> path prefixes that may import it
HOMES = {
    "web3": ("blockscan/chains/", "pipelines/simulation/"),
    "streamlit": ("dashboard/",),
    "typer": ("pipelines/cli.py", "pipelines/cli_", "pipelines/options.py"),
    "torch": ("blockscan/model/", "pipelines/"),
    "transformers": ("blockscan/model/hf.py",),
    "sklearn": ("blockscan/detect/", "pipelines/"),
    "eth": ("pipelines/simulation/",),
    "vyper": ("pipelines/simulation/",),
    "solders": ("pipelines/simulation/",),
    "pickle": (),
}
# library -> the distribution that it comes with, where the names differ
DISTRIBUTIONS = {"eth": "py-evm", "sklearn": "scikit-learn"}
DASHBOARD_MAY_READ = {
    "blockscan.store",
    "blockscan.findings",
    "blockscan.errors",
    "blockscan.safetext",
    "blockscan.incidents",
}


def imports(source: str) -> set[str]:
    """Full names of the modules that a source file imports, at any depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def violations(path: str, source: str) -> list[str]:
    """What a file imports and should not."""
    package = path.split("/")[0]
    wrong = []
    for module in imports(source):
        top = module.split(".")[0]
        if top in PACKAGES and top not in ALLOWED[package]:
            wrong.append(f"{path} imports {module}")
        if top in HOMES and not path.startswith(HOMES[top]):
            wrong.append(f"{path} imports {module}")
        if package == "dashboard" and top == "blockscan" and not _readable(module):
            wrong.append(f"{path} imports {module}")
    return wrong


def _readable(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}_") for name in DASHBOARD_MAY_READ)


def test_every_file_imports_only_what_it_may() -> None:
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 30
    found = [line for path in files for line in violations(str(path.relative_to(ROOT)), path.read_text())]
    assert found == []


def test_the_rules_bite() -> None:
    assert violations("blockscan/x.py", "import tokenizer.vocabulary")
    assert violations("blockscan/detect/x.py", "def f():\n    import torch")
    assert violations("tokenizer/x.py", "from torch import nn")
    assert violations("dashboard/x.py", "from blockscan.model.encoder import MaskedLM")
    assert violations("pipelines/score.py", "import typer")
    assert violations("blockscan/store.py", "import pickle")
    assert not violations("pipelines/score.py", "import torch\nfrom tokenizer.txtokenizer import TxTokenizer")


def test_help_answers_without_the_heavy_libraries() -> None:
    probe = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from pipelines.cli import app\n"
        "result = CliRunner().invoke(app, ['--help'])\n"
        "assert result.exit_code == 0 and 'ingest' in result.output, result.output\n"
        "print(sorted({'torch', 'web3', 'sklearn', 'streamlit', 'pyarrow', 'numpy'} & set(sys.modules)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_test_file_names_are_unique() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))
    assert not list((ROOT / "tests").rglob("__init__.py"))


def declared(*extras: str) -> set[str]:
    """Distributions that an installation with these extras names, as modules are spelt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return {re.split(r"[\[<>=]", line)[0].replace("-", "_") for line in (*project["dependencies"], *lines)}


def undeclared(files: list[Path], extras: set[str]) -> set[str]:
    found = {module.split(".")[0] for path in files for module in imports(path.read_text())}
    found -= {*sys.stdlib_module_names, *PACKAGES, "tests"}
    return {DISTRIBUTIONS.get(name, name).replace("-", "_") for name in found} - declared(*extras)


def test_every_import_is_of_something_that_an_installation_names() -> None:
    product = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    simulation = [path for path in product if "pipelines/simul" in path.as_posix()]
    assert undeclared([path for path in product if path not in simulation], {"cuda", "hf"}) == set()
    assert undeclared(simulation, {"sim"}) == set()
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path.parent.name != "benchmarks"]
    assert undeclared(tests, {"dev", "sim", "train"}) <= {path.stem for path in tests}


def test_every_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower().replace("-", "_") for line in lines}
    assert declared("dev", "hf", "sim", "train") - pinned == set()
