"""`deepscaler doctor --on k8s`: a pod on each of some nodes, their findings by node, and nothing that stays."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from deepscaler.cli import main
from deepscaler.kubernetes.cluster import compose, examine
from tests.deepscaler.kubernetes.check.test_check import needs_kubectl
from tests.deepscaler.kubernetes.cluster.conftest import FakeKubectl

UNSCHEDULABLE = "0/5 nodes are available: 1 node(s) had untolerated taint(s), 4 Insufficient nvidia.com/gpu. no new"
FINDINGS = "Checking for: train\nok    python  3.12\n"


def report(node: str, status: str = "pass", **more: Any) -> str:
    """Returns what the pod on a node prints: something of a library, then its report."""
    finding = {"name": "driver", "status": status, "evidence": "535", "fix": "a newer one"}
    values = {"versions": {"torch": "2"}, "findings": [finding], "alike": {}, "saw": ["gpu-0", "gpu-1"], **more}
    reach = {name: {"error": "", "skew": 0.0} for name in values["saw"] if name != node}
    return "a warning\n" + json.dumps({"node": node, "reach": reach, "traffic": [], "link": 0, **values}) + "\n"


pytestmark = needs_kubectl


def pod(name: str, phase: str, node: str = "", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"nodeName": node}, "status": {"phase": phase, **status}}


def items(*pods: dict[str, Any]) -> str:
    return json.dumps({"items": pods})


@pytest.fixture
def cluster(kubectl: FakeKubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    """A namespace that is set up; kustomizations are built by the real kubectl."""
    real = Path(sys.executable).with_name("kubectl")
    monkeypatch.setattr(
        compose, "build", lambda folder: subprocess.check_output([real, "kustomize", folder], text=True)
    )
    monkeypatch.setattr(examine, "POLL", 0.01)
    monkeypatch.chdir(tmp_path)
    Path("cluster.toml").write_text('context = "research"\ncomponents = ["kueue", "h100", "rdma"]\nqueue = "team-a"\n')
    kubectl.answers.update(
        {
            "config current-context": "research\n",
            "auth": "yes\n",
            "auth whoami": "jane\n",
            "get serviceaccount/deepscaler": "{}",
            "get pvc/deepscaler-runs": "{}",
            "get pvc/deepscaler-cache": "{}",
            "get job": json.dumps({"spec": {}, "status": {}}),
            "create": "",
            "logs": FINDINGS,
            "delete": "",
        }
    )
    return kubectl


def doctor(*words: str) -> int:
    return main(["doctor", "--on", "k8s", "--site", "cluster.toml", "--nodes", "2", *words])


def test_findings_are_printed_by_node_once_all_have_answered(
    cluster: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.answers["get pods"] = [
        items(pod("a", "Running", "gpu-1"), pod("b", "Pending")),
        items(pod("a", "Succeeded", "gpu-1"), pod("b", "Failed", "gpu-0")),
    ]
    cluster.answers["logs a"] = report("gpu-1")
    cluster.answers["logs b"] = report("gpu-0", "fail")
    assert doctor() == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "driver gpu-0 FAIL 535" in said
    assert "gpu-1 ok 535" in said
    assert "driver: a newer one (docs/reference/checks.md#driver)" in said
    assert "Something is missing on gpu-0. To leave them out: kubectl cordon gpu-0" in said
    assert cluster.calls[-1][:2] == ["delete", "job"]


def test_nothing_missing_is_told(cluster: FakeKubectl, capsys: pytest.CaptureFixture[str]) -> None:
    answer_well(cluster)
    assert doctor() == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Nothing is missing on any node."
    answer_well(cluster)
    assert doctor("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (set(told["nodes"]), told["leave_out"]) == ({"gpu-0", "gpu-1"}, [])


def answer_well(cluster: FakeKubectl) -> None:
    """Has two pods end well."""
    cluster.answers["get pods"] = items(pod("a", "Succeeded", "gpu-0"), pod("b", "Succeeded", "gpu-1"))
    cluster.answers["logs a"], cluster.answers["logs b"] = report("gpu-0"), report("gpu-1")


def test_bad_nodes_are_left_out_where_others_are(cluster: FakeKubectl, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.answers["get pods"] = [
        items(pod("a", "Succeeded", "gpu-0"), pod("b", "Failed", "gpu-1")),
        items(pod("a", "Succeeded", "gpu-0"), pod("c", "Succeeded", "gpu-2")),
    ]
    cluster.answers["logs a"], cluster.answers["logs b"] = report("gpu-0"), report("gpu-1", "fail")
    cluster.answers["logs c"] = report("gpu-2", saw=["gpu-0", "gpu-1", "gpu-2"])
    assert doctor("--exclude-slow") == 1, "gpu-0 of the second examination is the recorded one: it saw no gpu-2"
    assert "Examining 2 nodes without gpu-1." in capsys.readouterr().out
    first, second = (yaml.safe_load(text)["spec"]["template"]["spec"]["affinity"] for text in cluster.given[:2])
    assert "nodeAffinity" not in first
    [term] = second["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchFields"] == [{"key": "metadata.name", "operator": "NotIn", "values": ["gpu-1"]}]


@pytest.mark.parametrize("as_json", [False, True])
def test_without_a_spare_node_the_findings_are_those_of_the_last_examination_that_ended(
    as_json: bool, cluster: FakeKubectl, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(examine, "SPARE_MINUTES", 0.005)
    waiting = {"conditions": [{"type": "PodScheduled", "status": "False", "message": UNSCHEDULABLE}]}
    cluster.answers["get pods"] = [
        items(pod("a", "Succeeded", "gpu-0"), pod("b", "Failed", "gpu-1")),
        items(pod("a", "Succeeded", "gpu-0"), pod("c", "Pending", **waiting)),
    ]
    cluster.answers["logs a"], cluster.answers["logs b"] = report("gpu-0"), report("gpu-1", "fail")
    assert doctor("--exclude-slow", *["--json"] * as_json) == 1
    output = capsys.readouterr()
    told = output.err if as_json else output.out
    assert "No spare node was examined in the place of gpu-1: no other node took its pod within 0.005 minutes" in told
    assert "4 Insufficient nvidia.com/gpu" in told
    if as_json:
        document = json.loads(output.out)
        assert (set(document["nodes"]), document["leave_out"]) == ({"gpu-0", "gpu-1"}, ["gpu-1"])
    else:
        assert "Something is missing on gpu-1." in output.out
    assert [call[:2] for call in cluster.calls].count(["delete", "job"]) == 2


def test_a_second_examination_that_the_cluster_refuses_loses_nothing(
    cluster: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.answers["get pods"] = items(pod("a", "Succeeded", "gpu-0"), pod("b", "Failed", "gpu-1"))
    cluster.answers["logs a"], cluster.answers["logs b"] = report("gpu-0"), report("gpu-1", "fail")
    cluster.answers["create"] = ["", (1, "Error from server (Forbidden): exceeded quota: team-a")]
    assert doctor("--exclude-slow", "--json") == 1
    output = capsys.readouterr()
    assert json.loads(output.out)["leave_out"] == ["gpu-1"]
    assert "exceeded quota: team-a" in output.err


def test_the_pods_are_a_workers_on_nodes_of_their_own(cluster: FakeKubectl) -> None:
    answer_well(cluster)
    assert doctor("--gpus", "4", "--for", "train") == 0
    job = yaml.safe_load(cluster.given[0])
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"  # GPUs are the queue's to give
    spec, template = job["spec"]["template"]["spec"], job["spec"]["template"]
    assert (job["spec"]["completionMode"], job["spec"]["completions"], job["spec"]["parallelism"]) == ("Indexed", 2, 2)
    [container] = spec["containers"]
    among = ["--output-dir", "/runs/doctor", "--meet", f"/runs/doctor/{job['metadata']['name']}", "--nodes", "2"]
    assert container["command"] == ["deepscaler", "doctor", "--for", "train", *among, "--json"]
    assert {"name": "DEEPSCALER_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}} in container["env"]
    limits = container["resources"]["limits"]
    assert (limits["nvidia.com/gpu"], limits["rdma/hca_shared_devices_a"]) == ("4", "1")
    assert spec["nodeSelector"]["nvidia.com/gpu.product"] == "NVIDIA-H100-80GB-HBM3"
    [term] = spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    selected = term["labelSelector"]["matchLabels"]
    assert selected.items() <= template["metadata"]["labels"].items()
    assert term["topologyKey"] == "kubernetes.io/hostname"


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": UNSCHEDULABLE}]},
            "1 x 0/5 nodes are available: 1 node(s) had untolerated taint(s), 4 Insufficient nvidia.com/gpu: see to",
        ),
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]},
            "1 x ErrImagePull no such image: see to",
        ),
        ({}, "1 x a pod is starting: see to"),
    ],
)
def test_what_is_waited_for_is_told_when_time_is_up(
    status: dict[str, Any], told: str, cluster: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.answers["get pods"] = items(pod("a", "Succeeded", "gpu-0"), pod("b", "Pending", **status))
    assert doctor("--minutes", "0.005") == 2
    output = capsys.readouterr()
    assert "1 of 2 nodes have answered within 0.005 minutes; " in output.err
    assert told in output.err
    assert "gpu-0: ok    python  3.12" in output.out  # what has answered is shown
    assert cluster.calls[-1][:2] == ["delete", "job"]


def test_a_queue_that_does_not_admit_it_is_told(cluster: FakeKubectl, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.answers["get pods"] = items()
    cluster.answers["get job"] = json.dumps({"spec": {"suspend": True}, "status": {}})
    assert doctor("--minutes", "0.005") == 2
    assert "the queue has not admitted the job" in capsys.readouterr().err


def test_a_pod_that_was_evicted_has_said_nothing(cluster: FakeKubectl, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.answers["get pods"] = items(pod("a", "Succeeded", "gpu-0"), pod("b", "Failed", "gpu-1", reason="Evicted"))
    cluster.answers["logs b"] = (1, 'Error from server (NotFound): pods "b" not found')
    cluster.answers["logs a"] = report("gpu-0")
    assert doctor() == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "Only 1 of 2 nodes said anything: Evicted." in said
    assert "answer gpu-1 FAIL it said nothing" in said


def test_it_is_removed_also_when_the_cluster_stops_to_answer(
    cluster: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.answers["get pods"] = (1, "Unable to connect to the server: dial tcp: i/o timeout")
    assert doctor() == 2
    assert "the cluster cannot be reached from here" in capsys.readouterr().err
    assert cluster.calls[-1][:2] == ["delete", "job"]


def test_it_is_removed_also_when_it_is_terminated(cluster: FakeKubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.setattr(examine, "POLL", 60.0)
    cluster.answers["get pods"] = items(pod("a", "Running", "gpu-0"))

    def terminate() -> None:
        while not any(call[:2] == ["get", "job"] for call in cluster.calls):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = Thread(target=terminate)
    thread.start()
    try:
        with pytest.raises(SystemExit) as ended:
            doctor()
    finally:
        thread.join()
        for number, handler in before.items():
            signal.signal(number, handler)
    assert ended.value.code == 143
    assert cluster.calls[-1][:2] == ["delete", "job"]


@pytest.mark.parametrize("gpus", ["0", "8"])
def test_a_dry_run_asks_and_makes_nothing(gpus: str, cluster: FakeKubectl, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor("--dry-run=full", "--gpus", gpus) == 0
    shown = capsys.readouterr().out
    assert f"2 nodes with {gpus} GPUs each: deepscaler doctor --for train" in shown
    assert "completionMode: Indexed" in shown
    assert [call[:2] for call in cluster.calls if call[0] == "create"] == [["create", "--dry-run=server"]]
