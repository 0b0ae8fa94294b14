"""Commands that read a run from its mirror, and launchers that pass credentials by reference."""

import json
from pathlib import Path

import pytest
import yaml

from deepscaler.cli import main
from deepscaler.mirror.bucket import Bucket
from deepscaler.mirror.layout import look
from deepscaler.runs.folder import RunFolder
from deepscaler.system.paths import cache_dir
from tests.deepscaler.mirror.conftest import Save
from tests.deepscaler.mirror.server import SECRET, Proxy
from tests.deepscaler.mirror.test_upload import bring_up_to_date, uploader


@pytest.fixture
def mirrored(run: RunFolder, url: str, save: Save) -> str:
    for step in (20, 40):
        save(run, step)
    bring_up_to_date(uploader(run, url))
    return url


def test_a_report_reads_metrics_alone(mirrored: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", mirrored]) == 0
    [folder] = cache_dir().glob("mirror/8k-*")
    assert (folder / "report.html").stat().st_size > 10_000
    assert not (folder / "rollouts").exists()
    assert not (folder / "checkpoints").exists()
    capsys.readouterr()
    assert main(["report", f"{mirrored}/elsewhere"]) == 2
    assert "holds no run: give the --mirror of a training" in capsys.readouterr().err


def test_a_merge_says_what_it_would_merge(mirrored: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", "s3://no-such-bucket/8k"]) == 2
    told = capsys.readouterr().err
    assert "s3://no-such-bucket/8k" in told
    assert len(told.splitlines()) == 1


def test_status_says_how_far_the_mirror_is(
    run: RunFolder, mirrored: str, proxy: Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(run.root)]) == 0
    assert f"step 40 in {mirrored}, " in capsys.readouterr().out
    assert main(["status", str(run.root), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["mirror"], told["mirrored_step"], told["mirror_left"]) == (mirrored, 40, [])


def test_files_of_another_protocol_go_the_same_way(
    run: RunFolder, save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"file://{tmp_path}/bucket/8k"
    save(run, 20)
    bring_up_to_date(uploader(run, url))
    assert list(look(Bucket(url)).whole) == [20]
    assert main(["report", url]) == 0


def test_a_job_on_kubernetes_gets_credentials_by_reference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    found = {}
    for name, options in (("with", ["--mirror", "s3://bucket/8k"]), ("without", [])):
        file = tmp_path / f"{name}.yaml"
        assert main(["render", "--output", str(file), "train", "8k", *options]) == 0
        assert SECRET not in file.read_text()
        [job] = [one for one in yaml.safe_load_all(file.read_text()) if one["kind"] == "RayJob"]
        head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
        found[name] = {variable["name"]: variable for variable in head["env"]}
    assert "AWS_SECRET_ACCESS_KEY" not in found["without"]
    reference = found["with"]["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "deepscaler-credentials", "key": "AWS_SECRET_ACCESS_KEY", "optional": True}


def test_a_chain_gives_each_stage_a_mirror_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chain", "8k", "16k", "--mirror", "s3://bucket/paper", "--keep-every", "40", "--dry-run"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("deepscaler train")]
    assert "--mirror s3://bucket/paper/1-8k" in lines[0]
    assert "--mirror s3://bucket/paper/2-16k" in lines[1]
    assert all("--keep-every 40" in line for line in lines)
