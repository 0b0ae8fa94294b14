"""Renders RayJobs for KubeRay 1.7 from the jobs that all launchers share, and checks manifests offline.

job -> rayjob (pods, places) -> emit -> k8s/jobs/*/rayjob.yaml        `deepscaler render`
manifests -> check (schemas, rules)                                   `deepscaler k8s check`
a command -> cluster (compose for a place, submit, states, logs)      `--on k8s`, `deepscaler status`, `... logs`
a pod -> lifecycle, beside (wait for the attempt before, stop well)   `deepscaler k8s wait`, `... stop`
a chain -> conduct (one RayJob after another)                         `deepscaler k8s conduct`
"""

from importlib.util import find_spec

from deepscaler.system.errors import UserError

MAX_NAME = 47
"""Characters of a RayJob's name: KubeRay makes names of clusters and pods of it, which end at 63 (validation.go)."""


def require_yaml() -> None:
    """Raises UserError if the packages of the extra `k8s` are not installed."""
    for package in ("yaml", "jsonschema", "kubernetes_validate"):
        if find_spec(package) is None:
            raise UserError(f"{package} is not installed: pip install '.[k8s]'")
