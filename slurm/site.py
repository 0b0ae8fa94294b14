"""Describes one SLURM cluster by the options of one TOML file. Nothing in it can change a result.

partition = "gpu"
account = "research"
time_limit = "1-00:00:00"
runtime = "apptainer"
image = "/shared/images/deepscaler-{target}.sif"
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deepscaler.system.errors import UserError
from deepscaler.system.option import shown_value
from deepscaler.system.options import check_options, option, read_options
from deepscaler.system.paths import LONGEST_RAY_FOLDER, expanded, expanded_absolute, variables_in
from slurm.runtime_class import beside, make_runtime
from slurm.runtimes import Runtime

GPUStyle = Literal["gpus-per-node", "gres", "none"]
Requeue = Literal["always", "never"]
Successor = Literal["auto", "always", "never"]
"""Condition under which a job queues a successor; auto if SLURM may end the job without starting it again."""
SiteFabric = Literal["auto", "ib", "roce", "efa", "none"]
"""Network between the nodes, by its name in deepscaler.fabric; auto for what NCCL finds."""
OWNED = ("RAY_", "SLURM_", "SBATCH_", "SUBMITIT_", "DEEPSCALER_", "CUDA_VISIBLE_DEVICES")
"""Beginnings of environment variables that the launcher sets itself."""

OPTIONS_OF_SBATCH = {
    *("account", "array", "constraint", "dependency", "error", "exclude", "exclusive", "job-name", "mem"),
    *("nodes", "no-requeue", "ntasks", "ntasks-per-node", "open-mode", "output", "partition", "qos", "requeue"),
    *("reservation", "signal", "time"),
}
"""Those that come from other options of a site file, or from the job."""

SECRETS = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)
USERS = ("USER", "LOGNAME", "HOME")
"""Variables that a login sets, on nodes as here; what submits may be no login."""
LONGEST_SCRATCH = LONGEST_RAY_FOLDER - len("/dsr-12345678-12")
"""Most bytes of `scratch`, below which each start of a job has a folder of Ray's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Every field may be left out; an empty text or 0 leaves the choice to the cluster."""

    partition: str = option("", "partition to submit to")
    account: str = option("", "account to charge")
    qos: str = option("", "quality of service")
    reservation: str = option("", "reservation to run in")
    constraint: str = option("", "features that nodes must have, such as a100-80g")
    exclude: str = option("", "nodes to avoid")
    time_limit: str = option("1-00:00:00", "time limit of one job, as SLURM writes it: D-HH:MM:SS")
    gpus: GPUStyle = option("gpus-per-node", "form of the request for GPUs: --gpus-per-node, --gres, or none")
    gpu_type: str = option("", "type of GPU, as in --gres=gpu:a100:8")
    exclusive: bool = option(True, "true for nodes that no other job may share")
    mem: str = option("0", "memory of a node: 64G, or 0 for all of it")
    cpus_per_node: int = option(0, "CPUs of a node", at_least=0)
    mem_per_gpu: str = option("60G", "memory of a job that shares a node, for each of its GPUs")
    cpus_per_gpu: int = option(8, "CPUs of a job that shares a node, for each of its GPUs", at_least=1)
    sbatch: dict[str, str] = option({}, "further options of sbatch, without dashes: {mail-type = 'FAIL'}")

    runtime: str = option("bare", "runtime of commands: bare, pyxis, apptainer, or MODULE:CLASS of your own")
    image: str = option("", "image of the container; {target} becomes train, eval or cpu")
    mounts: tuple[str, ...] = option((), "folders for the container: SOURCE or SOURCE:TARGET")
    python: str = option("", "interpreter on the nodes that has the kit; default: this one, python3 in a container")
    setup: tuple[str, ...] = option((), "shell lines of the batch script before the command: module load ...")
    environment: dict[str, str] = option(
        {}, "variables of every task, which win over those of fabric: NCCL_IB_TC, NCCL_DEBUG"
    )

    fabric: SiteFabric = option("auto", "network that NCCL must use between nodes, else it fails; auto: what it finds")
    network_interface: str = option("", "interface for Ray, NCCL and gloo, such as ib0; default: by the node's name")
    scratch: str = option("/tmp", "local folder of nodes with a short path, for Ray's sockets and compiled kernels")  # noqa: S108
    cache: str = option("", "shared folder for models and prepared data; default: below HOME")
    internet: bool = option(True, "true if nodes can reach the hub; else all must be in the cache before submitting")
    object_store_gb: float = option(
        0.0, "gigabytes of Ray's object store on each node; 0 for Ray's own choice", at_least=0
    )

    requeue: Requeue = option("always", "always if the cluster lets a job requeue itself, else never")
    successor: Successor = option(
        "auto",
        "condition under which a job queues another one that resumes after it; auto: where SLURM may end it for good",
    )
    max_attempts_without_progress: int = option(
        3, "starts of a job in a row that may end by themselves without a new step", at_least=1
    )
    join_minutes: float = option(15.0, "minutes until every node must have joined Ray", above=0)
    warning_seconds: int = option(
        120, "seconds between SLURM's warning and the time limit; the last 20 are for ending Ray", at_least=30
    )

    def __post_init__(self) -> None:
        check_options(self)
        # A warning longer than the limit comes as soon as the job begins: it would save, requeue and never take
        # a step.
        if 60 * minutes(self.time_limit) < 2 * self.warning_seconds:
            raise UserError(
                f"invalid value {self.warning_seconds} for warning_seconds: expected at most half of the time_limit"
                f" {self.time_limit}, else the job has no time to work"
            )
        for name in sorted(OPTIONS_OF_SBATCH & self.sbatch.keys()):
            raise UserError(f"sbatch.{name}: the launcher sets --{name} itself; leave it out of [sbatch]")
        for name in self.environment:
            self._check_variable(name)
        expanded_absolute(self.cache, "cache")
        if self.runs_in.is_container and not self.image:
            raise UserError(
                f"image is missing: runtime {self.runtime} needs an image of the container;"
                " {target} in it becomes train, eval or cpu"
            )
        self._check_scratch()

    def _check_scratch(self) -> None:
        if not self.scratch.startswith(("/", "$")) or len(os.fsencode(self.scratch_dir)) > LONGEST_SCRATCH:
            raise UserError(
                f"invalid value {self.scratch!r} for scratch: expected an absolute path (or $VARIABLE) of at most"
                f" {LONGEST_SCRATCH} bytes, for Ray's sockets are below it"
            )
        for name in variables_in(self.scratch, "scratch"):
            is_set_there = name in USERS or any(re.search(rf"\b{name}\b", line) for line in self.setup)
            if not (name in os.environ or is_set_there or self._is_of_nodes(name)):
                raise UserError(
                    f"invalid value {self.scratch!r} for scratch: the variable ${name} is not set here, and nodes set"
                    f" TMPDIR and SLURM_...; if yours set {name}, say so by setup = ['export {name}']"
                )

    @staticmethod
    def _check_variable(name: str) -> None:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise UserError(f"environment.{name}: a variable's name has letters, digits and _ only")
        if name.startswith(OWNED):
            raise UserError(f"environment.{name}: the launcher sets {name} itself; leave it out of the site file")
        if name in SECRETS:
            raise UserError(f"environment.{name}: a site file must not hold secrets; export {name} where you submit")

    @property
    def has_successors(self) -> bool:
        """Returns whether a job queues another one that resumes after it, as far as the file alone tells."""
        return self.successor == "always" or (self.successor == "auto" and self.requeue == "never")

    @property
    def runs_in(self) -> Runtime:
        """Returns the runtime with what this site says of it: its paths as they are here, for nodes see the same."""
        image, python = expanded(self.image, "image"), expanded(self.python, "python")
        # A registry's image and a program on PATH are no paths; from here nobody knows what others count from.
        if image.startswith("."):
            raise UserError(f"invalid value {self.image!r} for image: expected an absolute path, or a registry's image")
        if "/" in python and not python.startswith("/"):
            raise UserError(
                f"invalid value {self.python!r} for python: expected an absolute path, or the name of a program"
            )
        return make_runtime(self.runtime, image=image, mounts=tuple(map(_mount, self.mounts)), python=python)

    @property
    def cache_dir(self) -> str:
        """Returns `cache` with variables expanded; a container keeps nothing, so there it is below HOME by default."""
        return expanded_absolute(self.cache, "cache") or (
            str(Path.home() / ".cache") if self.runs_in.is_container else ""
        )

    @property
    def scratch_dir(self) -> str:
        """Returns `scratch` with variables expanded; empty if it is known on the nodes only.

        That is so for `$TMPDIR`, which is another folder there, and for `/local/$SLURM_JOB_ID`.
        """
        names = variables_in(self.scratch, "scratch")
        # A variable at the beginning counts as the nodes' even if it is set here: `$LOCAL` may be another disk there.
        of_nodes = self.scratch.startswith("$") or any(map(self._is_of_nodes, names))
        return "" if of_nodes or not os.environ.keys() >= set(names) else expanded(self.scratch, "scratch")

    def _is_of_nodes(self, name: str) -> bool:
        """Returns whether a variable has its value on the nodes, whatever it is here."""
        return name in ("TMPDIR", *self.environment) or name.startswith(("SLURM_", "SLURMD_"))

    @property
    def kit_cache(self) -> str:
        """Returns DEEPSCALER_CACHE of the nodes and of what is prepared for them; empty for their own choice."""
        return self.cache_dir and f"{self.cache_dir}/deepscaler"


