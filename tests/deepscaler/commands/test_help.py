"""Every command explains itself: on one screen's width, in sections, with examples that can be typed."""

import os
import pty
import re
import shlex
import sys

import pytest

from deepscaler.cli import main
from deepscaler.commands.parser import module_of, parse
from deepscaler.commands.table import COMMANDS, NAMES
from tests.deepscaler.commands.leaves import LEAVES

READERS = {
    "data list",
    "data check",
    "grade",
    "k8s check",
    "k8s wait",
    "metrics",
    "recipes",
    "status",
    "logs",
    "completion",
}
"""Commands that change nothing (`--output FILE` of `data check` and `grade` writes what it is asked to print)."""


def help_of(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([*words.split(), "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("words", [*NAMES, *(words for words in LEAVES if " " in words)])
@pytest.mark.parametrize("columns", [80, 60])
def test_every_command_has_help(
    words: str, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = help_of(words, capsys)
    name, *action = words.split()
    assert shown.startswith(f"usage: {' '.join(['deepscaler', NAMES[name], *action])} ")
    assert max(map(len, shown.splitlines())) <= columns
    assert "\x1b" not in shown
    assert f"\n{shown.splitlines()[2][:9]}" in shown  # what it does stands below the usage
    assert shown.splitlines()[2].strip()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_two_examples_that_can_be_typed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    examples = module_of(name).EXAMPLES
    assert len(set(examples)) == 2
    shown = help_of(name, capsys).partition("examples:")[2].replace("\\\n", "")
    assert " ".join(shown.split()) == " ".join(examples)
    for example in examples:
        found = re.search(rf"deepscaler ({name}\b[^>)]*)", example)
        assert found, example
        parse(shlex.split(found[1]))


@pytest.mark.parametrize("words", LEAVES)
def test_every_option_says_what_it_is_with_a_short_placeholder(words: str) -> None:
    for action in LEAVES[words]._actions:
        assert action.help
        assert not action.help.startswith("default"), action
        LEAVES[words].format_help()
        assert len(str(action.metavar or "")) < 14, action


@pytest.mark.parametrize("words", sorted(set(LEAVES) - READERS))
def test_every_command_that_changes_anything_has_a_dry_run(words: str) -> None:
    assert "--dry-run" in LEAVES[words]._option_string_actions


def test_a_terminal_gets_colors_and_keeps_its_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "80"}
        os.environ.pop("NO_COLOR", None)
        os.execv(sys.executable, [sys.executable, "-m", "deepscaler", "train", "--help"])
    shown = b""
    while part := _read(terminal):
        shown += part
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    text = shown.decode()
    assert "\x1b[" in text
    assert "--dry-run [=full]" in re.sub(r"\x1b\[[0-9;]*m", "", text)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side is gone
        return b""
