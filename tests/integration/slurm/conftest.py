"""The cluster, stood up once; its jobs cancelled after each test."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.processes import locked
from tests.integration.slurm.sandbox import (
    NAME,
    NETWORK,
    NUM_GPUS,
    NUM_NODES,
    PORT,
    SCRIPT,
    STATE,
    ask,
    on_node,
    sandbox,
    wait_until,
)
from tests.places import ROOT

SMALL_DISK = Path(f"/var/tmp/deepscaler-small-disk-{NAME}")
APT_LOCK = ROOT / "outputs/ci/apt.lock"
"""Lock of whoever calls apt-get, because of two at once one fails; .ci/image takes it, too."""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Four nodes; a small file system that all of them see is mounted before they start."""
    sandbox("down", "--state", str(STATE), check=False)
    for number in range(1, NUM_NODES + 1):  # what a killed test may have left
        subprocess.run(["ip", "link", "del", f"{NAME}v{number}"], check=False, capture_output=True)
    SMALL_DISK.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(SMALL_DISK)], check=True)
    try:
        plugin = build_pyxis(tmp_path_factory.mktemp("pyxis"))
        options = ["--nodes", str(NUM_NODES), "--gpus", str(NUM_GPUS), "--name", NAME, "--net", NETWORK, "--port", PORT]
        with locked(APT_LOCK):
            sandbox("up", "--state", str(STATE), *options, *(["--spank", str(plugin)] if plugin else []))
        exported = sandbox("env", "--state", str(STATE)).strip().removeprefix("export SLURM_CONF=")
        before = os.environ.get("SLURM_CONF")
        os.environ["SLURM_CONF"] = exported
        yield
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before
    finally:
        sandbox("down", "--state", str(STATE), check=False)
        subprocess.run(["umount", str(SMALL_DISK)], check=False)


@pytest.fixture
def idle(cluster: None) -> Iterator[None]:
    """All nodes up and idle before and after."""
    _clear()
    yield
    _clear()


@pytest.fixture
def pyxis() -> None:
    """Skips where the stand-in for pyxis could not be built."""
    if "--container-image" not in ask("srun", "--help"):
        pytest.skip("needs a C compiler and SLURM's headers (libslurm-dev), to build a stand-in for pyxis")


def build_pyxis(folder: Path) -> Path | None:
    """A plug-in that takes pyxis's options and runs the task as it is."""
    source = SCRIPT.with_name("pyxis_stub.c")
    if not Path("/usr/include/slurm/spank.h").is_file() or not shutil.which("cc"):
        install = ["install", "-y", "--no-install-recommends", "libslurm-dev", "gcc", "libc6-dev"]
        with locked(APT_LOCK):
            for arguments in (["update"], install):
                command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=600", *arguments]
                subprocess.run(command, check=False, capture_output=True)
    built = folder / "pyxis_stub.so"
    command = ["cc", "-shared", "-fPIC", "-o", str(built), str(source)]
    return built if shutil.which("cc") and subprocess.run(command, check=False).returncode == 0 else None


@pytest.fixture(scope="session")
def driver() -> list[str]:
    """The command that stands for a training."""
    return [sys.executable, str(Path(__file__).with_name("driver.py"))]


def _clear() -> None:
    if jobs := ask("squeue", "-h", "-o", "%A").split():
        subprocess.run(["scancel", *jobs], check=False)
    for number in range(1, NUM_NODES + 1):
        sandbox("start-node", f"{NAME}{number}", check=False)
        on_node(f"{NAME}{number}", "find", "/tmp/ray", "-mindepth", "1", "-delete", check=False)
    wait_until(
        lambda: len(ask("sinfo", "-h", "-N", "-p", "gpu", "-t", "idle", "-o", "%N").split()) == NUM_NODES, "idle"
    )
