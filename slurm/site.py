"""A place: what one cluster wants to hear, in one TOML file. Nothing in it can change a result.

partition = "gpu"
account = "research"
time_limit = "1-00:00:00"
runtime = "apptainer"
image = "/shared/images/deepscaler-{target}.sif"
"""

import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from deepscaler.system.errors import UserError, unknown
from deepscaler.system.toml import read_fields
from slurm.runtimes import Runtime, beside, runtime_class

GPU_STYLES = ("gpus-per-node", "gres", "none")
REQUEUES = ("always", "never")
OWNED = ("RAY_", "SLURM_", "SBATCH_", "SUBMITIT_", "DEEPSCALER_", "CUDA_VISIBLE_DEVICES")
"""Beginnings of environment variables that the launcher sets itself."""

OPTIONS_OF_SBATCH = {
    *("account", "array", "constraint", "dependency", "error", "exclude", "exclusive", "job-name", "mem"),
    *("nodes", "no-requeue", "ntasks", "ntasks-per-node", "open-mode", "output", "partition", "qos", "requeue"),
    *("reservation", "signal", "time"),
}
"""Those that come from other options of a site file, or from the job."""

SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY")


def _option(default: Any, about: str, choices: tuple[str, ...] = ()) -> Any:
    metadata = {"about": about, "choices": choices}
    return (
        field(default_factory=dict, metadata=metadata) if default == {} else field(default=default, metadata=metadata)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Every field may be left out; an empty text or 0 leaves the choice to the cluster."""

    partition: str = _option("", "partition to submit to")
    account: str = _option("", "account to charge")
    qos: str = _option("", "quality of service")
    reservation: str = _option("", "reservation to run in")
    constraint: str = _option("", "features nodes must have, such as a100-80g")
    exclude: str = _option("", "nodes to keep away from")
    time_limit: str = _option("1-00:00:00", "of one job, as SLURM writes it: D-HH:MM:SS")
    gpus: str = _option("gpus-per-node", "how GPUs are asked for: --gpus-per-node, --gres, or not at all", GPU_STYLES)
    gpu_type: str = _option("", "of GPU, as in --gres=gpu:a100:8")
    exclusive: bool = _option(True, "whether nodes are not shared with other jobs")
    mem: str = _option("0", "memory of a node: 64G, or 0 for all of it")
    cpus_per_node: int = _option(0, "CPUs of a node")
    mem_per_gpu: str = _option("60G", "memory of a job that shares a node, for each of its GPUs")
    cpus_per_gpu: int = _option(8, "CPUs of such a job, for each of its GPUs")
    sbatch: dict[str, str] = _option({}, "further options of sbatch, without dashes: {mail-type = 'FAIL'}")

    runtime: str = _option("bare", "what commands run in: bare, pyxis, apptainer, or MODULE:CLASS of your own")
    image: str = _option("", "image of the container; {target} becomes train, eval or cpu")
    mounts: tuple[str, ...] = _option((), "folders for the container: SOURCE or SOURCE:TARGET")
    python: str = _option("", "interpreter on the nodes that has the kit; default: this one, python3 in a container")
    setup: tuple[str, ...] = _option((), "shell lines of the batch script before the command: module load ...")
    environment: dict[str, str] = _option({}, "variables of every task, such as NCCL_IB_HCA")

    network_interface: str = _option("", "that Ray, NCCL and gloo use, such as ib0; default: by the node's name")
    scratch: str = _option("/tmp", "local folder of nodes, a short path: Ray's sockets, compiled kernels")  # noqa: S108
    cache: str = _option("", "shared folder for models and prepared data; default: below HOME")
    internet: bool = _option(True, "whether nodes can reach the hub; else all must be in the cache before submitting")
    object_store_gb: float = _option(0.0, "of Ray on each node; 0 for Ray's own choice")

    requeue: str = _option("always", "whether the cluster lets a job requeue itself", REQUEUES)
    max_attempts_without_progress: int = _option(3, "starts of a job in a row that may end without one step more")
    join_minutes: float = _option(15.0, "until every node must have joined Ray")
    warning_seconds: int = _option(120, "between SLURM's warning and the time limit; the last 20 are for ending Ray")

    def __post_init__(self) -> None:
        for option in fields(self):
            choices = option.metadata["choices"]
            if choices and getattr(self, option.name) not in choices:
                raise unknown(option.name, getattr(self, option.name), choices)
        runtime = runtime_class(self.runtime)
        if 60 * minutes(self.time_limit) < 2 * self.warning_seconds:
            raise UserError(
                f"warning_seconds = {self.warning_seconds} leaves a job of time_limit {self.time_limit} no time;"
                " at most half of it"
            )
        for name in sorted(OPTIONS_OF_SBATCH & self.sbatch.keys()):
            raise UserError(f"sbatch.{name}: the launcher sets --{name} itself; leave it out of [sbatch]")
        for name in self.environment:
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise UserError(f"environment.{name}: that is no name of a variable")
            if name.startswith(OWNED):
                raise UserError(f"environment.{name}: the launcher sets {name} itself; leave it out of the site file")
            if name in SECRETS:
                raise UserError(
                    f"environment.{name}: no secret belongs into a site file; export {name} where you submit"
                )
        checks = {
            "image": bool(self.image) or not runtime.is_container,
            "max_attempts_without_progress": self.max_attempts_without_progress >= 1,
            "join_minutes": self.join_minutes > 0,
            "warning_seconds": self.warning_seconds >= 30,
            "cpus_per_node": self.cpus_per_node >= 0,
            "cpus_per_gpu": self.cpus_per_gpu >= 1,
            "object_store_gb": self.object_store_gb >= 0,
            "scratch": self.scratch.startswith(("/", "$")) and len(self.scratch) <= 40,
        }
        for name, holds in checks.items():
            if not holds:
                about = next(option for option in fields(self) if option.name == name).metadata["about"]
                raise UserError(f"site: {name} = {getattr(self, name)!r} is out of range ({about})")

    @property
    def runs_in(self) -> Runtime:
        """Returns the runtime with what this site says of it."""
        return runtime_class(self.runtime)(image=self.image, mounts=self.mounts, python=self.python)

    @property
    def cache_dir(self) -> str:
        """`cache` with the user's variables in it; a container keeps nothing, so there it is below HOME by default."""
        return os.path.expandvars(self.cache or (str(Path.home() / ".cache") if self.runs_in.is_container else ""))

    @property
    def kit_cache(self) -> str:
        """DEEPSCALER_CACHE of the nodes, and of what is prepared for them; empty for their own choice."""
        return self.cache_dir and f"{self.cache_dir}/deepscaler"


def load_site(file: Path) -> Site:
    """Read a site file. Raises UserError that names the file, the option and what is allowed."""
    values = read_fields(file, Site)
    if "runtime" in values:
        values["runtime"] = beside(file, values["runtime"])
    try:
        return Site(**values)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def minutes(limit: str) -> int:
    """A SLURM time limit in minutes: 90, 90:00, 1:30:00, 1-12, 1-12:00:00. Raises UserError."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", limit)
    if not match:
        raise UserError(f"time_limit {limit!r} is no time as SLURM writes it: D-HH:MM:SS, HH:MM:SS or minutes")
    days, first, second, third = (int(part) if part else 0 for part in match.groups())
    if match[1]:
        total = days * 1440 + first * 60 + second + third / 60
    else:
        total = first * 60 + second + third / 60 if match[4] else first + second / 60
    if total < 1:
        raise UserError(f"time_limit {limit!r} must be at least a minute")
    return int(total)
