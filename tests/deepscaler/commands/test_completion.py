"""What a real bash completes, by the script that `deepscaler completion bash` prints."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.commands.table import COMMANDS

DRIVER = """
eval "$(deepscaler completion bash)"
registered=$(complete -p deepscaler) || exit 3
function=${registered#*-F }
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
COMP_WORDS=($1)
${function%% *} deepscaler
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    program = tmp_path / "deepscaler"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m deepscaler "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def ask(line: str) -> list[str]:
        done = subprocess.run(["bash", "-c", DRIVER, "bash", line], capture_output=True, text=True, check=True)
        return done.stdout.split()

    return ask


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("deepscaler ", [*COMMANDS]),
        ("deepscaler eva", ["evaluate"]),
        ("deepscaler train 1", ["16k"]),
        ("deepscaler run 8k 2", ["2k", "24k"]),
        ("deepscaler train 8k --de", ["--device", "--deadline"]),
        ("deepscaler train 8k --device ", ["cuda", "cpu"]),
        ("deepscaler train --dry-run 24", ["24k"]),
        ("deepscaler data pre", ["prepare"]),
        ("deepscaler data prepare ami", []),
        ("deepscaler evaluate --datasets olym", ["olympiad_bench"]),
        ("deepscaler k8s ", ["init", "setup", "check", "wait", "stop", "conduct"]),
        ("deepscaler completion z", ["zsh"]),
    ],
)
def test_bash_completes_commands_flags_and_names(line: str, words: list[str], complete) -> None:  # type: ignore[no-untyped-def]
    assert complete(line) == words


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_one_that_its_shell_reads(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "_ARGCOMPLETE" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)
