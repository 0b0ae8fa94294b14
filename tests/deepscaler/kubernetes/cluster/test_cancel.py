"""The jobs of a run are deleted, those of another one are not."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.kubernetes.cluster.record import Submitted
from tests.deepscaler.kubernetes.cluster.conftest import FakeKubectl
from tests.deepscaler.kubernetes.cluster.recorded import NAME, RUN_DIR, answer, listed, submitted, working


def test_a_job_at_work_is_deleted_and_what_becomes_of_it_is_said(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(kubectl, working())
    kubectl.answers["delete"] = "deleted"
    assert main(["cancel", str(submitted(tmp_path)), "--dry-run"]) == 0
    assert not any(words[0] == "delete" for words in kubectl.calls)
    assert main(["cancel", str(tmp_path)]) == 0
    deleted = [words[1:3] for words in kubectl.calls if words[0] == "delete"]
    assert deleted == [["rayjobs.ray.io", NAME], ["configmaps", f"--selector=app.kubernetes.io/instance={NAME}"]]
    would, does = capsys.readouterr().out.splitlines()
    assert would == f"Would delete {does.removeprefix('Deleting ')}"
    assert does == (
        "Deleting train-mine in namespace kstate of sandbox; a training saves first, which may take 15 min."
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("gone", "train-mine: gone already, or not made yet."),
        ("ended", "train-mine: has ended (Failed); nothing to cancel."),
        ("going", "train-mine: is being deleted already; a training saves first."),
        (
            "another run's",
            "train-mine: a job of another run has this name now (deepscaler train 8k --output-dir /runs/mine-too); left"
            " alone.",
        ),
    ],
)
def test_what_is_not_deleted_is_said(
    change: str, told: str, tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = deepcopy(working())
    if change == "gone":
        objects = []
    elif change == "ended":
        objects[0]["status"]["jobDeploymentStatus"] = "Failed"
    elif change == "going":
        objects[0]["metadata"]["deletionTimestamp"] = "2026-11-27T18:00:00Z"
    else:
        objects[0]["spec"]["entrypoint"] = "deepscaler train 8k --output-dir /runs/mine-too"
    answer(kubectl, objects)
    assert main(["cancel", str(submitted(tmp_path))]) == 0
    assert capsys.readouterr().out.strip() == told


def test_what_makes_the_jobs_of_a_chain_goes_first_and_is_waited_for(tmp_path: Path, kubectl: FakeKubectl) -> None:
    labels = {"app.kubernetes.io/instance": "chain-mine"}
    job: dict[str, Any] = {
        "kind": "Job",
        "metadata": {
            "name": "chain-mine",
            "uid": "1",
            "labels": labels,
            "annotations": {"deepscaler/run-dir": RUN_DIR},
        },
        "spec": {"template": {"spec": {"containers": [{"name": "conduct", "command": ["deepscaler", "conduct"]}]}}},
    }
    kubectl.answers["get rayjobs.ray.io,jobs.batch,pods"] = listed([*working(), job])
    kubectl.answers["get events"] = listed([])
    kubectl.answers["delete"] = "deleted"
    maker = Submitted(name="chain-mine", kind="job", context="sandbox", namespace="kstate", run_dir=RUN_DIR)
    assert main(["cancel", str(submitted(tmp_path, maker))]) == 0
    first, second = (words for words in kubectl.calls if words[0] == "delete" and words[1] != "configmaps")
    assert first == [
        "delete",
        "jobs.batch",
        "chain-mine",
        "--ignore-not-found",
        "--cascade=foreground",
        "--timeout=120s",
    ]
    assert second[:3] == ["delete", "rayjobs.ray.io", NAME]
    job["metadata"]["annotations"] = {"deepscaler/run-dir": "/runs/another"}
    kubectl.answers["get rayjobs.ray.io,jobs.batch,pods"] = listed([job])
    assert main(["cancel", str(tmp_path)]) == 0
    assert sum(words[0] == "delete" for words in kubectl.calls) == 4, "none is added"


def test_a_cluster_that_cannot_be_reached_is_an_error(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl.answers[""] = (1, "error: You must be logged in to the server (Unauthorized)")
    assert main(["cancel", str(submitted(tmp_path))]) == 2
    assert "log in to the cluster again" in capsys.readouterr().err
