"""The kit on a real cluster, by its own commands: `make cluster SITE=cluster.toml`.

The cluster needs KubeRay, the image cpu of the site file, its volumes, and room for a pod of 11 GiB, then for two of 6.
"""

from pathlib import Path
from typing import Any

import pytest

from deepscaler.kubernetes.cluster.kubectl import Kubectl
from deepscaler.kubernetes.cluster.record import read_jobs
from tests.integration.kubernetes.commands import MINUTE, cli, followed, status, wait_for

pytestmark = pytest.mark.cluster

START = 12 * MINUTE
"""Until a pod is scheduled, Ray is up, verl has imported everything, and a step is saved: 2 minutes on 4 free cores."""
END = 20 * MINUTE

SMALL = ("train_batch_size=2", "mini_batch_size=2", "group_size=4", "max_response_length=8", "validate_every=100")
STEPS = 100
"""Of 1 to 2 s: enough for two deletions on the way, each after a look that takes some seconds itself."""


def settings(*more: str) -> list[str]:
    return [part for setting in (*SMALL, *more) for part in ("--set", setting)]


def name_of(folder: Path) -> str:
    return read_jobs(folder)[0].name


def rayjob(cluster: Kubectl, folder: Path) -> dict[str, Any]:
    found = cluster.find("rayjob", name_of(folder))
    return {} if found is None else found.get("status", {})


def has_succeeded(cluster: Kubectl, folder: Path) -> bool:
    told = rayjob(cluster, folder)
    assert told.get("jobDeploymentStatus") != "Failed", told
    return told.get("jobStatus") == "SUCCEEDED"


def saved(folder: Path, *, after: tuple[int, int] = (0, 0)) -> tuple[int, int] | None:
    """Returns the newest attempt and its newest checkpoint, once both are later than others."""
    told = status(folder)
    attempt, step = told.get("attempt") or 0, told.get("checkpoint_step") or 0
    return (attempt, step) if attempt > after[0] and step > after[1] else None


def timed(folder: Path) -> dict[str, Any] | None:
    """Returns the phases by name, once the first step is among them."""
    phases = {phase["name"]: phase for phase in status(folder, "--timing")["timing"]}
    return phases if "first step" in phases else None


def goes_on(folder: Path, attempt: int) -> int:
    """Waits until a later attempt has saved a step of its own beyond the one it began with, and returns its number."""
    later, begun = wait_for("a new attempt", lambda: saved(folder, after=(attempt, 0)), START)
    return wait_for("a step of the new attempt", lambda: saved(folder, after=(later - 1, begun)), START)[0]


def delete_pod(cluster: Kubectl, folder: Path, component: str) -> None:
    """Deletes a pod as a drained node does: its preStop hook runs."""
    chosen = f"app.kubernetes.io/instance={name_of(folder)},app.kubernetes.io/component={component}"
    deleted = cluster.ask("delete", "pod", "--selector", chosen, "--wait=false")
    assert deleted.count("deleted") == 1, deleted


@pytest.mark.timeout(15 * MINUTE)
def test_the_doctor_finds_nothing_missing_on_a_node(cluster: Kubectl, small_site: Path) -> None:
    told = cli("doctor", "--on", "k8s", "--site", small_site, "--gpus", 0, "--for", "cpu", seconds=14 * MINUTE)
    assert "Nothing is missing on any node." in told


@pytest.mark.timeout(50 * MINUTE)
def test_the_quickstart_succeeds(cluster: Kubectl, site: Path, folder: Path, tmp_path: Path) -> None:
    cli("quickstart", "--on", "k8s", "--site", site, "--output-dir", folder)
    with followed(folder, tmp_path / "log") as log:
        wait_for("the quickstart succeeded", lambda: has_succeeded(cluster, folder), 45 * MINUTE)
        assert log.wait(2 * MINUTE) == 0
    [job] = status(folder)["jobs"]
    assert job["state"] == "Complete"
    assert "has ended" in cli("cancel", folder)