def _mount(text: str) -> str:
    """Returns SOURCE or SOURCE:TARGET with both expanded. Raises UserError for anything else."""
    parts = [expanded(part, "mounts") for part in text.split(":")]
    if len(parts) > 2 or not all(part.startswith("/") for part in parts):
        raise UserError(
            f"invalid value {text!r} for mounts: expected SOURCE or SOURCE:TARGET, both of them absolute paths"
        )
    return ":".join(parts)


def load_site(file: Path) -> Site:
    """Returns the site of a file. Raises UserError that names the file, the option and what is allowed."""
    values = read_options(file, Site)
    try:
        if "runtime" in values:
            values["runtime"] = beside(file, values["runtime"])
        return Site(**values)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def minutes(limit: str) -> int:
    """Returns a SLURM time limit in minutes: 90, 90:00, 1:30:00, 1-12, 1-12:00:00. Raises UserError."""
    # Digits are bounded, because int() of a text of 4,301 digits raises a ValueError without an option's name.
    match = re.fullmatch(r"(?:(\d{1,9})-)?(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?", limit)
    if not match:
        raise UserError(f"invalid value {shown_value(limit)} for time_limit: expected D-HH:MM:SS, HH:MM:SS or minutes")
    days, first, second, third = (int(part) if part else 0 for part in match.groups())
    if match[1]:
        total = days * 1440 + first * 60 + second + third / 60
    else:
        # SLURM reads two numbers as minutes:seconds, but days-hours:minutes if there are days.
        total = first * 60 + second + third / 60 if match[4] else first + second / 60
    if total < 1:
        raise UserError(f"invalid value {limit!r} for time_limit: expected at least one minute")
    return int(total)
