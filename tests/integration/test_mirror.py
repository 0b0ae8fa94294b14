"""A real training with a mirror: killed, its disk wiped, resumed from the bucket, merged and evaluated from there."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from deepscaler.mirror.bucket import Bucket
from deepscaler.mirror.layout import look
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import read_metrics
from tests.deepscaler.mirror.server import SECRET, environment, s3_server
from tests.integration.processes import deepscaler, processes_of, run, started, wait_until, wait_until_gone
from tests.integration.test_train import CLEAN_AFTER, train

pytest.importorskip("s3fs", reason="needs s3fs and moto, of the group dev")
pytest.importorskip("moto", reason="needs s3fs and moto, of the group dev")
pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("training")
def test_a_run_goes_on_from_its_mirror_on_an_empty_disk(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = RunFolder(tmp_path / "run"), "s3://runs/tiny"
    with s3_server() as port:
        for name, value in environment(port).items():
            monkeypatch.setenv(name, value)
        import s3fs  # noqa: PLC0415

        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("runs")
        command = [*train(folder.root, tiny_model), "--mirror", url, "--keep", "2"]
        with started(command) as first:
            wait_until(lambda: look(Bucket(url)).whole, first, "a checkpoint in the mirror")
            os.kill(first.pid, signal.SIGKILL)
            first.communicate()
        wait_until_gone(folder.root, CLEAN_AFTER)
        mirrored = max(look(Bucket(url)).whole)
        shutil.rmtree(folder.root)

        last = mirrored + 1
        resumed = run([*command, "--set", f"num_steps={last}"])
        assert resumed.returncode == 0, resumed.stdout + resumed.stderr
        assert f"Fetching the checkpoint of step {mirrored}" in resumed.stdout
        assert f"Resuming from the checkpoint of step {mirrored}" in resumed.stdout
        assert f"{url} has step {last}" in resumed.stdout
        steps = [step for step, values in read_metrics(folder).items() if "critic/score/mean" in values]
        assert steps == list(range(1, last + 1)), "of both attempts"
        assert [attempt.number for attempt in folder.attempts()] == [1, 2]

        shutil.rmtree(folder.root)
        merged = run(deepscaler("merge", url))
        assert merged.returncode == 0, merged.stdout + merged.stderr
        assert "Merged and verified against the shards" in merged.stdout
        limits = ["--num-samples", 1, "--limit", 2, "--max-tokens", 8, "--engine", "transformers"]
        output = ["--datasets", "arithmetic", "--output-dir", tmp_path / "evaluation", *limits]
        evaluated = run(deepscaler("evaluate", "--model", url, *output))
        assert evaluated.returncode == 0, evaluated.stdout + evaluated.stderr
        assert json.loads((tmp_path / "evaluation/report.json").read_text())["benchmarks"]["arithmetic"]["samples"] == 2
        said = resumed.stdout + merged.stdout + evaluated.stdout
        names = "".join(Bucket(url).names())
        content = b"".join(Bucket(url).read(name) or b"" for name in Bucket(url).names() if name.endswith(".json"))
        assert SECRET not in said + names + content.decode()
        assert not processes_of(folder.root)