@pytest.mark.timeout(90 * MINUTE)
def test_a_training_in_two_pods_outlives_its_worker_and_its_head(
    cluster: Kubectl, small_site: Path, tiny: str, folder: Path, tmp_path: Path
) -> None:
    command = ["train", "quickstart", "--device", "cpu", "--keep", 9, "--output-dir", folder]
    command += settings(f"model={tiny}", "num_nodes=2", f"num_steps={STEPS}", "save_every=1")
    command += ["--on", "k8s", "--site", small_site]
    assert "2 pods without GPUs" in cli(*command, "--dry-run")
    cli(*command)
    assert "is there already" in cli(*command, code=2)

    with followed(folder, tmp_path / "log") as log:
        first, _ = wait_for("a step was saved", lambda: saved(folder), START)
        phases = wait_for("the first step was noted", lambda: timed(folder), MINUTE)  # it is saved a moment earlier
        assert phases["from apply to the first step"]["job"] > phases["first step"]["job"] >= 0
        delete_pod(cluster, folder, "worker")
        second = goes_on(folder, first)
        delete_pod(cluster, folder, "head")
        goes_on(folder, second)
        wait_for("it came to its end", lambda: has_succeeded(cluster, folder), END)
        assert log.wait(2 * MINUTE) == 0
    text = (tmp_path / "log").read_text()
    assert text.count("Resuming from the checkpoint of step") >= 2, text
    assert f"of {STEPS} is saved" in text, "what a deleted pod asks for before it ends"
    # a new head that takes over in the same Ray cluster is no failure to the operator
    assert rayjob(cluster, folder)["failed"] >= 1

    assert "that has ended" in cli(*command)
    with followed(folder, tmp_path / "again") as log:
        wait_for("the same command ended at once", lambda: has_succeeded(cluster, folder), START)
        assert log.wait(2 * MINUTE) == 0
    assert f"Finished before: step {STEPS} of {STEPS}" in (tmp_path / "again").read_text()


@pytest.mark.timeout(60 * MINUTE)
def test_what_was_cancelled_goes_on_by_the_same_command(
    cluster: Kubectl, small_site: Path, tiny: str, folder: Path
) -> None:
    command = ["train", "quickstart", "--device", "cpu", "--output-dir", folder]
    command += settings(f"model={tiny}", "num_steps=500", "save_every=1000")
    command += ["--on", "k8s", "--site", small_site]
    cli(*command)
    wait_for("a step was made", lambda: (status(folder).get("step") or 0) > 0, START)
    assert name_of(folder) in cli("status", folder)
    assert name_of(folder) in cli("logs", folder)
    assert "Would delete" in cli("cancel", folder, "--dry-run")
    assert "a training saves first" in cli("cancel", folder)
    wait_for("its pods ended", lambda: status(folder)["jobs"][0]["state"] == "not there", START)

    cli(*command)
    # what the first attempt saved when it was cancelled: nothing else does before step 500
    attempt, step = wait_for("it went on", lambda: saved(folder, after=(1, 0)), START)
    assert (attempt, step > 0) == (2, True)
    cli("cancel", folder)


@pytest.mark.timeout(60 * MINUTE)
def test_a_chain_makes_its_stages_one_after_another(
    cluster: Kubectl, small_site: Path, tiny: str, folder: Path, tmp_path: Path
) -> None:
    lines = [f"{field} = {value}" for field, _, value in (one.partition("=") for one in SMALL)]
    for name in ("one", "two"):
        own = ['extends = "quickstart"', f'name = "{name}"', f'model = "{tiny}"', "num_steps = 2", *lines]
        (tmp_path / f"{name}.toml").write_text("\n".join(own))
    recipes = [tmp_path / "one.toml", tmp_path / "two.toml"]
    cli("chain", *recipes, "--device", "cpu", "--output-dir", folder, "--on", "k8s", "--site", small_site)
    conductor, first, *_, last = read_jobs(folder)
    assert (conductor.kind, first.kind) == ("job", "rayjob")

    def is_done() -> bool:
        [state] = [one["state"] for one in status(folder)["jobs"] if one["name"] == conductor.name]
        assert state != "Failed", cluster.run("logs", f"job/{conductor.name}").stdout
        return bool(state == "Complete")

    wait_for("the chain came to its end", is_done, 50 * MINUTE)
    told = cluster.ask("logs", f"job/{conductor.name}")
    assert told.rstrip().endswith("The chain is done."), told
    assert told.index(f"{first.name}: done.") < told.index(f"{last.name}: done.")
