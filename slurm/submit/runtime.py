"""How Python starts on a node: bare, in a pyxis (enroot) container, or in apptainer's.

start(site, job, folders=("/runs/16k",), names=("DEEPSCALER_CACHE",))
Start(python="apptainer exec --nv --bind /runs/16k:/runs/16k ... IMAGE python3", srun_arguments=())
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from deepscaler.job import Job
from deepscaler.system.errors import UserError
from slurm.site import Site


@dataclass(frozen=True, slots=True)
class Start:
    """What submitit is given."""

    python: str
    """A shell command that acts as an interpreter."""
    srun_arguments: tuple[str, ...]


def start(site: Site, job: Job, folders: Sequence[str], names: Sequence[str]) -> Start:
    """For a job that has to see some folders and variables, which an image may have set to something else."""
    interpreter = site.python or (sys.executable if site.runtime == "bare" else "python3")
    if site.runtime == "bare":
        return Start(shlex.quote(interpreter), ())
    image = site.image.replace("{target}", job.image)
    mounts = list(dict.fromkeys(_mount(folder) for folder in (*folders, *site.mounts) if folder))
    if site.runtime == "pyxis":
        arguments = [f"--container-image={image}", f"--container-mounts={','.join(mounts)}"]
        arguments += ["--container-writable", "--no-container-mount-home", f"--container-workdir={folders[0]}"]
        return Start(shlex.quote(interpreter), (*arguments, f"--container-env={','.join(names)}"))
    gpu = ["--nv"] if job.gpus_per_node and site.gpus != "none" else []
    binds = [part for mount in mounts for part in ("--bind", mount)]
    command = ["apptainer", "exec", *gpu, *binds, "--writable-tmpfs", "--pwd", folders[0], image, interpreter]
    return Start(shlex.join(command), ())


def _mount(folder: str) -> str:
    if "," in folder or folder.count(":") > 1:
        raise UserError(f"a container cannot be given the folder {folder!r}: no commas or colons in its name, please")
    return folder if ":" in folder else f"{folder}:{folder}"
