"""Runs jobs on Kubernetes: RayJobs through kubectl, whose pods see the cluster's volumes and nothing of this machine.

outputs/mine/k8s/jobs.json   [{"name": "train-mine", "context": "research", "namespace": "deepscaler", ...}]
outputs/mine/k8s/train-mine/ the applied manifests, as a kustomization
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
from deepscaler.kubernetes import MAX_NAME, require_yaml
from deepscaler.kubernetes.cluster.cancel import cancel
from deepscaler.kubernetes.cluster.logs import show_logs
from deepscaler.kubernetes.cluster.place import Place, load_place
from deepscaler.kubernetes.cluster.record import Submitted, read_jobs
from deepscaler.kubernetes.cluster.states import far_status, states
from deepscaler.kubernetes.cluster.timing import newest_timing
from deepscaler.kubernetes.render.plans import Plan, plan_of
from deepscaler.kubernetes.render.pods import RUNS
from deepscaler.launch.launcher import Examination, JobState, Launcher, Phase, PlannedJob
from deepscaler.system.errors import UserError


class KubernetesLauncher(Launcher):
    """Launches on the cluster of a site file, or on the one that a run's jobs were submitted to."""

    on = "k8s"
    title = "Kubernetes"
    sees_files = False

    def __init__(self, place: Place | None, jobs: Sequence[Submitted] = ()) -> None:
        self._place = place
        self._jobs = jobs

    @classmethod
    def at(cls, site: Path | None) -> Self:
        """Returns the launcher of a site file. Raises UserError if the file or an extra package is missing."""
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
        """Returns the site file, which only submitting needs."""
        assert self._place is not None, "made by `at`"
        return self._place

    def folder_there(self, folder: Path) -> Path:
        """Returns the run's folder on the volume of the runs, which has the same last name."""
        return Path(RUNS, name_of(folder))

    def submit(self, plan: Sequence[PlannedJob], folder: Path, console: Console) -> int:
        """Applies a job once the cluster has agreed to accept it, and removes a finished job of the same run."""
        from deepscaler.kubernetes.cluster.chain import submit_chain  # noqa: PLC0415  needs yaml, an extra
        from deepscaler.kubernetes.cluster.submit import submit  # noqa: PLC0415  needs yaml, an extra

        plans = self._plans(plan, folder)
        if len(plans) > 1:
            return submit_chain(job_name(plan[0].jobs[0], folder, alone=True), plans, self.place, folder, console)
        return submit(plans[0], self.place, folder, console)

    def describe(self, plan: Sequence[PlannedJob], folder: Path, console: Console, *, full: bool) -> int:
        """Prints a line per job, with `full` also the YAML, and asks the cluster whether it would accept them."""
        from deepscaler.kubernetes.cluster.chain import describe_chain  # noqa: PLC0415  needs yaml, an extra
        from deepscaler.kubernetes.cluster.submit import describe  # noqa: PLC0415  needs yaml, an extra

        plans = self._plans(plan, folder)
        if len(plans) > 1:
            name = job_name(plan[0].jobs[0], folder, alone=True)
            return describe_chain(name, plans, self.place, console, full=full)
        return describe(plans[0], self.place, console, full=full)

    def states(self, folder: Path) -> tuple[list[tuple[str, JobState]], str]:
        """Returns each job's state on the cluster: why it waits, the pods that do not start, the retries used."""
        return states(self._jobs)

    def far_status(self, folder: Path) -> tuple[dict[str, Any], str]:
        """Returns the run's status, read from its files by a pod that sees them."""
        return far_status(self._jobs)

    def timing(self, folder: Path) -> list[Phase]:
        """Returns the phases of the newest job that has begun."""
        return newest_timing(self._jobs)

    def show_logs(self, folder: Path, job: str | None, lines: int, *, follow: bool) -> int:
        """Prints the command's log from the head's pod, through every retry."""
        return show_logs(self._jobs, job, lines, follow=follow)

    def cancel(self, folder: Path, console: Console, *, dry_run: bool) -> int:
        """Deletes the jobs; a training saves first."""
        return cancel(self._jobs, console, dry_run=dry_run)

    def examine(self, asked: Examination, folder: Path, console: Console) -> int:
        """Examines some nodes, each by a pod on it, and the network between them."""
        from deepscaler.kubernetes.cluster.examine import examine_nodes  # noqa: PLC0415  needs yaml, an extra

        return examine_nodes(asked, self.place, console)

    def describe_examination(self, job: Job, folder: Path, console: Console, *, full: bool) -> int:
        """Prints the pods of `examine`."""
        from deepscaler.kubernetes.cluster.examine import describe_examination  # noqa: PLC0415  needs yaml, an extra

        return describe_examination(job, self.place, console, full=full)

    def _plans(self, plan: Sequence[PlannedJob], folder: Path) -> list[Plan]:
        """Returns the jobs as plans for this cluster, named after the run's folder."""
        jobs = [(planned.jobs[0], planned.inputs) for planned in plan]
        return [plan_of(replace(job, name=job_name(job, folder, alone=len(plan) == 1)), inputs) for job, inputs in jobs]


def name_of(folder: Path) -> str:
    """Returns the last name of a folder, with `..` resolved because it would leave the volume."""
    return os.path.basename(os.path.abspath(folder))  # noqa: PTH119,PTH100  Path.absolute() keeps `..`


def job_name(job: Job, folder: Path, *, alone: bool) -> str:
    """Returns the name of a run's job: its command and its folder's name, or within a chain its own name after that.

    A name that is too long, or has characters that Kubernetes refuses, ends with a hash, so two folders differ.
    """
    # once where both are alike, as of `evaluate` in outputs/evaluate
    parts = list(dict.fromkeys([job.arguments[0], name_of(folder)])) + ([] if alone else [job.name])
    told = "-".join(parts).lower()
    name = re.sub(r"[^a-z0-9]+", "-", told).strip("-")
    if len(name) <= MAX_NAME and told.isascii():
        return name
    # Of the name as it was given, if letters were dropped from it: ä and ö both become a hyphen. A folder's
    # name may be bytes that are not UTF-8, which Python holds as surrogates.
    digest = hashlib.sha256((name if told.isascii() else told).encode(errors="surrogateescape")).hexdigest()[:6]
    # 7 characters for the hyphen and the hash
    return f"{name[: MAX_NAME - 7].rstrip('-')}-{digest}"
