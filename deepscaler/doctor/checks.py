"""Registers every check of one machine, with the faults that it finds and their repair; docs/doctor.md shows them.

A check takes a Subject and returns findings; `fast` ones run before every training and take milliseconds each.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from deepscaler.doctor import access, gpu, machine, network, software, storage
from deepscaler.doctor.fabric import check_fabric
from deepscaler.doctor.finding import Finding
from deepscaler.doctor.subject import Subject

Group = Literal["software", "GPU", "machine", "network", "storage", "access"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check."""

    name: str
    group: Group
    finds: str
    """The fault if it does not pass."""
    fix: str
    """The general repair; a finding gives it for its case."""
    run: Callable[[Subject], Finding | Iterable[Finding]]
    fast: bool = False
    alike: bool = False
    """True if all nodes of a job should show the same evidence."""
    image: bool = False
    """True if it is about the image alone, and also runs when that is built."""

    def findings(self, subject: Subject) -> list[Finding]:
        """Returns its findings; a single one as a list of one."""
        found = self.run(subject)
        return [found] if isinstance(found, Finding) else list(found)


CHECKS = (
    Check(
        name="python",
        group="software",
        run=software.check_python,
        fast=True,
        image=True,
        finds="a Python that the kit is not tested with",
        fix="install one of the interpreters that the message names",
        alike=True,
    ),
    Check(
        name="packages",
        group="software",
        run=software.check_packages,
        image=True,
        finds="a version other than the lock's",
        fix="install the lock again",
    ),
    Check(
        name="imports",
        group="software",
        run=software.check_modules,
        image=True,
        finds="a package that is missing, or crashes because it was built for another processor",
        fix="install the package, or another build of it; if only the disk is slow, the finding says so",
    ),
    Check(
        name="bytecode",
        group="software",
        run=software.check_kept,
        image=True,
        finds="imports that every process compiles again: 30 s instead of 12 at each start",
        fix="unset `PYTHONDONTWRITEBYTECODE`, or run `python -m compileall` over the packages as their owner",
    ),
    Check(
        name="libraries",
        group="software",
        run=software.check_compiled,
        image=True,
        finds="a missing system library that compiled code asks for",
        fix="install the system's package that holds it, such as `libnuma1`",
    ),
    Check(
        name="grader",
        group="software",
        run=software.check_grader,
        image=True,
        finds="a grader whose worker processes do not start",
        fix="check what keeps processes from starting: limits, memory, seccomp",
    ),
    Check(
        name="GPU code",
        group="software",
        run=software.check_gpu_code,
        image=True,
        finds="an image without machine code for A100 or H100",
        fix="install another build of the named package",
    ),
    Check(
        name="recipe",
        group="software",
        run=software.check_recipe,
        finds="a recipe that the installed verl refuses (`--recipe`)",
        fix="change the key that verl names, or install the verl of the lock",
    ),
    Check(
        name="GPUs",
        group="GPU",
        run=gpu.check_gpus,
        fast=True,
        finds="fewer GPUs than the recipe needs, or none",
        fix="ask for machines with GPUs, give the container its GPUs, or `--set gpus_per_node=N`",
        alike=True,
    ),
    Check(
        name="visible GPUs",
        group="GPU",
        run=gpu.check_visibility,
        fast=True,
        finds="`CUDA_VISIBLE_DEVICES` that hides GPUs, names absent ones, or is set beside AMD's variables",
        fix="unset the variable, or name GPUs that are there",
    ),
    Check(
        name="driver",
        group="GPU",
        run=gpu.check_driver,
        fast=True,
        finds="a driver too old for the CUDA that torch was built for",
        fix="install a newer driver, or take an image with an older CUDA",
        alike=True,
    ),
    Check(
        name="compute capability",
        group="GPU",
        run=gpu.check_capability,
        fast=True,
        finds="a GPU that torch or vLLM has no machine code for",
        fix="take an image that was built for this GPU",
        alike=True,
    ),
    Check(
        name="ECC",
        group="GPU",
        run=gpu.check_ecc,
        fast=True,
        finds="memory errors that were not corrected, rows that could not be remapped, ECC turned off",
        fix="reset the GPU (`nvidia-smi -r`), turn ECC on (`nvidia-smi -e 1`), or leave the node out",
    ),
    Check(
        name="MIG",
        group="GPU",
        run=gpu.check_mig,
        fast=True,
        finds="GPUs that are cut into parts",
        fix="`nvidia-smi -mig 0`, or ask for whole GPUs",
    ),
    Check(
        name="GPU memory",
        group="GPU",
        run=gpu.check_gpu_memory,
        fast=True,
        finds="memory that other processes hold",
        fix="end the named processes, or leave the node out",
    ),
    Check(
        name="throttling",
        group="GPU",
        run=gpu.check_throttling,
        fast=True,
        finds="clocks that the hardware lowers for heat or power",
        fix="check the node's cooling and power, or leave it out",
    ),
    Check(
        name="NVLink",
        group="GPU",
        run=gpu.check_links,
        fast=True,
        finds="GPUs of a node without NVLink between them, or with fewer links than others",
        fix="see `nvidia-smi nvlink -s`; leave the node out if others have more links",
        alike=True,
    ),
    Check(
        name="memory fit",
        group="GPU",
        run=gpu.check_fit,
        fast=True,
        finds="a recipe that needs more memory than these GPUs have (`--recipe`)",
        fix="lower `max_tokens_per_gpu` or set `offload_actor=true`, as the message says",
    ),
    Check(
        name="cores",
        group="machine",
        run=machine.check_cores,
        fast=True,
        finds="fewer than 4 cores a GPU, by the mask of cores or the quota of a container",
        fix="ask for more CPUs: `cpus_per_node` in a site file, requests of a pod",
        alike=True,
    ),
    Check(
        name="memory",
        group="machine",
        run=machine.check_memory,
        fast=True,
        finds="less memory than the recipe keeps on the host, in the machine or the container",
        fix="ask for more memory: `mem` in a site file, limits of a pod; or end what holds it",
    ),
    Check(
        name="shared memory",
        group="machine",
        run=machine.check_shared_memory,
        fast=True,
        finds="a small `/dev/shm`, which ends Ray and NCCL with a bus error",
        fix="`docker run --shm-size=16g`; in Kubernetes an emptyDir with `medium: Memory`",
        alike=True,
    ),
    Check(
        name="limits",
        group="machine",
        run=machine.check_limits,
        fast=True,
        finds="low `ulimit`s of open files, processes or a file's size",
        fix="raise them in `/etc/security/limits.conf`, the service's unit or the container",
        alike=True,
    ),
    Check(
        name="clock",
        group="machine",
        run=machine.check_clock,
        fast=True,
        finds="a clock that differs from the file server's by more than 2 s",
        fix="set the clock (`chronyc makestep`)",
    ),
    Check(
        name="interface",
        group="network",
        run=network.check_interface,
        fast=True,
        finds="a network interface for NCCL that is missing, or not the one that you expect",
        fix="set `network_interface` in the site file, or `NCCL_SOCKET_IFNAME`",
    ),
    Check(
        name="fabric",
        group="network",
        run=lambda subject: check_fabric(subject.device),
        finds="anything that keeps NCCL from the InfiniBand, RoCE or EFA that it has to use",
        fix="pass the devices on, install the library, lift `ulimit -l`; or change `fabric` in the site file",
    ),
    Check(
        name="InfiniBand",
        group="network",
        run=network.check_adapters,
        fast=True,
        finds="ports of RDMA adapters that are down, or slower than the others",
        fix="check cables, switches and the subnet manager, or name the good adapters in `NCCL_IB_HCA`",
    ),
    Check(
        name="host name",
        group="network",
        run=network.check_name,
        fast=True,
        finds="a node's name that does not resolve, or resolves to a loopback address",
        fix="put name and address into DNS or `/etc/hosts`, or set `network_interface`",
    ),
    Check(
        name="local ports",
        group="network",
        run=network.check_ports,
        fast=True,
        finds="too few free ports for outgoing connections",
        fix="`sysctl net.ipv4.ip_local_port_range='32768 60999'`",
    ),
    Check(
        name="run folder",
        group="storage",
        run=storage.check_folder,
        fast=True,
        finds="a folder that cannot be written, whose renames are not atomic, or in which mkdir does not lock",
        fix="give another `--output-dir`: on a file system with POSIX renames that all nodes share",
    ),
    Check(
        name="disk space",
        group="storage",
        run=storage.check_space,
        fast=True,
        finds="less free space than the recipe's checkpoints take",
        fix="make room, give another `--output-dir`, or keep fewer checkpoints (`--keep`)",
    ),
    Check(
        name="throughput",
        group="storage",
        run=storage.check_throughput,
        finds="a file system to which a checkpoint takes more than 10 minutes",
        fix="take a faster file system, or save less often (`save_every`)",
    ),
    Check(
        name="cache",
        group="access",
        run=access.check_cache,
        fast=True,
        finds="a cache that cannot be written or is nearly full",
        fix="mount a folder there, or set `DEEPSCALER_CACHE` to one",
    ),
    Check(
        name="model",
        group="access",
        run=access.check_model,
        fast=True,
        finds="a model that is neither here with all of its weights nor reachable (`--recipe`)",
        fix="`hf download MODEL` where there is internet, or give a folder",
    ),
    Check(
        name="data",
        group="access",
        run=access.check_data,
        fast=True,
        finds="files, registered sets and sets of the hub that are neither here nor reachable (`--recipe`)",
        fix="`deepscaler data prepare NAME`, where there is internet; for a file of your own, give its path",
    ),
    Check(
        name="hub token",
        group="access",
        run=access.check_hub_token,
        fast=True,
        finds="a token that the hub refuses",
        fix="make a new token in the hub's settings and export `HF_TOKEN`, or unset it",
    ),
    Check(
        name="wandb key",
        group="access",
        run=access.check_wandb_key,
        fast=True,
        finds="a missing or refused key of Weights & Biases, where the training logs to it",
        fix="`wandb login`, export `WANDB_API_KEY`, or train with `--wandb offline`",
    ),
    Check(
        name="bucket keys",
        group="access",
        run=access.check_keys,
        fast=True,
        finds="variables with keys of a bucket that begin or end with a blank or a line break",
        fix="make the secret again without it: `printf` or `echo -n` instead of `echo`",
    ),
)
"""Lists all checks in the order in which they are shown; a check comes before those that depend on it."""
