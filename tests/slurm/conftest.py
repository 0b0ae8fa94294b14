"""SLURM's commands where there is no SLURM: programs of one line on PATH."""

from collections.abc import Callable
from pathlib import Path

import pytest

Fake = Callable[..., None]
NoSlurm = Callable[[], None]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """`fake(sinfo="gpu|1-00:00:00|...", squeue="")`: what each command prints, whatever it is asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(**outputs: str) -> None:
        for name, output in outputs.items():
            program = folder / name
            program.write_text(f"#!/bin/sh\ncat <<'END_OF_FAKE'\n{output}\nEND_OF_FAKE\n")
            program.chmod(0o755)

    return make


@pytest.fixture
def no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NoSlurm:
    """Returns a function after whose call no command of SLURM's is found, as on a laptop."""
    return lambda: monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
