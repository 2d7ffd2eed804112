"""The README's claims: its commands exist, its tree is the tree, its set-up is two commands."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.split("#")[0].strip()
    for kind, block in BLOCKS
    if kind == "sh"
    for line in block.splitlines()
    if line.startswith("blockscan ")
]
COMMANDS += re.findall(r"`(blockscan [^`]+ --[^`]+)`", README)


def test_there_are_exactly_two_set_up_commands() -> None:
    made = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert made == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in (*made, "check"))


def test_every_module_stands_in_the_tree() -> None:
    tree = next(block for kind, block in BLOCKS if "nouns and engine" in block)
    modules = [
        path
        for package in ("blockscan", "tokenizer", "pipelines", "dashboard")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    ]
    named = set(re.findall(r"[\w-]+", tree))
    assert [str(path) for path in modules if path.stem not in named] == []
    stems = {path.stem for path in modules} | {path.stem for path in (ROOT / "docs").glob("*.py")}
    stems |= {path.stem for path in (ROOT / "tests").rglob("*.py")}
    assert [name for name in re.findall(r"(\w+)\.py", tree) if name not in stems] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_readme_is_one(command: str, cli: Any) -> None:
    words = shlex.split(command)[1:]
    depth = 2 if words[0] in ("ingest", "tokenizer", "signatures", "labels") else 1
    shown = cli(*words[:depth], "--help")
    assert shown.exit_code == 0
    for option in (word for word in words if word.startswith("--")):
        assert option in shown.stdout, f"{command}: {option}"


def test_names_are_imported_to_where_they_are_read() -> None:
    from pipelines.model_dir import ModelDir

    imports = [command for command in COMMANDS if command.startswith("blockscan signatures import")]
    assert imports and all(
        shlex.split(each)[-1] == str(ModelDir(Path("model")).signatures) for each in imports
    )


def test_settings_of_scoring_are_named_with_the_command_that_heeds_them() -> None:
    settings = re.findall(r"`([^`]*)--set\s+score\.\w+=", README)
    assert settings and all(before.strip() == "calibrate" for before in settings)


def test_every_network_is_named_in_the_readme_and_in_the_help(cli: Any) -> None:
    from blockscan.chains.networks import NETWORKS

    listed = re.search(r"Other EVM chains: `--chain ([^`]+)`", README)
    assert listed is not None
    assert set(listed[1].split(" | ")) == {each.name for each in NETWORKS.values()} - {"ethereum"}
    shown = cli("ingest", "ethereum", "--help").stdout
    assert [name for name in NETWORKS if name not in shown] == []


def test_an_archive_is_named_alike_everywhere(cli: Any) -> None:
    for command in ("explain", "bundle", "watch", "evaluate"):
        assert "--archive" in cli(command, "--help").stdout


def test_links_and_pictures_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_exit_statuses_are_those_of_the_command_line() -> None:
    from pipelines import cli, cli_calibration, cli_data

    said = "0 done, 1 an error in one line, 2 wrong usage, "
    said += f"{cli_data.PARTIAL} done but some input was rejected or all of it degraded, "
    said += f"{cli_calibration.DRIFTED} the traffic has drifted, {cli.INTERRUPTED} interrupted."
    for text in (README, cli.__doc__ or ""):
        assert f"Exit status: {said}" in " ".join(text.split())


def test_presets_named_in_the_tree_exist() -> None:
    line = next(line for line in README.splitlines() if line.strip().startswith("presets/"))
    names = re.findall(r"\w+", line)[1:]
    assert sorted(names) == sorted(path.stem for path in (ROOT / "pipelines" / "presets").glob("*.toml"))
