"""Describes a node in an allocation: its task, its name, its folders."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from deepscaler.system.exit_codes import BAD_INPUT, DONE, GATE, INTERRUPTED
from deepscaler.system.processes import deepscaler_command
from slurm.job_folder import JobAttempt, JobFolder, start_number

FINAL = (DONE, BAD_INPUT, GATE, INTERRUPTED)
"""Codes that another start cannot change: done, bad input, stopped by the gate, ended by SLURM for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """One job, as every one of its nodes sees it: plain texts and numbers."""

    command: tuple[str, ...]
    """Runs on the head; `deepscaler` means this kit under the same interpreter."""
    folder: str
    """Folder of the job, or of this element of an array (see job_folder)."""
    output: str
    """Folder that the command writes to; its progress decides whether another start makes sense."""
    num_gpus: int
    """GPUs of each node, for Ray."""
    ray: bool
    everywhere: bool = False
    """True if the command runs on every node, without Ray, instead of once."""
    network_interface: str = ""
    scratch: str = "/tmp"  # noqa: S108  node-local by the site's word
    """Local folder; it may hold variables that are known on the nodes only."""
    object_store_gb: float = 0.0
    join_seconds: float = 900.0
    max_attempts_without_progress: int = 3
    again: bool = True
    """True if another start follows one that ends before its time."""
    successor: bool = False
    """True if the next start may be another job, which waits already."""
    warning_seconds: float = 0.0
    """Seconds before the time limit at which SLURM warns."""
    caches: tuple[str, ...] = ()
    """Variables of compiled kernels that each node sets below its scratch, because only nodes know where that is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """This node in the allocation, from SLURM's environment."""

    task: TaskOptions
    name: str
    names: tuple[str, ...]
    """Names of all nodes; the first is the head."""
    rank: int
    restart: int
    folder: JobFolder

    @classmethod
    def here(cls, task: TaskOptions) -> "Node":
        """Returns this node, from the variables of submitit and SLURM."""
        import submitit  # noqa: PLC0415

        environment = submitit.JobEnvironment()
        names = tuple(environment.hostnames)
        return cls(
            task=task,
            # The kernel's host name may be a fully qualified one, or a container's; SLURM's own name of the
            # node is in its lists.
            name=os.environ.get("SLURMD_NODENAME") or names[environment.node],
            names=names,
            rank=environment.global_rank,
            # SLURM sets no SLURM_RESTART_COUNT in a job's first start.
            restart=start_number(
                int(os.environ.get("DEEPSCALER_SUCCESSOR") or 0), int(os.environ.get("SLURM_RESTART_COUNT") or 0)
            ),
            folder=JobFolder(Path(task.folder)),
        )

    @property
    def attempt(self) -> JobAttempt:
        """This start of the job."""
        return self.folder.attempt(self.restart)

    @property
    def raw_job_id(self) -> int:
        """Returns SLURM's own number, which elements of an array have, too."""
        return int(os.environ.get("SLURM_JOB_ID", "0"))

    def say(self, text: str) -> None:
        """Prints a line with time and node to submitit's file of this task, and to the attempt's folder."""
        line = f"{time.strftime('%H:%M:%S')} {text}"
        print(f"{self.name}: {line}", flush=True)
        try:
            with self.attempt.log_path(self.name).open("a", encoding="utf-8") as log:
                log.write(line + "\n")
        except OSError:  # before the head has made the folder, or on a full disk
            return

    def progress(self) -> int:
        """Returns how far the command's output is."""
        from deepscaler.runs.outputs import progress  # noqa: PLC0415  it imports the grader, and the head alone asks

        return progress(Path(self.task.output))

    def resolved_command(self) -> list[str]:
        """Returns the command with `deepscaler` resolved to this interpreter."""
        program, *arguments = self.task.command
        return deepscaler_command(arguments) if program == "deepscaler" else [program, *arguments]
