"""What a run was given is written down; what is lost of that, SLURM still tells."""

import json
from pathlib import Path
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.system.errors import UserError
from slurm.job_folder import JobFolder
from slurm.jobs import known_states, record, submitting
from tests.slurm.conftest import Fake, NoSlurm


def written(root: Path, num_elements: int = 1) -> None:
    """One job of a run, number 7."""
    with submitting(root) as jobs:
        record(root, jobs, "7", root / "slurm/0001-evaluate", num_elements=num_elements)


def output_of(job_id: str, folder: Path, state: str = "RUNNING") -> str:
    """A line of squeue's about how a job is and where it writes to."""
    return f"{job_id:20}{state:20}{folder}/slurm/0001-evaluate/%j_0_log.out"


def test_jobs_that_the_folder_has_lost_are_named_and_can_be_cancelled(
    tmp_path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "a run"
    fake(squeue=f"{output_of('6', tmp_path)}\n{output_of('8', root)}\n{output_of('8', root)}", scancel="")
    with pytest.raises(UserError, match=r"jobs of .*a run that are not written there \(any more\): 8; end them with"):
        written(root)
    assert main(["cancel", str(root), "--dry-run"]) == 0
    assert "Would cancel 8 (not written in the run's folder)" in capsys.readouterr().out
    assert main(["cancel", str(tmp_path / "another")]) == 2


def test_submitting_and_cancelling_ask_slurm_once(
    tmp_path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "run"
    fake(squeue="", scancel="")
    written(root)
    asked = tmp_path / "asked"
    squeue = tmp_path / "bin/squeue"
    lines = [output_of("7", root, "PENDING"), output_of("7", root), output_of("8", root), output_of("9", tmp_path)]
    squeue.write_text(f"#!/bin/sh\necho asked >>'{asked}'\ncat <<'EOF'\n" + "\n".join(lines) + "\nEOF\n")
    with pytest.raises(UserError, match=r"has jobs already: 7 \(PENDING\); watch them"):
        written(root)
    assert asked.read_text() == "asked\n"
    assert main(["cancel", str(root), "--dry-run"]) == 0
    assert asked.read_text() == "asked\n" * 2
    assert capsys.readouterr().out.splitlines() == [
        "Would cancel 7 (evaluate)",
        "Would cancel 8 (not written in the run's folder)",
    ]


@pytest.mark.parametrize("text", ["{", "{}", "5", '[{"job_id": "7"}]', "[7]", "[" * 100_000])
def test_a_damaged_list_of_jobs_is_never_taken_for_an_empty_one(text: str, tmp_path: Path, fake: Fake) -> None:
    fake(squeue="")
    written(tmp_path)
    (tmp_path / "slurm/jobs.json").write_text(text)
    with pytest.raises(UserError, match=r"is not a list of jobs .*; move it away and give `deepscaler cancel"):
        written(tmp_path)


def test_an_array_tells_how_many_elements_are_how(tmp_path: Path, fake: Fake) -> None:
    fake(squeue="", scontrol="", sacct="")
    written(tmp_path, num_elements=3)
    element = JobFolder(tmp_path / "slurm/0001-evaluate/2")
    element.end(element.begin(0, 0), 0, "", again=False)
    fake(squeue="7_0|RUNNING|None|1:02|n1|N/A\n7_1|PENDING|Priority|0:00||N/A\n77_0|RUNNING|None|9:02|n9|N/A")
    ((_, state),), _ = known_states(tmp_path)
    assert (state.state, state.reason) == ("1 PENDING, 1 RUNNING", "1 of 3 done, Priority")
    assert (state.elapsed, state.nodes) == ("1:02", "n1")
    fake(squeue="7_0|RUNNING|None|1:02|n1|N/A")
    assert known_states(tmp_path)[0][0][1].state == "RUNNING"
    fake(squeue="")
    ((_, state),), _ = known_states(tmp_path)
    assert (state.state, state.reason) == ("INCOMPLETE", "1 of 3 done")
    for number in (0, 1):
        element = JobFolder(tmp_path / f"slurm/0001-evaluate/{number}")
        element.end(element.begin(0, 0), 0, "", again=False)
    ((_, state),), not_asked = known_states(tmp_path)
    assert (state.state, not_asked) == ("COMPLETED", "")


def test_what_is_written_can_be_read_by_anyone(tmp_path: Path, fake: Fake) -> None:
    fake(squeue="")
    written(tmp_path)
    (entry,) = json.loads((tmp_path / "slurm/jobs.json").read_text())
    assert (entry["job_id"], entry["name"], entry["folder"]) == ("7", "evaluate", "0001-evaluate")


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ({}, "STARTED"),
        ({"code": 0, "reason": "the command ended with code 0", "again": False}, "COMPLETED"),
        ({"code": 75, "reason": "preempted", "again": True}, "REQUEUED"),
        ({"code": 2, "reason": "unknown recipe", "again": False}, "FAILED"),
    ],
)
def test_where_there_is_no_slurm_the_files_tell_how_a_job_is(
    end: dict[str, Any], state: str, tmp_path: Path, fake: Fake, no_slurm: NoSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(squeue="")
    written(tmp_path)
    no_slurm()
    assert known_states(tmp_path)[0][0][1].state == "NOT STARTED"
    folder = JobFolder(tmp_path / "slurm/0001-evaluate")
    attempt = folder.begin(0, 0)
    if end:
        folder.end(attempt, **end)
    assert main(["status", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert state in shown
    assert "SLURM was not asked (no squeue on this machine" in shown
    assert main(["status", str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["jobs"][0]["state"], answer["jobs"][0]["reason"]) == (state, end.get("reason", ""))
    assert answer["slurm_not_asked"].startswith("no squeue on this machine")


def test_an_array_is_told_by_its_files_too(tmp_path: Path, fake: Fake, no_slurm: NoSlurm) -> None:
    fake(squeue="")
    written(tmp_path, num_elements=2)
    no_slurm()
    for number, wanted in enumerate(["STARTED", "COMPLETED"]):
        element = JobFolder(tmp_path / f"slurm/0001-evaluate/{number}")
        element.end(element.begin(0, 0), 0, "", again=False)
        ((_, state),), reason = known_states(tmp_path)
        assert (state.state, state.reason) == (wanted, f"{number + 1} of 2 done")
        assert reason
