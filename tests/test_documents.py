"""What the documents say can be typed and followed."""

import re
import shlex
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.commands.parser import parse
from deepscaler.data.sources import SOURCES
from tests.places import ROOT

NAMES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docker/README.md", "slurm/README.md", "k8s/README.md")
DOCUMENTS = [*(ROOT / name for name in NAMES), *sorted((ROOT / "docs").glob("*.md"))]
MAKE_TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
BEFORE = r"(?:^|\| |-- |-(?:cpu|eval|train) | run --rm train )(?:\.venv/bin/)?"
"""What may stand before a `deepscaler` command: nothing, a pipe, kubectl's `--`, an image, a service of compose."""


def commands() -> list[str]:
    """Returns every complete `deepscaler` command in a code block or between backquotes."""
    found = set()
    for document in DOCUMENTS:
        if document.name == "CHANGELOG.md":  # it names commands, without what they need
            continue
        text = re.sub(r" *\\\n *", " ", document.read_text())
        prose, *blocks = re.split(r"^ *```.*\n", text, flags=re.MULTILINE)  # by turns, a block first
        shown = [re.split(r"  #| > ", line)[0].strip() for block in blocks[::2] for line in block.splitlines()]
        shown += [" ".join(quoted.split()) for quoted in re.findall(r"`([^`]+)`", "".join([prose, *blocks[1::2]]))]
        found |= {match[1] for line in shown if (match := re.search(rf"{BEFORE}(deepscaler +[a-z-].*)", line))}
    return sorted(command for command in found if "..." not in command)


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
    assert "deepscaler merge /runs/8k" in commands(), "one after kubectl's --"
    assert any("/opt/models/" in command for command in commands()), "one in a container, on two lines"


@pytest.mark.parametrize("command", [command for command in commands() if "--set" in command])
def test_every_field_that_is_set_is_one_of_a_recipe(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = re.findall(r"--set +(\S+)", command)
    assert main(["recipes", "8k", *(part for setting in settings for part in ("--set", setting))]) == 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_and_make_target_exists(document: Path) -> None:
    text = document.read_text()
    for target, anchor in re.findall(r"\]\((?!https:)([^)#]*)#?([^)]*)\)", text):
        linked = document.parent / target if target else document
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in [re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in headings]
    for target in re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE):
        assert target in MAKE_TARGETS, target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_manifest_that_is_named_exists(document: Path) -> None:
    for target in re.findall(r"(?<![\w/])k8s/[\w./-]*\w", document.read_text()):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_line_is_a_heading_by_accident(document: Path) -> None:
    assert re.findall(r"^#+[^# ].*", document.read_text(), re.MULTILINE) == [], "such as an issue's number"


def test_the_page_on_data_names_every_data_set() -> None:
    text = (ROOT / "docs/data.md").read_text()
    assert [name for name in SOURCES if f"`{name}`" not in text] == []


def test_the_tree_of_the_architecture_exists() -> None:
    layout = re.search(r"## The tree\n.*?```text\n(.*?)```", (ROOT / "docs/architecture.md").read_text(), re.DOTALL)
    assert layout
    for line in layout[1].splitlines():
        for name in re.split(r",? +", re.split(r"  +", line)[0]):
            found = name if name.startswith(("deepscaler/", "slurm/", "evaluation/")) else f"deepscaler/{name}"
            assert (ROOT / found).exists(), line
