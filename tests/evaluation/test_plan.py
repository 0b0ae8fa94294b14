"""A dry run of an evaluation fetches and writes nothing, in the cache neither."""

import json
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.data.prepare import prepare
from deepscaler.system.paths import cache_dir, data_dir

DATASETS = ("aime", "arithmetic")
"""A data set that has to be fetched, which tests cannot, and one that is generated."""


def tree(*folders: Path) -> list[str]:
    """Returns every file and folder, with the time of its last change."""
    found = [path for folder in folders for path in (folder, *folder.rglob("*")) if path.exists()]
    return [f"{path} {path.stat().st_mtime_ns}" for path in sorted(found)]


@pytest.fixture(params=["local", "engines", "slurm", "slurm with engines"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    site = tmp_path / "site.toml"
    site.write_text('partition = "gpu"\n')
    command = ["evaluate", "--model", "owner/model", "--output-dir", str(tmp_path / "out"), "--datasets", *DATASETS]
    command += ["--engines", "2"] if "engines" in request.param else []
    return command + (["--on", "slurm", "--site", str(site)] if "slurm" in request.param else []) + ["--dry-run"]


def test_a_dry_run_leaves_disk_and_cache_as_they_were(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(tmp_path, cache_dir())
    assert main(command) == 0, capsys.readouterr().err
    assert tree(tmp_path, cache_dir()) == before
    assert not (tmp_path / "out").exists()


def test_the_plan_says_what_is_to_be_fetched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate = ["evaluate", "--model", "owner/model", "--output-dir", str(tmp_path / "out"), "--num-samples", "2"]
    assert main([*evaluate, "--datasets", *DATASETS, "--dry-run"]) == 0
    aime, arithmetic = capsys.readouterr().out.splitlines()[-2:]
    assert aime.startswith("aime: 30 problems x 2 samples = 60, 0 of them done")
    assert aime.endswith("; must be fetched first, so the number of problems is that of its published rows")
    assert arithmetic.startswith("arithmetic: 64 problems x 2 samples = 128, 0 of them done")
    assert "fetched" not in arithmetic


def test_what_is_prepared_is_read(tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare("aime", data_dir(), shared_data)
    assert main(["evaluate", "--model", "owner/model", "--output-dir", str(tmp_path), "--limit", "3", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "aime: 3 problems x 16 samples" in shown
    assert json.JSONDecoder().raw_decode(shown)[0]["limit"] == 3
    assert list(tmp_path.iterdir()) == []
