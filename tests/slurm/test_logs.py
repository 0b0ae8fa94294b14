"""`deepscaler logs` chooses a job, and shows its log until the job has ended."""

import os
from pathlib import Path

import pytest

from deepscaler.cli import main
from slurm import logs
from slurm.job_folder import JobAttempt, JobFolder
from slurm.jobs import record, submitting
from tests.slurm.conftest import Fake


def begin(root: Path, text: str, began: float) -> JobAttempt:
    """Begins the first start of a job at a point in time, with a line in its node's log."""
    attempt = JobFolder(root).begin(0, 0)
    attempt.log_path("n1").write_text(f"{text}\n")
    os.utime(attempt.root, (began, began))
    return attempt


def answers(folder: Path, *steps: str) -> None:
    """Has squeue run one step after another, whatever it is asked, the last one again and again."""
    cases = "".join(f"{number}) {step} ;;\n" for number, step in enumerate(steps[:-1], start=1))
    count = f"n=$(cat {folder}/n 2>/dev/null || echo 0); n=$((n + 1)); echo $n >{folder}/n"
    (folder / "bin/squeue").write_text(f"#!/bin/sh\n{count}\ncase $n in\n{cases}*) {steps[-1]} ;;\nesac\n")


@pytest.fixture
def run(tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the folder of a run whose job 7 has begun, and whose job 8 and then job 9 were submitted after it."""
    monkeypatch.setattr(logs, "POLL", 0.01)
    monkeypatch.setattr(logs, "ASK_EVERY", 0.01)
    fake(squeue="")
    root = tmp_path / "run"
    with submitting(root) as jobs:
        for number in (7, 8, 9):
            record(root, jobs, str(number), root / f"slurm/000{number}-train-8k")
    begin(root / "slurm/0007-train-8k", "of the old job", 1000.0)
    return root


def test_after_a_submission_its_job_is_followed_from_its_place_in_the_queue_to_its_end(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = run / "slurm/0008-train-8k/attempt-00"
    answers(
        tmp_path,
        "printf '8|PENDING|Priority|0:00||N/A\\n9|PENDING|Dependency|0:00||N/A\\n'",
        "echo '8|PENDING|Priority|0:00||N/A'",
        "echo '8|PENDING|Resources|0:00||N/A'",
        f"mkdir -p {new}; echo first >{new}/n1.log; echo '8|RUNNING|None|0:01|n1|N/A'",
        f"echo last >>{new}/n1.log",
    )
    assert main(["logs", str(run), "--follow"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[0].startswith("== job 8, attempt-00: ")
    assert [line.partition("| ")[2] for line in told.out.splitlines()[1:]] == ["first", "last"]
    reasons = ["PENDING (Priority)", "PENDING (Resources)", "RUNNING"]  # its nodes have not written anything yet
    assert told.err.splitlines() == [f"waiting: job 8 is {reason}" for reason in reasons]


@pytest.mark.parametrize(
    ("squeue", "job"),
    [
        ("7|RUNNING|None|1:00|n1|N/A\n9|PENDING|Dependency|0:00||N/A", 7),
        ("8|RUNNING|None|1:00|n1|N/A\n9|PENDING|Dependency|0:00||N/A", 8),
        ("", 8),
    ],
)
def test_of_several_jobs_the_one_that_began_last_is_followed_among_those_that_live(
    squeue: str, job: int, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(run / "slurm/0008-train-8k", "of job 8", 2000.0)
    (tmp_path / "told").write_text(squeue)
    answers(tmp_path, f"cat {tmp_path}/told", ":")
    assert main(["logs", str(run), "--follow"]) == 0
    assert capsys.readouterr().out.startswith(f"== job {job}, attempt-00: ")


def test_without_following_the_newest_that_began_is_shown_whether_slurm_answers_or_not(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(tmp_path, "exit 1")
    assert main(["logs", str(run)]) == 0
    assert "of the old job" in capsys.readouterr().out


def test_a_successor_is_followed_in_the_folder_of_its_job(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "slurm/0007-train-8k/successors").write_text("10\n")
    begin(run / "slurm/0008-train-8k", "of job 8", 2000.0)
    answers(tmp_path, "echo '10|PENDING|Dependency|0:00||N/A'", ":")
    assert main(["logs", str(run), "--follow"]) == 0
    assert capsys.readouterr().out.startswith("== job 7, attempt-00: ")
