"""What would go wrong on the nodes is told before anything is submitted."""

import json
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.job import Job
from deepscaler.system.errors import UserError
from slurm.site import Site
from slurm.submit.preflight import check_before
from tests.slurm.conftest import Fake

JOB = Job(name="x", arguments=(), model="owner/model", datasets=("aime",))


def test_a_folder_that_cannot_be_written_is_told_with_what_to_change(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"/proc/runs cannot be written .*choose another --output-dir"):
        check_before([JOB], Site(), Path("/proc/runs"))
    with pytest.raises(UserError, match=r"/proc/cache/deepscaler cannot be written .*set cache in the site file"):
        check_before([JOB], Site(cache="/proc/cache"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_interpreter_or_image_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'/no/python' in the site file is not a program here"):
        check_before([JOB], Site(python="/no/python"), tmp_path)
    site = Site(runtime="pyxis", image=f"{tmp_path}/{{target}}.sqsh")
    with pytest.raises(UserError, match=r"cpu\.sqsh is not there \(target cpu\)"):
        check_before([JOB], site, tmp_path)


def test_a_folder_of_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    lost = Job(name="x", arguments=(), model="/no/model")
    with pytest.raises(UserError, match="model /no/model is not a folder here; nodes need the same path"):
        check_before([lost], Site(), tmp_path)
    image = tmp_path / "image.sif"
    image.touch()
    check_before([lost], Site(runtime="apptainer", image=str(image)), tmp_path)  # it may be in the image
    with pytest.raises(UserError, match=r"image\.sif/run cannot be made, .*image\.sif is not a folder: choose another"):
        check_before([JOB], Site(), image / "run")


def test_what_is_read_and_prepared_here_lies_in_the_sites_cache(
    tmp_path: Path, fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSCALER_CACHE", "/proc/nowhere")
    fake(sbatch="")
    site = tmp_path / "site.toml"
    site.write_text(f'cache = "{tmp_path}/cache"\n')
    command = ["evaluate", "--model", "owner/model", "--datasets", "arithmetic", "--output-dir", str(tmp_path / "out")]
    assert main([*command, "--on", "slurm", "--site", str(site), "--dry-run=full"]) == 0
    assert f"export DEEPSCALER_CACHE={tmp_path}/cache/deepscaler" in capsys.readouterr().out
    fake(sbatch="Submitted batch job 7", squeue="", srun="")
    assert main([*command, "--on", "slurm", "--site", str(site)]) == 0, capsys.readouterr().err
    assert (tmp_path / "cache/deepscaler/data/arithmetic.parquet").is_file()


def test_the_short_job_of_doctor_takes_any_sites_warning(
    tmp_path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(sbatch="")
    site = tmp_path / "site.toml"
    site.write_text("warning_seconds = 3600\n")
    command = ["doctor", "--on", "slurm", "--site", str(site), "--output-dir", str(tmp_path / "out"), "--dry-run=full"]
    assert main(command) == 0
    assert "#SBATCH --signal=USR2@60" in capsys.readouterr().out


def test_without_internet_data_and_model_must_be_in_the_cache(tmp_path: Path) -> None:
    site = Site(internet=False, cache=str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"aime is not prepared: .* deepscaler data prepare aime"):
        check_before([JOB], site, tmp_path)
    prepared = tmp_path / "cache/deepscaler/data/aime.parquet"
    prepared.parent.mkdir(parents=True)
    prepared.touch()
    with pytest.raises(UserError, match=r"owner/model is not in the cache: HF_HOME=.* hf download owner/model"):
        check_before([JOB], site, tmp_path)
    snapshot = tmp_path / "cache/huggingface/hub/models--owner--model/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"owner/model is not in the cache"):  # a tokenizer was read, no more
        check_before([JOB], site, tmp_path)
    (snapshot / "model.safetensors").write_bytes(b"weights")
    check_before([JOB], site, tmp_path)


def test_a_cluster_without_accounting_is_no_obstacle(
    tmp_path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(squeue="", scontrol="", sacct="")
    sacct = next(tmp_path.glob("bin/sacct"))
    sacct.write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
    folder = tmp_path / "run/slurm/0001-train-8k/attempt-00"
    folder.mkdir(parents=True)
    (folder / "attempt.json").write_text('{"code": 1, "reason": "3 starts have brought no step more"}')
    job = {"job_id": "7", "name": "train-8k", "folder": "0001-train-8k", "after": [], "num_elements": 1, "submitted": 0}
    (tmp_path / "run/slurm/jobs.json").write_text(json.dumps([job]))
    assert main(["status", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert "FAILED" in shown
    assert "no step more" in shown


def test_why_slurm_was_not_asked_is_one_line(tmp_path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake(squeue="")
    squeue = next(tmp_path.glob("bin/squeue"))
    squeue.write_text("#!/bin/sh\nprintf 'slurm_load_jobs error:\\n\\n  socket timed out\\n' >&2\nexit 1\n")
    job = {"job_id": "7", "name": "train-8k", "folder": "0001-train-8k", "after": [], "num_elements": 1, "submitted": 0}
    (tmp_path / "run/slurm/0001-train-8k").mkdir(parents=True)
    (tmp_path / "run/slurm/jobs.json").write_text(json.dumps([job]))
    assert main(["status", str(tmp_path / "run")]) == 0
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "SLURM was not asked" in line]
    assert "slurm_load_jobs error: socket timed out): jobs are shown as their files tell." in told


def test_slurm_without_a_site_and_a_machine_without_slurm_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEEPSCALER_SITE", raising=False)
    assert main(["train", "8k", "--on", "slurm"]) == 2
    assert "--on slurm needs --site FILE; `deepscaler slurm init FILE`" in capsys.readouterr().err
    site = tmp_path / "site.toml"
    site.touch()
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main(["train", "8k", "--on", "slurm", "--site", str(site), "--output-dir", str(tmp_path / "run")]) == 2
    assert "login node of a SLURM cluster" in capsys.readouterr().err


def test_a_dry_run_asks_whether_a_folder_can_be_written_without_trying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSCALER_CACHE", str(tmp_path / "cache"))
    job = Job(name="any", arguments=())
    before = tmp_path.stat().st_mtime_ns
    check_before([job], Site(), tmp_path / "run", dry_run=True)
    assert tmp_path.stat().st_mtime_ns == before
    check_before([job], Site(), tmp_path / "run")
    assert tmp_path.stat().st_mtime_ns > before
    with pytest.raises(UserError, match="choose another --output-dir"):
        check_before([job], Site(), Path("/proc/run"), dry_run=True)
