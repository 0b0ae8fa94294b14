"""The command line: light, and plain about bad input."""

import subprocess
import sys
from pathlib import Path

import pytest

from deepscaler.cli import main

HEAVY = ("torch", "vllm", "ray", "verl", "transformers", "numpy", "sympy", "matplotlib", "pyarrow", "rich")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom deepscaler.cli import build_parser\nbuild_parser().format_help()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], len(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded, _, count = answer.rpartition(" ")
    assert loaded == "[]"
    assert int(count) < 300


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("data", "evaluate", "report", "quickstart"):
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
        assert "usage: deepscaler" in capsys.readouterr().out


def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "nothing")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("deepscaler: ")
    assert error.count("\n") == 1


def test_the_module_runs_like_the_command() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "deepscaler", "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert answer.startswith("deepscaler 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "--num-samples", "abc"],
        ["evaluate", "--mod", "x"],
        ["nothing"],
        [],
        ["data", "prepare", "--sourc", "x"],
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["data", "prepare", "arithmetic", "--output-dir", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_reader_that_leaves_ends_nothing() -> None:
    command = f"{sys.executable} -m deepscaler data list | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_brackets_in_a_path_are_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "evaluate",
                "--model",
                "x[/b]/[red]m/y",
                "--datasets",
                "arithmetic",
                "--output-dir",
                str(tmp_path / "[/b]"),
            ]
        )
        == 2
    )
    assert "x[/b]/[red]m/y" in capsys.readouterr().err
