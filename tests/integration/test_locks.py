"""The locks are what pyproject.toml asks for, and every package in them can be installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT
from tools.lock import REQUIREMENTS, install_uv

SOURCE_ONLY = ("antlr4-python3-runtime", "cellpylib", "pycosat", "zss")
"""Small packages without wheels; the builder stage has a C compiler for them."""


@pytest.mark.long  # the seal on each lock says the same: tests/test_images.py
def test_locking_again_changes_nothing(tmp_path: Path) -> None:
    for name in ("tools", "docker/requirements"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "deepscaler").mkdir()
    shutil.copy2(ROOT / "deepscaler/__init__.py", tmp_path / "deepscaler")
    subprocess.run([sys.executable, "tools/lock.py"], cwd=tmp_path, check=True, timeout=1200)
    for lock in sorted(REQUIREMENTS.glob("*.txt")):
        again = tmp_path / "docker/requirements" / lock.name
        assert again.read_text() == lock.read_text(), f"{lock.name} is out of date: make lock"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eval", "train"])
def test_the_images_packages_install_on_x86_64(name: str, tmp_path: Path) -> None:
    uv = install_uv(tmp_path)
    for version in ("3.11", "3.12"):
        command = [uv, "pip", "install", "--dry-run", "--require-hashes", "--no-deps"]
        command += ["--only-binary=:all:", *(f"--no-binary={package}" for package in SOURCE_ONLY)]
        command += [
            "--python-version",
            version,
            "--python-platform",
            "x86_64-manylinux_2_36",
            "--target",
            tmp_path / "packages",
        ]
        command += ["--requirement", REQUIREMENTS / f"{name}.txt"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert result.returncode == 0, result.stderr
