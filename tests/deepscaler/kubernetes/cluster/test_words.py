"""Commands that have something of their own to say with `--on k8s`."""

from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.job import Job
from deepscaler.kubernetes.launcher import KubernetesLauncher, job_name
from deepscaler.kubernetes.render.inputs import packed
from tests.deepscaler.kubernetes.check.test_check import needs_kubectl


@pytest.fixture
def site(tmp_path: Path) -> Path:
    file = tmp_path / "cluster.toml"
    file.write_text('context = "no-such-context"\nimage = "registry.example.com/kit"\ncomponents = ["monitoring"]')
    return file


@needs_kubectl
def test_the_quickstart_is_one_pod(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "first"
    words = ["quickstart", "--on", "k8s", "--site", str(site), "--engine", "transformers", "--output-dir", str(folder)]
    assert main([*words, "--dry-run=full"]) == 0
    said = capsys.readouterr().out
    assert "deepscaler quickstart --engine transformers --output-dir /runs/first" in said
    assert "image: registry.example.com/kit:cpu" in said
    assert "kind: Deployment" not in said, "that is for setup"
    assert "but the cluster was not asked" in said
    assert not folder.exists()


@needs_kubectl
def test_an_evaluation_without_gpus_has_one_engine_in_each_pod(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--model", "a/b", "--device", "cpu", "--on", "k8s", "--site", str(site)]
    assert main([*words, "--output-dir", str(tmp_path / "e"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "evaluate-e: a pod without GPUs: " in said
    assert "--engines 1 --device cpu" in said


@needs_kubectl
def test_an_endpoint_is_asked_by_a_pod_without_gpus(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--engine", "openai", "--base-url", "http://gpu7:8000/v1", "--output-dir", str(tmp_path / "served")]
    words = ["evaluate", "--model", "m", "--datasets", "aime", "--on", "k8s", "--site", str(site), *asked]
    assert main([*words, "--dry-run=full"]) == 0
    said = capsys.readouterr().out
    assert "--engine openai --base-url http://gpu7:8000/v1" in said
    assert "image: registry.example.com/kit:cpu" in said
    assert "nvidia.com/gpu" not in said
    assert "workerGroupSpecs" not in said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("quickstart --on slurm", "quickstart is for this machine and for one pod (--on k8s)"),
        (
            "quickstart --on k8s --model {here}",
            "is a folder of this machine, no pod sees it: name a hub id, or leave it",
        ),
        ("data score aime --on k8s --model a/b", "give deepscaler evaluate --on k8s --datasets aime with the same"),
        (
            "evaluate --on k8s --model {here} --output-dir o",
            "is a folder of this machine, no pod sees it: name a hub id",
        ),
        (
            "evaluate --on k8s --model m --engine openai --base-url http://[::1]:8000/v1 --output-dir o",
            "means the machine that asks, which is another one with --on k8s: give the server's name",
        ),
        (
            "evaluate --on k8s --model m --engine openai --base-url http://gpu7/v1 --api-key-env KEY --output-dir o",
            "--api-key-env KEY: no pod gets a variable of this machine",
        ),
        ("train 8k --on k8s --set model={here}", "is a folder of this machine, no pod sees it: name a hub id"),
        ("k8s setup", "setup needs --site FILE; `deepscaler k8s init FILE` asks the cluster and writes one"),
        ("render --site {site} train 8k --on k8s", "--on is for what submits: leave it out"),
        ("render --site {here}/none.toml train 8k", "none.toml cannot be read"),
        ("render --output {here}/a --site {site} chain 8k 16k", "want different machines"),
    ],
)
def test_what_does_not_go_is_told(
    line: str,
    message: str,
    site: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "setup" not in line:
        monkeypatch.setenv("DEEPSCALER_SITE", str(site))
    assert main(line.format(here=tmp_path, site=site).split()) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert message in said


def test_a_folder_that_is_left_again_stays_on_the_volume(tmp_path: Path) -> None:
    there = KubernetesLauncher(None).folder_there(tmp_path / "mine" / "x" / "..")
    assert there == Path("/runs/mine")


def test_folders_whose_letters_kubernetes_does_not_take_name_different_jobs() -> None:
    job = Job(name="any", arguments=("train", "8k"), num_nodes=1, gpus_per_node=8)
    names = {job_name(job, Path(folder), alone=True) for folder in ("日本", "東京", "übung", "bung")}
    assert len(names) == 4
    assert job_name(job, Path("My_run"), alone=True) == "train-my-run"


def test_a_file_whose_name_begins_with_dots_goes_along(tmp_path: Path) -> None:
    file = tmp_path / "..sums.jsonl"
    file.touch()
    assert list(packed([], [str(file)])[3]) == ["_sums.jsonl"]
