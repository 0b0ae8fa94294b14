"""A chain on Kubernetes: a conductor is applied, and carries the RayJobs of all stages, each at its own size."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepscaler.cli import main
from deepscaler.kubernetes.cluster.record import read_jobs
from deepscaler.kubernetes.pod.conduct import read_stages
from tests.deepscaler.kubernetes.check.test_check import needs_kubectl
from tests.deepscaler.kubernetes.cluster.conftest import FakeKubectl

SITE = """context = "research"
image = "registry.example.com/kit"
components = ["kueue", "a100", "rdma"]
queue = "team-a"
head_memory = "48Gi"
"""
STAGES = ["start", "train-8k", "after-8k", "train-16k", "after-16k"]
AT_WORK = {"status": {"active": 1}}
ENDED = {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}

pytestmark = needs_kubectl


def chain(folder: Path, *words: str) -> int:
    """Gives the command of a chain."""
    site = folder / "cluster.toml"
    site.write_text(SITE)
    given = words or ("8k", "16k", "--eval", "aime", "--gate")
    place = ("--on", "k8s", "--site", str(site))
    return main(["chain", *given, "--output-dir", str(folder / "mine"), *place])


def applied(kubectl: FakeKubectl) -> dict[str, Any]:
    """What was made, by kind, after the server was asked; the stages' ConfigMap as `Stages`."""
    objects = [one for text in kubectl.given[1:] for one in yaml.safe_load_all(text) if one]
    return {"Stages" if "chain.json" in one.get("data", {}) else one["kind"]: one for one in objects}


