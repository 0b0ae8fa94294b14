"""A training that the machine would end later ends before Ray starts; what only warns is said and kept."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deepscaler.doctor.before import examine_before
from deepscaler.doctor.subject import Subject
from deepscaler.recipes.load import load_recipe
from deepscaler.system.errors import UserError


def test_a_failure_ends_a_training_in_one_line_and_nothing_is_begun(tmp_path: Path, model_folder: Path) -> None:
    small = [f"model={model_folder}", "max_response_length=8", "max_prompt_length=1024"]
    command = [sys.executable, "-P", "-m", "deepscaler", "train", "quickstart", "--device", "cpu"]
    command += ["--output-dir", str(tmp_path / "run"), *(part for one in small for part in ("--set", one))]
    environment = {**os.environ, "NCCL_SOCKET_IFNAME": "ib7"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("deepscaler: doctor: interface: NCCL_SOCKET_IFNAME=ib7 names none of ")
    assert line.endswith("name one that is here; --skip-doctor starts anyway")
    assert not (tmp_path / "run/attempts").exists()


def test_a_warning_is_said_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    said: list[str] = []
    kept = examine_before(Subject(purpose="cpu", recipe=load_recipe("quickstart"), run_dir=tmp_path), said.append)
    names = [one["name"] for one in kept["warnings"]]
    assert "hub token" in names
    assert kept["seconds"] > 0
    assert re.search(rf" {len(names)} warned, in \d+\.\d s\.$", said[-1])
    assert all(line.startswith("Doctor: ") for line in said)


def test_what_fails_says_how_to_start_anyway(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    subject = Subject(purpose="cpu", run_dir=tmp_path / "file/run")
    with pytest.raises(UserError, match=r"doctor: run folder: .*file is a file: give another .*--skip-doctor"):
        examine_before(subject, lambda _: None)
