"""Two people whose folders have the same last name: the second one is told, and neither touches the other's job."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from deepscaler.cli import main
from deepscaler.kubernetes.cluster.owner import OWNER
from deepscaler.kubernetes.cluster.record import read_jobs
from tests.deepscaler.kubernetes.check.test_check import needs_kubectl
from tests.deepscaler.kubernetes.cluster.conftest import FakeKubectl
from tests.deepscaler.kubernetes.cluster.recorded import answer, submitted, working

JANE = "jane as research"


@pytest.fixture(autouse=True)
def jane(cluster: FakeKubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jane types the commands."""
    monkeypatch.setenv("LOGNAME", "jane")
    cluster.answers["auth whoami"] = "research\n"


def give(command: str, folder: Path) -> int:
    site = folder / "cluster.toml"
    site.write_text('context = "research"\n')
    return main([*command.split(), "--output-dir", str(folder / "mine"), "--on", "k8s", "--site", str(site)])


def taken_by(owner: str | None) -> str:
    """A job that has ended, and whose it is."""
    notes = {"annotations": {OWNER: owner}} if owner else {}
    spec, status = {"entrypoint": "deepscaler train 8k --output-dir /runs/mine"}, {"jobDeploymentStatus": "Complete"}
    return json.dumps({"metadata": {"name": "of-mine", **notes}, "spec": spec, "status": status})


@needs_kubectl
@pytest.mark.parametrize("command", ["train 8k", "chain 8k 16k", "train 8k --dry-run", "chain 8k 16k --dry-run"])
def test_a_job_of_somebody_else_is_refused_by_name_and_left_alone(
    command: str, cluster: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.answers["get rayjob"] = taken_by("joe as research")
    cluster.answers["get rayjob chain-mine"] = (1, "Error from server (NotFound): none")
    assert give(command, tmp_path) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert "deepscaler has a job of-mine of joe as research, and you are jane as research: give another" in said
    assert not [call for call in cluster.calls if call[0] in ("create", "delete")]
    assert not (tmp_path / "mine").exists(), "no note by which `cancel` would find it"


@needs_kubectl
@pytest.mark.parametrize("owner", [JANE, None])
def test_ones_own_and_what_kubectl_applied_goes_on(owner: str | None, cluster: FakeKubectl, tmp_path: Path) -> None:
    cluster.answers["get rayjob"] = taken_by(owner)
    assert give("train 8k", tmp_path) == 0
    made = yaml.safe_load(cluster.given[-1])
    assert made["metadata"]["annotations"][OWNER] == JANE
    ray = made["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert {"name": "DEEPSCALER_OWNER", "value": JANE} in ray["env"]
    assert read_jobs(tmp_path / "mine")[0].owner == JANE


@needs_kubectl
@pytest.mark.parametrize("command", ["train 8k", "chain 8k 16k"])
def test_a_dry_run_says_what_would_be_removed(
    command: str, cluster: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.answers["get rayjob"] = taken_by(JANE)
    assert give(f"{command} --dry-run", tmp_path) == 0
    would = capsys.readouterr().out
    assert "Would remove the job " in would
    assert not [call for call in cluster.calls if call[0] == "delete"]
    assert give(command, tmp_path) == 0
    removed = {
        word for call in cluster.calls if call[:2] == ["delete", "rayjob"] for word in call[2:] if word[0] != "-"
    }
    assert removed
    assert all(f"Would remove the job {name} that has ended." in would for name in removed)


@needs_kubectl
def test_every_job_of_a_chain_says_whose_it_is(cluster: FakeKubectl, tmp_path: Path) -> None:
    assert give("chain 8k 16k", tmp_path) == 0
    made = [one for text in cluster.given[1:] for one in yaml.safe_load_all(text)]
    [stages] = [one["data"] for one in made if "chain.json" in one.get("data", {})]
    jobs = [json.loads(text) for name, text in stages.items() if name != "chain.json"]
    jobs += [one for one in made if one["kind"] == "Job"]
    assert len(jobs) == 5
    assert {one["metadata"]["annotations"][OWNER] for one in jobs} == {JANE}
    assert {one.owner for one in read_jobs(tmp_path / "mine")} == {JANE}


@pytest.mark.parametrize(("owner", "is_ours"), [(JANE, True), ("joe as research", False)])
def test_a_name_that_somebody_else_has_taken_since_is_no_longer_ours(
    owner: str, is_ours: bool, kubectl: FakeKubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = deepcopy(working())
    objects[0]["metadata"]["annotations"] = {OWNER: owner}
    answer(kubectl, objects)
    file = submitted(tmp_path) / "k8s" / "jobs.json"
    [job] = json.loads(file.read_text())
    file.write_text(json.dumps([job | {"owner": JANE}]))
    assert main(["cancel", str(tmp_path), "--dry-run"]) == 0
    assert ("Would delete train-mine" in capsys.readouterr().out) == is_ours
