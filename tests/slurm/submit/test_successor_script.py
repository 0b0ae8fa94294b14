"""The lines of a batch script around a restart and a successor, run by bash.

SLURM's commands write down what they are asked.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.places import ROOT
from tests.slurm.conftest import Fake

SCRIPTS = [ROOT / "slurm/submit" / name for name in ("restart.sh", "successor.sh")]
ENDED = "JobId={job} JobState={state} Reason={reason} PreemptTime={time}"
RUNNING = ENDED.format(job=8, state="RUNNING", reason="None", time="None")
CANNOT_REACH = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
FORGOTTEN = "slurm_load_jobs error: Invalid job id specified"


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

    def is_away(self, name: str, times: int) -> None:
        """Has a command fail so many times before it answers, as while a controller starts again."""
        program, count = self.root / "bin" / name, self.root / f"asked {name}"
        program.rename(program.with_name(f"real-{name}"))
        program.write_text(
            f"#!/bin/sh\necho >>'{count}'\n[ $(wc -l <'{count}') -gt {times} ] && exec real-{name} \"$@\"\n"
            f"echo '{CANNOT_REACH}' >&2\nexit 1\n"
        )
        program.chmod(0o755)

    def run(self, lines: str, *arguments: str, restart: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs lines after the functions, as job 8 of ada."""
        script = self.root / "script"
        functions = "\n".join(path.read_text() for path in SCRIPTS)
        # A pause takes no time here, but the script's clock counts it.
        pause = "sleep() { ((SECONDS += $1)); }"
        script.write_text(f"job_folder='{self.folder}'\n{functions}\n{pause}\n{lines}\n")
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
    made.answers("scontrol", RUNNING)
    return made


def test_a_job_queues_one_successor_and_whatever_waits_for_it_waits_for_either(cluster: Cluster) -> None:
    cluster.answers("squeue", "20 afterok:8(unfulfilled)\n21 afterok:80(unfulfilled)\n22 afterok:20(unfulfilled)")
    assert cluster.run('take_over "$@"').returncode == 0
    assert cluster.asked("sbatch") == [f"--parsable --dependency=afterany:8 {cluster.root}/script 1 8"]
    assert (cluster.folder / "successors").read_text() == "9\n"
    assert (cluster.folder / "again").exists()
    assert cluster.asked("scontrol") == ["update JobId=20 Dependency=afterok:8?afterok:9"]

    cluster.answers("squeue", "20 PENDING\n9 PENDING")
    assert cluster.run('take_over "$@"', restart=1).returncode == 0
    assert len(cluster.asked("sbatch")) == 1, "the one that waits is enough"
    cluster.answers("squeue", "")
    assert cluster.run('take_over "$@"', restart=2).returncode == 0
    assert cluster.asked("sbatch")[1].endswith("script 2 8"), "the first one is gone"
    cluster.answers("squeue", "8 RUNNING\n9 RUNNING")
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
    assert cluster.run("settle_start; settle_successor").returncode == 0
    assert not cluster.asked("scancel")


