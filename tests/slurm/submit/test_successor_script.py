"""The lines of a batch script around a successor, run by bash; SLURM's commands write down what they are asked."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.places import ROOT
from tests.slurm.conftest import Fake

SCRIPT = ROOT / "slurm/submit/successor.sh"
ENDED = "JobState={state} Reason={reason} PreemptTime={time}"


@dataclass(frozen=True)
class Cluster:
    """A job's folder, and programs in place of SLURM."""

    root: Path
    fake: Fake

    def answers(self, name: str, text: str, code: int = 0) -> None:
        """Has a command print a text, and write its arguments to `asked`."""
        self.fake(**{name: text})
        program = self.root / "bin" / name
        program.write_text(
            f'#!/bin/sh\necho "{name} $*" >>"{self.root}/asked"\ncat <<\'END\'\n{text}\nEND\nexit {code}\n'
        )

    def run(self, lines: str, *arguments: str, restart: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs lines after the functions, as job 8 of ada."""
        script = self.root / "script"
        script.write_text(f"job_folder='{self.folder}'\n{SCRIPT.read_text()}\n{lines}\n")
        environment = {"PATH": f"{self.root}/bin:/usr/bin:/bin", "SLURM_JOB_ID": "8", "SLURM_JOB_USER": "ada"}
        environment |= {"SLURM_RESTART_COUNT": str(restart), "SLURM_CONF": "/etc/slurm.conf", "SLURM_NTASKS": "2"}
        return subprocess.run(
            ["bash", str(script), *arguments], capture_output=True, text=True, env=environment, check=False
        )

    @property
    def folder(self) -> Path:
        """Of the job."""
        return self.root / "a job"

    def asked(self, name: str) -> list[str]:
        """What a command was asked."""
        lines = (self.root / "asked").read_text().splitlines() if (self.root / "asked").is_file() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{name} ")]


@pytest.fixture
def cluster(tmp_path: Path, fake: Fake) -> Cluster:
    made = Cluster(tmp_path, fake)
    made.folder.mkdir()
    for name, text in (("squeue", ""), ("scancel", ""), ("sbatch", "9;cluster"), ("sacct", "")):
        made.answers(name, text)
    made.answers("scontrol", ENDED.format(state="RUNNING", reason="None", time="None"))
    return made


def test_a_job_queues_one_successor_and_whatever_waits_for_it_waits_for_either(cluster: Cluster) -> None:
    cluster.answers("squeue", "20 afterok:8(unfulfilled)\n21 afterok:80(unfulfilled)\n22 afterok:20(unfulfilled)")
    assert cluster.run('take_over "$@"').returncode == 0
    assert cluster.asked("sbatch") == [f"--parsable --dependency=afterany:8 {cluster.root}/script 1 8"]
    assert (cluster.folder / "successors").read_text() == "9\n"
    assert (cluster.folder / "again").exists()
    assert cluster.asked("scontrol") == ["update JobId=20 Dependency=afterok:8?afterok:9"]

    cluster.answers("squeue", "PENDING")
    assert cluster.run('take_over "$@"', restart=1).returncode == 0
    assert len(cluster.asked("sbatch")) == 1, "the one that waits is enough"
    cluster.answers("squeue", "")
    assert cluster.run('take_over "$@"', restart=2).returncode == 0
    assert cluster.asked("sbatch")[1].endswith("script 2 8"), "the first one is gone"
    cluster.answers("squeue", "RUNNING")
    late = cluster.run('take_over "$@"', restart=3)
    assert (late.returncode, late.stdout) == (130, "job 9 has taken over\n")


def test_a_successor_is_told_nothing_of_the_allocation_that_queues_it(cluster: Cluster) -> None:
    (cluster.root / "bin/sbatch").write_text(f'#!/bin/sh\nenv >"{cluster.root}/env"\necho 9\n')
    cluster.run('take_over "$@"')
    told = [line for line in (cluster.root / "env").read_text().splitlines() if line.startswith("SLURM_")]
    assert told == ["SLURM_CONF=/etc/slurm.conf"]


def test_where_slurm_takes_no_successor_the_job_works_without_and_says_so(cluster: Cluster) -> None:
    cluster.answers("sbatch", "", code=1)
    done = cluster.run('take_over "$@"\necho works')
    assert done.stdout.splitlines() == [
        "SLURM takes no successor of job 8: if SLURM ends it for good, nothing resumes it",
        "works",
    ]
    assert not (cluster.folder / "successors").exists()
    cluster.answers("sacct", "COMPLETED")
    assert cluster.run("settle_successor").returncode == 0
    assert not cluster.asked("scancel")


@pytest.mark.parametrize(
    ("told", "accounting", "takes_over"),
    [
        (ENDED.format(state="PREEMPTED", reason="None", time="2026-11-28T00:29:36"), "", True),
        (ENDED.format(state="NODE_FAIL", reason="NodeDown", time="None"), "", True),
        (ENDED.format(state="TIMEOUT", reason="TimeLimit", time="None"), "", True),
        (ENDED.format(state="CANCELLED", reason="None", time="None"), "", False),
        (None, "CANCELLED by 1000", False),
        (None, "PREEMPTED", True),
        (None, "", True),
    ],
)
def test_a_successor_takes_over_unless_somebody_cancelled_the_job_before_it(
    told: str | None, accounting: str, takes_over: bool, cluster: Cluster
) -> None:
    (cluster.folder / "successors").write_text("8\n")
    (cluster.folder / "7_submitted.pkl").write_text("task")
    (cluster.folder / "again").touch()
    cluster.answers("scontrol", told or "", code=0 if told else 1)
    cluster.answers("sacct", accounting)
    done = cluster.run('take_over "$@"', "1", "7")
    assert done.returncode == (0 if takes_over else 130), done
    assert (cluster.folder / "8_submitted.pkl").exists() is takes_over
    assert len(cluster.asked("sbatch")) == takes_over
    (cluster.folder / "again").unlink()
    assert cluster.run('take_over "$@"', "1", "7").stdout == "job 7 has left nothing to resume\n"
    assert cluster.run('take_over "$@"', "1", "7", restart=1).returncode == 0, "this is a start of its own again"


@pytest.mark.parametrize(
    ("state", "reason", "time", "left"),
    [
        ("COMPLETING", "None", "None", False),
        ("COMPLETING", "None", "2026-11-28T00:29:36", True),
        ("COMPLETING", "NodeDown", "None", True),
        ("RUNNING", "None", "None", True),
    ],
)
def test_at_its_end_a_job_that_somebody_cancelled_takes_its_successor_along(
    state: str, reason: str, time: str, left: bool, cluster: Cluster
) -> None:
    (cluster.folder / "attempt-1002").mkdir()
    (cluster.folder / "again").touch()
    (cluster.folder / "successors").write_text("8\n9\n")
    cluster.answers("scontrol", ENDED.format(state=state, reason=reason, time=time))
    cluster.answers("squeue", state)
    assert cluster.run("settle_successor", "1", "7", restart=2).returncode == 0
    assert (cluster.folder / "again").exists() is left
    assert cluster.asked("scancel") == ([] if left else ["9"])


def test_a_job_whose_command_could_not_be_started_has_no_successor(cluster: Cluster) -> None:
    (cluster.folder / "again").touch()
    (cluster.folder / "successors").write_text("9\n")
    cluster.answers("squeue", "RUNNING")
    assert cluster.run("settle_successor").returncode == 0
    assert cluster.asked("scancel") == ["9"]
    assert not (cluster.folder / "again").exists()
