"""How a run's jobs are: what a real server says of them, and what a user reads."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.kubernetes.cluster.look import Seen, look
from deepscaler.kubernetes.cluster.obstacles import obstacle, obstacles, queue_reason, unschedulable
from deepscaler.kubernetes.cluster.record import Submitted, read_jobs
from deepscaler.runs.status import Status, from_json
from tests.deepscaler.kubernetes.cluster.conftest import FakeKubectl
from tests.deepscaler.kubernetes.cluster.recorded import NAME, RUN_DIR, answer, listed, recorded, submitted, working

IMAGE = "registry.example.com/deepscaler:train"


def told(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    assert main(["status", str(folder), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_pods_that_do_not_start_are_told_with_the_reason_and_what_to_do(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(kubectl, *recorded("crash"))
    (job,) = told(submitted(tmp_path), capsys)["jobs"]
    assert (job["state"], job["reason"], job["nodes"]) == ("Initializing", "0 of 3 pods ready", "cpu-0, gpu-0, gpu-1")
    head, workers = job["notes"]
    assert head == (
        f"train-mine-slhl5-head-bv6fc: cannot pull {IMAGE} (ImagePullBackOff: not found): check image and tag in the"
        " site file, and the pull secret of service account deepscaler"
    )
    assert workers == (
        "train-mine-slhl5-workers-worker-t525g and 1 more: container ray-worker has ended once (exit code 1) and runs"
        " again: see deepscaler logs RUN_DIR --job train-mine-slhl5-workers-worker-t525g"
    )


def test_a_quota_that_keeps_pods_from_being_made_is_told(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(kubectl, *recorded("quota"))
    kubectl.answers["logs"] = "one\nlast\x1b[1m words\n"
    kubectl.answers["exec"] = (1, "error: Internal error occurred: unable to upgrade connection: <!DOCTYPE HTML>\n")
    found = told(submitted(tmp_path), capsys)
    quota, line = found["jobs"][0]["notes"]
    assert quota == (
        '1 of 3 pods cannot be made: pods "train-mine-xq45v-workers-worker-4ttsx" is forbidden: exceeded quota: gpus,'
        " requested: requests.nvidia.com/gpu=8, used: requests.nvidia.com/gpu=8, limited: requests.nvidia.com/gpu=8:"
        " the namespace's quota has no room: end a job, or ask for more"
    )
    assert line == "last line of its log: last\x1b[1m words"
    assert found["run_not_asked"].startswith(f"`deepscaler status {RUN_DIR}` in the pod: sandbox, namespace kstate: ")
    assert main(["status", str(tmp_path)]) == 0
    assert "train-mine: last line of its log: last words" in capsys.readouterr().out


def test_alike_pods_that_find_no_node_are_told_of_together(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(kubectl, *recorded("unschedulable"))
    kubectl.answers["logs"] = kubectl.answers["exec"] = (1, "no")
    (job,) = told(submitted(tmp_path), capsys)["jobs"]
    assert job["reason"] == "1 of 3 pods ready"
    assert job["notes"] == [
        "train-mine-vn96h-workers-worker-pst6g and 1 more: 0/6 nodes: 1 had untolerated taint(s), 5 didn't match Pod's"
        " node affinity/selector"
    ]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "0/5 nodes are available: 1 Insufficient memory, 5 Insufficient cpu, 5 Insufficient nvidia.com/gpu. no new"
            " claims to deallocate, preemption: 0/5 nodes are available: 1 Preemption is not helpful for scheduling, 4"
            " No preemption victims found for incoming pod.",
            "0/5 nodes: 1 insufficient memory, 5 insufficient cpu, 5 insufficient nvidia.com/gpu",
        ),
        (
            "0/5 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
            "0/5 nodes: pod has unbound immediate PersistentVolumeClaims: see `kubectl describe pvc`, and storage_class"
            " in the site file",
        ),
        (
            "0/5 nodes are available: 1 node(s) had untolerated taint {nvidia.com/gpu: present}, 4 node(s) were"
            " unschedulable. preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling.",
            "0/5 nodes: 1 had untolerated taint {nvidia.com/gpu: present}, 4 node(s) were unschedulable",
        ),
        (
            "3/5 tasks in gang unschedulable: pod group is not ready, 5 Pending, 5 minAvailable.",
            "3/5 tasks in gang unschedulable: pod group is not ready, 5 Pending, 5 minAvailable",
        ),
    ],
)
def test_the_reason_of_a_scheduler_is_shortened(message: str, shown: str) -> None:
    assert unschedulable(message) == shown


def pod(**status: Any) -> dict[str, Any]:
    conditions = [{"type": "PodScheduled", "status": "True"}]
    containers = [{"name": "prepare", "image": IMAGE}, {"name": "ray-worker", "image": IMAGE}]
    return {
        "metadata": {"name": "w1", "labels": {}},
        "spec": {"initContainers": containers[:1], "containers": containers[1:]},
        "status": {"phase": "Pending", "conditions": conditions, **status},
    }


def container(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "preflight", "image": IMAGE, "ready": False, "restartCount": 3, "state": state, **more}


MOUNT = {
    "type": "Warning",
    "reason": "FailedMount",
    "involvedObject": {"kind": "Pod", "name": "w1"},
    "message": 'MountVolume.SetUp failed for volume "inputs" : configmap "train-mine-1f3c" not found',
    "metadata": {"creationTimestamp": "2026-11-27T18:00:00Z"},
}


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (pod(conditions=[]), "no scheduler has looked at it: does default-scheduler run?"),
        (
            pod(
                initContainerStatuses=[
                    container(
                        {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "token" not found'}}
                    )
                ]
            ),
            'container preflight cannot be made (CreateContainerConfigError): secret "token" not found',
        ),
        (
            pod(
                initContainerStatuses=[
                    container(
                        {"running": {"startedAt": "2026-11-27T18:00:00Z"}},
                        lastState={"terminated": {"exitCode": 1, "reason": "Error"}},
                    )
                ]
            ),
            "container preflight has ended 3 times (exit code 1) and runs again: see deepscaler logs RUN_DIR --job"
            " {pod}",
        ),
        (
            pod(
                containerStatuses=[
                    container(
                        {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting"}},
                        lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                    )
                ]
            ),
            "container preflight has ended 3 times (exit code 137, OOMKilled) and waits for its next try: see"
            " deepscaler logs RUN_DIR --job {pod}",
        ),
        (
            pod(
                containerStatuses=[
                    container(
                        {
                            "waiting": {
                                "reason": "ImagePullBackOff",
                                "message": f'Back-off pulling image "{IMAGE}": ErrImagePull: failed to pull and unpack'
                                f' image "{IMAGE}": failed to resolve reference "{IMAGE}": failed to authorize: failed'
                                " to fetch anonymous token: unexpected status from GET request: 401 Unauthorized",
                            }
                        }
                    )
                ]
            ),
            f"cannot pull {IMAGE} (ImagePullBackOff: 401 Unauthorized): check image and tag in the site file, and the"
            " pull secret of service account deepscaler",
        ),
        (
            pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
            "Evicted: The node was low on resource: memory.",
        ),
        (
            pod(containerStatuses=[container({"waiting": {"reason": "ContainerCreating"}})]),
            'FailedMount: MountVolume.SetUp failed for volume "inputs" : configmap "train-mine-1f3c" not found',
        ),
        (pod(phase="Running", containerStatuses=[container({"running": {}}, ready=True)]), ""),
    ],
)
def test_a_pod_that_is_not_at_work_says_why(found: dict[str, Any], shown: str) -> None:
    assert obstacle(found, [MOUNT]) == shown


def test_an_init_container_that_takes_long_is_named() -> None:
    long = pod(initContainerStatuses=[{"name": "prepare", "state": {"running": {"startedAt": "2020-01-01T00:00:00Z"}}}])
    assert obstacle(long).startswith("init container prepare works since ")


def workload(*conditions: dict[str, str], **status: Any) -> dict[str, Any]:
    uid = recorded("crash")[0][0]["metadata"]["uid"]
    metadata = {"name": "rayjob-train-mine-3f1", "ownerReferences": [{"kind": "RayJob", "name": NAME, "uid": uid}]}
    return {"kind": "Workload", "metadata": metadata, "status": {"conditions": list(conditions), **status}}


NO_QUOTA = {
    "type": "QuotaReserved",
    "status": "False",
    "reason": "Pending",
    "message": "couldn't assign flavors to pod set workers: insufficient unused quota for nvidia.com/gpu in flavor"
    " deepscaler-a100, 8 more needed",
}


@pytest.mark.parametrize(
    ("conditions", "status", "shown"),
    [
        (
            [NO_QUOTA],
            {},
            "Kueue: Pending: couldn't assign flavors to pod set workers: insufficient unused quota for nvidia.com/gpu"
            " in flavor deepscaler-a100, 8 more needed",
        ),
        (
            [{**NO_QUOTA, "reason": "Inadmissible", "message": "LocalQueue team-a doesn't exist"}],
            {},
            "Kueue: Inadmissible: LocalQueue team-a doesn't exist",
        ),
        (
            [NO_QUOTA, {"type": "Evicted", "status": "True", "reason": "Preempted", "message": "to make room"}],
            {},
            "Kueue: Pending: couldn't assign flavors to pod set workers: insufficient unused quota for nvidia.com/gpu"
            " in flavor deepscaler-a100, 8 more needed; Preempted: to make room",
        ),
        (
            [{**NO_QUOTA, "status": "True"}],
            {"admissionChecks": [{"name": "provision", "state": "Pending", "message": "no nodes yet"}]},
            "Kueue: quota reserved, waits for provision no nodes yet",
        ),
        ([], {}, "Kueue: in the queue"),
    ],
)
def test_kueue_says_why_a_job_waits(
    conditions: list[dict[str, str]],
    status: dict[str, Any],
    shown: str,
    tmp_path: Path,
    kubectl: FakeKubectl,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rayjob = deepcopy(recorded("crash")[0][0])
    rayjob["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "team-a"
    rayjob["spec"]["suspend"] = True
    rayjob["status"] = {"jobDeploymentStatus": "Suspended"}
    answer(kubectl, [rayjob])
    kubectl.answers["get workloads.kueue.x-k8s.io"] = listed([workload(*conditions, **status)])
    (job,) = told(submitted(tmp_path), capsys)["jobs"]
    assert (job["state"], job["reason"], job["notes"]) == ("Suspended", shown, [])
    kubectl.answers["get workloads.kueue.x-k8s.io"] = (1, "Error from server (Forbidden): workloads is forbidden")
    assert queue_reason(look(read_jobs(tmp_path))[0]) == "queue team-a: Kueue has not taken it up; does it run?"


def test_the_runs_own_state_comes_from_the_head_as_a_local_runs_does(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(kubectl, working(failed=2))
    kubectl.answers["logs"] = "step 412"
    run = {"name": "mine", "profile": "faithful", "state": "running", "step": 412, "num_steps": 1040, "reward": 0.6181}
    kubectl.answers["exec"] = json.dumps({**run, "of_a_later_version": 1})
    found = told(submitted(tmp_path), capsys)
    assert (found["state"], found["step"], found["jobs"][0]["state"]) == ("running", 412, "Running")
    head = "train-mine-xq45v-head-wdcf7"
    command = ["exec", head, "-c", "ray-head", "--", "deepscaler", "status", RUN_DIR, "--json"]
    assert command in kubectl.calls
    assert main(["status", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for shown in ("mine, profile faithful: running", "412 of 1,040 (40 %)", "0.618", "2 of 6 retries used", "step 412"):
        assert shown in out


def test_a_chain_is_shown_stage_by_stage(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata = {"name": "chain-mine", "uid": "1", "labels": {"app.kubernetes.io/instance": "chain-mine"}}
    job = {
        "kind": "Job",
        "metadata": metadata,
        "spec": {"template": {"spec": {"containers": [{"name": "conduct", "command": ["deepscaler", "conduct"]}]}}},
        "status": {"ready": 1, "startTime": "2026-11-27T18:00:00Z"},
    }
    maker = {
        "kind": "Pod",
        "metadata": {**metadata, "name": "chain-mine-x1", "creationTimestamp": "2026-11-27T18:00:00Z"},
        "spec": {"containers": [{"name": "conduct", "image": IMAGE}], "nodeName": "cpu-0"},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"name": "conduct", "ready": True, "state": {"running": {}}}],
        },
    }
    kubectl.answers["get rayjobs.ray.io,jobs.batch,pods"] = listed([job, maker])
    kubectl.answers["get pods"] = listed([maker])
    kubectl.answers["get events"] = listed([])
    kubectl.answers["logs"] = "train-8k: Running\n"
    stages = [{"name": "8k", "profile": "faithful", "state": "running"}, {"name": "16k", "profile": "", "state": "?"}]
    kubectl.answers["exec chain-mine-x1 -c conduct"] = json.dumps({"stages": stages})
    conductor = Submitted(name="chain-mine", kind="job", context="sandbox", namespace="kstate", run_dir=RUN_DIR)
    found = told(submitted(tmp_path, conductor), capsys)
    assert [stage["name"] for stage in found["stages"]] == ["8k", "16k"]
    states = {job["name"]: (job["state"], job["reason"]) for job in found["jobs"]}
    assert states == {NAME: ("not there", "made when its turn comes, or done"), "chain-mine": ("Running", "")}


def test_a_conductor_that_was_replaced_is_no_obstacle() -> None:
    """A Job keeps every pod that has failed."""
    labels = {"app.kubernetes.io/instance": "chain-mine"}
    pods: list[dict[str, Any]] = []
    for name, state in (("a", {"terminated": {"exitCode": 137}}), ("b", {"running": {}})):
        metadata = {"name": f"chain-mine-{name}", "labels": labels}
        container = {"name": "conductor", "image": IMAGE, "ready": "running" in state, "state": state}
        status = {"conditions": [{"type": "PodScheduled", "status": "True"}], "containerStatuses": [container]}
        pods.append({"kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}, "status": status})
    job = Submitted(name="chain-mine", kind="job", context="sandbox", namespace="kstate")
    assert obstacles(Seen(submitted=job, job={"metadata": {}, "spec": {}}, pods=pods)) == []
    [told] = obstacles(Seen(submitted=job, job={"metadata": {}, "spec": {}}, pods=pods[::-1]))
    assert "container conductor has ended (exit code 137)" in told


APP_FAILED = (
    "Job entrypoint command failed with exit code 1, last available logs (truncated to 20,000 chars):\nstep 35\n"
)


@pytest.mark.parametrize(
    ("change", "state", "reason"),
    [
        ({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, "Complete", ""),
        (
            {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed", "message": APP_FAILED},
            "Failed",
            "AppFailed: Job entrypoint command failed with exit code 1",
        ),
        (
            {"jobDeploymentStatus": "ValidationFailed", "jobStatus": "", "reason": "ValidationFailed", "message": "no"},
            "ValidationFailed",
            "ValidationFailed: no",
        ),
        ({"jobDeploymentStatus": "Running", "jobStatus": "PENDING"}, "Running (PENDING)", ""),
        ({"jobDeploymentStatus": "Retrying", "jobStatus": "FAILED"}, "Retrying (FAILED)", "2 of 2 pods ready"),
    ],
)
def test_a_job_is_called_as_the_operator_calls_it(
    change: dict[str, str],
    state: str,
    reason: str,
    tmp_path: Path,
    kubectl: FakeKubectl,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer(kubectl, working(**change))
    kubectl.answers["logs"] = kubectl.answers["exec"] = (1, "no")
    (job,) = told(submitted(tmp_path), capsys)["jobs"]
    assert (job["state"], job["reason"]) == (state, reason)


def test_a_job_of_another_run_is_not_taken_for_this_ones(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = working()
    objects[0]["spec"]["entrypoint"] = "deepscaler train 8k --output-dir /runs/mine-too"
    answer(kubectl, objects)
    kubectl.answers["exec"] = "{}"
    (job,) = told(submitted(tmp_path), capsys)["jobs"]
    assert (job["state"], job["reason"]) == ("not there", "a job of another run has this name now")


def test_a_cluster_that_cannot_be_reached_leaves_what_was_written_down(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl.answers[""] = (1, "The connection to the server 10.0.0.1:443 was refused - did you specify the right host?")
    found = told(submitted(tmp_path), capsys)
    assert found["jobs"][0]["state"] == "unknown"
    assert found["jobs"][0]["reason"].endswith("to sandbox, namespace kstate")
    assert "check the network and the context" in found["k8s_not_asked"]
    assert main(["status", str(tmp_path)]) == 0
    assert "jobs are shown as they were written down here." in capsys.readouterr().out


def test_statuses_of_other_versions_are_read_for_what_is_known() -> None:
    entry = {"name": "8k", "profile": "faithful", "state": "running", "damaged_checkpoints": ["a: b"], "new": 1}
    assert from_json(entry) == Status(name="8k", profile="faithful", state="running", damaged_checkpoints=("a: b",))
