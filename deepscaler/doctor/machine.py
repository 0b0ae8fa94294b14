"""Checks the machine under the GPUs: cores, memory, shared memory, limits, clock."""

import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

from deepscaler.doctor.finding import Finding, judged
from deepscaler.doctor.subject import Subject, examined_folder
from deepscaler.recipes.model_shape import shape_of
from deepscaler.system.control_groups import usable_cores
from deepscaler.system.errors import UserError
from deepscaler.system.files import in_bytes
from deepscaler.system.memory import level

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  its size is asked for, nothing is written
MIN_SHARED_MEMORY = 1 << 30
"""Bytes of shared memory; with Docker's default of 64 MB, Ray's object store and NCCL end with a bus error."""

CORES_PER_GPU = 4
"""Cores per GPU: an actor, a rollout engine, its scheduler and a grader need one each."""

MIN_FILES = 4096
"""Files that a process may open: Ray asks for 65536 and warns below 8192; each worker takes some hundred sockets."""

MIN_PROCESSES = 4096
"""Processes and threads of the user: Ray starts a worker a core, torch and vLLM some hundred threads each."""

MOST_SKEW = 2.0
"""Seconds that a clock may differ: certificates, tokens and time limits of schedulers go by it."""


def check_cores(subject: Subject) -> Finding:
    """Counts the cores that this process may use: schedulers and containers give it a part of the machine's."""
    cores, there = usable_cores(), os.cpu_count() or 1
    gpus = len(subject.driver.visible) if subject.device == "cuda" and subject.driver else 0
    shown = f"{cores:g} of {there}" + (f" for {gpus} GPUs" if gpus else "")
    fix = "ask for more CPUs (cpus_per_node in the site file, the pod's requests)"
    return Finding("cores", "warn" if cores < CORES_PER_GPU * gpus else "pass", shown, fix)


def check_memory(subject: Subject) -> Finding:
    """Compares the memory that may still be taken with what the recipe keeps on the host."""
    found = level()
    free, whole = max(0, found.limit - found.used), found.limit
    wanted = host_bytes(subject)
    shown = f"{in_bytes(free)} free of {in_bytes(whole)}" + (f", {in_bytes(wanted)} wanted" if wanted else "")
    fix = "ask for the node's whole memory (mem in the site file, the pod's limits), or end what holds it"
    return Finding("memory", "warn" if free < wanted else "pass", shown, fix)


def check_shared_memory(subject: Subject) -> Finding:
    """Measures /dev/shm; on a CPU Ray takes the disk instead of it, and is slow."""
    if subject.purpose == "login":
        return Finding("shared memory", "skip", "a login node starts no Ray")
    try:
        size = shutil.disk_usage(SHARED_MEMORY).total
    except OSError:
        size = 0
    fix = "docker run --shm-size=16g; in Kubernetes an emptyDir with medium: Memory at /dev/shm"
    if size < MIN_SHARED_MEMORY and subject.starts_training and subject.device == "cpu":
        return Finding("shared memory", "warn", f"{in_bytes(size)} in {SHARED_MEMORY}", fix)
    return judged("shared memory", size >= MIN_SHARED_MEMORY, f"{in_bytes(size)} in {SHARED_MEMORY}", fix)


def check_limits(_: Subject) -> Finding:
    """Reads the limits of files, of processes and of a file's size."""
    low = [
        f"{name} {found} (ulimit {flag}), at least {least} wanted"
        for name, flag, number, least in (
            ("open files", "-n", resource.RLIMIT_NOFILE, MIN_FILES),
            ("processes", "-u", resource.RLIMIT_NPROC, MIN_PROCESSES),
            ("bytes of a file", "-f", resource.RLIMIT_FSIZE, 1 << 40),
        )
        # The hard limit: a process may raise its soft one by itself.
        if (found := resource.getrlimit(number)[1]) != resource.RLIM_INFINITY and found < least
    ]
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    fix = "raise it in /etc/security/limits.conf, the service's unit or the container (--ulimit)"
    return Finding("limits", "fail" if low else "pass", "; ".join(low) or f"{files} open files", fix)


def check_clock(subject: Subject) -> Finding:
    """Compares the clock with the one of the file system that holds the run, which other nodes write to, too."""
    folder = examined_folder(subject) or Path(tempfile.gettempdir())
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".deepscaler-clock-") as file:
            file.write(b"x")
            file.flush()
            skew = time.time() - os.fstat(file.fileno()).st_mtime
    except OSError as error:
        return Finding("clock", "skip", f"{folder} cannot be written ({error.strerror})")
    shown = f"{skew:+.1f} s from the file system of {folder}"
    return Finding("clock", "warn" if abs(skew) > MOST_SKEW else "pass", shown, "set the clock: chronyc makestep")


def host_bytes(subject: Subject) -> int:
    """Returns what a training on GPUs keeps in a node's memory: the reference's weights, and what is offloaded."""
    recipe = subject.recipe
    if recipe is None or subject.device != "cuda":
        return 0
    try:
        parameters = shape_of(recipe.model).num_parameters
    except UserError:
        return 0
    # 4 bytes for verl's reference in float32; 12 for the actor's float32 weights and Adam's two moments.
    per_parameter = (4 if recipe.kl_coefficient else 0) + (12 if recipe.offload_actor else 0)
    return 2 * parameters * max(per_parameter, 4) // recipe.num_nodes  # and as much beside while weights move
