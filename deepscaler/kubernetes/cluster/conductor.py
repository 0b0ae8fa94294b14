"""Builds the manifests of a chain's conductor: a Job with one small pod, and a ConfigMap of the RayJobs it creates.

chain-mine                    Job: deepscaler k8s conduct /chain/chain.json
chain-mine-stages-3f2a91c0    ConfigMap: chain.json, chain-mine-train-8k.json, chain-mine-after-8k.json, ...
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deepscaler.kubernetes.render.environment import SAFE_PATH
from deepscaler.kubernetes.render.inputs import MOST_BYTES, MOUNT, config_map, map_name
from deepscaler.kubernetes.render.plans import Plan
from deepscaler.kubernetes.render.pods import PART_OF, RUNS, literal
from deepscaler.system.errors import UserError

ACCOUNT = "deepscaler-chain"
"""ServiceAccount of k8s/base/common, which may get, create and delete RayJobs of its namespace."""

STAGES = "/chain"
COMPONENT = "conductor"

RESOURCES = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "128Mi"}}
"""Resources of the pod, which used 34 MB with the recipes that it reads."""

RESTARTS = 20
"""Most pods of the Job after ones that died; evictions and drains do not count."""

LIKE_THE_HEAD = ("securityContext", "imagePullSecrets", "nodeSelector", "tolerations", "priorityClassName")
"""Fields of a pod that components may have set on heads, because the conductor runs on such nodes, too."""

RUN_DIR = "deepscaler/run-dir"
"""Annotation that tells whose conductor it is."""

FINAL = (1, 2)
"""Exit codes after which another pod would end the same way: a stage failed, or its manifest is refused."""


def to_conductor(
    name: str, plans: Sequence[Plan], rayjobs: Sequence[Mapping[str, Any]], namespace: str
) -> list[dict[str, Any]]:
    """Returns the ConfigMaps and the Job. Raises UserError if the stages exceed the size of a ConfigMap."""
    labels = {"app.kubernetes.io/part-of": PART_OF, "app.kubernetes.io/instance": name}
    files = _files(name, plans, rayjobs)
    if (size := sum(map(len, files.values()))) > MOST_BYTES:
        raise UserError(f"{len(plans)} stages have {size:,} bytes, a ConfigMap takes {MOST_BYTES:,}: submit fewer")
    stages = config_map(name, files, labels)
    stages["metadata"]["name"] = stages_name = map_name(name, files).replace("-inputs-", "-stages-")
    head = rayjobs[0]["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    volumes = [
        ("runs", next(one for one in head["volumes"] if one["name"] == "runs"), RUNS),
        ("chain", {"configMap": {"name": stages_name}}, STAGES),
    ]
    maps = [stages]
    if plans[0].inputs:
        maps.append(config_map(name, plans[0].inputs, labels))
        volumes.append(("inputs", {"configMap": {"name": plans[0].inputs_map}}, MOUNT))
    pod = {
        "serviceAccountName": ACCOUNT,
        "automountServiceAccountToken": True,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 10,
        **{field: head[field] for field in LIKE_THE_HEAD if field in head},
        "containers": [_container(head["containers"][0], [(volume, path) for volume, _, path in volumes])],
        "volumes": [{**source, "name": volume} for volume, source, _ in volumes],
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels, "annotations": {RUN_DIR: plans[0].run_dir or ""}},
        "spec": {
            "backoffLimit": RESTARTS,
            # Allowed with restartPolicy Never alone. The first rule that matches decides, and an evicted pod
            # may end with any code.
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": list(FINAL)}},
                ]
            },
            "template": {
                "metadata": {"labels": {**labels, "app.kubernetes.io/component": COMPONENT}},
                "spec": pod,
            },
        },
    }
    for one in (*maps, job):
        one["metadata"]["namespace"] = namespace
    return [*maps, job]


def _files(name: str, plans: Sequence[Plan], rayjobs: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """Returns the files that the conductor reads, by name."""
    stages = [{"name": plan.job.name, "arguments": list(plan.job.arguments)} for plan in plans]
    trees = {f"{plan.job.name}.json": rayjob for plan, rayjob in zip(plans, rayjobs, strict=True)}
    trees["chain.json"] = {"job": name, "stages": stages}
    # A ConfigMap's limit counts bytes: an escaped letter takes six.
    return {file: json.dumps(tree, ensure_ascii=False).encode() for file, tree in trees.items()}


def _container(ray: Mapping[str, Any], mounts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Returns the conductor's container, with the same image as Ray's."""
    command = ["tini", "--", "deepscaler", "k8s", "conduct", f"{STAGES}/chain.json"]
    # The label is Kubernetes' own on a Job's pods, and the only way for a pod to learn its owner's uid without
    # asking.
    uid = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}}
    return {
        "name": COMPONENT,
        "image": ray["image"],
        "imagePullPolicy": ray["imagePullPolicy"],
        "command": [literal(word) for word in command],
        "env": [SAFE_PATH, {"name": "JOB_UID", "valueFrom": uid}],
        "resources": RESOURCES,
        "securityContext": ray["securityContext"],
        "volumeMounts": [{"name": name, "mountPath": path, "readOnly": True} for name, path in mounts],
    }
