"""What users build from the jobs, by kubectl: each component, all of them, overlays of their own."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepscaler.kubernetes.check.check import Report, build, check_paths, check_queues, check_text
from tests.deepscaler.kubernetes.check.test_check import K8S, TRAIN, needs_kubectl
from tests.places import ROOT

COMPONENTS = sorted(path.name for path in (K8S / "components").iterdir())


@needs_kubectl
def test_a_patch_that_loses_the_image_is_found(tmp_path: Path) -> None:
    shutil.copytree(K8S, tmp_path / "k8s")
    folder = tmp_path / "k8s/overlays/mine"
    folder.mkdir()
    patch = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "train-8k"}}
    container = {"name": "ray-head", "env": [{"name": "A", "value": "b"}]}
    patch["spec"] = {"rayClusterSpec": {"headGroupSpec": {"template": {"spec": {"containers": [container]}}}}}
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump({"resources": ["../../jobs/train-8k"], "patches": [{"patch": yaml.safe_dump(patch)}]})
    )
    found = [str(finding) for finding in check_paths([str(folder)]).findings]
    assert any("container 'ray-head' has none" in line for line in found), found


@needs_kubectl
def test_a_prefix_that_breaks_references_is_found(tmp_path: Path) -> None:
    shutil.copytree(K8S, tmp_path / "k8s")
    folder = tmp_path / "k8s/overlays/mine"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text("namePrefix: team-\nresources: [../../jobs/train-8k]\n")
    found = [str(finding) for finding in check_paths([str(folder)]).findings]
    assert any("names ServiceAccount deepscaler, and the one beside it is team-deepscaler" in line for line in found)


def overlay(
    tmp_path: Path, job: str, components: list[str], more: str = "", *, check: bool = True
) -> list[dict[str, Any]]:
    """What kubectl makes of a job with components."""
    shutil.copytree(K8S, tmp_path / "k8s", dirs_exist_ok=True)
    folder = tmp_path / "k8s/overlays/mine"
    folder.mkdir(exist_ok=True)
    lines = [f"resources: [../../jobs/{job}]", "components:"]
    lines += [f"  - ../../components/{component}" for component in components]
    (folder / "kustomization.yaml").write_text("\n".join([*lines, more]) + "\n")
    text = build(folder)
    report = Report()
    if check:
        check_text(text, job, report)
        check_queues(report)
    assert [str(finding) for finding in report.findings] == []
    return list(yaml.safe_load_all(text))


@needs_kubectl
@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_fits_a_training(component: str, tmp_path: Path) -> None:
    built = overlay(tmp_path, "train-16k", ["kueue", component] if component == "topology" else [component])
    [rayjob] = [tree for tree in built if tree["kind"] == "RayJob"]
    if component != "monitoring":  # about other objects
        assert rayjob != {**TRAIN, "metadata": {**TRAIN["metadata"], "namespace": "deepscaler"}}


@needs_kubectl
@pytest.mark.parametrize(
    ("components", "limit"), [(["volcano"], None), (["kai"], None), (["kueue"], 86400), (["h100"], 86400)]
)
def test_waiting_for_gpus_uses_up_no_retry(components: list[str], limit: int | None, tmp_path: Path) -> None:
    """A gang waits as long as it must; without one, half of the pods may hold GPUs for a day."""
    built = overlay(tmp_path, "train-16k", components)
    [rayjob] = [tree for tree in built if tree["kind"] == "RayJob"]
    assert rayjob["spec"].get("preRunningDeadlineSeconds") == limit
    assert "preRunningDeadlineSeconds" not in rayjob["spec"] or limit


@needs_kubectl
def test_all_components_together_keep_what_each_adds(tmp_path: Path) -> None:
    others = ("h100", "h100-gke", "gcs-fuse", "roce", "efa", "tcp")
    together = [name for name in COMPONENTS if name not in others]  # of each kind one
    built = overlay(tmp_path, "train-16k", [*[name for name in together if name != "image"], "image"])
    [rayjob] = [tree for tree in built if tree["kind"] == "RayJob"]
    images = set(re.findall(r"image: (\S+)", yaml.safe_dump(built)))
    assert images == {"registry.example.com/deepscaler:v1-train"}
    worker = rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]
    limits = worker["spec"]["containers"][0]["resources"]["limits"]
    assert {"rdma/hca_shared_devices_a", "nvidia.com/gpu", "memory"} == set(limits)
    assert len(worker["spec"]["tolerations"]) == 3
    assert set(worker["spec"]["affinity"]) == {"podAntiAffinity", "podAffinity", "nodeAffinity"}
    assert len(worker["metadata"]["annotations"]) == 2
    assert rayjob["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "deepscaler"


@needs_kubectl
@pytest.mark.parametrize("namespace", ["", "mine"])
def test_everything_lands_in_one_namespace(namespace: str, tmp_path: Path) -> None:
    built = overlay(tmp_path, "train-16k", COMPONENTS, f"namespace: {namespace}" if namespace else "", check=False)
    for tree in built:
        if tree["kind"] != "PersistentVolume":
            lies_in = tree["metadata"]["name"] if tree["kind"] == "Namespace" else tree["metadata"]["namespace"]
            assert lies_in == (namespace or "deepscaler"), tree["kind"]


def kustomizations(*folders: str) -> list[str]:
    """Everything that `kubectl apply -k` takes, below some folders."""
    files = [path for folder in folders for path in (K8S / folder).rglob("kustomization.yaml")]
    return sorted(str(path.parent.relative_to(K8S)) for path in files)


@needs_kubectl
@pytest.mark.parametrize("folder", kustomizations("jobs", "shell", "overlays"))
def test_only_storage_brings_claims(folder: str) -> None:
    """A claim cannot be changed: two that apply it differently refuse each other."""
    built = list(yaml.safe_load_all(build(K8S / folder)))
    assert not {tree["kind"] for tree in built} & {"PersistentVolumeClaim", "PersistentVolume"}
    mounted = set(re.findall(r"claimName: (\S+)", yaml.safe_dump(built)))
    assert mounted <= {"deepscaler-runs", "deepscaler-cache"}


@needs_kubectl
@pytest.mark.parametrize("folder", kustomizations("storage"))
def test_every_storage_has_both_claims_and_their_volumes(folder: str) -> None:
    built = list(yaml.safe_load_all(build(K8S / folder)))
    claims = {tree["metadata"]["name"]: tree["spec"] for tree in built if tree["kind"] == "PersistentVolumeClaim"}
    volumes = {tree["metadata"]["name"] for tree in built if tree["kind"] == "PersistentVolume"}
    assert set(claims) == {"deepscaler-runs", "deepscaler-cache"}
    assert {claim["volumeName"] for claim in claims.values() if "volumeName" in claim} == volumes


@needs_kubectl
@pytest.mark.parametrize("name", [path.name for path in sorted((K8S / "overlays").iterdir())])
def test_the_shell_of_an_overlay_has_its_image_and_its_volumes(name: str) -> None:
    jobs, shell = (list(yaml.safe_load_all(build(K8S / "overlays" / folder))) for folder in (name, f"{name}/shell"))
    [rayjob] = [tree for tree in jobs if tree["kind"] == "RayJob"]
    [pod] = [tree for tree in shell if tree["kind"] == "Pod"]
    head = rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    assert pod["spec"]["containers"][0]["image"] == head["spec"]["containers"][0]["image"]
    claims = [volume for volume in head["spec"]["volumes"] if "persistentVolumeClaim" in volume]
    assert pod["spec"]["volumes"] == claims
    fuse = "gke-gcsfuse/volumes"
    assert (pod["metadata"].get("annotations") or {}).get(fuse) == head["metadata"]["annotations"].get(fuse)


@needs_kubectl
def test_an_object_that_several_apply_is_the_same_in_all() -> None:
    """What differs would be changed back and forth, or refused."""
    seen: dict[tuple[str, str], tuple[str, Any]] = {}
    for folder in kustomizations("jobs", "shell", "overlays", "storage/claims"):
        for tree in yaml.safe_load_all(build(K8S / folder)):
            if tree["kind"] not in ("RayJob", "Pod", "Deployment"):
                key = tree["kind"], tree["metadata"]["name"]
                first, other = seen.setdefault(key, (folder, tree))
                assert tree == other, (first, folder, key)


@needs_kubectl
def test_compiled_kernels_are_not_kept_in_a_bucket() -> None:
    for name, folder in (("gke-h100", "/tmp"), ("kueue-a100", "/cache/compiled/$(NODE_NAME)")):
        trees = yaml.safe_load_all(build(K8S / "overlays" / name))
        [rayjob] = [tree for tree in trees if tree["kind"] == "RayJob"]
        [worker] = rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        env = worker["template"]["spec"]["containers"][0]["env"]
        assert [one["value"] for one in env if one["name"] == "COMPILED"] == [folder]


def test_every_port_names_its_protocol() -> None:
    """Without it the server adds TCP, and every `kubectl apply` says that something was configured."""
    for path in K8S.rglob("networkpolicy.yaml"):
        for rule in yaml.safe_load(path.read_text())["spec"].get("ingress", []):
            assert all("protocol" in port for port in rule.get("ports", [])), path
        for rule in yaml.safe_load(path.read_text())["spec"].get("egress", []):
            assert all("protocol" in port for port in rule.get("ports", [])), path


def test_the_pages_list_every_job_overlay_and_component() -> None:
    text = "".join((ROOT / "docs" / page).read_text() for page in ("kubernetes.md", "kubernetes-overlays.md"))
    for folder in ("jobs", "overlays", "components"):
        for path in (K8S / folder).iterdir():
            assert f"`{path.name}`" in text or f"[{path.name}]" in text, path.name
    for path in (K8S / "overlays").iterdir():
        tree = yaml.safe_load((path / "kustomization.yaml").read_text())
        [job], components = tree["resources"], [Path(component).name for component in tree["components"]]
        row = rf"\| \[{path.name}\]\S+ \| {Path(job).name} \| {', '.join(components)} \|"
        assert re.search(row, text), path.name
