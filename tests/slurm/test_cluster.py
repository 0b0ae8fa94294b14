from pathlib import Path

import pytest

from deepscaler.fabric import Adapter, Fabric
from deepscaler.launch.launcher import JobState
from deepscaler.system.errors import UserError
from slurm import cluster
from slurm import discover as discovery
from slurm.cluster import live_jobs, past_state
from slurm.discover import discover
from slurm.site import load_site
from tests.slurm.conftest import Fake, NoSlurm


def test_a_machine_without_slurm_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UserError, match="no squeue on this machine: run it on a login node"):
        live_jobs(["1"])


def test_how_a_job_is_ending_is_what_slurm_says_and_nobody_knows_without_slurm(fake: Fake, no_slurm: NoSlurm) -> None:
    for told, ending in (
        ("JobState=RUNNING Reason=None PreemptTime=2026-11-28T00:29:36", ""),
        ("JobState=COMPLETING Reason=None PreemptTime=None", "cancels"),
        ("JobState=COMPLETING Reason=None PreemptTime=2026-11-28T00:29:36", "preempts"),
        ("JobState=COMPLETING Reason=NodeDown", "ends"),
        ("", ""),
    ):
        fake(scontrol=told)
        assert cluster.how_ending(7) == ending
    no_slurm()
    assert cluster.how_ending(7) == ""


def test_what_slurm_says_over_several_lines_is_one(fake: Fake, tmp_path: Path) -> None:
    fake(squeue="")
    (tmp_path / "bin/squeue").write_text("#!/bin/sh\nprintf 'error:\\n\\n  socket timed out\\n' >&2\nexit 1\n")
    with pytest.raises(UserError, match=r"squeue --noheader --array failed: error: socket timed out$"):
        live_jobs(["7"])


def test_elements_of_an_array_stand_for_their_array(fake: Fake) -> None:
    fake(squeue="7_0|RUNNING|None|1:02|n1|2026-01-01T00:00:00\n7_[1-3]|PENDING|Priority|0:00||N/A")
    jobs = live_jobs(["7"])
    assert jobs["7_0"] == JobState("7_0", "RUNNING", "None", "1:02", "n1", "2026-01-01T00:00:00")
    assert jobs["7"].state == "RUNNING"


def test_nodes_that_are_only_away_do_not_make_a_job_impossible(fake: Fake, tmp_path: Path) -> None:
    refusal = "allocation failure: Requested node configuration is not available"
    fake(sinfo="")
    sbatch = tmp_path / "bin/sbatch"
    sbatch.write_text(f"#!/bin/sh\necho '{refusal}' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    with pytest.raises(UserError, match="would refuse this job: Requested node configuration is not available; change"):
        cluster.test_submission("#!/bin/sh", "gpu")
    fake(sinfo="n[3-4]\nn7\nn7")
    assert cluster.test_submission("#!/bin/sh", "gpu") == "down or drained: n7, n[3-4]; a job that needs them waits"
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: nowhere' >&2\nexit 1\n")
    with pytest.raises(UserError, match="invalid partition specified: nowhere; change the site file"):
        cluster.test_submission("#!/bin/sh", "nowhere")


def test_a_job_that_the_controller_forgot_is_told_by_accounting_if_there_is_some(fake: Fake) -> None:
    fake(scontrol="", sacct="CANCELLED by 0")
    assert past_state("7") == "CANCELLED"
    fake(scontrol="JobId=7 JobName=x JobState=FAILED Reason=None", sacct="")
    assert past_state("7") == "FAILED"


def test_a_first_site_file_is_what_the_cluster_says(fake: Fake, tmp_path: Path) -> None:
    fake(
        sinfo="cpu*|infinite|10|(null)|up\na100|3-00:00:00|4|gpu:a100:8(S:0-1)|up\nold|1:00:00|2|gpu:4|down",
        sacctmgr="mathrl",
        squeue="",
        srun="",
    )
    file = tmp_path / "site.toml"
    told = discover(file)
    site = load_site(file)
    assert (site.partition, site.account, site.gpu_type, site.time_limit) == ("a100", "mathrl", "a100", "2-00:00:00")
    assert "4 nodes x 8 GPUs; there are a100, cpu" in told
    with pytest.raises(UserError, match="is there already"):
        discover(file)
    with pytest.raises(UserError, match="no partition 'b200' here; there are: a100, cpu"):
        discover(tmp_path / "other.toml", "b200")


@pytest.mark.parametrize(
    ("fabric", "line"),
    [
        ("ib", 'fabric = "ib"  # x_0 here; jobs fail where the nodes have no InfiniBand'),
        ("efa", 'fabric = "efa"  # x_0 here; jobs fail where the nodes have no EFA'),
        ("roce", '# fabric = "roce"  # if the nodes\' Ethernet is set up for it: x_0 here can do RoCE'),
    ],
)
def test_a_first_site_file_tells_of_the_adapters_that_are_seen(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fabric: Fabric, line: str
) -> None:
    fake(sinfo="gpu*|infinite|10|gpu:8|up", sacctmgr="", squeue="", srun="")
    monkeypatch.setattr(discovery, "adapters", lambda: [Adapter("x_0", fabric, usable=True)])
    file = tmp_path / "site.toml"
    discover(file)
    assert line in file.read_text().splitlines()
    assert load_site(file).fabric == ("auto" if fabric == "roce" else fabric)
