"""Variables of the containers that run Ray: secrets by reference, where compiled kernels lie, what a CPU node needs."""

from collections.abc import Sequence
from typing import Any

from deepscaler.job import Job
from deepscaler.mirror.url import is_url
from deepscaler.system.paths import compiled_caches

Variable = dict[str, Any]
"""An entry of a container's `env`."""

CREDENTIALS = "deepscaler-credentials"
"""Secret, which need not exist, with these keys."""
SECRETS = ("HF_TOKEN", "WANDB_API_KEY")

BUCKET_SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
)
"""More keys of the Secret, for jobs that read or write a bucket; none where the service account has a role for it."""

SAFE_PATH = {"name": "PYTHONSAFEPATH", "value": "1"}
"""The working directory is not searched for modules: a volume may hold a clone of the original DeepScaleR."""

NOT_KEPT: Sequence[Variable] = ({"name": "COMPILED", "value": "/tmp"},)  # noqa: S108  in the pod
"""Of a head, which compiles nothing: without it the command would tell all workers one folder (see training.start)."""

LEAN_MEMORY = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_MAX_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "MALLOC_TOP_PAD_": "131072",
}
"""glibc gives memory back at once: a CPU node is small, and a training on one may take longer (see training.launch)."""


def environment(job: Job, compiled: Sequence[Variable] = NOT_KEPT) -> list[Variable]:
    """Returns the variables of a Ray container; `compiled` says in COMPILED where its kernels lie."""
    if job.image == "cpu":
        compiled, settings = (), LEAN_MEMORY
    else:
        settings = compiled_caches("$(COMPILED)")
    given = secrets() if job.datasets else []
    given += secrets(BUCKET_SECRETS) if any(map(is_url, job.arguments)) else []
    return [*compiled, *given, SAFE_PATH, *({"name": name, "value": value} for name, value in settings.items())]


def kept_by_node(cache: str) -> Sequence[Variable]:
    """Returns what keeps compiled kernels on the volume of the cache, so that the next pod finds them.

    Each node has its own folder, as under SLURM (see compiled_caches). The variables come first, where
    components/gcs-fuse finds them: such files are locked, renamed and executed, which a bucket does not offer.
    """
    return (
        {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "COMPILED", "value": f"{cache}/compiled/$(NODE_NAME)"},
    )


def secrets(keys: Sequence[str] = SECRETS) -> list[Variable]:
    """Returns variables of the Secret, by reference."""
    return [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": CREDENTIALS, "key": key, "optional": True}}}
        for key in keys
    ]
