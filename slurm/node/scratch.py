"""Finds a node's scratch folder: `$TMPDIR` or `/local/$SLURM_JOB_ID` in a site file has a meaning only on the nodes.

use_scratch(node)   Path("/local/4711"), and all that starts here has TRITON_CACHE_DIR=/local/4711/deepscaler-ada/triton
"""

import getpass
import os
from pathlib import Path

from deepscaler.system.errors import UserError
from deepscaler.system.paths import LONGEST_RAY_FOLDER, compiled_caches, expanded_absolute
from slurm.job_folder import STARTS_OF_A_JOB
from slurm.node.node import Node

FALLBACK = "/tmp"  # noqa: S108  node-local and short; Ray's folder in it has the job's number


def use_scratch(node: Node) -> Path:
    """Returns this node's scratch folder, below which everything that starts here compiles.

    Where the site's cannot be used, the node prints why, and takes /tmp: a job that has waited for days can run there.
    """
    scratch, why = scratch_of(node)
    if why:
        node.say(f"{why}: using {scratch} instead")
    if node.task.caches:
        folders = compiled_caches(str(scratch / f"deepscaler-{getpass.getuser()}"))
        os.environ.update({name: folders[name] for name in node.task.caches})
    return scratch


def scratch_of(node: Node) -> tuple[Path, str]:
    """Returns the scratch folder as it is on this node, and why it is not the site's, or nothing."""
    try:
        found = Path(expanded_absolute(node.task.scratch, "scratch"))
    except UserError as error:
        return Path(FALLBACK), str(error)
    surplus = len(os.fsencode(ray_folder(node, found))) - LONGEST_RAY_FOLDER
    if node.task.ray and surplus > 0:
        return Path(FALLBACK), f"scratch {found} is {surplus} bytes too long for Ray's sockets"
    return found, ""


def ray_folder(node: Node, scratch: Path) -> Path:
    """Returns the folder of Ray in this start of the job."""
    # Short, since Ray's sockets are below it and the kernel ends their paths at 107 bytes. A successor has another
    # number at SLURM, so its share of the start's number is left out.
    return scratch / f"dsr-{node.raw_job_id}-{node.restart % STARTS_OF_A_JOB}"
