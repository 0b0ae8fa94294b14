"""Where the time from apply to the first step went."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.kubernetes.cluster.timing import seconds_of
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.moments import BEGIN, note_in
from tests.deepscaler.kubernetes.cluster.conftest import FakeKubectl
from tests.deepscaler.kubernetes.cluster.recorded import answer, listed, submitted, working

HEAD, WORKER = "train-mine-xq45v-head-wdcf7", "train-mine-xq45v-workers-worker-f7mbk"


def at(seconds: int) -> str:
    return f"2026-11-27T18:{seconds // 60:02}:{seconds % 60:02}Z"


def started(pod: dict[str, Any], *, scheduled: int, init: dict[str, tuple[int, int]], up: int, ready: int) -> None:
    name = pod["status"]["containerStatuses"][0]["name"]
    pod["metadata"]["creationTimestamp"] = at(32)
    pod["status"] = {
        "phase": "Running",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(scheduled)},
            {"type": "Ready", "status": "True", "lastTransitionTime": at(ready)},
        ],
        "initContainerStatuses": [
            {"name": "driver-log", "state": {"running": {"startedAt": at(scheduled)}}},
            *(
                {"name": one, "state": {"terminated": {"exitCode": 0, "startedAt": at(a), "finishedAt": at(b)}}}
                for one, (a, b) in init.items()
            ),
        ],
        "containerStatuses": [{"name": name, "ready": True, "state": {"running": {"startedAt": at(up)}}}],
    }


def event(pod: str, message: str) -> dict[str, Any]:
    return {
        "type": "Normal",
        "reason": "Pulled",
        "involvedObject": {"kind": "Pod", "name": pod},
        "message": message,
        "metadata": {"creationTimestamp": at(50)},
    }


def test_every_phase_that_is_known_has_a_row(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = deepcopy(working(failed=0))
    rayjob, head, worker = objects
    rayjob["metadata"]["creationTimestamp"] = at(0)
    rayjob["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "team-a"
    rayjob["status"] |= {"startTime": at(31), "rayJobInfo": {"startTime": at(150)}}
    started(head, scheduled=33, init={"prepare": (60, 100)}, up=101, ready=110)
    started(worker, scheduled=40, init={"preflight": (70, 90), "wait-gcs-ready": (90, 111)}, up=112, ready=140)
    events = [
        event(HEAD, 'Successfully pulled image "r/deepscaler:train" in 12.3s (15.6s including waiting). Image size: 9'),
        event(HEAD, 'Container image "r/deepscaler:train" already present on machine'),
        event(WORKER, 'Container image "r/deepscaler:train" already present on machine'),
    ]
    owner = {"kind": "RayJob", "name": "train-mine", "uid": rayjob["metadata"]["uid"]}
    admitted = {"type": "Admitted", "status": "True", "lastTransitionTime": at(30)}
    workload = {
        "metadata": {"name": "rayjob-train-mine", "ownerReferences": [owner]},
        "status": {"conditions": [admitted]},
    }
    answer(kubectl, objects, events)
    kubectl.answers["get workloads.kueue.x-k8s.io"] = listed([workload])
    run = {"name": "mine", "profile": "faithful", "state": "running"}
    moments = {"started": "2026-11-27T18:02:32+0000", "begun": at(250), "first_step": at(700)}
    kubectl.answers["exec"] = json.dumps(run | moments)
    assert main(["status", str(submitted(tmp_path)), "--timing", "--json"]) == 0
    phases = json.loads(capsys.readouterr().out)["timing"]
    assert [(one["name"], one["job"], one["head"], one["worker"]) for one in phases] == [
        ("in the queue", 30, None, None),
        ("pods made", 2, None, None),
        ("scheduled", None, 1, 8),
        ("image pulled", None, 15.6, 0),
        ("prepare", None, 40, None),
        ("preflight", None, None, 20),
        ("wait-gcs-ready", None, None, 21),
        ("Ray up", None, 9, 28),
        ("job posted", 10, None, None),
        ("until the attempt", 2, None, None),
        ("verl and its engine", 98, None, None),
        ("first step", 450, None, None),
        ("from apply to the first step", 700, None, None),
    ]
    assert main(["status", str(tmp_path), "--timing"]) == 0
    out = capsys.readouterr().out
    assert "preflight" in out
    assert "1 min 38 s" in out
    assert out.rstrip().endswith("11 min 40 s")


def test_what_is_not_known_is_left_out(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = working()
    answer(kubectl, objects[:1])
    assert main(["status", str(submitted(tmp_path)), "--timing", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"timing": []}
    answer(kubectl, [])
    assert main(["status", str(tmp_path), "--timing"]) == 0
    assert "Nothing is known: " in capsys.readouterr().out


def test_a_run_elsewhere_tells_what_its_own_processes_wrote_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(tmp_path), "--timing"]) == 0
    assert "Nothing is known: " in capsys.readouterr().out
    attempt = RunFolder(tmp_path).attempt(2)
    attempt.root.mkdir(parents=True)
    begin = 1795824000.0
    for name, seconds in (
        (BEGIN, 0),
        ("inputs ready", 5),
        ("Ray up", 19),
        ("weights begin", 40),
        ("weights begin", 44),
    ):
        note_in(attempt, name, begin + seconds)
    with (attempt.root / "moments.jsonl").open("a") as file:
        file.write('{"moment": "rollout be')  # torn
    attempt.update_record(begun="2026-11-28T00:01:10+0000", first_step="2026-11-28T00:01:40+0000")
    assert main(["status", str(tmp_path), "--timing", "--json"]) == 0
    phases = json.loads(capsys.readouterr().out)["timing"]
    assert [round(one["job"]) for one in phases] == [5, 14, 21, 30, 30, 100], "Ray up tells of verl's imports, too"
    assert phases[1]["name"] == "Ray, and its first process"
    assert phases[-1]["name"] == "from the command to the first step"


@pytest.mark.parametrize(("text", "seconds"), [("12.3s", 12.3), ("1m12.5s", 72.5), ("1h0m3s", 3603), ("350ms", 0.35)])
def test_durations_are_read_as_go_prints_them(text: str, seconds: float) -> None:
    assert seconds_of(text) == pytest.approx(seconds)
