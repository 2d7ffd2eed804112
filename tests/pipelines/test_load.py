"""What a scoring process must not wait for; tests/benchmarks/load.py measures the seconds."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Each costs from half a second to several; scoring on a CPU needs none of them.
SLOW = {
    "torch._dynamo",
    "sympy",
    "sklearn",
    "web3",
    "streamlit",
    "transformers",
    "matplotlib",
    "pandas",
    "scipy.stats",
}


def _loaded(statement: str) -> set[str]:
    probe = f"{statement}; import sys; print(*sorted(set(sys.modules) & {SLOW!r}))"
    result = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_loading_and_scoring_import_nothing_slow():
    assert _loaded("import pipelines.model_dir, pipelines.score") == set()


def test_the_probe_sees_what_is_imported():
    assert _loaded("import sympy") == {"sympy"}
