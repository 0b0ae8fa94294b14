"""What sbatch reads, for every recipe on every kind of site: whole texts, compared with committed ones."""

import os
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from deepscaler.fabric import Fabric, fabric_variables
from deepscaler.job import train_job
from deepscaler.recipes.published import RECIPES
from deepscaler.system.errors import UserError
from slurm.site import Site, load_site
from slurm.submit.script import Submission, node_task
from tests.places import ROOT
from tests.slurm.conftest import Fake

GOLDEN = ROOT / "tests/golden/slurm"
KINDS = ("venv", "pyxis", "apptainer")
COMMITTED = ("8k", "16k")
"""Recipes whose whole scripts are committed: one node, and several."""


def submission(recipe: str, site: Site, after: tuple[str, ...] = ()) -> Submission:
    folder = Path("/runs") / recipe
    job = train_job(RECIPES[recipe], ["train", recipe, "--output-dir", str(folder)])
    own = folder / f"slurm/0001-{job.name}"
    tasks = (node_task(job, site, own, folder),)
    return Submission(job=job, tasks=tasks, site=site, run_folder=folder, folder=own, after=after)


def script_of(fake: Fake, recipe: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> str:
    fake()
    monkeypatch.setenv("LOGNAME", "ada")
    return submission(recipe, load_site(ROOT / f"slurm/sites/{kind}.toml")).script()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("recipe", COMMITTED)
def test_the_batch_script_is_the_committed_one(
    fake: Fake, recipe: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = script_of(fake, recipe, kind, monkeypatch)
    file = GOLDEN / f"{recipe}-{kind}.sbatch"
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(script)
    assert script == file.read_text(), f"if this is meant: make golden, and look at {file}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("recipe", sorted(set(RECIPES) - set(COMMITTED)))
def test_another_recipe_changes_only_its_name_and_the_numbers_of_nodes_and_gpus(
    fake: Fake, recipe: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = script_of(fake, recipe, kind, monkeypatch)
    nodes, gpus = RECIPES[recipe].num_nodes, RECIPES[recipe].gpus_per_node
    committed = (GOLDEN / f"8k-{kind}.sbatch").read_text()
    expected = re.sub(r"\b8k\b", recipe, committed).replace("--nodes=1\n", f"--nodes={nodes}\n")
    assert script == re.sub(r"(--gpus-per-node=|--gres=gpu:(?:a100:)?)8\n", rf"\g<1>{gpus}\n", expected)


def test_a_job_that_waits_goes_when_that_can_never_succeed(fake: Fake) -> None:
    fake()
    script = submission("16k", Site(), ("4711",)).script()
    assert "#SBATCH --dependency=afterok:4711\n" in script
    assert "#SBATCH --kill-on-invalid-dep=yes\n" in script
    assert "#SBATCH --nodes=4\n" in script
    assert "#SBATCH --gpus-per-node=8\n" in script


def test_a_site_that_forbids_requeueing_gets_none(fake: Fake) -> None:
    fake()
    script = submission("8k", Site(requeue="never")).script()
    assert "requeue" not in script.splitlines()
    assert "#SBATCH --no-requeue\n" in script
    assert "sbatch" not in submission("8k", Site(requeue="never", successor="never")).script().replace("#SBATCH", "")
    assert not submission("8k", Site(requeue="never", successor="never")).tasks[0].again


def test_where_a_job_may_be_ended_for_good_it_queues_a_successor_before_anything_else(fake: Fake) -> None:
    fake()
    assert "successor" not in submission("8k", Site()).script()
    for site in (Site(requeue="never"), Site(successor="always")):
        one = submission("8k", replace(site, setup=("module load cuda",)))
        script = one.script()
        assert script.index('take_over "$@"\n') < script.index("module load cuda") < script.index("srun ")
        assert script.index("settle_successor\n", script.index("# teardown"))
        assert one.tasks[0].again
    assert script.splitlines()[-2:] == ["requeue", "exit $code"]


def run_script(one: Submission, tmp_path: Path, code: int) -> list[str]:
    """Runs a batch script as SLURM would, with a task that ends with a code; returns what scontrol was asked."""
    (tmp_path / "bin/srun").write_text(f"#!/bin/sh\nexit {code}\n")
    asked = tmp_path / "asked"
    told = "JobId=8 JobState=RUNNING Reason=None PreemptTime=None"
    (tmp_path / "bin/scontrol").write_text(f'#!/bin/sh\necho "$*" >>{asked}\necho {told}\n')
    environment = {**os.environ, "SLURM_JOB_ID": "8", "SLURM_ARRAY_TASK_ID": "1", "SLURM_JOB_END_TIME": "1"}
    done = subprocess.run(["bash", "-c", one.script()], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return asked.read_text().splitlines() if asked.is_file() else []


def test_a_job_that_a_signal_ends_before_python_has_begun_is_requeued(fake: Fake, tmp_path: Path) -> None:
    fake(srun="", scontrol="")
    one = replace(submission("8k", Site()), folder=tmp_path / "job", run_folder=tmp_path)
    for shown in (one, replace(one, tasks=one.tasks * 2)):
        assert run_script(shown, tmp_path, 143)[-1] == "requeue 8"
    assert (tmp_path / "job/again").exists()
    assert (tmp_path / "job/1/again").exists(), "each element of an array has its own"


def test_what_runs_on_every_node_for_itself_is_not_started_again(fake: Fake, tmp_path: Path) -> None:
    fake(srun="", scontrol="")
    one = submission("8k", Site())
    alone = replace(one, tasks=(replace(one.tasks[0], everywhere=True),), folder=tmp_path / "job", run_folder=tmp_path)
    assert run_script(alone, tmp_path, 0) == []
    assert not (tmp_path / "job").exists()


def test_a_container_is_told_which_successor_it_is(fake: Fake) -> None:
    fake()
    site = Site(runtime="pyxis", image="i", requeue="never")
    assert "DEEPSCALER_SUCCESSOR" in submission("8k", site).script().partition("--container-env=")[2]


@pytest.mark.parametrize("fabric", get_args(Fabric))
def test_a_fabric_is_told_to_every_task_and_the_sites_own_variables_win(fake: Fake, fabric: Fabric) -> None:
    fake()
    script = submission("16k", Site(fabric=fabric)).script()
    for name, value in fabric_variables(fabric).items():
        assert f"export {name}={shlex.quote(value)}\n" in script
    own = submission("16k", Site(fabric=fabric, environment={"NCCL_NET": "Mine"})).script()
    assert re.findall("export NCCL_NET=.*", own) == ["export NCCL_NET=Mine"]


def test_a_site_without_a_fabric_leaves_the_choice_to_nccl(fake: Fake) -> None:
    fake()
    assert "NCCL" not in submission("16k", Site()).script()


def test_hostile_values_stay_words(fake: Fake) -> None:
    fake()
    site = Site(environment={"A": "$(touch /tmp/x)'\"; rm -rf /"}, account="a b;c")
    script = submission("8k", site).script()
    assert """export A='$(touch /tmp/x)'"'"'"; rm -rf /'\n""" in script
    assert "#SBATCH --account='a b;c'\n" in script
    folder = Path("/runs/it's $(here)")
    hostile = replace(submission("8k", site), folder=folder)
    assert """job_folder='/runs/it'"'"'s $(here)'\n""" in hostile.script()


def test_the_job_says_what_the_local_command_says(fake: Fake) -> None:
    fake()
    job = train_job(RECIPES["16k"], ["train", "16k", "--output-dir", "/runs/16k"])
    task = node_task(job, Site(), Path("/runs/16k/slurm/0001-train-16k"), Path("/runs/16k"))
    assert task.command == ("deepscaler", "train", "16k", "--output-dir", "/runs/16k")
    assert task.num_gpus * job.num_nodes == RECIPES["16k"].world_size == 32


def test_variables_in_scratch_are_not_exported_as_they_are_written(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake()
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("LOGNAME", "ada")
    container = Site(runtime="pyxis", image="i", scratch="/scratch/$USER")
    script = submission("8k", container).script()
    assert "export TRITON_CACHE_DIR=/scratch/ada/deepscaler-ada/triton\n" in script
    assert ",/scratch/ada:/scratch/ada," in script
    assert "$USER" not in script
    with pytest.raises(UserError, match=r"'\$TMPDIR' for scratch: a container is given a folder when it is submitted"):
        submission("8k", replace(container, scratch="$TMPDIR")).script()


@pytest.mark.parametrize("scratch", ["$TMPDIR", "/local/$SLURM_JOB_ID", "$SLURM_TMPDIR/x"])
def test_where_only_nodes_know_their_scratch_they_name_the_folders_of_compiled_kernels(
    fake: Fake, scratch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake()
    monkeypatch.setenv("SLURM_JOB_ID", "1")  # of the job that one submits from
    one = submission("8k", Site(scratch=scratch, cache="/cache", environment={"VLLM_CACHE_ROOT": "/own"}))
    assert "/triton" not in one.script()
    assert "/inductor" not in one.script(), "neither below the shared cache, where nodes would read each other's files"
    assert one.tasks[0].scratch == scratch
    assert one.tasks[0].caches == ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"), "but for the site's own"
    assert submission("8k", Site(scratch="/local")).tasks[0].caches == (), "which the batch script exports"
