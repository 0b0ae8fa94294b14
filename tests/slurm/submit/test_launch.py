"""A dry run on SLURM runs the preflight and prints a line a job, whose command holds nothing that was not typed."""

import re
from pathlib import Path

import pytest

from deepscaler.cli import main
from tests.slurm.conftest import Fake


@pytest.fixture
def site(tmp_path: Path) -> str:
    file = tmp_path / "site.toml"
    file.write_text(f'time_limit = "08:00:00"\ncache = "{tmp_path}/cache"\n')
    return str(file)


def dry_run(line: str, site: str, out: Path, capsys: pytest.CaptureFixture[str], *more: str) -> list[str]:
    command = [*line.split(), "--on", "slurm", "--site", site, "--output-dir", str(out), *(more or ("--dry-run",))]
    assert main(command) == 0
    assert not out.exists()
    return capsys.readouterr().out.splitlines()


def test_a_chain_is_a_line_a_job(tmp_path: Path, site: str, fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake(sbatch="")
    out = tmp_path / "out"
    *jobs, last = dry_run("chain 8k 16k --eval aime", site, out, capsys)
    command = f"deepscaler chain 8k 16k --output-dir {out} --eval aime --only"
    assert jobs == [
        f"start: 1 x 8 GPUs, 08:00:00, at once: {command} start:evaluate",
        f"train-8k: 1 x 8 GPUs, 08:00:00, after start: {command} 8k:train",
        f"after-8k: 1 x 8 GPUs, 08:00:00, after train-8k: {command} 8k:merge 8k:evaluate",
        f"train-16k: 4 x 8 GPUs, 08:00:00, after after-8k: {command} 16k:train",
        f"after-16k: 1 x 8 GPUs, 08:00:00, after train-16k: {command} 16k:merge 16k:evaluate",
    ]
    assert last == "The preflight found nothing wrong, and SLURM would take the jobs. Nothing was submitted."


def test_only_what_was_typed_is_passed_on(
    tmp_path: Path, site: str, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(sbatch="")
    job, _ = dry_run("train 8k", site, tmp_path / "out", capsys)
    assert job.endswith(f": deepscaler train 8k --output-dir {tmp_path}/out")
    job, _ = dry_run("train 8k --keep 2 --wandb off --deadline 2h --set seed=7", site, tmp_path / "out", capsys)
    assert job.endswith(" --set seed=7 --keep 2 --deadline 2h --wandb off")
    job, *_ = dry_run("evaluate --model o/m --datasets arithmetic --device cpu", site, tmp_path / "out", capsys)
    assert job.startswith("evaluate: 2 elements of 1 x 0 GPUs, 08:00:00, at once: deepscaler evaluate --model o/m ")
    assert "--device" not in job  # the job has no GPU and its image is cpu: an engine by itself finds that out
    assert job.endswith("  # and 1 more")


def test_whole_scripts_are_shown_when_they_are_asked_for(
    tmp_path: Path, site: str, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(sbatch="")
    assert not any("#SBATCH" in line for line in dry_run("train 8k", site, tmp_path / "out", capsys))
    assert "#SBATCH --time=480" in dry_run("train 8k", site, tmp_path / "out", capsys, "--dry-run=full")
    assert any(
        re.match("doctor: 3 x 8 GPUs, 00:15:00", line)
        for line in dry_run("doctor --nodes 3", site, tmp_path / "out", capsys)
    )


def test_the_preflight_runs_and_fails_the_dry_run(
    tmp_path: Path, site: str, fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake()
    lost = tmp_path / "lost.toml"
    lost.write_text('python = "/no/python"\n')
    command = ["train", "8k", "--on", "slurm", "--output-dir", str(tmp_path / "out"), "--dry-run", "--site"]
    assert main([*command, str(lost)]) == 2
    shown = capsys.readouterr()
    assert shown.out.startswith("train-8k: ")
    assert "'/no/python' in the site file is not a program here" in shown.err
    refusing = tmp_path / "bin/sbatch"
    refusing.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition' >&2\nexit 1\n")
    refusing.chmod(0o755)
    assert main([*command, site]) == 2
    assert "SLURM would refuse this job: invalid partition" in capsys.readouterr().err
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main([*command, site]) == 0
    assert "but SLURM was not asked: no sbatch on this machine" in capsys.readouterr().out
