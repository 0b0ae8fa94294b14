"""Finds the control groups that bound this process, by version 2 or 1, and what they leave it of the processor.

bounding("memory")    /sys/fs/cgroup/job_7/step_0, /sys/fs/cgroup/job_7, /sys/fs/cgroup
usable_cores()        2.5: those of the affinity mask, or fewer by the quota of `docker --cpus` or a pod's limits
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

GROUPS, PROC = Path("/sys/fs/cgroup"), Path("/proc")


def bounding(controller: str, groups: Path = GROUPS, proc: Path = PROC) -> Iterator[tuple[Path, int]]:
    """Yields folder and version of each group above this process that a controller may bound, inner ones first."""
    for line in (proc / "self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        # Version 2 has one line, `0::/path`, without a controller; a hybrid system has lines of both versions.
        if not controllers:
            yield from ((folder, 2) for folder in _up(groups, path))
        elif controller in controllers.split(","):
            yield from ((folder, 1) for folder in _up(groups / controller, path))


def usable_cores(groups: Path = GROUPS, proc: Path = PROC) -> float:
    """Returns the cores that this process may use at once."""
    return min([float(len(os.sched_getaffinity(0))), *_quotas(groups, proc)])


def _quotas(groups: Path, proc: Path) -> Iterator[float]:
    # A quota is of time, not of cores: the mask names all of them, and the kernel stops the process for the rest.
    with suppress(OSError):  # no /proc/self/cgroup: a kernel without control groups
        for folder, version in bounding("cpu", groups, proc):
            with suppress(OSError, ValueError):  # `max`, or no such file: no limit here
                if version == 2:
                    quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
                else:
                    quota, period = (
                        (folder / f"cpu.cfs_{one}_us").read_text(encoding="ascii") for one in ("quota", "period")
                    )
                if int(quota) > 0:  # version 1 writes -1 for none
                    yield int(quota) / int(period)


def _up(root: Path, path: str) -> Iterator[Path]:
    folder = root / path.lstrip("/")
    if not folder.is_dir():  # a container that sees its own group as the root, under a path of the machine
        folder = root
    while folder.is_relative_to(root):
        yield folder
        folder = folder.parent
