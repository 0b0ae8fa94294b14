"""`deepscaler ... --on slurm` as users type it, on a real SLURM: site file, doctor, arrays, chains, containers."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from deepscaler.data.table import problems_of
from deepscaler.runs.checkpoints import sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import parts, read_metrics
from slurm.job_folder import JobFolder
from slurm.jobs import read_jobs
from tests.integration.processes import deepscaler, run
from tests.integration.slurm.sandbox import NUM_GPUS, SITE, ask, start_driver, state_of, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("idle")]

SITE_FILE = """
partition = "gpu"
account = "research"
time_limit = "01:00:00"
exclusive = false
mem = "16G"
mem_per_gpu = "8G"
cpus_per_gpu = 4
scratch = "/tmp/ray"
object_store_gb = 0.5
join_minutes = 5.0
internet = false
"""
SMALL = ("num_steps=2", "save_every=1", "train_batch_size=2", "mini_batch_size=2", "group_size=4", "validate_every=100")
RECIPE = """
extends = "quickstart"
name = "own"
model = "{model}"
train_dataset = ["sums.jsonl"]
validation_dataset = ["held_out.jsonl"]
num_nodes = 2
{small}

[data]
problem = "question"
answer = "final"

[reward]
function = "my_reward.py:score"
parts = {{grader = 1.0, function = 0.5}}

[verl]
"data.shuffle" = false
"""
REWARD = "def score(response): return {{'score': {score}, 'brevity': 1.5}}\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    file = tmp_path / "site.toml"
    file.write_text(SITE_FILE)
    return file


def typed(*arguments: object) -> str:
    """A command that succeeds; returns what it prints."""
    done = run(deepscaler(*arguments))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wait_for_jobs(root: Path, seconds: float) -> None:
    """Until none of a run's jobs is queued or running."""
    numbers = {job.job_id for job in read_jobs(root)}

    def left() -> set[str]:
        return numbers & set(ask("squeue", "-h", "-o", "%A").split())

    def told() -> str:
        logs = "\n".join(f"{path}: {path.read_text(errors='replace')[-1500:]}" for path in root.rglob("driver.log"))
        return f"{left()} left of {numbers}: {logs}"

    wait_until(lambda: not left(), told, seconds)


def write_own_files(folder: Path, model: Path, *, shift: int = 0, score: float = 0.25, settings: str = "") -> None:
    """Writes a recipe file, its data and its reward."""
    folder.mkdir(exist_ok=True)
    for name, count in (("sums", 40), ("held_out", 4)):
        rows = [{"question": f"What is {n + shift} + {count}?", "final": n + shift + count} for n in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "my_reward.py").write_text(REWARD.format(score=score))
    (folder / "own.toml").write_text(RECIPE.format(model=model, small="\n".join((*SMALL, settings))))


