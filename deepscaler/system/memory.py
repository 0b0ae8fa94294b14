"""Measures how full this machine, or the control group around this process, is, and which processes hold the memory.

Level(used=41_200_000_000, limit=64_000_000_000, place="control group")
residents("/runs/8k")  ->  {"trainer": 1_900_000_000, "rank": 7_100_000_000, "reward": 600_000_000, "ray": 400_000_000}
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deepscaler.system.control_groups import GROUPS, PROC, bounding

UNBOUNDED = 1 << 60
"""Bytes from which a limit counts as none; version 1 of control groups states the largest page-aligned number."""

ROLES = (
    ("rank", r"ray::(WorkerDict|ActorRollout|.*[Ww]orker(Dict)?_)"),
    ("reward", r"ray::.*Reward|deepscaler\.rewards\.workers"),
    ("rollout", r"ray::.*(AgentLoop|Rollout|Server|vLLM)|EngineCore|vllm"),
    ("queue", r"ray::.*(Storage|TransferQueue|ReplayBuffer)"),
    ("trainer", r"ray::.*(TaskRunner|Trainer)|verl_plugin\.main|deepscaler (train|chain|run)\b|-m deepscaler "),
    ("ray", r"raylet|gcs_server|ray/(_private|dashboard|autoscaler)|ray::"),
)
"""Roles of a training's processes, by what their command begins with or holds; the first that fits counts."""

DAEMONS = ("raylet", "gcs_server")
"""Names of Ray's processes that a launcher started, which know nothing of the run."""


@dataclass(frozen=True, slots=True)
class Level:
    """Holds the bytes in use that cannot be reclaimed, and the limit on them."""

    used: int
    limit: int
    place: str
    """`machine` or `control group`: whichever has less room left."""


def level(groups: Path = GROUPS, proc: Path = PROC) -> Level:
    """Returns the level of the machine, or of a control group above this process if that has less room."""
    return min([_machine(proc), *_bounds(groups, proc)], key=lambda one: one.limit - one.used)


def shared_bytes(proc: Path = PROC) -> int:
    """Returns the bytes of shared memory and tmpfs that are in use on this machine."""
    return _sizes(proc)["Shmem"]


def _sizes(proc: Path) -> dict[str, int]:
    lines = (proc / "meminfo").read_text(encoding="ascii").splitlines()
    return {name: 1024 * int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}


def _machine(proc: Path) -> Level:
    size = _sizes(proc)
    return Level(size["MemTotal"] - size["MemAvailable"], size["MemTotal"], "machine")


def _bounds(groups: Path, proc: Path) -> Iterator[Level]:
    """Yields the control groups above this process that have a limit, by version 2 or 1."""
    for folder, version in bounding("memory", groups, proc):
        names, prefix = ("memory.max", "memory.current"), ""
        if version == 1:
            names, prefix = ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_"
        with suppress(OSError, ValueError):  # `max`, or no such file: no limit here
            limit, used = (int((folder / name).read_text(encoding="ascii")) for name in names)
            stat = (folder / "memory.stat").read_text(encoding="ascii")
            # The page cache counts as used, but the kernel gives it up before it kills. Ray's monitor, which kills
            # first, subtracts the same two (ray/_private/utils.py, get_cgroup_used_memory).
            used -= sum(map(int, re.findall(rf"^{prefix}(?:in)?active_file (\d+)$", stat, re.MULTILINE)))
            if limit < UNBOUNDED:
                yield Level(used, limit, "control group")


def residents(run_dir: Path, proc: Path = PROC) -> dict[str, int]:
    """Returns the bytes of private memory that a run's processes on this machine hold, by role."""
    wanted, found = f"DEEPSCALER_RUN_DIR={run_dir}".encode(), dict[str, int]()
    for folder in proc.glob("[0-9]*"):
        with suppress(OSError, ValueError):  # it has ended, or is another user's
            is_ours = wanted in (folder / "environ").read_bytes().split(b"\0")
            status = (folder / "status").read_text(encoding="utf-8", errors="replace")
            # The environment does not identify them, since a launcher starts Ray before there is a run.
            daemon = status.splitlines()[0].partition("\t")[2] in DAEMONS and folder.stat().st_uid == os.getuid()
            if is_ours or daemon:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                # Shared memory, such as Ray's object store, would count once for each process that maps it; a fair
                # share (Pss) takes a walk through all pages.
                own = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
                role = role_of(command)
                found[role] = found.get(role, 0) + 1024 * int(own[1] if own else 0)
    return found


def role_of(command: str) -> str:
    """Returns the role of a training's process, judged by its command."""
    return next((role for role, pattern in ROLES if re.search(pattern, command)), "other")
