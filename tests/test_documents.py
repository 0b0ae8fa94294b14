"""What the documents say can be typed and followed."""

import re
import shlex
from pathlib import Path

import pytest

from deepscaler.commands.parser import parse
from deepscaler.data.sources import SOURCES
from tests.places import ROOT

NAMES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docker/README.md", "slurm/README.md", "k8s/README.md")
DOCUMENTS = [ROOT / name for name in NAMES]
MAKE_TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands() -> list[str]:
    """Every complete `deepscaler` command in a code block or a table's cell."""
    text = "".join((ROOT / name).read_text() for name in ("README.md", "slurm/README.md", "k8s/README.md"))
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    quoted = re.findall(r"`(?:\.venv/bin/)?(deepscaler [a-z][^`]*)`", text)
    found = [line.partition("  #")[0].strip() for line in lines if line.startswith("deepscaler ")] + quoted
    return [command for command in found if "..." not in command]


@pytest.mark.parametrize("command", commands())
def test_every_command_is_understood(command: str) -> None:
    words = shlex.split(command)[1:]
    if words[-1] == "--help":
        with pytest.raises(SystemExit, match="0"):
            parse(words)
        return
    parse(words)


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 8


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_and_make_target_exists(document: Path) -> None:
    text = document.read_text()
    for target in re.findall(r"\]\((?!https:)([^)#]+)\)", text):
        assert (document.parent / target).exists(), target
    for target in re.findall(r"`make ([a-z]+)", text):
        assert target in MAKE_TARGETS, target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_manifest_that_is_named_exists(document: Path) -> None:
    for target in re.findall(r"(?<![\w/])k8s/[\w./-]*\w", document.read_text()):
        assert (ROOT / target).exists(), target


def test_the_readme_names_every_data_set() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in SOURCES if f"`{name}`" not in text] == []


def test_the_layout_in_contributing_exists() -> None:
    layout = re.search(r"## Layout\n.*?```\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert layout
    for line in layout[1].splitlines():
        for name in re.split(r",? +", re.split(r"  +", line)[0]):
            found = name if name.startswith(("deepscaler/", "slurm/", "evaluation/")) else f"deepscaler/{name}"
            assert (ROOT / found).exists(), line