@contextmanager
def all_nodes_drained() -> Iterator[None]:
    """Lets nothing that is submitted begin."""
    nodes = ask("sinfo", "-h", "-p", "gpu", "-o", "%N")
    ask("scontrol", "update", f"nodename={nodes}", "state=drain", "reason=test")
    try:
        yield
    finally:
        ask("scontrol", "update", f"nodename={nodes}", "state=resume")


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_first_site_file_and_what_is_missing_on_the_nodes(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    assert "partition gpu (4 nodes x 8 GPUs; there are gpu, preempt)" in typed("slurm", "init", file)
    doctor = ["doctor", "--on", "slurm", "--site", file, "--nodes", 2, "--for", "login", "--output-dir", tmp_path / "d"]
    if 'runtime = "pyxis"' in file.read_text():  # its stand-in is there, an image is not
        assert "deepscaler-cpu.sqsh is not there" in run(deepscaler(*doctor)).stderr
        file.write_text(file.read_text().replace('runtime = "pyxis"', 'runtime = "bare"'))
    done = run(deepscaler(*doctor))
    assert "grader all 2 ok correct" in " ".join(done.stdout.split()), done.stdout + done.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    refused = file.read_text().replace('partition = "gpu"', 'partition = "nowhere"')
    file.write_text(refused)
    done = run(deepscaler("train", "8k", "--on", "slurm", "--site", file, "--output-dir", tmp_path / "r"))
    assert done.returncode == 2
    assert "SLURM would refuse this job" in done.stderr, done.stderr
    assert not read_jobs(tmp_path / "r")


def test_jobs_run_from_a_folder_that_holds_packages_of_the_same_names(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every clone of the original DeepScaleR is such a folder. Tasks, Ray, its census and the command have to start."""
    for name in ("deepscaler", "evaluation", "slurm"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise ImportError('the other {name} is imported')\n")
    monkeypatch.chdir(tmp_path)
    typed("data", "prepare", "arithmetic", "arithmetic_train")
    settings = [part for setting in (*SMALL, f"model={tmp_path}", "num_nodes=2") for part in ("--set", setting)]
    typed("train", "quickstart", "--device", "cpu", *settings, "--on", "slurm", "--site", site, "--output-dir", "run")
    wait_for_jobs(tmp_path / "run", 240)
    (job,) = read_jobs(tmp_path / "run")
    record = JobFolder(job.folders(tmp_path / "run")[job.job_id]).last_record()
    assert record["code"] == 2, record
    assert record["reason"].startswith(f"the command ended with code 2: --model {tmp_path} holds no weights"), record


def test_an_array_loses_an_element_and_is_gathered(site: Path, model: Path, tmp_path: Path) -> None:
    root = tmp_path / "evaluation"
    typed("data", "prepare", "arithmetic")
    command = ["evaluate", "--model", model, "--datasets", "arithmetic", "--limit", 6, "--num-samples", 2]
    command += ["--output-dir", root, "--engine", "transformers", "--device", "cpu", "--max-tokens", 16]
    command += ["--problems-per-job", 3, "--on", "slurm", "--site", site]
    assert "2 elements of 1 x 0 GPUs" in typed(*command)
    array, gather = read_jobs(root)
    assert "has jobs already" in run(deepscaler(*command)).stderr
    status = typed("status", root)
    assert "gather" in status
    assert "Dependency" in status
    element = f"{array.job_id}_1"
    wait_until(lambda: list(root.glob("slurm/*/1/attempt-00/driver.log")), "element 1 begins")
    subprocess.run(["scontrol", "requeue", element], check=True)
    wait_for_jobs(root, 600)
    assert state_of(gather.job_id) == "COMPLETED", typed("logs", root)
    report = json.loads((root / "report.json").read_text())["benchmarks"]["arithmetic"]
    assert report["samples"] == report["samples_expected"] == 12
    assert (root / "slurm/0001-evaluate/1/attempt-01").is_dir()
    assert "driver" in typed("logs", root, "--job", element)
    assert "no job of this run" in typed("cancel", root).lower()


@pytest.mark.usefixtures("training")
def test_a_chain_with_a_real_training_on_two_nodes_is_requeued_and_ends(
    site: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """It trains on data and with a reward of one's own, whatever becomes of the files once it was submitted."""
    root, mine = tmp_path / "chain", tmp_path / "mine"
    write_own_files(mine, tiny_model)
    command = ["chain", mine / "own.toml", "--device", "cpu", "--output-dir", root, "--on", "slurm", "--site", site]
    with all_nodes_drained():
        typed(*command)
        assert [job.name for job in read_jobs(root)] == ["train-own", "after-own"]
        mine.rename(tmp_path / "away")
    run_folder = RunFolder(root / "1-own")
    wait_until(lambda: sealed(run_folder), lambda: f"a checkpoint: {typed('logs', root)}", 900)
    subprocess.run(["scontrol", "requeue", read_jobs(root)[0].job_id], check=True)
    started = time.monotonic()
    wait_for_jobs(root, 1500)
    print(f"\nfrom the requeue to the chain's end: {time.monotonic() - started:.0f} s")
    chain = json.loads((root / "chain.json").read_text())
    assert [stage["state"] for stage in chain["stages"]] == ["done"], typed("logs", root)
    newest = sealed(run_folder)[0]
    assert (newest.step, newest.world_size) == (2, 2)
    assert (root / "slurm/0001-train-own/attempt-01").is_dir()
    assert (root / "1-own/model/merged.json").is_file()
    assert "data.shuffle" in (root / "report.html").read_text()

    golds = {problem.golds for problem in problems_of(root / "1-own/data/train.parquet")}
    assert golds == {(str(n + 40),) for n in range(40)}
    metrics = read_metrics(run_folder)
    function = parts(metrics)["function"]  # of step 1 only if it was logged between its checkpoint and the requeue
    assert (function[-1], {value for _, value in function}) == ((2, 0.25), {0.25})
    assert metrics[2]["reward/function_brevity/mean"] == 1.5
    assert "function 0.250" in typed("status", root / "1-own")

    write_own_files(mine, tiny_model, shift=7, score=0.75)
    before = content_of(root)
    again = run(deepscaler(*command))
    assert again.returncode == 2
    assert "is done; train longer" in again.stderr
    said = " ".join(again.stdout.split())
    assert "sums.jsonl has changed since this run copied it: the run continues with its copy" in said
    assert "my_reward.py was edited since; this run continues with its own copy" in said
    write_own_files(mine, tiny_model, settings="seed = 7")
    again = run(deepscaler(*command))
    assert again.returncode == 2
    assert "holds another run (seed: 42 -> 7)" in again.stderr
    assert content_of(root) == before


def test_pyxis_is_given_image_mounts_and_variables(tmp_path: Path, pyxis: None) -> None:
    script = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"
    told = tmp_path / "told.json"
    site = replace(
        SITE, runtime="pyxis", image="/images/{target}.sqsh", python=sys.executable, environment={"NCCL_DEBUG": "WARN"}
    )
    root = tmp_path / "run"
    job = start_driver(root, [sys.executable, "-c", script, str(told)], 2, site)
    assert job.wait_for_state("COMPLETED", "FAILED") == "COMPLETED", job.logs()
    seen = json.loads(told.read_text())
    assert seen["PYXIS_STUB_CONTAINER_IMAGE"] == "/images/cpu.sqsh"
    assert f"{root}:{root}" in seen["PYXIS_STUB_CONTAINER_MOUNTS"]
    assert "NCCL_DEBUG" in seen["PYXIS_STUB_CONTAINER_ENV"].split(",")
    assert seen["RAY_ADDRESS"]


def test_apptainer_runs_each_task_with_its_folders(
    tmp_path: Path, driver: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program of that name stands for it: it keeps its arguments and runs what comes after the image."""
    told = tmp_path / "told"
    stand_in = tmp_path / "bin/apptainer"
    stand_in.parent.mkdir()
    stand_in.write_text(
        f'#!/bin/bash\necho "$@" >> {told}\nwhile [[ $1 != *.sif ]]; do shift; done\nshift\nexec "$@"\n'
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{Path('/usr/bin')}:/bin")
    site = replace(SITE, runtime="apptainer", image="/images/{target}.sif", python=sys.executable)
    root = tmp_path / "run"
    job = start_driver(root, [*driver, str(root), "2", "2", str(NUM_GPUS)], 2, site)
    assert job.wait_for_state("COMPLETED", "FAILED") == "COMPLETED", job.logs()
    (line, other) = told.read_text().splitlines()
    assert line == other
    assert f"exec --nv --bind {root}:{root}" in line
    assert f"/images/cpu.sif {sys.executable} -u -m slurm.node.begin" in line
