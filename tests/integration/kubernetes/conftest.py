"""A cluster with KubeRay by its site file in $DEEPSCALER_SITE, set up once, and a tiny model on its volume."""

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

from deepscaler.job import train_job
from deepscaler.kubernetes.cluster.compose import compose, split
from deepscaler.kubernetes.cluster.kubectl import Kubectl
from deepscaler.kubernetes.cluster.place import Place, load_place
from deepscaler.kubernetes.cluster.record import read_jobs
from deepscaler.kubernetes.render.plans import plan_of
from deepscaler.kubernetes.render.pods import RUNS, literal
from deepscaler.recipes.load import recipe_named
from tests.integration.kubernetes.commands import MINUTE, cli, wait_for

SMALL_CPU, SMALL_MEMORY = "1", "6Gi"
"""Of a pod that trains the tiny model: a head takes 4.1 GB, and Ray ends processes above 95 % of the limit."""

TINY = f"{RUNS}/tiny-model"


@pytest.fixture(scope="session")
def site() -> Path:
    if not os.environ.get("DEEPSCALER_SITE"):
        pytest.skip("needs a cluster with KubeRay and its site file: make cluster SITE=cluster.toml")
    return Path(os.environ["DEEPSCALER_SITE"]).absolute()


@pytest.fixture(scope="session")
def place(site: Path) -> Place:
    return load_place(site)


@pytest.fixture(scope="session")
def cluster(site: Path, place: Place) -> Kubectl:
    """Returns the cluster with what `k8s setup` makes there."""
    cli("k8s", "setup", "--site", site)
    return Kubectl(place.context, place.namespace)


@pytest.fixture(scope="session")
def small_site(place: Place, session_folder: Path) -> Path:
    """Returns the same site with pods that are large enough for the tiny model."""
    options = asdict(replace(place, cpu_image_cpu=SMALL_CPU, cpu_image_memory=SMALL_MEMORY))
    labels = options.pop("node_labels")
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    lines += ["[node_labels]", *(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in labels.items())]
    file = session_folder / "small.toml"
    file.write_text("\n".join(lines))
    return file


@pytest.fixture(scope="session")
def tiny(cluster: Kubectl, small_site: Path, session_folder: Path) -> str:
    """Returns the folder of the tiny model on the volume of the runs, which a pod like a head has made."""
    plan = plan_of(train_job(recipe_named("quickstart"), ("train", "quickstart", "--output-dir", TINY), "cpu"))
    [rayjob], _ = split(compose(plan, load_place(small_site), session_folder / "head"))
    pod = rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    [container] = pod["containers"]
    for field in ("ports", "lifecycle"):
        container.pop(field)
    source = Path(__file__).parents[1].joinpath("tiny.py").read_text()
    container |= {"command": ["python", "-c", *map(literal, (source, TINY))]}
    pod |= {"initContainers": [], "restartPolicy": "Never", "terminationGracePeriodSeconds": 5}
    name = f"tiny-{secrets.token_hex(3)}"
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod}
    cluster.ask("create", "-f", "-", given=yaml.safe_dump(manifest))
    try:
        wait_for(f"pod {name} made the model", lambda: _has_ended(cluster, name), 10 * MINUTE)
    finally:
        print(cluster.run("logs", name).stdout)
        cluster.run("delete", "pod", name, "--wait=false")
    return TINY


def _has_ended(cluster: Kubectl, pod: str) -> bool:
    phase = cluster.read("pod", pod)["status"]["phase"]
    assert phase != "Failed", cluster.run("logs", pod).stdout
    return bool(phase == "Succeeded")


@pytest.fixture
def folder(cluster: Kubectl, tmp_path: Path) -> Iterator[Path]:
    """Yields the folder of a run that the cluster has not seen, and ends its jobs."""
    folder = tmp_path / secrets.token_hex(3)
    yield folder
    for job in read_jobs(folder):
        cluster.run("delete", job.kind, job.name, "--ignore-not-found", "--timeout=300s", seconds=6 * MINUTE)
