"""The kit works from a folder that holds packages of the same names, as every clone of the original DeepScaleR does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deepscaler.system.processes import python_command
from tests.places import ROOT

PACKAGES = ("deepscaler", "evaluation", "slurm")
GRADE = r"""
from deepscaler.rewards import grade
from deepscaler.rewards.workers.pool import shared_pool
print(grade(r"<think></think> \boxed{\sqrt{12}}", r"2\sqrt{3}").correct, len(shared_pool().pids()))
"""
"""A comparison that only sympy decides, in a worker."""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder whose packages cannot be imported."""
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise ImportError('the other {name} is imported')\n")
    return tmp_path


def run(clone: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command in that folder, as a user starts it."""
    return subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=300, check=False)


def deepscaler(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed program: its own path begins with its folder, not with the working directory."""
    program = Path(sys.executable).with_name("deepscaler")
    return run(clone, str(program), *arguments)


def test_the_folder_is_a_trap(clone: Path) -> None:
    done = run(clone, sys.executable, "-m", "deepscaler", "--version")
    assert "the other deepscaler is imported" in done.stderr


def test_the_doctor_finds_nothing_wrong_with_the_kit(clone: Path) -> None:
    done = deepscaler(clone, "doctor", "--for", "login")
    assert "Traceback" not in done.stderr
    ok = [line.removeprefix("ok").strip() for line in done.stdout.splitlines() if line.startswith("ok ")]
    for name in ("imports: deepscaler ", "imports: evaluation ", "imports: slurm.node.task ", "grader "):
        assert any(line.startswith(name) for line in ok), done.stdout


def test_the_graders_workers_start(clone: Path) -> None:
    done = run(clone, *python_command("-c", GRADE))
    assert done.stdout.split() == ["True", "1"], done.stdout + done.stderr


def test_a_chain_starts_its_first_command(clone: Path) -> None:
    done = deepscaler(clone, "run", "quickstart", "learn", "--device", "cpu", "--set", "model=./nowhere")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Stopped in quickstart, train (code 2)" in done.stdout
    assert done.stderr == (
        "deepscaler: --model ./nowhere is neither a folder nor a hub id such as agentica-org/DeepScaleR-1.5B-Preview\n"
    )
    chain = json.loads((clone / "outputs/quickstart-learn/chain.json").read_text())
    assert [stage["state"] for stage in chain["stages"]] == ["training", "waiting"]


def test_every_child_is_started_by_the_one_helper() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    texts = {path.name: path.read_text().replace('[sys.executable, "-I",', "[isolated,") for path in files}
    assert [name for name, text in texts.items() if "[sys.executable" in text] == ["processes.py"]


def test_pods_keep_the_working_directory_off_the_path() -> None:
    for job in (ROOT / "k8s/jobs").rglob("rayjob.yaml"):
        assert "PYTHONSAFEPATH" in job.read_text(), job
