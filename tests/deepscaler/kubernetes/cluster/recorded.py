"""Answers of a real API server (1.36) with KubeRay 1.7, as `kubectl get ... --output json` printed them, shortened.

answers/crash.json          a head whose image cannot be pulled, two workers that end at once
answers/quota.json          a namespace with room for one of two workers
answers/unschedulable.json  workers that ask for a label that no node has
"""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from deepscaler.kubernetes.cluster.record import Submitted, write_jobs
from tests.deepscaler.kubernetes.cluster.conftest import FakeKubectl

NAME = "train-mine"
RUN_DIR = "/runs/mine"
OBJECTS = "get rayjobs.ray.io,pods"

Object = dict[str, Any]


def submitted(folder: Path, *others: Submitted) -> Path:
    """Writes down in a run's folder that its job was submitted."""
    mine = Submitted(name=NAME, context="sandbox", namespace="kstate", run_dir=RUN_DIR, submitted=1_795_800_000.0)
    write_jobs(folder, [mine, *others])
    return folder


def recorded(case: str) -> tuple[list[Object], list[Object]]:
    """Returns the objects and the events of a case."""
    told = json.loads((Path(__file__).parent / "answers" / f"{case}.json").read_text())
    return told["objects"]["items"], told["events"]["items"]


def answer(kubectl: FakeKubectl, objects: list[Object], events: list[Object] = []) -> None:  # noqa: B006  is read only
    """Has kubectl tell of these objects and events."""
    kubectl.answers["get rayjobs.ray.io,pods"] = listed(objects)
    kubectl.answers["get pods"] = listed([one for one in objects if one["kind"] == "Pod"])
    kubectl.answers["get events"] = listed(events)


def listed(items: list[Object]) -> str:
    """Returns a list as kubectl prints it."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def working(**status: Any) -> list[Object]:
    """Returns a job at work on one worker, its two pods ready."""
    objects = deepcopy(recorded("quota")[0])
    rayjob = objects[0]
    rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"] = 1
    rayjob["status"] |= {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", **status}
    return objects
