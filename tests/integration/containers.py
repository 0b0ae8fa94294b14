"""A real Docker engine: the machine's own, or one that a script beside the checkout stands up."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SANDBOX = ROOT.parent / "shared" / "container-sandbox"
BUILD_DEADLINE = 3000
"""Seconds to build the image with an empty cache."""


def sandbox() -> Path:
    """The script; skips where it is not there."""
    if not SANDBOX.is_file():
        pytest.skip(f"needs the container engine that {SANDBOX} stands up")
    return SANDBOX


def engine() -> dict[str, str]:
    """Stand the engine up; returns an environment in which `docker` speaks to it."""
    script = str(sandbox())
    subprocess.run([script, "up"], check=True, timeout=1200)
    lines = subprocess.run([script, "env"], capture_output=True, text=True, check=True).stdout.split()
    settings = dict(word.split("=", 1) for word in lines if "=" in word)
    docker = subprocess.run([script, "docker", "info"], capture_output=True, text=True, check=False)
    assert docker.returncode == 0, docker.stderr
    return {**os.environ, **settings}


def docker(*arguments: object, seconds: float = 600, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Any docker command, through the script."""
    result = subprocess.run(
        [str(sandbox()), "docker", *map(str, arguments)], capture_output=True, text=True, timeout=seconds, check=False
    )
    assert not check or result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return result


def build(context: Path, tag: str, target: str) -> str:
    """Build a target; returns BuildKit's plain progress."""
    command = [str(sandbox()), "build", str(context / "docker/Dockerfile"), tag, str(context), "--target", target]
    result = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_DEADLINE, check=False)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-6000:]
    return result.stdout + result.stderr


def copy_of_the_project(folder: Path) -> Path:
    """What a build reads, to be changed without touching the checkout."""
    for name in ("deepscaler", "evaluation", "docker"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml", ".dockerignore"):
        shutil.copy2(ROOT / name, folder / name)
    return folder
