"""A conductor makes the stages of a chain one after another, whatever happens to it, against a real HTTP server."""

import errno
import json
import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.commands.chain import progress_of
from deepscaler.kubernetes.cluster.conductor import FINAL
from deepscaler.kubernetes.pod import api, conduct
from deepscaler.output.cells import Interval
from deepscaler.recipes.published import RECIPES
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import BAD_INPUT
from tests.deepscaler.kubernetes.pod.api_server import FAILED, LOST_HEAD, PREFIX, SUCCEEDED, ApiServer, Event
from tests.deepscaler.runs.runs import end_run, write_evaluation

STEPS = {
    "start": ["start:evaluate"],
    "train-8k": ["8k:train"],
    "after-8k": ["8k:merge", "8k:evaluate"],
    "train-16k": ["16k:train"],
    "after-16k": ["16k:merge", "16k:evaluate"],
}
JOBS = list(STEPS)

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])  # imported once, so that twenty conductors start in seconds


def conduct_here(file: Path, url: str) -> None:
    """Is a conductor's process."""
    conduct.POLL, api.WAITS = 0.02, (0.02, 0.02)
    raise SystemExit(main(["k8s", "conduct", str(file), "--server", url, "--account", str(file.parents[1])]))


class Chain:
    """A chain's folder, its server, and what the conductor is given."""

    def __init__(self, folder: Path, server: ApiServer) -> None:
        self.root, self.server, self.file, self.lines = folder / "runs", server, folder / "chain/chain.json", [""]
        self.scores = {"start": 0.3, "8k": 0.4, "16k": 0.45}
        server.finish = self.finish
        self.file.parent.mkdir()
        stages = []
        for name, steps in STEPS.items():
            arguments = ["chain", "8k", "16k", "--output-dir", str(self.root), "--eval", "aime", "--gate", "--only"]
            stages.append({"name": name, "arguments": [*arguments, *steps]})
            metadata = {"name": name, "namespace": "deepscaler"}
            (self.file.parent / f"{name}.json").write_text(json.dumps({"metadata": metadata, "spec": {}}))
        self.file.write_text(json.dumps({"job": "chain-x", "stages": stages}))
        (folder / "token").write_text("s3cret\n")

    def finish(self, name: str) -> None:
        """Leaves what a stage leaves."""
        kind, _, stage = name.partition("-")
        stage = stage or "start"
        folder = self.root / {"start": "0-base", "8k": "1-8k", "16k": "2-16k"}[stage]
        if kind == "train":
            end_run(folder, RECIPES[stage].num_steps)
            return
        if kind == "after":
            (folder / "model").mkdir(parents=True, exist_ok=True)
            (folder / "model/merged.json").write_text(json.dumps({"step": RECIPES[stage].num_steps}))
        score = self.scores[stage]
        write_evaluation(folder / "evaluation", aime=Interval(score, score - 0.05, score + 0.05))

    def conduct(self) -> int:
        """Runs a conductor in this process."""
        self.lines = []
        _, stages = conduct.read_stages(self.file)
        account = self.file.parents[1]
        rayjobs = api.RayJobs(self.server.url, "deepscaler", account, self.lines.append)
        return conduct.conduct(stages, rayjobs, progress_of, self.lines.append)


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    monkeypatch.setattr(conduct, "POLL", 0.01)
    monkeypatch.setattr(conduct, "VISIBLE", 0.2)
    monkeypatch.setattr(api, "WAITS", (0.01, 0.02))
    with ApiServer() as server:
        yield Chain(tmp_path, server)


def test_stages_are_made_in_order_and_removed_when_they_are_done(chain: Chain) -> None:
    assert chain.conduct() == 0
    assert chain.server.created == JOBS
    assert not chain.server.rayjobs
    assert chain.lines[-1] == "The chain is done."
    assert "train-8k: Running; RUNNING." in chain.lines
    assert set(chain.server.tokens) == {"Bearer s3cret"}


