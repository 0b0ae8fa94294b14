"""What `k8s init` makes of answers that a server of Kubernetes 1.36 gave, and of what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.kubernetes.cluster.place import Place, load_place
from tests.deepscaler.kubernetes.cluster.conftest import FakeKubectl

Objects = list[dict[str, Any]]
FORBIDDEN = (
    1,
    'Error from server (Forbidden): nodes is forbidden: User "researcher" cannot list resource "nodes" in API group ""'
    " at the cluster scope\n",
)
NO_SUCH_KIND = (1, 'error: the server doesn\'t have a resource type "queues"\n')
TAINT = {"effect": "NoSchedule", "key": "nvidia.com/gpu", "value": "present"}
KINDS = (
    *("deployments.apps", "nodes", "storageclasses.storage.k8s.io", "persistentvolumeclaims"),
    *("localqueues.kueue.x-k8s.io", "clusterqueues.kueue.x-k8s.io", "resourceflavors.kueue.x-k8s.io"),
    *("topologies.kueue.x-k8s.io", "queues.scheduling.volcano.sh", "queues.scheduling.run.ai"),
    "priorityclasses.scheduling.k8s.io",
)


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **more}


def node(name: str, room: dict[str, str], taints: Objects | None = None, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}},
        "spec": {"taints": taints} if taints else {},
        "status": {"allocatable": room},
    }


def gpu_nodes(count: int = 4, product: str = "NVIDIA-A100-SXM4-80GB", **room: str) -> Objects:
    """As the sandbox's: a shared device has thousands of places."""
    has = {"cpu": "96", "memory": "1152Gi", "nvidia.com/gpu": "8", "rdma/hca_shared_devices_a": "1k", **room}
    return [node(f"gpu-{i}", has, [TAINT], **{"nvidia.com/gpu.product": product}) for i in range(count)]


CPU_NODE = node("cpu-0", {"cpu": "64", "memory": "256Gi"})


def operator(version: str, *arguments: str) -> Objects:
    container = {"image": f"quay.io/kuberay/operator:v{version}", "args": list(arguments)}
    return [named("kuberay-operator", spec={"template": {"spec": {"containers": [container]}}})]


def answer(kubectl: FakeKubectl, **found: Objects | tuple[int, str]) -> None:
    """Has the cluster hold these objects, by the first word of their kind, and nothing else."""
    kubectl.answers["config current-context"] = "research\n"
    kubectl.answers["api-resources"] = "rayclusters.ray.io\nrayjobs.ray.io\n"
    kubectl.answers["explain"] = "GROUP: ray.io\nKIND: RayJob\n"
    kubectl.answers["config view"] = ""
    for kind in KINDS:
        items = found.get(kind.partition(".")[0], [])
        if isinstance(items, list):
            kubectl.answers[f"get {kind}"] = json.dumps({"items": items})
        else:
            kubectl.answers[f"get {kind}"] = items


