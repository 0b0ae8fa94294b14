"""Records who owns a job, because two people whose folders have the same last name would share a run on the volume.

metadata:
  annotations:
    deepscaler/owner: jane as jane@example.com      # the user here, and the user's name on the cluster

A job that is gone shows nothing, so the run's folder holds its owner, too (run.json).
"""

import getpass
from collections.abc import Mapping, Sequence
from typing import Any

from deepscaler.kubernetes.cluster.refusals import ClusterError
from deepscaler.kubernetes.render.pods import literal
from deepscaler.runs.folder import OWNER as VARIABLE

OWNER = "deepscaler/owner"
"""Annotation of submitted objects. Objects without it were applied with `kubectl`, and belong to everybody."""

JOBS = ("RayJob", "Job")


def owner_of(cluster_user: str) -> str:
    """Returns the user of this command, with the names that this machine and the cluster use."""
    try:
        login = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        login = "somebody"
    # neither name alone would do: teams share an account of a cluster, and clouds call every machine's user
    # `ubuntu`
    return f"{login} as {cluster_user}" if cluster_user else login


def sign(objects: Sequence[dict[str, Any]], owner: str) -> None:
    """Writes the owner into jobs and into their commands' environment, from where it gets into the run's folder."""
    for one in objects:
        if one["kind"] in JOBS:
            one["metadata"].setdefault("annotations", {})[OWNER] = owner
        if one["kind"] == "RayJob":
            # KubeRay runs Ray in the first container, whatever its name
            ray = one["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
            ray.setdefault("env", []).append({"name": VARIABLE, "value": literal(owner)})


def is_of_another(one: Mapping[str, Any], owner: str) -> bool:
    """Returns whether a job belongs to somebody else; False if either owner is unknown."""
    return bool(owner) and owner_in(one) not in ("", owner)


def check_owner(found: Mapping[str, Any], owner: str, namespace: str) -> None:
    """Raises ClusterError for a job of somebody else."""
    if is_of_another(found, owner):
        raise ClusterError(
            f"{namespace} has a job {found['metadata']['name']} of {owner_in(found)}, and you are {owner}: give another"
            " --output-dir, whose last name names the job and its folder on the volume"
        )


def owner_in(one: Mapping[str, Any]) -> str:
    """Returns the owner of a job; empty if unknown."""
    return str((one["metadata"].get("annotations") or {}).get(OWNER, ""))
