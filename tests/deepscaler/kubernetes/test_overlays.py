"""What users build from the jobs, by kubectl: each component, all of them, overlays of their own."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepscaler.kubernetes.check.check import Report, build, check_paths, check_text
from tests.deepscaler.kubernetes.check.test_check import K8S, TRAIN, needs_kubectl

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
def test_a_prefix_that_breaks_the_claims_is_found(tmp_path: Path) -> None:
    shutil.copytree(K8S, tmp_path / "k8s")
    folder = tmp_path / "k8s/overlays/mine"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text("namePrefix: team-\nresources: [../../jobs/train-8k]\n")
    found = [str(finding) for finding in check_paths([str(folder)]).findings]
    assert any("names PersistentVolumeClaim deepscaler-runs, and the one beside it is team-" in line for line in found)


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
    assert [str(finding) for finding in report.findings] == []
    return list(yaml.safe_load_all(text))


@needs_kubectl
@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_fits_a_training(component: str, tmp_path: Path) -> None:
    built = overlay(tmp_path, "train-16k", [component])
    [rayjob] = [tree for tree in built if tree["kind"] == "RayJob"]
    if component not in ("nfs", "monitoring"):  # about other objects
        assert rayjob != {**TRAIN, "metadata": {**TRAIN["metadata"], "namespace": "deepscaler"}}


@needs_kubectl
def test_all_components_together_keep_what_each_adds(tmp_path: Path) -> None:
    together = [
        name for name in COMPONENTS if name not in ("h100", "gcs-fuse", "roce", "efa", "tcp")
    ]  # of each kind one
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


def test_the_readme_lists_every_job_overlay_and_component() -> None:
    text = (K8S / "README.md").read_text()
    for folder in ("jobs", "overlays", "components"):
        for path in (K8S / folder).iterdir():
            assert f"`{path.name}`" in text or f"[{path.name}]" in text, path.name
    for path in (K8S / "overlays").iterdir():
        tree = yaml.safe_load((path / "kustomization.yaml").read_text())
        [job], components = tree["resources"], [Path(component).name for component in tree["components"]]
        row = rf"\| \[{path.name}\]\S+ \| {Path(job).name} \| {', '.join(components)} \|"
        assert re.search(row, text), path.name
