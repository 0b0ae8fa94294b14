"""Which jobs a queue of Kueue admits, as a real cluster did: Kubernetes 1.36, KubeRay 1.7.0, Kueue 0.19.2."""

import copy
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepscaler.kubernetes.check.check import build, check_paths
from deepscaler.kubernetes.check.quantities import pod_requests, quantity
from tests.deepscaler.kubernetes.check.test_check import K8S, needs_kubectl

RDMA = "rdma/hca_shared_devices_a"
WORKERS = "spec.rayClusterSpec.workerGroupSpecs[0].template"

Trees = dict[str, Any]


@pytest.fixture(scope="module")
def shipped() -> Trees:
    """The objects of overlays/kueue-a100 and of cluster/kueue, by kind and name."""
    texts = [build(K8S / folder) for folder in ("overlays/kueue-a100", "cluster/kueue")]
    trees = [tree for text in texts for tree in yaml.safe_load_all(text)]
    return {f"{tree['kind']}/{tree['metadata']['name']}": tree for tree in trees}


def found_in(trees: Trees, tmp_path: Path) -> list[str]:
    """What is told, each object in a file of its own."""
    for name, tree in trees.items():
        (tmp_path / f"{name.replace('/', '-')}.yaml").write_text(yaml.safe_dump(tree))
    return [str(finding.problem) for finding in check_paths([str(tmp_path)]).findings]


def without(trees: Trees, resource: str) -> None:
    group = trees["ClusterQueue/deepscaler"]["spec"]["resourceGroups"][0]
    group["coveredResources"].remove(resource)
    for flavor in group["flavors"]:
        flavor["resources"] = [one for one in flavor["resources"] if one["name"] != resource]


def template(trees: Trees) -> Any:
    return trees["RayJob/train-16k"]["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]


def one_flavor(trees: Trees, **spec: Any) -> None:
    """As the queue was when it admitted nothing: a single flavor."""
    del trees["ResourceFlavor/deepscaler-head"]
    trees["ResourceFlavor/deepscaler-a100"]["spec"] = spec
    del trees["ClusterQueue/deepscaler"]["spec"]["resourceGroups"][0]["flavors"][0]


def lowered(trees: Trees, resource: str, quota: object) -> None:
    flavor = trees["ClusterQueue/deepscaler"]["spec"]["resourceGroups"][0]["flavors"][1]
    [one] = [one for one in flavor["resources"] if one["name"] == resource]
    one["nominalQuota"] = quota


def annotated(trees: Trees, **annotations: str) -> None:
    template(trees)["metadata"]["annotations"] = {
        f"kueue.x-k8s.io/podset-{name}-topology": value for name, value in annotations.items()
    }


@needs_kubectl
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda trees: None, None),
        # told by the cluster: `Flavor "deepscaler" does not support TopologyAwareScheduling`
        (one_flavor, "flavor deepscaler-a100 does not support TopologyAwareScheduling"),
        (lambda trees: without(trees, RDMA), f"ClusterQueue deepscaler does not cover {RDMA}, so that workers never"),
        # told by the cluster: a job without the topology component never starts
        (annotated, "flavor deepscaler-a100 supports only TopologyAwareScheduling"),
        (lambda trees: annotated(trees, required="zone"), "has no level zone in its topology (topology.example.com/bl"),
        (lambda trees: annotated(trees, unconstrained="true"), None),
        (
            lambda trees: trees["ResourceFlavor/deepscaler-a100"]["spec"].update(nodeLabels={"gpu": "a100"}),
            None,  # the pods name no such label: Kueue adds it to them
        ),
        (
            lambda trees: template(trees)["spec"].update(
                nodeSelector={"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
            ),
            "flavor deepscaler-a100 lacks the label nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3",
        ),
        (
            lambda trees: trees["ResourceFlavor/deepscaler-a100"]["spec"].update(
                nodeTaints=[{"key": "team", "value": "a", "effect": "NoSchedule"}]
            ),
            "flavor deepscaler-a100 has the taint team, which they do not tolerate",
        ),
        (lambda trees: lowered(trees, "nvidia.com/gpu", 24), "has 24 of nvidia.com/gpu, and 32 is needed"),
        (lambda trees: lowered(trees, "cpu", "255900m"), "has 255.9 of cpu, and 256 is needed"),
        (
            lambda trees: trees["RayJob/train-16k"]["metadata"]["labels"].pop("kueue.x-k8s.io/queue-name"),
            "asks for a topology, and the label kueue.x-k8s.io/queue-name is missing",
        ),
        (
            lambda trees: (
                trees["RayJob/train-16k"]["metadata"].update(namespace="mine")
                or trees["LocalQueue/deepscaler"]["metadata"].update(namespace="mine")
            ),
            "ClusterQueue deepscaler takes no job of mine",
        ),
        (lambda trees: trees.pop("ClusterQueue/deepscaler"), None),  # it may lie in the cluster
        (lambda trees: trees.pop("ResourceFlavor/deepscaler-a100"), None),
        (lambda trees: trees.pop("Topology/deepscaler"), None),
        (
            lambda trees: one_flavor(trees, nodeLabels={"gpu": "a100"}, topologyName="deepscaler"),
            "of cpu, and 256 is needed",
        ),
    ],
)
def test_a_queue_that_never_admits_a_job_is_found(
    shipped: Trees, change: Any, told: str | None, tmp_path: Path
) -> None:
    trees = copy.deepcopy(shipped)
    change(trees)
    found = found_in(trees, tmp_path)
    assert any(told in line for line in found) if told else found == [], found


@needs_kubectl
def test_a_cohort_may_lend_what_a_queue_lacks(shipped: Trees, tmp_path: Path) -> None:
    trees = copy.deepcopy(shipped)
    lowered(trees, "nvidia.com/gpu", 8)
    trees["ClusterQueue/deepscaler"]["spec"]["cohortName"] = "all"
    assert found_in(trees, tmp_path) == []


@needs_kubectl
@pytest.mark.parametrize(("overlay", "cluster"), [("kueue-a100", "kueue"), ("gke-h100", "kueue-gke")])
def test_each_overlay_starts_in_the_queue_that_is_shipped_for_it(overlay: str, cluster: str) -> None:
    assert check_paths([str(K8S / "overlays" / overlay), str(K8S / "cluster" / cluster)]).findings == []


@needs_kubectl
def test_an_overlay_does_not_start_in_the_queue_of_another() -> None:
    report = check_paths([str(K8S / "overlays/gke-h100"), str(K8S / "cluster/kueue")])
    assert any("supports only TopologyAwareScheduling" in str(finding) for finding in report.findings)


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", Fraction(1, 2)), ("2Ti", 2 << 40), (32, 32), ("1k", 1000), ("1.5G", 1_500_000_000), ("1e3", 1000)],
)
def test_a_quantity_is_a_number(text: Any, number: Any) -> None:
    assert quantity(text) == number


def test_a_pod_asks_for_its_containers_and_sidecars_or_its_largest_first_step() -> None:
    def container(cpu: str, **more: str) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    sidecar = container("1", restartPolicy="Always")
    assert pod_requests({"initContainers": [sidecar, container("2")], "containers": [container("4")]}) == {"cpu": 5}
    assert pod_requests({"initContainers": [sidecar, container("8")], "containers": [container("4")]}) == {"cpu": 9}
    assert pod_requests({"initContainers": [container("8"), sidecar], "containers": [container("4")]}) == {"cpu": 8}
    assert pod_requests({"containers": [{"resources": {"limits": {"x/y": "1"}}}, {}]}) == {"x/y": 1}