def test_killed_at_every_point_it_goes_on_and_makes_no_stage_twice(chain: Chain) -> None:
    """Each kind of request kills the conductor once when the server has done it, and what changes something before."""
    seen: set[Event] = set()
    children: list[BaseProcess] = []

    def kill(event: Event) -> None:
        when, method, name, _ = event
        if event not in seen and name in ("train-8k", "after-8k") and (when == "after" or method != "GET"):
            seen.add(event)
            children[-1].kill()
            raise ConnectionError

    chain.server.at = kill
    chain.finish("start")
    for name in ("train-16k", "after-16k"):  # three stages tell it all
        chain.finish(name)
    codes: list[int | None] = []
    while not codes or codes[-1] == -9:
        children.append(FORKS.Process(target=conduct_here, args=(chain.file, chain.server.url)))
        children[-1].start()
        children[-1].join(timeout=120)
        codes.append(children[-1].exitcode)
        assert len(codes) < 60
    assert codes[-1] == 0
    points = {("POST", "absent"), ("GET", "absent"), ("GET", "Initializing"), ("GET", "Running"), ("GET", "Complete")}
    for name in ("train-8k", "after-8k"):
        assert {(method, state) for _, method, own, state in seen if own == name} >= {*points, ("DELETE", "Complete")}
    assert codes.count(-9) == len(seen)
    assert chain.server.created == ["train-8k", "after-8k"]
    assert not chain.server.rayjobs


def test_what_is_done_is_skipped(chain: Chain) -> None:
    for name in JOBS[:3]:
        chain.finish(name)
    assert chain.conduct() == 0
    assert chain.server.created == ["train-16k", "after-16k"]


def test_a_stage_that_is_at_work_is_attached_to(chain: Chain) -> None:
    chain.finish("start")
    chain.server.add({"metadata": {"name": "train-8k"}, "spec": {}})
    assert chain.conduct() == 0
    assert chain.server.created == JOBS[1:]  # the first by hand
    assert "Stage 2 of 5, train-8k: is there already." in chain.lines


def test_a_failed_stage_ends_the_chain_with_the_reason(chain: Chain) -> None:
    chain.server.ends["train-8k"] = FAILED
    assert chain.conduct() == 1
    assert chain.server.created == ["start", "train-8k"]
    told = "Stage 2 of 5, train-8k: its RayJob has ended: Failed; FAILED; AppFailed; exit code 1."
    assert chain.lines[-1] == f"{told} No further stage is started; rerun the same command to resume."
    assert "train-8k" in chain.server.rayjobs  # its logs can be read until its time is up


def lost_heads(chain: Chain, times: int) -> None:
    """Has the first heads of a stage be lost; a RayJob that is deleted stays for some looks, as with a finalizer."""
    server, left, remove = chain.server, [times], chain.server.remove
    server.ends["train-8k"] = LOST_HEAD

    def go(event: Event) -> None:
        when, method, name, _ = event
        if (when, method, name) == ("before", "POST", "train-8k"):
            left[0] -= 1
            if left[0] < 0:
                server.ends["train-8k"] = SUCCEEDED

    server.at = go
    looks: list[str] = []

    def remove_later(name: str) -> tuple[int, dict[str, Any]]:
        if name == "train-8k" and server.ends[name] == LOST_HEAD:
            server.rayjobs[name]["metadata"]["deletionTimestamp"] = "2026-11-27T18:00:00Z"
            looks.append(name)
            return 200, {}
        return remove(name)

    find = server.find

    def find_some_times(name: str) -> tuple[int, dict[str, Any]]:
        if "deletionTimestamp" in server.rayjobs.get(name, {}).get("metadata", {}):
            looks.append(name)
            if len(looks) % 4 == 0:
                remove(name)
        return find(name)

    server.remove, server.find = remove_later, find_some_times  # type: ignore[method-assign]


def test_a_stage_whose_head_was_lost_is_made_again(chain: Chain) -> None:
    """The operator retries every other failure itself, and never this one."""
    lost_heads(chain, 3)
    assert chain.conduct() == 0
    assert chain.server.created == ["start", *["train-8k"] * 4, *JOBS[2:]]
    assert sum("its head was lost" in line for line in chain.lines) == 3


