"""What the images are made from agrees with the rest of the project."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml

from deepscaler.doctor.software import MODULES
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
    packages = [line for line in text.splitlines() if line and not line.startswith(("#", " ", "--requirement "))]
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


def test_the_gpu_locks_hold_what_verl_pins_and_each_package_once() -> None:
    common, added = (
        dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", (REQUIREMENTS / f"{name}.txt").read_text(), re.MULTILINE))
        for name in lock.GPU
    )
    assert (common["torch"], common["vllm"], common["transformers"]) == ("2.11.0", "0.24.0", "5.9.0")
    assert "submitit" in common
    assert {"verl", "wandb", "transferqueue"} <= added.keys()
    assert common.keys().isdisjoint(added)
    assert "\n--requirement eval.txt\n" in (REQUIREMENTS / "train.txt").read_text()
    assert {"xformers", "flash-attn"}.isdisjoint({**common, **added})


def test_the_images_for_gpus_share_the_layer_of_their_common_packages() -> None:
    stages = dict(re.findall(r"^FROM (\S+) AS (?:train|eval)\n((?:.*\n)+?)(?=\n|\Z)", DOCKERFILE, re.MULTILINE))
    assert list(stages) == ["cuda"], "train and eval begin with the same image"
    assert "COPY --link --from=eval-packages" in DOCKERFILE.split(" AS cuda\n")[1].split("\nFROM ")[0]


def test_packages_finished_for_an_image_are_smaller_and_load_as_before(tmp_path: Path) -> None:
    if not shutil.which("strip"):
        pytest.skip("needs binutils")
    packages = tmp_path / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    installed = Path(sysconfig.get_path("purelib"))
    for package in ("uvloop", "numpy", "numpy.libs"):
        shutil.copytree(installed / package, packages / package)
    loop = next(packages.glob("uvloop/loop.*.so"))
    moved = next(packages.glob("numpy/_core/_multiarray_umath.*.so"))  # by auditwheel: strip would move its segments
    before = loop.stat().st_size, moved.read_bytes()
    subprocess.run([sys.executable, ROOT / "docker/finish_packages.py", tmp_path], check=True, timeout=300)
    assert loop.stat().st_size < before[0] / 2
    assert moved.read_bytes() == before[1]
    assert not [*packages.rglob("*.a"), *packages.rglob("*.stripped")]
    code = next((packages / "uvloop/__pycache__").glob("__init__.*.pyc")).read_bytes()
    assert code[4:8] == b"\1\0\0\0", "byte code that is trusted unchecked"
    used = "import numpy, uvloop; uvloop.new_event_loop().close(); print(numpy.ones(9).dot(range(9)), uvloop.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    done = subprocess.run([sys.executable, "-c", used], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"36.0 {packages}")


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
    for package in {*wheel["packages"], *(Path(folder).parts[0] for folder in wheel["force-include"])}:
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
