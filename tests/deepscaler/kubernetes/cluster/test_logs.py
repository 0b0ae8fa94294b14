"""The command's log through every new head, whatever becomes of kubectl."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.kubernetes.cluster import follow
from tests.deepscaler.kubernetes.cluster.conftest import FakeKubectl
from tests.deepscaler.kubernetes.cluster.recorded import OBJECTS, answer, listed, recorded, submitted, working
from tests.places import ROOT

HEAD = "train-mine-xq45v-head-wdcf7"
STREAM = f"logs {HEAD} -c driver-log --timestamps"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "POLL", 0.01)
    monkeypatch.setattr(follow, "REST", 0.2)
    monkeypatch.setattr(follow, "ASK_EVERY", 1000.0)


def line(second: int, text: str, fraction: str = "") -> str:
    return f"2026-11-27T18:00:{second:02}{fraction and f'.{fraction}'}Z {text}\n"


def ended(objects: list[dict[str, Any]], state: str = "Complete") -> list[dict[str, Any]]:
    changed = deepcopy(objects)
    changed[0]["status"] |= {"jobDeploymentStatus": state}
    return changed


def test_the_last_lines_come_from_the_newest_head(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(kubectl, working())
    kubectl.answers["logs"] = "\x1b[36mstep\x1b[0m 1\nstep\x1b 2\n"
    assert main(["logs", str(submitted(tmp_path)), "--lines", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"== job train-mine, pod {HEAD}",
        "xq45v-head-wdcf7 | step 1",
        "xq45v-head-wdcf7 | step\ufffd 2",
    ]
    assert kubectl.calls[-1] == ["logs", HEAD, "-c", "driver-log", "--tail=2"]


def test_pods_of_the_job_that_was_removed_for_this_one_say_nothing(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    lingering = working(jobDeploymentStatus="Initializing")
    lingering[0]["metadata"]["creationTimestamp"] = "2026-11-27T19:00:00Z"
    begun = deepcopy(lingering)
    head = deepcopy(begun[1])
    head["metadata"] |= {"name": "train-mine-zzzzz-head-2", "creationTimestamp": "2026-11-27T19:00:01Z"}
    begun.append(head)
    answer(kubectl, lingering)
    assert main(["logs", str(submitted(tmp_path))]) == 2
    assert "the command of train-mine has not begun (Initializing" in capsys.readouterr().err
    kubectl.answers[OBJECTS] = [listed(lingering)] * 2 + [listed(begun)] + [listed(ended(begun))]
    kubectl.answers[STREAM] = line(1, "of the old job")
    kubectl.answers["logs train-mine-zzzzz-head-2"] = line(2, "of the new job")
    assert main(["logs", str(tmp_path), "--follow"]) == 0
    told = capsys.readouterr()
    assert "of the new job" in told.out
    assert "of the old job" not in told.out
    assert "waiting: the command of train-mine has not begun (Initializing" in told.err


def test_following_goes_on_where_a_kubectl_has_ended_and_prints_no_line_twice(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = working()
    answer(kubectl, objects)
    kubectl.answers[OBJECTS] = [listed(objects)] * 5 + [listed(ended(objects))]
    kubectl.answers[STREAM] = [
        line(1, "one") + line(2, "two", "19999999"),
        (1, "error: unexpected EOF"),
        line(2, "one, half a second earlier", "1") + line(2, "two", "19999999") + line(2, "three", "2"),
        line(2, "three", "2") + line(3, "four"),
    ]
    assert main(["logs", str(submitted(tmp_path)), "--follow"]) == 0
    told = capsys.readouterr()
    said = [text.partition(" | ")[2] for text in told.out.splitlines() if " | " in text]
    assert said == ["one", "two", "three", "four"]
    assert told.out.count("== job train-mine, pod") == 1
    assert told.out.endswith("== job train-mine has ended\n")
    assert "waiting: sandbox, namespace kstate: unexpected EOF" in told.err
    asked = [words[-2] for words in kubectl.calls if "--follow" in words]
    assert asked[:2] == ["--tail=30", "--since-time=2026-11-27T18:00:02Z"]


def test_following_goes_over_to_the_head_of_a_retry_and_shows_all_it_says(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    first = working()
    second = deepcopy(first)
    second[1]["metadata"] |= {"name": "train-mine-zzzzz-head-2", "creationTimestamp": "2026-11-27T19:00:00Z"}
    second[1]["metadata"]["labels"]["ray.io/cluster"] = second[0]["status"]["rayClusterName"] = "train-mine-zzzzz"
    waiting = deepcopy(first)
    waiting[0]["status"] |= {"jobDeploymentStatus": "Retrying"}
    answer(kubectl, first)
    kubectl.answers[OBJECTS] = [listed(one) for one in (first, waiting[:1], waiting[:1], second, ended(second))]
    kubectl.answers[STREAM] = line(1, "first")
    kubectl.answers["logs train-mine-zzzzz-head-2"] = line(1, "second")
    assert main(["logs", str(submitted(tmp_path)), "--follow", "--lines", "1"]) == 0
    told = capsys.readouterr()
    assert [text for text in told.out.splitlines() if " | " in text] == [
        "xq45v-head-wdcf7 | first",
        "zzzzz-head-2 | second",
    ]
    assert "waiting: the command of train-mine has not begun (Retrying" in told.err
    assert "--tail=-1" in next(words for words in kubectl.calls if "train-mine-zzzzz-head-2" in words)


def test_following_says_what_a_job_waits_for_and_ends_when_it_is_gone(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    objects, events = recorded("crash")
    answer(kubectl, objects, events)
    kubectl.answers[OBJECTS] = [listed(objects), (1, "Unable to connect to the server: i/o timeout"), listed([])]
    assert main(["logs", str(submitted(tmp_path)), "--follow"]) == 0
    told = capsys.readouterr()
    assert "waiting: the command of train-mine has not begun (Initializing: " in told.err
    assert "cannot pull registry.example.com/deepscaler:train" in told.err
    assert "waiting: sandbox, namespace kstate: Unable to connect to the server: i/o timeout" in told.err
    assert "== train-mine is not on the cluster; what it wrote is on the volume of the runs" in told.out


def test_a_log_that_may_not_be_read_is_not_asked_for_again_and_again(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(kubectl, working())
    kubectl.answers["logs"] = (
        1,
        'Error from server (Forbidden): pods "x" is forbidden: User "researcher" cannot get resource "pods/log" in API'
        ' group "" in the namespace "kstate"\n',
    )
    assert main(["logs", str(submitted(tmp_path)), "--follow"]) == 2
    assert "your user lacks this right" in capsys.readouterr().err


def test_a_pod_shows_every_container_that_has_spoken(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    objects, events = deepcopy(recorded("crash"))
    worker = objects[2]
    name = worker["metadata"]["name"]
    worker["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    answer(kubectl, objects, events)
    kubectl.answers["logs"] = "FAIL  gpu  none\n"
    assert main(["logs", str(submitted(tmp_path)), "--job", name]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[:2] == [f"== pod {name}, container preflight", "preflight    | FAIL  gpu  none"]
    assert f"== pod {name}, container ray-worker, its last try\n" in out
    assert kubectl.calls[-1] == ["logs", name, "-c", "ray-worker", "--tail=30", "--previous"]


def test_what_is_no_job_and_no_pod_of_the_run_is_refused(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(kubectl, working())
    assert main(["logs", str(submitted(tmp_path)), "--job", "train-mien"]) == 2
    assert "unknown job or pod 'train-mien' (did you mean 'train-mine'?)" in capsys.readouterr().err
    objects, events = recorded("crash")
    answer(kubectl, objects, events)
    assert main(["logs", str(tmp_path)]) == 2
    assert "the command of train-mine has not begun (Initializing: " in capsys.readouterr().err


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def streaming(folder: Path, does: str, says: str = "") -> None:
    """Replaces kubectl by one that answers as the fake one does, but for a log that is followed."""
    fake = Path(os.environ["PATH"].split(":")[0], "kubectl")
    real = fake.rename(fake.with_name("answers.py"))
    pid = f"echo $$ > {folder}/new && mv {folder}/new {folder}/pid"
    fake.write_text(f'#!/bin/sh\ncase "$*" in *--follow*) echo "{says}"; {pid}; {does};; *) exec {real} "$@";; esac\n')
    fake.chmod(0o755)


def test_following_ends_with_the_job_though_its_pod_lives_on(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "ASK_EVERY", 0.1)
    monkeypatch.setattr(follow, "REST", 1.0)
    objects = working()
    answer(kubectl, objects)
    streaming(tmp_path, "exec sleep 600", says=line(1, "one").strip())

    def end_once_it_has_spoken() -> None:
        wait_until((tmp_path / "pid").is_file)
        kubectl.answers[OBJECTS] = listed(ended(objects))

    thread = Thread(target=end_once_it_has_spoken)
    thread.start()
    assert main(["logs", str(submitted(tmp_path)), "--follow"]) == 0
    thread.join()
    assert "xq45v-head-wdcf7 | one\n== job train-mine has ended\n" in capsys.readouterr().out
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_training_that_is_cancelled_is_followed_until_its_pods_are_gone(
    tmp_path: Path, kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = working()
    answer(kubectl, objects)
    pods = [one for one in objects if one["kind"] == "Pod"]
    kubectl.answers[OBJECTS] = [listed(objects), *[listed(pods)] * 4, listed([])]
    kubectl.answers["logs"] = [line(1, "step 1"), line(2, "saving"), line(3, "saved"), ""]
    assert main(["logs", str(submitted(tmp_path)), "--follow"]) == 0
    out = capsys.readouterr().out
    assert out.endswith("| saved\n== job train-mine has ended\n")


def test_ctrl_c_ends_the_kubectl_that_follows(tmp_path: Path, kubectl: FakeKubectl) -> None:
    answer(kubectl, working())
    run = submitted(tmp_path)
    streaming(tmp_path, "exec sleep 600")
    pid = tmp_path / "pid"
    # a shell starts what is in the background without the signal, and Python takes that over
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"import runpy, signal; {heard}; runpy.run_module('deepscaler', run_name='__main__')"
    command = [sys.executable, "-c", program, "logs", str(run), "--follow"]
    child = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    try:
        wait_until(pid.is_file)
        child.send_signal(signal.SIGINT)
        assert child.wait(120) == 130
    finally:
        child.kill()
        child.wait()
    wait_until(lambda: not _lives(int(pid.read_text())))


def _lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
