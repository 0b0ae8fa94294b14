"""A quota of the processor counts as cores, of both versions and of every group above."""

import os
from pathlib import Path

from deepscaler.system.control_groups import usable_cores
from tests.deepscaler.system.test_memory import proc_of

ALL = len(os.sched_getaffinity(0))


def test_the_least_quota_of_the_groups_above_counts(tmp_path: Path) -> None:
    proc, groups = proc_of(tmp_path, "0::/pod/container\n"), tmp_path / "groups"
    (groups / "pod/container").mkdir(parents=True)
    assert usable_cores(groups, proc) == ALL
    (groups / "pod/container/cpu.max").write_text("max 100000\n")
    assert usable_cores(groups, proc) == ALL
    (groups / "pod/cpu.max").write_text("25000 100000\n")
    assert usable_cores(groups, proc) == 0.25
    assert usable_cores(groups, tmp_path / "nowhere") == ALL


def test_a_quota_of_version_1_counts(tmp_path: Path) -> None:
    proc, folder = proc_of(tmp_path, "3:cpu,cpuacct:/docker/0a1b\n0::/\n"), tmp_path / "groups/cpu"
    folder.mkdir(parents=True)
    for quota, cores in ((-1, ALL), (50_000, 0.5)):
        (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (folder / "cpu.cfs_period_us").write_text("100000\n")
        assert usable_cores(tmp_path / "groups", proc) == cores
