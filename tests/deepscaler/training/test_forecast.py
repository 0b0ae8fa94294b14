"""A run keeps what it is expected to take, by its site's word for its GPUs or by the driver's."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from deepscaler.models.provenance import gpu_names
from deepscaler.recipes.published import RECIPES
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.forecast import FILE
from deepscaler.system.files import read_json
from deepscaler.training.forecast import keep_first_estimate
from slurm.launcher import SlurmLauncher

RECIPE = RECIPES["8k"]
SMI = "#!/bin/sh\nprintf 'NVIDIA H100 80GB HBM3\\nNVIDIA H100 80GB HBM3\\n'\n"
"""A recording: what the driver of an H100 answers to --query-gpu=name --format=csv,noheader, for two of them."""


def test_the_sites_word_decides_and_an_estimate_that_is_there_stays(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for unknown in ("", "a100", "mi300x"):  # a100 may have 40 or 80 GB
        keep_first_estimate(run, RECIPE, "cuda", unknown)
        assert not (tmp_path / FILE).exists()
    keep_first_estimate(run, RECIPE, "cpu", "h100")
    assert not (tmp_path / FILE).exists()
    keep_first_estimate(run, RECIPE, "cuda", "h100")
    keep_first_estimate(run, replace(RECIPE, num_steps=1), "cuda", "a100_80gb")
    kept = read_json(tmp_path / FILE)
    assert (kept["gpu"], kept["num_gpus"], kept["num_steps"]) == ("H100-80GB", 8, 1040)


def test_the_driver_is_asked_where_no_site_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nvidia-smi").write_text(SMI)
    (tmp_path / "bin/nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    assert gpu_names() == ["NVIDIA H100 80GB HBM3"] * 2
    keep_first_estimate(RunFolder(tmp_path), RECIPE, "cuda")
    assert read_json(tmp_path / FILE)["gpu"] == "H100-80GB"


def test_what_cannot_be_estimated_is_left_out(tmp_path: Path) -> None:
    keep_first_estimate(RunFolder(tmp_path), replace(RECIPE, model="a/b"), "cuda", "h100")
    assert not (tmp_path / FILE).exists()


def test_a_site_file_names_its_gpus(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('partition = "gpu"\ngpu_type = "h100"\n')
    assert SlurmLauncher.at(site).gpu == "h100"
