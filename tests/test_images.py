"""What the images are made from agrees with the rest of the project."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from deepscaler.doctor.examine import MODULES
from tests.places import ROOT
from tools import lock
from tools.bootstrap import TORCH
from tools.lock import REQUIREMENTS

DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
LOCKS = sorted(path.name for path in REQUIREMENTS.glob("*.txt") if not path.name.startswith("overrides"))
TARGETS = ("train", "eval", "cpu")


def test_torch_has_one_version_on_cpu() -> None:
    wanted = re.search(r"^ARG TORCH=(.*)\+cpu$", DOCKERFILE, re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert wanted
    assert wanted[1] == TORCH
    assert wanted[1] in extras["cpu"]


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_hashes(name: str) -> None:
    text = (REQUIREMENTS / name).read_text().replace("\\\n", " ")
    packages = [line for line in text.splitlines() if line and not line.startswith(("#", " "))]
    assert packages
    assert [line[:60] for line in packages if "==" not in line or "--hash=sha256:" not in line] == []


@pytest.mark.parametrize("name", lock.LOCKS)
def test_a_lock_is_what_was_resolved_from_pyproject(name: str) -> None:
    first = (REQUIREMENTS / f"{name}.txt").read_text().partition("\n")[0]
    assert first == lock.SEAL + lock.seal(name), f"{name}.txt or what it is resolved from has changed: make lock"


def test_a_changed_lock_and_a_changed_wish_break_the_seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(REQUIREMENTS, tmp_path / "requirements")
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(lock, "ROOT", tmp_path)
    monkeypatch.setattr(lock, "REQUIREMENTS", tmp_path / "requirements")
    sealed = lock.seal("build")

    def replace(path: Path, old: str, new: str) -> None:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    replace(tmp_path / "requirements/build.txt", "hatchling==", "hatchling>=")
    assert lock.seal("build") != sealed
    replace(tmp_path / "requirements/build.txt", "hatchling>=", "hatchling==")
    assert lock.seal("build") == sealed
    replace(tmp_path / "pyproject.toml", '"hatchling>=1.27"]\nbuild-backend', '"hatchling>=2"]\nbuild-backend')
    assert lock.seal("build") == sealed, "no lock is resolved from that"
    replace(tmp_path / "pyproject.toml", "build = [", 'build = ["wheel", ')
    assert lock.seal("build") != sealed


def test_the_gpu_locks_hold_what_verl_pins_and_no_xformers() -> None:
    for name in ("eval", "train"):
        pins = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", (REQUIREMENTS / f"{name}.txt").read_text(), re.MULTILINE))
        assert (pins["torch"], pins["vllm"], pins["transformers"]) == ("2.11.0", "0.24.0", "5.9.0")
        assert "xformers" not in pins
        assert ("verl" in pins, "wandb" in pins) == (name == "train",) * 2
        assert "submitit" in pins


def test_every_target_is_baked_examined_and_run_by_a_fixed_user() -> None:
    bake = (ROOT / "docker/docker-bake.hcl").read_text()
    for target in TARGETS:
        stage = DOCKERFILE.split(f" AS {target}\n")[1].split("\nFROM ")[0]
        assert "deepscaler doctor --image-only" in stage
        assert f"DEEPSCALER_IMAGE={target} " in stage
        assert stage.rstrip().endswith("USER 1000:0")
        assert target in MODULES
        assert f'target "{target}"' in bake
    assert re.search(r"^ARG BASE_IMAGE=\S+@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)


def test_every_package_of_ours_is_in_the_build() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for package in wheel["packages"]:
        assert f"\nCOPY {package} {package}\n" in DOCKERFILE
        assert f"!{package}\n" in (ROOT / ".dockerignore").read_text()


def test_what_makes_the_model_in_the_image_is_all_there(tmp_path: Path) -> None:
    stage = DOCKERFILE.split(" AS model\n")[1].split("\nFROM ")[0]
    for line in re.findall(r"^COPY (.*)$", stage, re.MULTILINE):
        *files, folder = line.split()
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy2(ROOT / file, tmp_path / folder)
    command = [sys.executable, "-c", "import deepscaler.models.smollm as model; print(model.__file__)"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(str(tmp_path)), done.stderr


def test_compose_runs_these_images_contained() -> None:
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    for name, service in services.items():
        assert re.fullmatch(r"\$\{DEEPSCALER_[A-Z]+_IMAGE:-deepscaler:dev-(train|eval|cpu)\}", service["image"]), name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
