"""Kubernetes as a place to run: RayJobs by kubectl, whose pods see volumes of the cluster and nothing of this machine.

outputs/mine/k8s/jobs.json   [{"name": "train-mine", "context": "research", "namespace": "deepscaler", ...}]
outputs/mine/k8s/train-mine/ what was applied, as a kustomization
"""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from rich.console import Console

from deepscaler.job import Job
from deepscaler.kubernetes import require_yaml
from deepscaler.kubernetes.cluster.cancel import cancel
from deepscaler.kubernetes.cluster.logs import show_logs
from deepscaler.kubernetes.cluster.place import Place, load_place
from deepscaler.kubernetes.cluster.record import Submitted, read_jobs
from deepscaler.kubernetes.cluster.states import far_status, states
from deepscaler.kubernetes.cluster.timing import newest_timing
from deepscaler.kubernetes.render.plans import Plan, plan_of
from deepscaler.kubernetes.render.pods import RUNS
from deepscaler.launch.launcher import JobState, Launcher, Phase, PlannedJob
from deepscaler.system.errors import UserError

LONGEST_NAME = 47
"""Characters of a RayJob's name: KubeRay adds to it for pods and services."""


class KubernetesLauncher(Launcher):
    """The cluster of a site file, or the one that a run's jobs were submitted to."""

    on = "k8s"
    title = "Kubernetes"
    sees_files = False

    def __init__(self, place: Place | None, jobs: Sequence[Submitted] = ()) -> None:
        self._place = place
        self._jobs = jobs

    @classmethod
    def at(cls, site: Path | None) -> Self:
        """Returns the launcher of a site file. Raises UserError where it is missing, or an extra package is."""
        require_yaml()
        if site is None:
            raise UserError("--on k8s needs --site FILE; `deepscaler k8s init FILE` asks the cluster and writes one")
        return cls(load_place(site))

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """Returns the launcher of a folder whose jobs went to a cluster."""
        jobs = read_jobs(folder)
        return cls(None, jobs) if jobs else None

    @property
    def place(self) -> Place:
        """The site file; only what submits needs it."""
        assert self._place is not None, "made by `at`"
        return self._place

    def folder_there(self, folder: Path) -> Path:
        """Returns the run's folder on the volume of the runs: the same last name."""
        return Path(RUNS, name_of(folder))

    def submit(self, plan: Sequence[PlannedJob], folder: Path, console: Console) -> int:
        """Applies a job after the cluster was asked whether it would take it; a finished one of the same run goes."""
        from deepscaler.kubernetes.cluster.chain import submit_chain  # noqa: PLC0415  needs yaml, an extra
        from deepscaler.kubernetes.cluster.submit import submit  # noqa: PLC0415  needs yaml, an extra

        plans = self._plans(plan, folder)
        if len(plans) > 1:
            return submit_chain(job_name(plan[0].jobs[0], folder, alone=True), plans, self.place, folder, console)
        return submit(plans[0], self.place, folder, console)

    def describe(self, plan: Sequence[PlannedJob], folder: Path, console: Console, *, full: bool) -> int:
        """Prints a line a job, with `full` the YAML, and asks the cluster whether it would take it."""
        from deepscaler.kubernetes.cluster.chain import describe_chain  # noqa: PLC0415  needs yaml, an extra
        from deepscaler.kubernetes.cluster.submit import describe  # noqa: PLC0415  needs yaml, an extra

        plans = self._plans(plan, folder)
        if len(plans) > 1:
            name = job_name(plan[0].jobs[0], folder, alone=True)
            return describe_chain(name, plans, self.place, console, full=full)
        return describe(plans[0], self.place, console, full=full)

    def states(self, folder: Path) -> tuple[list[tuple[str, JobState]], str]:
        """Returns each job as the cluster tells: its state, why it waits, what does not start, retries used."""
        return states(self._jobs)

    def far_status(self, folder: Path) -> tuple[dict[str, Any], str]:
        """Returns what the run's files tell in a pod that sees them."""
        return far_status(self._jobs)

    def timing(self, folder: Path) -> list[Phase]:
        """Returns where the time of the newest job went that has begun."""
        return newest_timing(self._jobs)

    def show_logs(self, folder: Path, job: str | None, lines: int, *, follow: bool) -> int:
        """Prints the command's log from the head's pod, through every retry."""
        return show_logs(self._jobs, job, lines, follow=follow)

    def cancel(self, folder: Path, console: Console, *, dry_run: bool) -> int:
        """Deletes the jobs; a training saves first."""
        return cancel(self._jobs, console, dry_run=dry_run)

    def examine(self, job: Job, folder: Path, console: Console, *, minutes: float) -> int:
        """Has a pod on each of some nodes examine it."""
        from deepscaler.kubernetes.cluster.examine import examine_nodes  # noqa: PLC0415  needs yaml, an extra

        return examine_nodes(job, self.place, console, minutes=minutes)

    def describe_examination(self, job: Job, folder: Path, console: Console, *, full: bool) -> int:
        """Prints the pods of `examine`."""
        from deepscaler.kubernetes.cluster.examine import describe_examination  # noqa: PLC0415  needs yaml, an extra

        return describe_examination(job, self.place, console, full=full)

    def _plans(self, plan: Sequence[PlannedJob], folder: Path) -> list[Plan]:
        """Returns the jobs with their lives here, named after the run's folder."""
        jobs = [(planned.jobs[0], planned.inputs) for planned in plan]
        return [plan_of(replace(job, name=job_name(job, folder, alone=len(plan) == 1)), inputs) for job, inputs in jobs]


def name_of(folder: Path) -> str:
    """Returns the last name of a folder; `..` is followed, as it would leave the volume there."""
    return os.path.basename(os.path.abspath(folder))  # noqa: PTH119,PTH100  Path.absolute() keeps `..`


def job_name(job: Job, folder: Path, *, alone: bool) -> str:
    """Returns the name of a run's job: its command and its folder's name, or within a chain its own name after that.

    What is too long, or has letters that Kubernetes does not take, ends with a hash, so that two folders differ.
    """
    parts = list(dict.fromkeys([job.arguments[0], name_of(folder)])) + ([] if alone else [job.name])
    told = "-".join(parts).lower()
    name = re.sub(r"[^a-z0-9]+", "-", told).strip("-")
    if len(name) <= LONGEST_NAME and told.isascii():
        return name
    digest = hashlib.sha256((name if told.isascii() else told).encode(errors="surrogateescape")).hexdigest()[:6]
    return f"{name[: LONGEST_NAME - 7].rstrip('-')}-{digest}"