def test_heads_that_are_lost_each_time_end_the_chain(chain: Chain) -> None:
    lost_heads(chain, 99)
    assert chain.conduct() == 1
    assert chain.server.created == ["start", *["train-8k"] * 4]
    assert "its RayJob has ended: Failed; RUNNING; JobStatusCheckTimeoutExceeded" in chain.lines[-1]


@pytest.mark.parametrize("state", ["at work", "lost", "being deleted"])
def test_a_new_conductor_counts_the_lost_heads_of_the_one_before(chain: Chain, state: str) -> None:
    chain.finish("start")
    lost_heads(chain, 99)
    metadata: dict[str, Any] = {"name": "train-8k", "annotations": {"deepscaler/lost-heads": "2"}}
    chain.server.add({"metadata": metadata, "spec": {}})
    if state != "at work":
        chain.server.rayjobs["train-8k"]["status"] = LOST_HEAD
    if state == "being deleted":
        metadata["deletionTimestamp"] = "2026-11-27T18:00:00Z"
    assert chain.conduct() == 1
    assert chain.server.created == ["train-8k"] * 2


def test_a_chain_that_the_user_reruns_counts_its_own_lost_heads(chain: Chain) -> None:
    lost_heads(chain, 99)
    _, stages = conduct.read_stages(chain.file)
    [_, stage, *_] = conduct.owned(stages, "chain-x", "uid-2")
    left = {**stage.rayjob["metadata"], "annotations": {"deepscaler/lost-heads": "3"}}
    left["ownerReferences"] = [{**left["ownerReferences"][0], "uid": "uid-1"}]
    found = {"metadata": left, "status": LOST_HEAD}
    assert conduct._after_lost_head(stage, found)["metadata"]["annotations"] == {"deepscaler/lost-heads": "1"}  # type: ignore[index]


def test_what_is_waited_for_is_said_again(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conduct, "REPEAT", 0.05)
    looks: list[Event] = []

    def admit_late(event: Event) -> None:
        looks.append(event)
        rayjob = chain.server.rayjobs.get("start")
        if rayjob and rayjob["status"] == {"jobDeploymentStatus": "Initializing"} and len(looks) < 40:
            rayjob["status"] = {}

    chain.server.at = admit_late
    assert chain.conduct() == 0
    assert "start: just made, for 0 min." in chain.lines


