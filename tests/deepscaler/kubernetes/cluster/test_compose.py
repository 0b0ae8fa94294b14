"""What kubectl builds for a place: every recipe, sizes and names of the site file, storage, components of one's own."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepscaler.cli import main
from deepscaler.job import train_job
from deepscaler.kubernetes.cluster import compose as composing
from deepscaler.kubernetes.cluster.compose import compose, compose_setup, split
from deepscaler.kubernetes.cluster.fit import fit
from deepscaler.kubernetes.cluster.place import Place, load_place
from deepscaler.kubernetes.render.inputs import MOST_BYTES
from deepscaler.kubernetes.render.plans import committed_plans, plan_of
from deepscaler.kubernetes.render.rayjob import to_rayjob
from deepscaler.recipes.load import recipe_named
from deepscaler.recipes.recipe import with_settings
from deepscaler.system.errors import UserError
from tests.deepscaler.kubernetes.check.test_check import K8S, needs_kubectl
from tests.places import ROOT

PLANS = {plan.job.name: plan for plan in committed_plans()}
RESEARCH = Place(
    context="research",
    namespace="team",
    image="registry.example.com/kit",
    tag="v1-{target}",
    components=("kueue", "topology", "a100", "rdma", "spot", "priority", "monitoring"),
    queue="team-a",
    topology="example.com/rack",
    node_labels={"pool": "gpu"},
    tolerations=("dedicated=ml:NoSchedule", "burst"),
    fabric_resource="rdma/ib",
    fabric_count=2,
    interface="ib0",
    runs_claim="team-runs",
    data_claim="team-data",
    worker_cpu="40",
    worker_memory="400Gi",
    shared_memory="100Gi",
)
GKE = Place(context="gke", components=("h100-gke", "gcs-fuse", "spot"))
VOLCANO = Place(context="v", components=("volcano", "h100", "efa"), queue="default", fabric_count=32)
KAI = Place(context="k", components=("kai",), node_labels={"nvidia.com/gpu.product": "NVIDIA-H200"})


def built(plan: str, place: Place, folder: Path, **options: Any) -> dict[str, Any]:
    """The RayJob of a plan, after `k8s check` has passed all of it."""
    [rayjob] = [one for one in yaml.safe_load_all(compose(PLANS[plan], place, folder / plan, **options)) if is_job(one)]
    return dict(rayjob)


def is_job(one: dict[str, Any]) -> bool:
    return bool(one["kind"] == "RayJob")


@pytest.mark.parametrize("num_nodes", [1, 2])
def test_pods_of_the_cpu_image_have_the_sizes_that_a_place_gives_them(num_nodes: int) -> None:
    recipe = with_settings(recipe_named("quickstart"), [f"num_nodes={num_nodes}"])
    plan = plan_of(train_job(recipe, ("train", "quickstart", "--output-dir", "/runs/small"), "cpu"))
    cluster = fit(to_rayjob(plan), Place(context="x", cpu_image_cpu="1", cpu_image_memory="5Gi"))["spec"][
        "rayClusterSpec"
    ]
    groups = [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]
    assert len(groups) == num_nodes
    pods = [group["template"]["spec"] for group in groups]
    preflights = [one for pod in pods for one in pod["initContainers"] if one["name"] == "preflight"]
    assert len(preflights) == num_nodes - 1
    for container in (*preflights, *(pod["containers"][0] for pod in pods)):
        assert container["resources"] == {"requests": {"cpu": "1", "memory": "5Gi"}, "limits": {"memory": "5Gi"}}


@needs_kubectl
@pytest.mark.parametrize(
    ("name", "place"),
    [
        *((name, RESEARCH) for name in PLANS if name not in ("train-2k", "train-4k", "train-24k")),
        ("train-24k", GKE),
        ("chain", VOLCANO),
        ("evaluate", KAI),
        ("quickstart", GKE),
    ],
)
def test_every_job_fits_a_place(name: str, place: Place, tmp_path: Path) -> None:
    rayjob = built(name, place, tmp_path)
    assert rayjob["metadata"]["namespace"] == place.namespace
    target = "cpu" if name == "quickstart" else "train"
    cluster = rayjob["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]
    pods = [group["template"]["spec"] for group in groups]
    images = {one["image"] for pod in pods for one in (*pod["initContainers"], *pod["containers"])}
    assert images == {place.image_of(target)}


@needs_kubectl
def test_a_place_gives_a_job_its_names_and_sizes(tmp_path: Path) -> None:
    rayjob = built("train-16k", RESEARCH, tmp_path)
    assert rayjob["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    cluster = rayjob["spec"]["rayClusterSpec"]
    [group], head = cluster["workerGroupSpecs"], cluster["headGroupSpec"]["template"]["spec"]
    worker = group["template"]["spec"]
    ray = worker["containers"][0]
    limits = {"memory": "400Gi", "nvidia.com/gpu": "8", "rdma/ib": "2"}
    assert ray["resources"] == {"limits": limits, "requests": {**limits, "cpu": "40"}}
    assert group["rayStartParams"]["object-store-memory"] == str(50 << 30)
    assert worker["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "pool": "gpu"}
    names = {one["name"]: one.get("value") for one in ray["env"]}
    assert names["NCCL_SOCKET_IFNAME"] == names["GLOO_SOCKET_IFNAME"] == "ib0"
    assert group["template"]["metadata"]["annotations"]["kueue.x-k8s.io/podset-preferred-topology"] == (
        "example.com/rack"
    )
    mine = [
        {"key": "dedicated", "operator": "Equal", "value": "ml", "effect": "NoSchedule"},
        {"key": "burst", "operator": "Exists"},
    ]
    for pod in (head, worker):
        assert [one for one in pod["tolerations"] if one in mine] == mine
        claims = [one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one]
        assert claims == ["team-runs", "deepscaler-cache", "team-data"]
        assert {"name": "data", "mountPath": "/data", "readOnly": True} in pod["containers"][0]["volumeMounts"]


def test_a_place_that_says_nothing_changes_nothing() -> None:
    for plan in PLANS.values():
        assert fit(to_rayjob(plan), Place(context="x")) == to_rayjob(plan)


@needs_kubectl
def test_labels_without_a_component_choose_the_nodes(tmp_path: Path) -> None:
    worker = built("evaluate", KAI, tmp_path)["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    assert worker["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H200"}


@needs_kubectl
def test_setup_makes_what_jobs_name(tmp_path: Path) -> None:
    objects = split(compose_setup(RESEARCH, tmp_path / "setup"))[1]
    names = {(one["kind"], one["metadata"]["name"]) for one in objects}
    assert ("Namespace", "team") in names
    assert {("PersistentVolumeClaim", "team-runs"), ("PersistentVolumeClaim", "deepscaler-cache")} <= names
    assert "LocalQueue" not in {kind for kind, _ in names}, "a queue that is given is there already"
    [exporter] = [one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment"]
    assert exporter["containers"][0]["image"] == "registry.example.com/kit:v1-train"
    assert exporter["volumes"][0]["persistentVolumeClaim"]["claimName"] == "team-runs"


@needs_kubectl
@pytest.mark.parametrize(("queue", "name"), [("", "deepscaler"), ("team-a", "team-a")])
def test_setup_makes_a_queue_in_the_cluster_queue(queue: str, name: str, tmp_path: Path) -> None:
    place = Place(context="x", components=("kueue",), queue=queue, cluster_queue="research")
    objects = split(compose_setup(place, tmp_path / "setup"))[1]
    [found] = [one for one in objects if one["kind"] == "LocalQueue"]
    assert (found["metadata"]["name"], found["spec"]["clusterQueue"]) == (name, "research")


@needs_kubectl
@pytest.mark.parametrize(
    ("storage", "classes"), [("claims", {"nfs-client"}), ("gcs-fuse", {"nfs-client", ""}), ("own", {""})]
)
def test_the_storage_class_is_for_claims_without_a_volume(storage: str, classes: set[str], tmp_path: Path) -> None:
    shutil.copytree(K8S / "storage/nfs", tmp_path / "own")
    file = tmp_path / "cluster.toml"
    file.write_text(f'context = "x"\nstorage = "{storage}"\nstorage_class = "nfs-client"')
    objects = split(compose_setup(load_place(file), tmp_path / "setup"))[1]
    claims = [one for one in objects if one["kind"] == "PersistentVolumeClaim"]
    assert {one["spec"]["storageClassName"] for one in claims} == classes
    assert sorted(one["metadata"]["name"] for one in claims) == ["deepscaler-cache", "deepscaler-runs"]


@needs_kubectl
def test_a_component_of_ones_own_goes_along(tmp_path: Path) -> None:
    own = tmp_path / "proxy"
    own.mkdir()
    patch = "[{op: add, path: /metadata/annotations, value: {proxy: here}}]"
    tree = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"}
    tree["patches"] = [{"target": {"kind": "RayJob"}, "patch": patch}]  # type: ignore[assignment]
    (own / "kustomization.yaml").write_text(yaml.safe_dump(tree))
    place = Place(context="x", components=(str(own), "spot"))
    assert built("train-8k", place, tmp_path)["metadata"]["annotations"] == {"proxy": "here"}
    for text in ("{", "- a list", "patches: [{patch: '[{op: add}]'}]"):
        (own / "kustomization.yaml").write_text(text)
        with pytest.raises(UserError, match=r"proxy/kustomization\.yaml is not a kustomization: [^\n]+$"):
            compose(PLANS["train-8k"], place, tmp_path / "job")


@needs_kubectl
def test_the_wheel_carries_what_it_composes_from(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "wheel")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = (tmp_path / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path / "installed")
    site = tmp_path / "cluster.toml"
    site.write_text('context = "x"\ncomponents = ["kueue", "a100"]')
    render = [sys.executable, "-m", "deepscaler", "render", "--site", str(site), "train", "8k"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run(render, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "kind: RayJob" in done.stdout, done.stderr
    manifests = tmp_path / "installed/deepscaler/kubernetes/manifests"
    for name in ("base", "cluster", "components", "storage"):
        assert _files(manifests / name) == _files(K8S / name)


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@needs_kubectl
def test_render_writes_a_folder_for_a_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site, folder = tmp_path / "cluster.toml", tmp_path / "mine"
    site.write_text('context = "x"\nnamespace = "team"\ncomponents = ["spot"]')
    for _ in range(2):
        assert main(["render", "--site", str(site), "--output", str(folder), "--name", "mine", "train", "8k"]) == 0
    assert "kubectl apply --server-side -k" in capsys.readouterr().out
    text = composing.build(folder)
    objects = {one["kind"]: one for one in yaml.safe_load_all(text)}
    assert set(objects) == {"Namespace", "ServiceAccount", "Role", "RoleBinding", "NetworkPolicy", "RayJob"}
    assert objects["RayJob"]["metadata"] == {**objects["RayJob"]["metadata"], "name": "mine", "namespace": "team"}
    assert main(["render", "--site", str(site), "--name", "mine", "train", "8k"]) == 0
    assert capsys.readouterr().out == text
    (folder / "notes.md").touch()
    assert main(["render", "--site", str(site), "--output", str(folder), "train", "8k"]) == 2
    assert "holds notes.md, which is not part of a rendered job" in capsys.readouterr().err
    assert (folder / "rayjob.yaml").is_file()


def test_data_of_more_than_a_config_map_takes_is_told_where_to_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cluster.toml").write_text('context = "x"')
    data = tmp_path / "sums.jsonl"
    data.write_text('{"problem": "1+1", "answer": "2"}\n' * (MOST_BYTES // 30))
    recipe = tmp_path / "mine.toml"
    recipe.write_text(f'extends = "8k"\ntrain_dataset = ["{data}"]\n')
    assert main(["render", "--site", str(tmp_path / "cluster.toml"), "train", str(recipe)]) == 2
    said = capsys.readouterr().err
    assert "more than 1,000,000 bytes" in said
    assert "`data_claim` of the site file at /data" in said