def stages(applied: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """The RayJobs by the stage's name, read as the conductor reads them."""
    folder.mkdir()
    for name, text in applied["Stages"]["data"].items():
        (folder / name).write_text(text)
    job, found = read_stages(folder / "chain.json")
    assert job == "chain-mine"
    for one in found:
        assert " ".join(one.arguments[-2:]) in one.rayjob["spec"]["entrypoint"]
    return {one.name.removeprefix("chain-mine-"): dict(one.rayjob) for one in found}


def done(cluster: FakeKubectl) -> list[list[str]]:
    """Calls that change the cluster."""
    return [call for call in cluster.calls if call[0] in ("create", "delete") and "--dry-run=server" not in call]


def size(rayjob: dict[str, Any]) -> tuple[int, str]:
    """Workers and GPUs of each."""
    groups = rayjob["spec"]["rayClusterSpec"].get("workerGroupSpecs")
    if not groups:
        return 0, "0"
    limits = groups[0]["template"]["spec"]["containers"][0]["resources"]["limits"]
    return groups[0]["replicas"], limits["nvidia.com/gpu"]


def test_each_stage_has_its_own_size_and_the_place_of_the_site_file(cluster: FakeKubectl, tmp_path: Path) -> None:
    assert chain(tmp_path) == 0
    made = stages(applied(cluster), tmp_path / "chain")
    assert {name: size(one) for name, one in made.items()} == {
        **dict.fromkeys(STAGES, (1, "8")),
        "train-16k": (4, "8"),
    }
    for one in made.values():
        assert one["metadata"]["namespace"] == "deepscaler"
        assert one["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
        [worker] = one["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        assert "nvidia.com/gpu.product" in worker["template"]["spec"]["nodeSelector"]
    assert "--engines 8" in made["after-8k"]["spec"]["entrypoint"]  # the head that says it has no GPU


def test_the_conductor_is_a_small_pod_that_may_little(cluster: FakeKubectl, tmp_path: Path) -> None:
    assert chain(tmp_path) == 0
    job = applied(cluster)["Job"]
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["command"][2:] == ["deepscaler", "k8s", "conduct", "/chain/chain.json"]
    assert container["image"] == "registry.example.com/kit:train"
    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    assert pod["serviceAccountName"] == "deepscaler-chain"
    assert pod["automountServiceAccountToken"]
    assert all(mount["readOnly"] for mount in container["volumeMounts"])
    assert pod["securityContext"]["runAsNonRoot"]
    assert "kueue.x-k8s.io/queue-name" not in job["metadata"]["labels"]  # it would wait behind its own stages
    rayjobs = {one["kind"] for one in yaml.safe_load_all(cluster.given[0])}
    assert rayjobs == {"ConfigMap", "Job", "RayJob"}  # what the server was asked about before


def test_the_conductor_comes_first_in_the_record_then_the_stages(cluster: FakeKubectl, tmp_path: Path) -> None:
    assert chain(tmp_path) == 0
    jobs = read_jobs(tmp_path / "mine")
    assert [(job.kind, job.name.removeprefix("chain-mine-"), job.after) for job in jobs] == [
        ("job", "chain-mine", ""),
        ("rayjob", "start", ""),
        *(("rayjob", name, f"chain-mine-{before}") for before, name in pairwise(STAGES)),
    ]
    assert {job.run_dir for job in jobs} == {"/runs/mine"}


def test_own_files_go_along_once_for_all_stages(cluster: FakeKubectl, tmp_path: Path) -> None:
    rows = '{"problem": "1 + 1", "answer": "2"}\n'
    (tmp_path / "sums.jsonl").write_text(rows)
    for name in ("one", "two"):
        text = f'extends = "8k"\nname = "{name}"\ntrain_dataset = "sums.jsonl"\nvalidation_dataset = "aime"\n'
        (tmp_path / f"{name}.toml").write_text(text)
    assert chain(tmp_path, str(tmp_path / "one.toml"), str(tmp_path / "two.toml")) == 0
    found = applied(cluster)
    assert sorted(found["ConfigMap"]["data"]) == ["one.toml", "sums.jsonl", "two.toml"]
    name = found["ConfigMap"]["metadata"]["name"]
    assert name.startswith("chain-mine-inputs-")
    conductor = found["Job"]["spec"]["template"]["spec"]
    made = stages(found, tmp_path / "chain")
    pods = [one["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"] for one in made.values()]
    for pod in (conductor, *pods):
        maps = [volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume]
        assert name in maps
        assert {"name": "inputs", "mountPath": "/inputs", "readOnly": True} in pod["containers"][0]["volumeMounts"]
    assert "chain /inputs/one.toml /inputs/two.toml" in made["train-one"]["spec"]["entrypoint"]


@pytest.mark.parametrize("words", [["8k", "16k"], ["8k", "--only", "start:evaluate"]])
def test_data_of_the_evaluations_goes_along(words: list[str], cluster: FakeKubectl, tmp_path: Path) -> None:
    (tmp_path / "sums.jsonl").write_text('{"problem": "1 + 1", "answer": "2"}\n')
    assert chain(tmp_path, *words, "--eval", str(tmp_path / "sums.jsonl")) == 0
    found = applied(cluster)
    assert "sums.jsonl" in found["ConfigMap"]["data"]
    made = [found["RayJob"]] if "RayJob" in found else list(stages(found, tmp_path / "chain").values())
    for one in made:
        assert "--eval /inputs/sums.jsonl" in one["spec"]["entrypoint"]


def test_a_merge_alone_asks_for_no_gpus(cluster: FakeKubectl, tmp_path: Path) -> None:
    assert chain(tmp_path, "8k", "16k") == 0
    made = stages(applied(cluster), tmp_path / "chain")
    assert {name: size(one)[0] for name, one in made.items()} == {
        "train-8k": 1,
        "after-8k": 0,
        "train-16k": 4,
        "after-16k": 0,
    }
    head = made["after-8k"]["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert head["containers"][0]["resources"]["limits"]["memory"] == "48Gi"


def test_engines_that_were_asked_for_get_their_machines(cluster: FakeKubectl, tmp_path: Path) -> None:
    assert chain(tmp_path, "8k", "--eval", "aime", "--eval-options", "--engines 12") == 0
    made = stages(applied(cluster), tmp_path / "chain")
    assert {name: size(one)[0] for name, one in made.items()} == {"start": 2, "train-8k": 1, "after-8k": 2}


def test_a_file_in_the_options_of_evaluations_is_refused(
    cluster: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "e.toml").write_text("num_samples = 4\n")
    assert chain(tmp_path, "8k", "--eval", "aime", "--eval-options", f"--config {tmp_path / 'e.toml'}") == 2
    assert "--eval-options names a file of this machine, no pod sees it" in capsys.readouterr().err


def conductor(state: dict[str, Any], run_dir: str = "/runs/mine") -> str:
    return json.dumps({"metadata": {"annotations": {"deepscaler/run-dir": run_dir}}, **state})


def test_a_conductor_at_work_is_left_alone(
    cluster: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.answers["get job chain-mine"] = conductor(AT_WORK)
    assert chain(tmp_path) == 2
    assert "chain-mine is at work already: watch it with `deepscaler status`" in capsys.readouterr().err
    assert not done(cluster)
    assert read_jobs(tmp_path / "mine")[0].name == "chain-mine", "the note is written, should it be missing"


def test_a_conductor_of_another_run_is_left_alone(
    cluster: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.answers["get job chain-mine"] = conductor(ENDED, "/runs/Mine")
    assert chain(tmp_path) == 2
    assert "has a job chain-mine of /runs/Mine: give another --output-dir" in capsys.readouterr().err
    assert not done(cluster)


def test_the_same_command_removes_what_has_ended_before_it_applies(cluster: FakeKubectl, tmp_path: Path) -> None:
    cluster.answers["get job chain-mine"] = conductor(ENDED)
    cluster.answers["get rayjob chain-mine-train-8k"] = json.dumps(stage("train-8k", "Failed"))
    assert chain(tmp_path) == 0
    told = [" ".join(call[:3]) for call in done(cluster)]
    assert told == [
        "delete job chain-mine",
        "delete pods --selector=batch.kubernetes.io/job-name=chain-mine",
        "delete configmaps --selector=app.kubernetes.io/instance=chain-mine",
        "delete rayjob chain-mine-train-8k",
        *["create --field-manager=deepscaler -f"] * 2,
    ]


def stage(name: str, state: str) -> dict[str, Any]:
    """A stage's RayJob."""
    metadata, spec = {"name": f"chain-mine-{name}"}, {"entrypoint": "chain --output-dir /runs/mine"}
    return {"metadata": metadata, "spec": spec, "status": {"jobDeploymentStatus": state}}


def test_a_stage_at_work_outlives_the_conductor_that_failed(
    cluster: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It belongs to the Job, whose deletion would delete it, too."""
    cluster.answers["get job chain-mine"] = conductor(ENDED)
    cluster.answers["get rayjob chain-mine-start"] = json.dumps(stage("start", "Complete"))
    cluster.answers["get rayjob chain-mine-train-8k"] = json.dumps(stage("train-8k", "Running"))
    assert chain(tmp_path, "8k", "16k", "--eval", "aime", "--dry-run") == 0
    told = capsys.readouterr().out
    assert "Would remove the job chain-mine that has ended." in told
    assert "Would remove the job chain-mine-start that has ended." in told
    assert "Would keep the job chain-mine-train-8k, which has not ended, and continue with it." in told
    assert not done(cluster)
    assert chain(tmp_path) == 0
    assert "Keeping the job chain-mine-train-8k, which has not ended" in capsys.readouterr().out
    deleted = [" ".join(call[1:]) for call in done(cluster) if call[0] == "delete"]
    assert deleted == [
        "job chain-mine --cascade=orphan --timeout=120s",
        "pods --selector=batch.kubernetes.io/job-name=chain-mine --wait=false",
        "rayjob chain-mine-start --ignore-not-found --wait=false",
    ]


@pytest.mark.parametrize("words", [("8k", "16k"), ("8k", "16k", "--dry-run")])
@pytest.mark.parametrize("right", ["list pods", "list rayjobs.ray.io", "create jobs.batch"])
def test_a_right_that_is_lacking_is_told_before_anything_is_made(
    words: tuple[str, ...], right: str, cluster: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.answers[f"auth can-i {right}"] = (1, "no - RBAC: clusterrole.rbac.authorization.k8s.io not found\n")
    assert chain(tmp_path, *words) == 2
    assert f"your user may not {right} in namespace deepscaler: ask who runs" in capsys.readouterr().err
    assert not done(cluster)


def test_a_stage_whose_conductor_was_lost_is_kept_for_the_new_one(cluster: FakeKubectl, tmp_path: Path) -> None:
    running = {"metadata": {"name": "chain-mine-train-8k"}, "spec": {"entrypoint": "chain --output-dir /runs/mine"}}
    cluster.answers["get rayjob chain-mine-train-8k"] = json.dumps(running)
    assert chain(tmp_path) == 0
    assert "delete" not in {call[0] for call in cluster.calls}


def test_a_namespace_without_the_account_is_told(
    cluster: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del cluster.answers["get serviceaccount/deepscaler-chain"]
    assert chain(tmp_path) == 2
    assert "has no serviceaccount/deepscaler-chain: make it once with deepscaler k8s setup" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists(), "a refusal leaves nothing behind"


def test_a_dry_run_shows_all_that_would_be_made(
    cluster: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chain(tmp_path, "8k", "16k", "--dry-run=full") == 0
    shown = capsys.readouterr().out
    assert "chain-mine-train-16k: 4 x 8 GPUs, after chain-mine-after-8k: deepscaler chain 8k 16k" in shown
    trees = [
        tree for tree in yaml.safe_load_all(shown[shown.index("apiVersion") : shown.rindex("The manifests")]) if tree
    ]
    assert [tree["kind"] for tree in trees] == ["ConfigMap", "Job", "RayJob", "RayJob", "RayJob", "RayJob"]
    assert not done(cluster)
    assert not (tmp_path / "mine").exists()