def init(tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[Place, str, str]:
    """The place of the file, its text, and what was said."""
    file = tmp_path / "cluster.toml"
    assert main(["k8s", "init", str(file), *words]) == 0, capsys.readouterr().err
    return load_place(file), file.read_text(), capsys.readouterr().out


def test_a_cluster_becomes_a_place(kubectl: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flavors = [{"name": "head", "resources": []}, {"name": "a100", "resources": []}]
    groups = [{"coveredResources": ["cpu", "memory", "nvidia.com/gpu"], "flavors": flavors}]
    answer(
        kubectl,
        deployments=operator("1.7.0", "--feature-gates=RayClusterStatusConditions=true"),
        nodes=[*gpu_nodes(), CPU_NODE],
        storageclasses=[
            {
                "metadata": {
                    "name": "gp3",
                    "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                },
                "provisioner": "ebs.csi.aws.com",
            },
            named("lustre", provisioner="fsx.csi.aws.com"),
        ],
        localqueues=[named("team-b", spec={"clusterQueue": "r"}), named("team-c", spec={"clusterQueue": "other"})],
        clusterqueues=[named("r", spec={"resourceGroups": groups})],
        resourceflavors=[named("head", spec={}), named("a100", spec={"topologyName": "switches"})],
        topologies=[
            named("switches", spec={"levels": [{"nodeLabel": "net/rack"}, {"nodeLabel": "kubernetes.io/host"}]})
        ],
        priorityclasses=[named("system-node-critical"), named("deepscaler-training")],
    )
    place, text, said = init(tmp_path, capsys)
    assert place == Place(
        context="research",
        image="registry.example.com/deepscaler",
        components=("kueue", "topology", "a100", "rdma", "priority"),
        queue="team-b",
        topology="net/rack",
        storage_class="lustre",
    )
    assert all(line.startswith("#") or "  # " in line for line in text.splitlines())
    assert "# KubeRay 1.7.0, --feature-gates=RayClusterStatusConditions=true.\n" in text
    assert "# ClusterQueue r covers cpu, memory, nvidia.com/gpu: a job that asks for more waits.\n" in text
    assert "there are also: team-c" in text
    assert "4 nodes with 8 x NVIDIA-A100-SXM4-80GB; rdma/hca_shared_devices_a" in said
    assert said.endswith(f"then: deepscaler k8s setup --site {tmp_path}/cluster.toml\n")


def test_small_nodes_of_another_gpu(kubectl: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = {"cpu": "47810m", "memory": "190000000Ki", "nvidia.com/gpu": "4", "vpc.amazonaws.com/efa": "1"}
    taints = [TAINT, {"key": "team", "value": "ml", "effect": "NoSchedule"}]
    sick = {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}
    labels = {"nvidia.com/gpu.product": "NVIDIA-L40S", "karpenter.sh/capacity-type": "spot"}
    nodes = [node("a", small, taints, **labels), node("b", small, [*taints, sick], **labels)]
    answer(kubectl, nodes=nodes, deployments=operator("1.7.2", "--batch-scheduler", "volcano"), queues=NO_SUCH_KIND)
    place, text, _ = init(tmp_path, capsys, "--context", "other", "--namespace", "mine")
    assert place == Place(
        context="other",
        namespace="mine",
        image="registry.example.com/deepscaler",
        components=("volcano", "spot", "efa"),
        node_labels={"nvidia.com/gpu.product": "NVIDIA-L40S"},
        tolerations=("team=ml:NoSchedule",),
        fabric_count=1,
        worker_cpu="35",  # 0.9 x 47.81, less the head's 8
        worker_memory="131Gi",  # 0.9 x 181.2 GiB, less the head's 32
        shared_memory="32Gi",
    )
    assert "A node has 4 GPUs, recipes are for 8: add --set gpus_per_node=4." in text
    assert "efa asks for 5120Mi of hugepages-2Mi, which these nodes lack: no job starts." in text
    assert "No storage class is known for ReadWriteMany" in text


def test_gke_and_a_cluster_queue_alone(
    kubectl: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = {"cpu": "207", "memory": "1800Gi", "nvidia.com/gpu": "8"}
    labels = {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
    filestore = {
        "metadata": {"name": "rwx", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "filestore.csi.storage.gke.io",
    }
    answer(
        kubectl,
        nodes=[node("a", room, [TAINT], **labels), CPU_NODE],
        clusterqueues=[named("all", spec={})],
        storageclasses=[filestore],
    )
    kubectl.answers["config view"] = "from-the-context"
    place, _, _ = init(tmp_path, capsys)
    assert place == Place(
        context="research",
        namespace="from-the-context",
        image="registry.example.com/deepscaler",
        components=("kueue", "h100-gke"),
        cluster_queue="all",
    )


def test_what_may_not_be_listed_is_left_out_and_said(
    kubectl: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(kubectl, **{kind.partition(".")[0]: FORBIDDEN for kind in KINDS if "persistent" not in kind})
    place, text, said = init(tmp_path, capsys)
    assert place == Place(context="research", image="registry.example.com/deepscaler")
    for told in (text, said):
        assert "Your user may not list deployments, nodes, storageclasses, localqueues, " in told
        assert "A KubeRay whose version you may not see." in told
    assert "ReadWriteMany" not in text, "nothing is known of classes"


@pytest.mark.parametrize(
    ("version", "tokens", "message"),
    [
        (
            "1.3.2",
            False,
            "KubeRay 1.3.2 knows no authOptions: it refuses the kit's jobs, which are made for 1.7: helm upgrade",
        ),
        ("1.6.1", True, "KubeRay 1.6.1 is older than 1.7, for which the jobs are made: helm upgrade"),
        ("1.10.0", True, "KubeRay 1.10.0.\n"),
    ],
)
def test_an_old_kuberay_is_told(
    version: str,
    tokens: bool,
    message: str,
    kubectl: FakeKubectl,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer(kubectl, deployments=operator(version))
    if not tokens:
        kubectl.answers["explain"] = (1, 'error: field "authOptions" does not exist\n')
    assert message in init(tmp_path, capsys)[1]


def test_no_kuberay_is_told(kubectl: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer(kubectl)
    kubectl.answers["api-resources"] = ""
    assert "# KubeRay is not installed: helm install kuberay-operator" in init(tmp_path, capsys)[1]


def test_a_file_that_is_there_and_a_cluster_that_is_not(
    kubectl: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cluster.toml"
    file.touch()
    assert main(["k8s", "init", str(file)]) == 2
    assert "is there already; remove it, or name another file" in capsys.readouterr().err
    assert kubectl.calls == []
    kubectl.answers["config current-context"] = "research\n"
    kubectl.answers["config view"] = ""
    kubectl.answers["api-resources"] = (1, "The connection to the server 10.0.0.1:6443 was refused\n")
    assert main(["k8s", "init", str(tmp_path / "new.toml")]) == 2
    assert "cannot be reached from here" in capsys.readouterr().err
    kubectl.answers["config current-context"] = (1, "error: current-context is not set\n")
    assert main(["k8s", "init", str(tmp_path / "new.toml")]) == 2
    assert "kubectl has no current context: give --context" in capsys.readouterr().err
    assert not (tmp_path / "new.toml").exists()


def test_a_dry_run_prints_the_file_and_writes_none(
    kubectl: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(kubectl, nodes=gpu_nodes())
    assert main(["k8s", "init", str(tmp_path / "cluster.toml"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert not (tmp_path / "cluster.toml").exists()
    assert init(tmp_path, capsys)[1] == printed
