"""Which sites have successors is what their file and SLURM say; what they leave is shown as what it is."""

from pathlib import Path

import pytest
from rich.console import Console

from deepscaler.cli import main
from slurm.discover import discover
from slurm.job_folder import JobFolder, start_number
from slurm.jobs import known_states, read_jobs, record, submitting
from slurm.launcher import SlurmLauncher
from slurm.site import Site, load_site
from slurm.submit.successor import settled
from tests.slurm.conftest import Fake, NoSlurm

PARTITIONS = """PartitionName=gpu Default=YES PreemptMode=OFF PriorityTier=10 GraceTime=0
PartitionName=spot Default=NO PreemptMode={mode} PriorityTier={tier} GraceTime=0"""


def answering(fake: Fake, tmp_path: Path, kind: str, partitions: str = "", mode: str = "REQUEUE") -> None:
    """Has scontrol tell a configuration and partitions."""
    fake(scontrol="")
    config = f"PreemptMode             = {mode}\nPreemptType             = preempt/{kind}"
    script = f"#!/bin/sh\ncase \"$*\" in *config) echo '{config}' ;; *) echo '{partitions}' ;; esac\n"
    (tmp_path / "bin/scontrol").write_text(script)


@pytest.mark.parametrize(
    ("mode", "tier", "has"), [("CANCEL", 1, True), ("CANCEL", 10, False), ("REQUEUE", 1, False), ("OFF", 1, False)]
)
def test_jobs_have_successors_where_a_higher_partition_has_them_cancelled(
    mode: str, tier: int, has: bool, tmp_path: Path, fake: Fake
) -> None:
    answering(fake, tmp_path, "partition_prio", PARTITIONS.format(mode=mode, tier=tier))
    assert settled(Site(partition="spot")).has_successors is has
    assert settled(Site(partition="gpu,spot")).has_successors is has
    assert not settled(Site()).has_successors, "the default partition is never preempted"
    assert not settled(Site(partition="spot", successor="never")).has_successors
    assert settled(Site(successor="always")).has_successors


def test_jobs_have_successors_where_another_quality_of_service_has_them_cancelled(tmp_path: Path, fake: Fake) -> None:
    fake(sacctmgr="normal|cluster|\nhigh|cluster|normal,low\nlow|requeue|")
    answering(fake, tmp_path, "qos", mode="CANCEL")
    assert settled(Site()).has_successors
    assert settled(Site(qos="normal")).has_successors
    assert not settled(Site(qos="high")).has_successors
    assert not settled(Site(qos="low")).has_successors, "it has a mode of its own"


def test_where_nothing_is_preempted_or_slurm_is_away_the_file_alone_decides(
    tmp_path: Path, fake: Fake, no_slurm: NoSlurm
) -> None:
    answering(fake, tmp_path, "none", mode="CANCEL")
    assert not settled(Site()).has_successors
    assert settled(Site(requeue="never")).has_successors
    no_slurm()
    assert not settled(Site()).has_successors
    assert settled(Site(requeue="never")).has_successors


def test_a_job_that_a_plug_in_took_requeueing_from_is_submitted_with_a_successor(
    tmp_path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(squeue="", scancel="", sbatch="", scontrol="JobId=7 JobState=PENDING Requeue=0 Restarts=0")
    script = f'#!/bin/sh\nfor last; do :; done\n[ ! -f "$last" ] || cat "$last" >>{tmp_path}/scripts\n'
    (tmp_path / "bin/sbatch").write_text(script + "echo 'Submitted batch job 7'\n")
    site, out = tmp_path / "site.toml", tmp_path / "out"
    site.write_text(f'cache = "{tmp_path}/cache"\n')
    command = ["train", "quickstart", "--device", "cpu", "--on", "slurm", "--site", str(site), "--output-dir", str(out)]
    assert main(command) == 0
    assert "This cluster takes --requeue away from jobs." in capsys.readouterr().out
    first, second = (tmp_path / "scripts").read_text().split("#!/bin/bash")[1:]
    assert ("#SBATCH --requeue" in first, "take_over" in first) == (True, False)
    assert ("#SBATCH --no-requeue" in second, "take_over" in second) == (True, True)
    assert [job.folder for job in read_jobs(out)] == ["0001-train-quickstart"]


def test_a_first_site_file_has_successors_where_jobs_are_cancelled_for_others(tmp_path: Path, fake: Fake) -> None:
    fake(sinfo="spot*|infinite|10|gpu:8|up", sacctmgr="", squeue="", srun="")
    answering(fake, tmp_path, "partition_prio", PARTITIONS.format(mode="CANCEL", tier=1))
    discover(tmp_path / "site.toml")
    assert load_site(tmp_path / "site.toml").successor == "always"


def test_a_dry_run_says_that_jobs_have_successors(
    tmp_path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(sbatch="")
    answering(fake, tmp_path, "partition_prio", PARTITIONS.format(mode="CANCEL", tier=1))
    site = tmp_path / "site.toml"
    for partition, says in (("spot", True), ("gpu", False)):
        site.write_text(f'partition = "{partition}"\ncache = "{tmp_path}/cache"\n')
        out = ["--output-dir", str(tmp_path / "out")]
        assert main(["train", "8k", "--on", "slurm", "--site", str(site), *out, "--dry-run=full"]) == 0
        shown = capsys.readouterr().out
        assert ("When a job begins it queues a successor" in shown) is says
        assert ('take_over "$@"' in shown) is says


def test_a_successor_is_shown_and_cancelled_with_its_job(
    tmp_path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(squeue="", scontrol="JobState=PREEMPTED", sacct="", scancel="")
    with submitting(tmp_path) as jobs:
        record(tmp_path, jobs, "7", tmp_path / "slurm/0001-train-8k")
    folder = JobFolder(tmp_path / "slurm/0001-train-8k")
    for number, progress in ((start_number(0, 0), 0), (start_number(0, 1), 4), (start_number(1, 0), 4)):
        folder.begin(number, progress)
    assert [attempt.root.name for attempt in folder.attempts()] == ["attempt-00", "attempt-01", "attempt-1000"]
    assert folder.attempts_without_progress(start_number(1, 1), 4) == (0, 2), "starts of all of them are counted"
    (folder.root / "successors").write_text("8\n9\n")

    fake(squeue="8|RUNNING|None|1:02|n1|N/A\n9|PENDING|Dependency|0:00||N/A")
    states, _ = known_states(tmp_path)
    assert [(job.title, state.state) for job, state in states] == [
        ("train-8k", "PREEMPTED"),
        ("train-8k, successor 1", "RUNNING"),
        ("train-8k, successor 2", "PENDING"),
    ]
    assert states[2][1].reason == "takes over when the job before it ends"
    assert len(read_jobs(tmp_path)) == 1, "what a job queues itself is written beside its starts"
    lines = [f"{job_id:20}{state:20}/elsewhere" for job_id, state in (("8", "RUNNING"), ("9", "PENDING"))]
    fake(squeue="\n".join(lines))
    asked = tmp_path / "asked"
    (tmp_path / "bin/scancel").write_text(f'#!/bin/sh\necho "$@" >"{asked}"\n')
    assert SlurmLauncher(None).cancel(tmp_path, Console(), dry_run=False) == 0
    assert asked.read_text() == "9 8\n", "or the end of a job would let the next one begin"
    assert main(["train", "8k", "--on", "slurm", "--site", "/dev/null", "--output-dir", str(tmp_path)]) == 2
    assert f"{tmp_path} has jobs already: 8 (RUNNING), 9 (PENDING)" in capsys.readouterr().err