@pytest.mark.parametrize(
    ("told", "accounting", "takes_over"),
    [
        (ENDED.format(job=7, state="PREEMPTED", reason="None", time="2026-11-28T00:29:36"), "", True),
        (ENDED.format(job=7, state="NODE_FAIL", reason="NodeDown", time="None"), "", True),
        (ENDED.format(job=7, state="TIMEOUT", reason="TimeLimit", time="None"), "", True),
        (ENDED.format(job=7, state="CANCELLED", reason="None", time="None"), "", False),
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
    cluster.answers("scontrol", told or FORGOTTEN, code=0 if told else 1)
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
    cluster.answers("scontrol", ENDED.format(job=8, state=state, reason=reason, time=time))
    assert cluster.run("settle_start; settle_successor", "1", "7", restart=2).returncode == 0
    assert (cluster.folder / "again").exists() is left
    assert cluster.asked("scancel") == ([] if left else ["9"])


END = "settle_start; settle_successor; requeue"


def test_a_job_that_cannot_come_to_its_task_is_given_up_at_its_third_start(cluster: Cluster) -> None:
    (cluster.folder / "again").touch()
    (cluster.folder / "successors").write_text("9\n")
    for restart in range(2):
        assert cluster.run(END, restart=restart).returncode == 0
        assert "requeue 8" in cluster.asked("scontrol")[-1]
    assert (cluster.folder / "again").exists()
    assert not cluster.asked("scancel")
    last = cluster.run(END, restart=2)
    assert last.stdout.startswith("giving up: three starts in a row ended before the kit's first line")
    assert cluster.asked("scancel") == ["9"]
    assert len([line for line in cluster.asked("scontrol") if line.startswith("requeue")]) == 2
    assert not (cluster.folder / "again").exists()


def test_starts_that_came_to_the_task_or_that_slurm_preempted_are_not_given_up(cluster: Cluster) -> None:
    (cluster.folder / "again").touch()
    (cluster.folder / "attempt-02").mkdir()
    for restart in range(5):  # the third comes to its task
        assert cluster.run(END, restart=restart).returncode == 0
    cluster.answers("scontrol", ENDED.format(job=8, state="RUNNING", reason="None", time="2026-11-28T00:29:36"))
    for restart in range(5, 10):
        assert cluster.run(END, restart=restart).returncode == 0
    assert (cluster.folder / "again").exists()
    assert cluster.asked("scontrol").count("requeue 8") == 10


def test_what_a_person_cancels_before_it_comes_to_its_task_is_not_requeued(cluster: Cluster) -> None:
    (cluster.folder / "again").touch()
    (cluster.folder / "successors").write_text("9\n")
    cluster.answers("scontrol", ENDED.format(job=8, state="COMPLETING", reason="None", time="None"))
    assert cluster.run(END).returncode == 0
    assert "requeue 8" not in cluster.asked("scontrol")
    assert cluster.asked("scancel") == ["9"]
    assert not (cluster.folder / "again").exists()


def test_a_controller_that_starts_again_is_asked_until_it_answers(cluster: Cluster) -> None:
    (cluster.folder / "again").touch()
    (cluster.folder / "attempt-00").mkdir()
    cluster.is_away("scontrol", 3)
    assert cluster.run("settle_start; requeue").returncode == 0
    assert cluster.asked("scontrol") == ["--oneliner show job 8", "requeue 8"]


def test_a_controller_that_stays_away_is_asked_for_a_minute(cluster: Cluster) -> None:
    (cluster.folder / "again").touch()
    cluster.is_away("scontrol", 1000)
    assert cluster.run("settle_start; requeue").returncode == 0
    assert 20 < len((cluster.root / "asked scontrol").read_text().splitlines()) <= 31, "every two seconds"
    assert (cluster.folder / "again").exists(), "a successor may resume"


def test_a_requeue_that_slurm_refuses_for_good_is_not_repeated(cluster: Cluster) -> None:
    (cluster.folder / "again").touch()
    (cluster.folder / "attempt-00").mkdir()
    cluster.answers("scontrol", "Requested operation is presently disabled for job 8", code=1)
    done = cluster.run(f"this_job='{RUNNING}'; requeue")
    assert done.stdout == "SLURM does not requeue job 8\n"
    assert cluster.asked("scontrol") == ["requeue 8"]


def test_a_start_that_slurm_lost_sight_of_does_not_requeue_the_one_in_its_place(cluster: Cluster) -> None:
    (cluster.folder / "again").touch()
    (cluster.folder / "attempt-00").mkdir()
    cluster.answers("scontrol", f"{RUNNING} Requeue=1 Restarts=1 BatchFlag=1")
    assert cluster.run(END).returncode == 0
    assert "requeue 8" not in cluster.asked("scontrol")
    (cluster.folder / "attempt-01").mkdir()
    assert cluster.run(END, restart=1).returncode == 0
    assert "requeue 8" in cluster.asked("scontrol")


def test_an_element_of_an_array_is_not_taken_for_the_whole(cluster: Cluster) -> None:
    (cluster.folder / "again").touch()
    (cluster.folder / "attempt-00").mkdir()
    own, other = (
        f"JobId={job} ArrayJobId=8 JobState={state} Reason=None" for job, state in ((8, "COMPLETING"), (9, "RUNNING"))
    )
    cluster.answers("scontrol", f"{other}\n{own}")
    assert cluster.run("settle_start; requeue").returncode == 0
    assert cluster.asked("scontrol") == ["--oneliner show job 8"]


def test_while_no_controller_answers_a_successor_counts_as_still_there(cluster: Cluster) -> None:
    (cluster.folder / "successors").write_text("9\n")
    cluster.answers("squeue", "9 PENDING")
    cluster.is_away("squeue", 1000)
    assert cluster.run('take_over "$@"', restart=1).returncode == 0
    assert not cluster.asked("sbatch"), "two would wait for the same job, and both would resume"
    assert (cluster.folder / "again").exists()