@pytest.mark.parametrize("held", ["deleted", "new"])
def test_a_rayjob_to_which_nothing_happens_ends_the_chain(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    monkeypatch.setattr(conduct, "STUCK", 0.2)
    monkeypatch.setattr(chain.server, "go_on", lambda _: None)
    going = {"deletionTimestamp": "2026-11-27T18:00:00Z"} if held == "deleted" else {}
    chain.server.add({"metadata": {"name": "start", **going}, "spec": {}})
    assert chain.conduct() == 1
    told = "its finalizers hold it" if held == "deleted" else "does KubeRay's operator run?"
    assert told in chain.lines[-1]


def test_a_rayjob_in_a_queue_is_waited_for(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conduct, "STUCK", 0.1)
    chain.server.add({"metadata": {"name": "start"}, "spec": {"suspend": True}})
    began, go_on = time.monotonic(), chain.server.go_on
    monkeypatch.setattr(
        chain.server, "go_on", lambda name: go_on(name) if name != "start" or time.monotonic() > began + 0.5 else None
    )
    assert chain.conduct() == 0


def test_a_gate_ends_the_chain_with_success_and_says_so_again(chain: Chain) -> None:
    chain.scores["8k"] = 0.1
    for created in (["start", "train-8k", "after-8k"], []):
        chain.server.created.clear()
        assert chain.conduct() == 0
        assert chain.server.created == created
        assert chain.lines[-1].startswith("The gate ends the chain here: 8k is worse: aime 30.0 -> 10.0 (-20.0 points")


def test_a_success_that_the_volume_does_not_show_ends_the_chain(chain: Chain) -> None:
    chain.server.finish = lambda _: None
    assert chain.conduct() == 1
    assert "the volume does not show it. No further stage is started" in chain.lines[-1]


def test_a_stage_that_somebody_deletes_is_not_made_again(chain: Chain) -> None:
    def delete(event: Event) -> None:
        if event == ("after", "GET", "train-8k", "Initializing"):
            chain.server.remove("train-8k")

    chain.server.at = delete
    assert chain.conduct() == 1
    assert "train-8k: its RayJob was deleted." in chain.lines[-1]
    assert chain.server.created == ["start", "train-8k"]


def test_a_job_of_the_conductor_before_is_waited_for_until_it_is_gone(chain: Chain) -> None:
    old: dict[str, Any] = {"metadata": {"name": "start", "deletionTimestamp": "2026-11-27T18:00:00Z"}, "spec": {}}
    chain.server.add(old)
    looks: list[Event] = []

    def remove(event: Event) -> None:
        looks.append(event)
        if len(looks) == 7:
            chain.server.remove("start")

    chain.server.at = remove
    assert chain.conduct() == 0
    assert "start: is being deleted." in chain.lines
    assert chain.server.created == ["start", *JOBS]


def test_requests_are_made_again_while_the_server_is_away(chain: Chain) -> None:
    chain.server.answers = [(503, {"message": "apiserver is shutting down"}), (401, {"message": "Unauthorized"})]
    lost = iter([True] * 3)

    def lose(event: Event) -> None:
        if event[:2] == ("after", "POST") and next(lost, False):
            raise ConnectionError

    chain.server.at = lose
    assert chain.conduct() == 0
    assert chain.server.created == JOBS  # a request whose answer was lost makes nothing twice
    assert any("did not answer GET (503 apiserver is shutting down): asking again" in line for line in chain.lines)


def test_what_is_refused_for_good_is_told(chain: Chain) -> None:
    chain.server.answers = [(403, {"message": 'rayjobs.ray.io "start" is forbidden'})]
    with pytest.raises(
        api.RefusedError, match=f'refuses GET .*{PREFIX}/start: 403 rayjobs.ray.io "start" is forbidden'
    ):
        chain.conduct()


def test_a_volume_that_is_away_for_a_moment_ends_no_chain(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that fails reaches the conductor as the user's error that the reader makes of it."""
    for name in JOBS[:3]:
        chain.finish(name)
    report, read, failures = chain.root / "1-8k/evaluation/report.json", Path.read_text, iter([True] * 2)

    def fail_twice(path: Path, *words: Any, **more: Any) -> str:
        if path == report and next(failures, False):
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return read(path, *words, **more)

    monkeypatch.setattr(Path, "read_text", fail_twice)
    assert chain.conduct() == 0
    assert chain.server.created == JOBS[3:]
    assert sum("volume cannot be read" in line for line in chain.lines) == 2


def test_another_pod_may_follow_a_failure_of_the_file_system(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for cause, code in ((OSError(errno.EIO, "Input/output error"), None), (None, BAD_INPUT)):

        def fail(*_: object, cause: OSError | None = cause) -> int:
            raise UserError("the token cannot be read") from cause

        monkeypatch.setattr("deepscaler.commands.k8s.conduct", fail)
        ended = main(["k8s", "conduct", str(chain.file), "--server", chain.server.url])
        assert ended == code if code else ended not in (*FINAL, 0)
        assert "the token cannot be read" in capsys.readouterr().err


def test_rayjobs_belong_to_the_conductors_job(chain: Chain) -> None:
    """Deleting the Job deletes them; Kueue, which follows `controller`, does not take them for a part of it."""
    job, stages = conduct.read_stages(chain.file)
    for stage in conduct.owned(stages, job, "uid-1"):
        [owner] = stage.rayjob["metadata"]["ownerReferences"]
        assert owner == {"apiVersion": "batch/v1", "kind": "Job", "name": "chain-x", "uid": "uid-1"}
        assert stage.rayjob["metadata"]["name"] == stage.name


def test_a_dry_run_says_how_far_each_stage_is(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    chain.scores["8k"] = 0.1
    for name in JOBS[:3]:
        chain.finish(name)
    assert main(["k8s", "conduct", str(chain.file), "--server", chain.server.url, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "start: done",
        "train-8k: done",
        "after-8k: stopped",
        "train-16k: left",
        "after-16k: left",
    ]
    assert not chain.server.tokens  # nothing was asked


def test_a_pod_finds_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    assert api.server_of_pod() == "https://[fd00::1]:6443"
