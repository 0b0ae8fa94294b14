"""The command line as a whole: light, and plain about bad input."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.commands.table import COMMANDS

HEAVY = ("torch", "vllm", "ray", "verl", "transformers", "numpy", "sympy", "matplotlib", "pyarrow", "rich")


def loaded_after(code: str) -> list[str]:
    """Modules that a fresh interpreter has after some code."""
    script = f"import sys\nfrom deepscaler.cli import main\n{code}\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def test_help_imports_nothing_heavy_and_no_command() -> None:
    loaded = loaded_after("main(['--help'])")
    assert [name for name in HEAVY if name in loaded] == []
    assert [command for command in COMMANDS.values() if f"deepscaler.commands.{command.module}" in loaded] == []
    assert len(loaded) < 150


def test_only_the_command_that_is_typed_is_imported() -> None:
    loaded = loaded_after("try: main(['logs', '--help'])\nexcept SystemExit: pass")
    modules = [command.module for command in COMMANDS.values() if f"deepscaler.commands.{command.module}" in loaded]
    assert modules == ["logs"]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_needs_a_tensor_library_to_show_its_help(command: str) -> None:
    loaded = loaded_after(f"try: main([{command!r}, '--help'])\nexcept SystemExit: pass")
    assert [name for name in HEAVY if name in loaded and name != "rich"] == []


def test_help_answers_in_well_under_half_a_second() -> None:
    spent = []
    for _ in range(5):
        before = os.times()
        subprocess.run([sys.executable, "-m", "deepscaler", "--help"], capture_output=True, check=True)
        after = os.times()
        spent.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(spent) < 0.4, "processor time, which a busy machine changes less, and the least of several hardly"


def test_alone_it_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    alone = capsys.readouterr()
    assert main(["--help"]) == 0
    assert alone.out == capsys.readouterr().out
    assert alone.err == ""
    assert [name for name in COMMANDS if f"\n  {name} " not in alone.out] == []
    assert "Also: run." in " ".join(alone.out.split())


def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("deepscaler: ")
    assert error.count("\n") == 1


def test_the_module_runs_like_the_command() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "deepscaler", "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert answer.startswith("deepscaler 0.")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["data", "prepare", "arithmetic", "--output-dir", str(tmp_path / "file/below")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_reader_that_leaves_ends_nothing() -> None:
    command = f"{sys.executable} -m deepscaler data list | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_brackets_in_a_path_are_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "--model", "x[/b]/[red]m/y", "--datasets", "arithmetic"]
    assert main([*command, "--output-dir", str(tmp_path / "[/b]")]) == 2
    assert "x[/b]/[red]m/y" in capsys.readouterr().err


def test_an_error_of_the_system_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["render", "--output", str(tmp_path / "file/x.yaml"), "train", "8k"]) == 2
    error = capsys.readouterr().err
    assert error == f"deepscaler: {tmp_path}/file: File exists; check who owns it, or choose another folder\n"


def test_a_folder_is_no_file_to_render_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "--output", ".", "train", "8k"]) == 2
    assert capsys.readouterr().err == "deepscaler: . is a folder; give the path of a file\n"


def test_a_full_disk_without_a_name_is_told_with_what_is_free(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115  closing it fails, too
    monkeypatch.setattr("sys.stdout", full)
    try:
        assert main(["metrics", "--print", "dashboard", "--host=/somewhere"]) == 2
    finally:
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()
    told = capsys.readouterr().err
    assert told.startswith("deepscaler: No space left on device; /somewhere: ")
    assert f"; {Path.cwd()}: " in told
    assert told.endswith(" free; free some space, or choose another folder\n")
