"""Defines a place where jobs run: this machine, SLURM, Kubernetes. One more is a class and a line in PLACES.

launcher = launcher_at("k8s", Path("cluster.toml"))      # --on k8s --site cluster.toml
launcher.submit([PlannedJob(jobs=(job,), outputs=(folder,))], folder, console)
launcher_of(folder).states(folder)                        # `deepscaler status`, by what the folder holds
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from rich.console import Console

from deepscaler.job import Job
from deepscaler.runs.moments import start_phases
from deepscaler.runs.outputs import newest_attempts

On = Literal["local", "slurm", "k8s"]

PLACES: dict[On, str] = {
    "slurm": "slurm.launcher:SlurmLauncher",
    "k8s": "deepscaler.kubernetes.launcher:KubernetesLauncher",
    "local": "deepscaler.commands.local:LocalLauncher",
}
"""The class of each place; the last one takes every folder for its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """A job (or an array of jobs) and the one it waits for."""

    jobs: tuple[Job, ...]
    """One, or the elements of an array: alike but for their arguments."""
    outputs: tuple[Path, ...]
    """Folder that each one writes to."""
    after: int | None = None
    """Index of an earlier job in the plan."""
    name: str = ""
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    """Files that go along to a place that does not see this machine's, by their name there."""
    here: Callable[[], int] | None = None
    """Does the work in this process, or for a dry run says what it would do; the local launcher alone calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Examination of some machines by `deepscaler doctor`."""

    job: Job
    minutes: float = 30.0
    """Longest wait for their answers."""
    as_json: bool = False
    """True if the findings are printed as JSON, and nothing else."""
    exclude_slow: bool = False
    """True if machines that are slow or fail are left out, and others examined in their place."""
    here: Callable[[], int] | None = None
    """Examines this machine in this process; the local launcher alone calls it."""


@dataclass(frozen=True, slots=True)
class JobState:
    """State of a job, or of an element of an array."""

    job_id: str
    state: str
    """State in the place's own words: PENDING, RUNNING, Suspended, ..."""
    reason: str
    """Why it waits, or how it ended: Priority, Resources, insufficient quota, ..."""
    elapsed: str = ""
    nodes: str = ""
    start: str = ""
    """Time at which it began, or is expected to."""
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    """Lines to say beside: what does not start and why, retries used, the last line of its log."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the way to the first step, in seconds: of the job, or of its pods; None for what is not known."""

    name: str
    job: float | None = None
    head: float | None = None
    worker: float | None = None
    """Seconds of the slowest machine."""


class Launcher(ABC):
    """One place. `states`, `show_logs` and `cancel` need the run's folder alone, whatever became of the site file."""

    on: ClassVar[On]
    title: ClassVar[str]
    """Name of its jobs in a table: SLURM, Kubernetes."""
    sees_files: ClassVar[bool] = True
    """True if its jobs see the folders of this machine; otherwise they get what they need as `inputs`."""

    @property
    def gpu(self) -> str:
        """Returns what this place calls its GPUs, such as h100; empty if it does not say."""
        return ""

    def folder_there(self, folder: Path) -> Path:
        """Returns what a run's folder is called where its jobs run; another path only where `sees_files` is not so."""
        return folder.absolute()

    @classmethod
    @abstractmethod
    def at(cls, site: Path | None) -> Self:
        """Returns the launcher that a site file describes. Raises UserError if it is missing or wrong."""

    @classmethod
    @abstractmethod
    def of(cls, folder: Path) -> Self | None:
        """Returns the launcher that submitted the jobs of a run's folder; None if that was another."""

    @abstractmethod
    def submit(self, plan: Sequence[PlannedJob], folder: Path, console: Console) -> int:
        """Submits a plan in order, and returns the exit code. Raises UserError before anything is submitted."""

    @abstractmethod
    def describe(self, plan: Sequence[PlannedJob], folder: Path, console: Console, *, full: bool) -> int:
        """Prints what `submit` would do, with `full` the very scripts or manifests, and does nothing."""

    @abstractmethod
    def states(self, folder: Path) -> tuple[list[tuple[str, JobState]], str]:
        """Returns every job of a run by its name, and why the place was not asked (then as files tell) or nothing."""

    def far_status(self, folder: Path) -> tuple[dict[str, Any], str]:
        """Returns what `deepscaler status --json` says where the run's files are, and why nothing is known of it.

        Only places need it whose jobs do not see this machine's files.
        """
        return {}, ""

    def timing(self, folder: Path) -> list[Phase]:
        """Returns where the newest attempt's time to its first step went, as far as it has come."""
        attempts = newest_attempts(folder)
        if not attempts:
            return []
        # By time and not by number: each stage of a chain counts its attempts from 1.
        newest = max(attempts, key=lambda attempt: attempt.root.stat().st_mtime)
        phases = [Phase(name, job=seconds) for name, seconds in start_phases(newest)]
        return [*phases, Phase("from the command to the first step", job=sum(phase.job or 0.0 for phase in phases))]

    @abstractmethod
    def show_logs(self, folder: Path, job: str | None, lines: int, *, follow: bool) -> int:
        """Prints the last lines of each log of a job (the newest by default); with `follow` until it has ended."""

    @abstractmethod
    def cancel(self, folder: Path, console: Console, *, dry_run: bool) -> int:
        """Ends what is queued or running. Raises UserError if the folder has no jobs."""

    @abstractmethod
    def examine(self, asked: Examination, folder: Path, console: Console) -> int:
        """Has machines run `deepscaler doctor`, and prints their findings; 1 where something is missing."""

    @abstractmethod
    def describe_examination(self, job: Job, folder: Path, console: Console, *, full: bool) -> int:
        """Prints what `examine` would submit, and does nothing."""


def launcher_at(on: On, site: Path | None) -> Launcher:
    """Returns the launcher of `--on` and `--site`. Raises UserError."""
    return _class_of(on).at(site)


def launcher_of(folder: Path) -> Launcher:
    """Returns the launcher of a run's folder, by what it holds."""
    found = (launcher for on in PLACES if (launcher := _class_of(on).of(folder)))
    # never empty: this machine comes last, and takes every folder that no other place knows
    return next(found)


def _class_of(on: On) -> type[Launcher]:
    module, _, name = PLACES[on].partition(":")
    # By name: the packages of the places are above this one, and a command imports only the place that it uses.
    kind: type[Launcher] = getattr(import_module(module), name)
    return kind
