"""Describes one Kubernetes cluster with the options of one TOML file. None of them can change a result.

context = "research"                      # of kubectl; anything else is refused
image = "registry.example.com/deepscaler"
components = ["kueue", "a100", "rdma"]    # folders of k8s/components, or of your own
queue = "team-a"
"""

import re
from dataclasses import dataclass
from pathlib import Path

from deepscaler.kubernetes.check.quantities import quantity
from deepscaler.kubernetes.render.machines import CPU_NODE
from deepscaler.system.errors import UserError, unknown
from deepscaler.system.option import shown_value
from deepscaler.system.options import check_options, option, read_options

QUEUED = ("kueue", "volcano", "kai")
"""Components with a queue."""
FABRICS = ("rdma", "efa")
"""Components that request a device of nodes."""
MAY_BE_EMPTY = (
    "queue",
    "cluster_queue",
    "data_claim",
    "topology",
    "fabric_resource",
    "interface",
    "storage_class",
)

CPUS = re.compile(r"\d+(\.\d+)?|\d+m")
MEMORY = re.compile(r"\d+(\.\d+)?(k|[MGT]|[KMGT]i)?")
TAINT = re.compile(r"([\w./-]+)(?:=([\w.-]*))?(?::(NoSchedule|PreferNoSchedule|NoExecute))?")
"""Taints in the form of `kubectl taint`; without a value or an effect, any."""
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""Valid names of a namespace, a claim and a queue."""
# Kubernetes' limits: 63 characters for a name, 253 for the domain before it. ASCII, because \w has umlauts,
# too.
KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?", re.ASCII)
"""Valid names of a label and a resource."""
VALUE = re.compile(r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?", re.ASCII)
IMAGE = re.compile(r"([A-Za-z0-9][-A-Za-z0-9.]*(:\d+)?/)?[a-z0-9][-a-z0-9._]*(/[a-z0-9][-a-z0-9._]*)*")
# The registries' own form of a tag, of at most 128 characters.
TAG = re.compile(r"\w[-\w.]{0,127}", re.ASCII)
CLASS = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
INTERFACE = re.compile(r"[\w.,=^-]+", re.ASCII)
"""Interfaces that NCCL accepts: names or prefixes, `^docker` for all except these."""
FORMS = (
    ("namespace", LABEL, "lower case letters, digits and hyphens"),
    ("queue", LABEL, "lower case letters, digits and hyphens"),
    ("cluster_queue", LABEL, "lower case letters, digits and hyphens"),
    ("runs_claim", LABEL, "lower case letters, digits and hyphens"),
    ("cache_claim", LABEL, "lower case letters, digits and hyphens"),
    ("data_claim", LABEL, "lower case letters, digits and hyphens"),
    ("image", IMAGE, "a repository such as registry.example.com/deepscaler; the tag is an option of its own"),
    ("topology", KEY, "a label of nodes such as cloud.google.com/gce-topology-block"),
    ("fabric_resource", KEY, "a resource of nodes such as rdma/ib"),
    ("interface", INTERFACE, "names of network interfaces such as eth0"),
    ("storage_class", CLASS, "lower case letters, digits, hyphens and dots"),
    ("worker_cpu", CPUS, "a number of processors such as 64"),
    ("head_cpu", CPUS, "a number of processors such as 64"),
    ("cpu_image_cpu", CPUS, "a number of processors such as 64"),
    ("worker_memory", MEMORY, "a quantity such as 512Gi"),
    ("shared_memory", MEMORY, "a quantity such as 512Gi"),
    ("head_memory", MEMORY, "a quantity such as 512Gi"),
    ("cpu_image_memory", MEMORY, "a quantity such as 512Gi"),
)
"""Option, pattern of its values, and their description in errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Holds the options of one cluster. Every field except `context` is optional."""

    context: str = option("", "context of kubectl; a command is refused while another one is current")
    namespace: str = option("deepscaler", "namespace of the jobs")
    image: str = option("deepscaler", "repository of the images, such as registry.example.com/deepscaler")
    tag: str = option("{target}", "tag of an image; {target} becomes train or cpu")
    components: tuple[str, ...] = option((), "folders of k8s/components, or folders of your own, applied in order")
    queue: str = option("", "queue of the component kueue, volcano or kai; default: deepscaler")
    cluster_queue: str = option(
        "", "ClusterQueue of Kueue in which `k8s setup` makes `queue`; default: `queue` exists already"
    )
    topology: str = option("", "level of your Topology for the component topology, a label of nodes")
    tolerations: tuple[str, ...] = option((), "taints of nodes that pods may go to: KEY, KEY=VALUE or KEY=VALUE:EFFECT")
    node_labels: dict[str, str] = option({}, "labels that the nodes of workers must have, beside the components'")
    fabric_resource: str = option("", "resource of the component rdma or efa, if yours has another name")
    fabric_count: int = option(0, "number of fabric_resource per worker; default: the component's", at_least=0)
    interface: str = option("", "network interface for NCCL and gloo, if the component's is not yours")

    runs_claim: str = option("deepscaler-runs", "claim of the runs, a POSIX file system")
    cache_claim: str = option("deepscaler-cache", "claim of models and prepared data")
    data_claim: str = option("", "claim of your data, mounted read-only at /data")
    storage: str = option("claims", "folder of k8s/storage, or of your own, with the claims that `k8s setup` makes")
    storage_class: str = option("", "storage class for ReadWriteMany, for `k8s setup`; default: the cluster's own")

    worker_cpu: str = option("64", "processors that a worker requests")
    worker_memory: str = option("512Gi", "memory of a worker, shared memory included")
    shared_memory: str = option("128Gi", "shared memory of a worker; half of it is Ray's object store")
    head_cpu: str = option("8", "processors that the head requests")
    head_memory: str = option("32Gi", "memory of the head")
    cpu_image_cpu: str = option(CPU_NODE.cpu, "processors that a pod of the image cpu requests")
    cpu_image_memory: str = option(CPU_NODE.memory, "memory of a pod of the image cpu; the quickstart needs all of it")

    def __post_init__(self) -> None:
        check_options(self)
        if not self.context:
            raise UserError("context is missing: `kubectl config get-contexts` lists yours")
        for name, pattern, expected in FORMS:
            value = getattr(self, name)
            if not pattern.fullmatch(value) and not (name in MAY_BE_EMPTY and not value):
                raise UserError(f"invalid value {shown_value(value)} for {name}: expected {expected}")
        if not TAG.fullmatch(self.tag.replace("{target}", "train")):
            raise UserError(
                f"invalid value {shown_value(self.tag)} for tag: expected letters, digits, . _ or -, with {{target}}"
                " where train or cpu is to stand"
            )
        for label, value in self.node_labels.items():
            if not (KEY.fullmatch(label) and VALUE.fullmatch(value)):
                raise UserError(
                    f"invalid value {shown_value({label: value})} in node_labels: expected a label of nodes and its"
                    " value, as `kubectl get nodes --show-labels` shows them"
                )
        for taint in self.tolerations:
            if not TAINT.fullmatch(taint):
                raise UserError(f"invalid value {shown_value(taint)} in tolerations: expected KEY=VALUE:EFFECT")
        if quantity(self.shared_memory) >= quantity(self.worker_memory):
            raise UserError(
                f"shared_memory {self.shared_memory} leaves a worker nothing of its worker_memory {self.worker_memory},"
                " in which it counts: give less"
            )
        self._check_components()

    def _check_components(self) -> None:
        """Raises UserError for an option without its component, and for a component that an option replaces."""
        if "image" in self.components:
            raise UserError("component image: a place says that by its options image and tag; leave the component out")
        names = [Path(name).name for name in self.components]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UserError(f"component {twice[0]} is named twice; a folder of your own needs another name")
        needs = {"queue": QUEUED, "cluster_queue": ("kueue",), "topology": ("topology",)}
        needs |= {"fabric_resource": FABRICS, "fabric_count": FABRICS}
        for name, components in needs.items():
            value = getattr(self, name)
            if value and not set(components) & set(self.components):
                raise UserError(
                    f"{name} {value} counts only with one of the components {', '.join(components)}:"
                    f" add one, or leave {name} out"
                )

    def image_of(self, target: str) -> str:
        """Returns the image of a target of docker/Dockerfile."""
        return f"{self.image}:{self.tag.replace('{target}', target)}"


def load_place(file: Path) -> Place:
    """Returns the place in a file, to which paths of components are relative. Raises UserError that names the file."""
    values = read_options(file, Place)
    values["components"] = tuple(_folder("components", name, file) for name in values.get("components", ()))
    if "storage" in values:
        values["storage"] = _folder("storage", values["storage"], file)
    try:
        return Place(**values)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def manifests() -> Path:
    """Returns the folder with the kit's kustomizations: inside the installed package, or the checkout's k8s/."""
    package = Path(__file__).parents[1]
    installed = package / "manifests"
    return installed if installed.is_dir() else package.parents[1] / "k8s"


def _folder(kind: str, name: str, file: Path) -> str:
    """Returns the name of one of the kit's components or storages, or the absolute path of another."""
    known = sorted(path.parent.name for path in (manifests() / kind).glob("*/kustomization.yaml"))
    if name in known:
        return name
    own = (file.parent / name).absolute()
    if not name or not (own / "kustomization.yaml").is_file():
        what = kind.removesuffix("s")
        known_ones = unknown(what, name, known, or_else="or a folder with a kustomization.yaml")
        raise UserError(f"{file}: {known_ones}")
    return str(own)
