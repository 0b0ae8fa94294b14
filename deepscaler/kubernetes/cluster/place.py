"""Describes one Kubernetes cluster by the options of one TOML file. Nothing in it can change a result.

context = "research"                      # of kubectl; anything else is refused
image = "registry.example.com/deepscaler"
components = ["kueue", "a100", "rdma"]    # folders of k8s/components, or of your own
queue = "team-a"
"""

import re
from dataclasses import dataclass
from pathlib import Path

from deepscaler.system.errors import UserError, unknown
from deepscaler.system.option import shown_value
from deepscaler.system.options import check_options, option, read_options

QUEUED = ("kueue", "volcano", "kai")
"""Components with a queue."""

QUANTITY = re.compile(r"\d+(\.\d+)?(m|[kMGTP]i?)?")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""What a namespace, a claim and a queue may be called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Every field but `context` may be left out."""

    context: str = option("", "context of kubectl; a command is refused while another one is current")
    namespace: str = option("deepscaler", "namespace of the jobs")
    image: str = option("deepscaler", "repository of the images, such as registry.example.com/deepscaler")
    tag: str = option("{target}", "tag of an image; {target} becomes train or cpu")
    components: tuple[str, ...] = option((), "folders of k8s/components, or folders of your own, applied in order")
    queue: str = option("", "queue of the component kueue, volcano or kai; default: deepscaler")
    node_labels: dict[str, str] = option({}, "labels that the nodes of workers must have, beside the components'")
    fabric_resource: str = option("", "resource of the component rdma or efa, if yours is called otherwise")
    interface: str = option("", "network interface for NCCL and gloo, if the component's is not yours")

    runs_claim: str = option("deepscaler-runs", "claim of the runs, a POSIX file system")
    cache_claim: str = option("deepscaler-cache", "claim of models and prepared data")
    data_claim: str = option("", "claim of your data, mounted read-only at /data")
    storage_class: str = option("", "storage class for ReadWriteMany, for `k8s setup`; default: the cluster's own")

    worker_cpu: str = option("64", "processors that a worker asks for")
    worker_memory: str = option("512Gi", "memory of a worker, shared memory included")
    shared_memory: str = option("128Gi", "shared memory of a worker; half of it is Ray's object store")
    head_cpu: str = option("8", "processors that the head asks for")
    head_memory: str = option("32Gi", "memory of the head")

    def __post_init__(self) -> None:
        check_options(self)
        if not self.context:
            raise UserError("context is missing: `kubectl config get-contexts` lists yours")
        for name in ("namespace", "queue", "runs_claim", "cache_claim", "data_claim"):
            value = getattr(self, name)
            if value and not LABEL.fullmatch(value):
                raise UserError(
                    f"invalid value {shown_value(value)} for {name}: expected lower case letters, digits and hyphens"
                )
        for name in ("worker_cpu", "worker_memory", "shared_memory", "head_cpu", "head_memory"):
            if not QUANTITY.fullmatch(getattr(self, name)):
                given = shown_value(getattr(self, name))
                raise UserError(f"invalid value {given} for {name}: expected a quantity such as 64 or 512Gi")
        if self.queue and not set(QUEUED) & set(self.components):
            raise UserError(f"queue {self.queue} counts only with one of the components {', '.join(QUEUED)}")

    def image_of(self, target: str) -> str:
        """Returns the image of a target of docker/Dockerfile."""
        return f"{self.image}:{self.tag.replace('{target}', target)}"


def load_place(file: Path) -> Place:
    """Returns the place of a file; a component of one's own is relative to it. Raises UserError that names the file."""
    values = read_options(file, Place)
    values["components"] = tuple(_component(name, file) for name in values.get("components", ()))
    try:
        return Place(**values)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def manifests() -> Path:
    """Returns the folder with the kit's kustomizations: inside the installed package, or the checkout's k8s/."""
    package = Path(__file__).parents[1]
    installed = package / "manifests"
    return installed if installed.is_dir() else package.parents[1] / "k8s"


def _component(name: str, file: Path) -> str:
    """Returns the name of one of the kit's components, or the absolute path of another."""
    known = sorted(path.parent.name for path in (manifests() / "components").glob("*/kustomization.yaml"))
    if name in known:
        return name
    own = (file.parent / name).absolute()
    if not (own / "kustomization.yaml").is_file():
        known_ones = unknown("component", name, known, or_else="a folder with a kustomization.yaml")
        raise UserError(f"{file}: {known_ones}")
    return str(own)
