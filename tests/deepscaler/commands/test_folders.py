"""A folder to read that is not there is told once, in plain words."""

from pathlib import Path

import pytest

from deepscaler.cli import main

COMMANDS = ("status", "merge", "report", "cancel", "logs", "metrics", "data check --source", "merge --dry-run")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_is_not_there_is_told_once(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    folder = tmp_path / "no [red]run"
    assert main([*command.split(), str(folder)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"deepscaler: folder {folder} does not exist: give the ")
    assert (shown.err.count("\n"), shown.err.count("exist")) == (1, 1)
    assert "Errno" not in shown.err
    assert not folder.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_is_no_folder(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    file = tmp_path / "file"
    file.touch()
    assert main([*command.split(), str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"deepscaler: {file} is a file, not a folder: give the ")
