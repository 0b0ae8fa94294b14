"""Limits of machines and control groups, of both versions, and who holds memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepscaler.system.memory import Level, level, residents, role_of

MEMINFO = "MemTotal:       64000000 kB\nMemFree: 1 kB\nMemAvailable:   40000000 kB\n"


def proc_of(tmp_path: Path, cgroup: str) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(MEMINFO)
    (tmp_path / "proc/self/cgroup").write_text(cgroup)
    return tmp_path / "proc"


def group(folder: Path, limit: str, used: int, cached: int, names: tuple[str, str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    # Version 1 has the values of this group alone beside those with its children, which its usage includes.
    stat = f"anon 7\n{names[2]}inactive_file {cached}\n{names[2]}active_file {2 * cached}\nunevictable 5\n"
    own = f"inactive_file {cached - 1}\nactive_file {cached - 1}\n" if names[2] else ""
    (folder / "memory.stat").write_text(own + stat)


V2 = ("memory.max", "memory.current", "")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")


def test_the_nearest_limit_counts_without_what_can_be_taken_back(tmp_path: Path) -> None:
    proc = proc_of(tmp_path, "0::/job_7/step_0/task\n")
    groups = tmp_path / "groups"
    group(groups / "job_7", "9000", 5000, 1000, V2)
    group(groups / "job_7/step_0", "max", 5000, 1000, V2)
    group(groups / "job_7/step_0/task", "20000", 5000, 1000, V2)
    assert level(groups, proc) == Level(2000, 9000, "control group")


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    proc = proc_of(tmp_path, "5:cpu:/\n4:memory:/docker/0a1b\n0::/docker/0a1b\n")
    group(tmp_path / "groups/memory", "9000", 5000, 500, V1)
    assert level(tmp_path / "groups", proc) == Level(3500, 9000, "control group")


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    proc = proc_of(tmp_path, "4:memory:/a\n0::/\n")
    group(tmp_path / "groups/memory/a", str((1 << 63) - 4096), 5000, 0, V1)
    assert level(tmp_path / "groups", proc) == Level(24_000_000 * 1024, 64_000_000 * 1024, "machine")


def test_memory_of_a_runs_processes_is_their_own(tmp_path: Path) -> None:
    code = "import sys; held = bytearray(80_000_000); print('ready', flush=True); sys.stdin.read()"
    environment = {**os.environ, "DEEPSCALER_RUN_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code, "ray::RewardLoopWorker.compute"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        found = residents(tmp_path)
        process.kill()
    assert 80e6 < found["reward"] < 160e6


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("ray::WorkerDict.actor_rollout_compute_log_prob", "rank"),
        ("ray::RewardLoopWorker.compute_score", "reward"),
        ("ray::AgentLoopWorker", "rollout"),
        ("VLLM::EngineCore", "rollout"),
        ("ray::TaskRunner.run", "trainer"),
        ("python -P -m deepscaler.verl_plugin.main data.seed=1", "trainer"),
        ("ray::SimpleStorageUnit", "queue"),
        ("/x/ray/core/src/ray/raylet/raylet --raylet_socket_name=/tmp/x", "ray"),
        ("sleep 3", "other"),
    ],
)
def test_roles_are_told_by_commands(command: str, role: str) -> None:
    assert role_of(command) == role
