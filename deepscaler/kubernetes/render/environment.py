"""Builds the variables of containers that run Ray: secrets by reference, folders of compiled kernels, CPU settings."""

from collections.abc import Sequence
from typing import Any

from deepscaler.job import Job
from deepscaler.mirror.url import is_url
from deepscaler.system.paths import compiled_caches

Variable = dict[str, Any]
"""An entry of a container's `env`."""

CREDENTIALS = "deepscaler-credentials"
"""Name of the optional Secret with these keys."""
SECRETS = ("HF_TOKEN", "WANDB_API_KEY")

BUCKET_SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
)
"""More keys of the Secret, for jobs that use a bucket; unnecessary if the service account has a role for it."""

SAFE_PATH = {"name": "PYTHONSAFEPATH", "value": "1"}
"""Keeps Python from searching the working directory, because a volume may hold a clone of the original DeepScaleR."""

NOT_KEPT: Sequence[Variable] = ({"name": "COMPILED", "value": "/tmp"},)  # noqa: S108  in the pod
"""Variables of a head, which compiles nothing. Without them all workers would get one folder (see training.start)."""

LEAN_MEMORY = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_MAX_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "MALLOC_TOP_PAD_": "131072",
}
"""Makes glibc return memory at once, because CPU nodes are small and may be slower (see training.launch)."""


def environment(job: Job, compiled: Sequence[Variable] = NOT_KEPT) -> list[Variable]:
    """Returns the variables of a Ray container; `compiled` names the folder of its kernels in COMPILED."""
    if job.image == "cpu":
        compiled, settings = (), LEAN_MEMORY
    else:
        settings = compiled_caches("$(COMPILED)")
    given = secrets() if job.datasets else []
    given += secrets(BUCKET_SECRETS) if any(map(is_url, job.arguments)) else []
    # The order counts: the kubelet expands $(COMPILED) only in entries behind the one that sets it.
    return [*compiled, *given, SAFE_PATH, *({"name": name, "value": value} for name, value in settings.items())]


def kept_by_node(cache: str) -> Sequence[Variable]:
    """Returns the variables that keep compiled kernels on the volume of the cache, where the next pod finds them."""
    return (
        # COMPILED stays the second, where components/gcs-fuse replaces it by its number: kernels are locked,
        # renamed and executed, which a bucket does not offer
        {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        # a folder for each node, as under SLURM (see compiled_caches)
        {"name": "COMPILED", "value": f"{cache}/compiled/$(NODE_NAME)"},
    )


def secrets(keys: Sequence[str] = SECRETS) -> list[Variable]:
    """Returns variables of the Secret, by reference."""
    return [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": CREDENTIALS, "key": key, "optional": True}}}
        for key in keys
    ]
