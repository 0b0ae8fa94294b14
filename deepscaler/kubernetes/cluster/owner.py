"""Tells whose a job is: two people whose folders have the same last name would share one run on the volume.

metadata:
  annotations:
    deepscaler/owner: jane as jane@example.com      # who typed the command, and whom the cluster took that for

A job that is gone tells nothing: the run's folder holds its owner, too (run.json).
"""

import getpass
from collections.abc import Mapping, Sequence
from typing import Any

from deepscaler.kubernetes.cluster.refusals import ClusterError
from deepscaler.kubernetes.render.pods import literal
from deepscaler.runs.folder import OWNER as VARIABLE

OWNER = "deepscaler/owner"
"""Annotation of what is submitted. Objects without it were applied by `kubectl`, and are everybody's."""

JOBS = ("RayJob", "Job")


def owner_of(cluster_user: str) -> str:
    """Returns who gives this command, as this machine and the cluster call the user.

    Neither name alone would do: teams share an account of a cluster, and clouds call every machine's user `ubuntu`.
    """
    try:
        login = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        login = "somebody"
    return f"{login} as {cluster_user}" if cluster_user else login


def sign(objects: Sequence[dict[str, Any]], owner: str) -> None:
    """Writes into jobs whose they are, and tells their commands, which write it into the run's folder."""
    for one in objects:
        if one["kind"] in JOBS:
            one["metadata"].setdefault("annotations", {})[OWNER] = owner
        if one["kind"] == "RayJob":
            ray = one["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
            ray.setdefault("env", []).append({"name": VARIABLE, "value": literal(owner)})


def is_of_another(one: Mapping[str, Any], owner: str) -> bool:
    """Returns whether a job is somebody else's; no, where either is not known."""
    return bool(owner) and owner_in(one) not in ("", owner)


def check_owner(found: Mapping[str, Any], owner: str, namespace: str) -> None:
    """Raises ClusterError for a job of somebody else."""
    if is_of_another(found, owner):
        raise ClusterError(
            f"{namespace} has a job {found['metadata']['name']} of {owner_in(found)}, and you are {owner}: give another"
            " --output-dir, whose last name names the job and its folder on the volume"
        )


def owner_in(one: Mapping[str, Any]) -> str:
    """Returns whose a job is; empty where nothing tells."""
    return str((one["metadata"].get("annotations") or {}).get(OWNER, ""))
