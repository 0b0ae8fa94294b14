"""A real Docker engine: the machine's own, or one that a script beside the checkout stands up."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.places import ROOT, SHARED, copy_packages

SANDBOX = SHARED / "container-sandbox"
BUILD_DEADLINE = 3000
"""Seconds to build the image with an empty cache."""


def docker(*arguments: object, seconds: float = 600, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Any docker command, through the script."""
    return _sandbox("docker", *arguments, seconds=seconds, check=check)


def build(context: Path, tag: str, target: str) -> str:
    """Build a target; returns BuildKit's plain progress."""
    built = _sandbox("build", context / "docker/Dockerfile", tag, context, "--target", target, seconds=BUILD_DEADLINE)
    return built.stdout + built.stderr


def _sandbox(*arguments: object, seconds: float, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the script, which stands the engine up first; skips where it is not there."""
    if not SANDBOX.is_file():
        pytest.skip(f"needs the container engine that {SANDBOX} stands up")
    command = [str(SANDBOX), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    assert not check or result.returncode == 0, result.stdout[-6000:] + result.stderr[-6000:]
    return result


def copy_of_the_project(folder: Path) -> Path:
    """Copies what a build reads, to be changed without touching the checkout."""
    copy_packages(folder)
    for name in ("docker", "k8s"):  # the wheel brings the manifests
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml", ".dockerignore"):
        shutil.copy2(ROOT / name, folder / name)
    return folder
