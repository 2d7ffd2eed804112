"""The process of the command line: what stands behind its output, and an early Ctrl-C."""

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from pipelines.__main__ import main


def run(redirect: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    line = f'"{sys.executable}" -m pipelines --help {redirect}'
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env=os.environ | environment, check=False
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_the_output_is_one_line() -> None:
    done = run("> /dev/full")
    assert done.returncode == 1
    assert done.stderr == "blockscan: the output cannot be written: No space left on device\n"


def test_a_closed_output_or_one_that_reads_no_more_is_no_traceback() -> None:
    for redirect in (">&-", "2>&-", "| true"):
        assert run(redirect).stderr == "", redirect


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=str,
)
def test_a_terminal_without_utf8_shows_escapes(environment: dict[str, str]) -> None:
    done = run("", **environment)
    assert (done.returncode, done.stderr) == (0, "") and "ingest \\u2192 tokenizer fit" in done.stdout


def test_an_interrupt_while_the_command_line_is_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "pipelines.cli", Interrupted("pipelines.cli"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "blockscan: interrupted before it began\n"
