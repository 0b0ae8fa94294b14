"""Checks names by which objects of one kustomization refer to each other, if kustomize does not rename them.

namePrefix: team-   renames PersistentVolumeClaim/deepscaler-runs, and not the claimName inside a RayJob
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepscaler.kubernetes.check.finding import Problem
from deepscaler.kubernetes.check.pod_rules import pods_of


def reference_problems(tree: Mapping[str, Any], beside: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """Yields an object's references to names that exist beside it only with a prefix or suffix."""
    names: dict[str, list[str]] = {}
    for other in beside:
        names.setdefault(str(other.get("kind")), []).append(str((other.get("metadata") or {}).get("name")))
    for path, pod in pods_of(tree):
        for where, kind, name in _references(path, pod):
            there = names.get(kind, [])
            # A name that merely is not here may be in the cluster; one that contains it is what a prefix or
            # suffix made of it.
            renamed = [other for other in there if name in other and other != name]
            if name not in there and renamed:
                wrong = f"names {kind} {name}, and the one beside it is {renamed[0]}"
                fix = "kustomize does not rename it in a RayJob: leave out namePrefix and nameSuffix, or patch this too"
                yield Problem(where, wrong, fix)


def _references(path: str, pod: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if account := pod.get("serviceAccountName"):
        yield f"{path}.serviceAccountName", "ServiceAccount", str(account)
    for number, volume in enumerate(pod.get("volumes") or []):
        where = f"{path}.volumes[{number}]"
        if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
            yield where, "PersistentVolumeClaim", str(claim)
        if config := (volume.get("configMap") or {}).get("name"):
            yield where, "ConfigMap", str(config)
        if secret := (volume.get("secret") or {}).get("secretName"):
            yield where, "Secret", str(secret)
    for group in ("initContainers", "containers"):
        for number, container in enumerate(pod.get(group) or []):
            for variable in container.get("env") or []:
                if reference := (variable.get("valueFrom") or {}).get("secretKeyRef"):
                    yield f"{path}.{group}[{number}].env", "Secret", str(reference.get("name"))
