"""A scratch that only the nodes know, such as $TMPDIR, is expanded and checked there."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from slurm.job_folder import JobFolder
from slurm.node.node import Node
from slurm.node.ray import ray_node
from slurm.node.task import NodeTask, run_everywhere

SESSION = "session_2026-11-27_21-03-22_123456_4194304/sockets/plasma_store"
CACHES = ("TRITON_CACHE_DIR", "VLLM_CACHE_ROOT")


def node_with(tmp_path: Path, scratch: str, *command: str, restart: int = 0) -> Node:
    """Returns a node alone in its job, with its folder."""
    task = NodeTask(
        command=command,
        folder=str(tmp_path),
        output=str(tmp_path),
        num_gpus=0,
        ray=not command,
        everywhere=bool(command),
        network_interface="lo",
        scratch=scratch,
        caches=CACHES,
    )
    folder = JobFolder(tmp_path)
    folder.begin(restart, 0)
    return Node(task=task, name="n1", names=("n1",), rank=0, restart=restart, folder=folder)


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets what a node has, and restores at the end what it sets itself."""
    monkeypatch.setenv("SLURM_JOB_ID", "12345678")
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.delenv("NOPE", raising=False)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/own")
    for name in CACHES:
        monkeypatch.setenv(name, "/from/the/shell")


@pytest.mark.parametrize(
    ("scratch", "value", "folder"),
    [
        ("$TMPDIR", "/t", "/t"),
        ("/local/$SLURM_JOB_ID", "", "/local/12345678"),
        ("${TMPDIR}/x", "/t/" + "y" * 20, "/t/" + "y" * 20 + "/x"),
    ],
)
def test_a_node_expands_its_scratch_and_compiles_below_it(
    scratch: str,
    value: str,
    folder: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", value)
    ray = ray_node(node_with(tmp_path, scratch, restart=1012))
    assert str(ray.temp_dir) == f"{folder}/dsr-12345678-12"
    assert ray.environment()["TRITON_CACHE_DIR"] == f"{folder}/deepscaler-ada/triton"
    assert ray.environment()["VLLM_CACHE_ROOT"] == f"{folder}/deepscaler-ada/vllm"
    assert ray.environment()["TORCHINDUCTOR_CACHE_DIR"] == "/own", "the site file gives it"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("scratch", "value", "reason"),
    [
        ("$TMPDIR", "/t/" + "y" * 60, f"scratch /t/{'y' * 60} is 35 bytes too long for Ray's sockets"),
        ("/x/$NOPE", "", "the variable $NOPE is not set"),
        ("$TMPDIR", "", "expected an absolute path"),
        ("$TMPDIR/x", "t", "expected an absolute path"),
    ],
)
def test_a_scratch_that_will_not_do_is_replaced_with_a_line_that_says_so(
    scratch: str,
    value: str,
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray._private.utils import validate_socket_filepath  # noqa: PLC0415  an optional package

    monkeypatch.setenv("TMPDIR", value)
    ray = ray_node(node_with(tmp_path, scratch))
    assert str(ray.temp_dir) == "/tmp/dsr-12345678-0"
    validate_socket_filepath(f"{ray.temp_dir}/{SESSION}")
    assert ray.environment()["TRITON_CACHE_DIR"] == "/tmp/deepscaler-ada/triton"
    (line,) = capsys.readouterr().out.splitlines()
    assert reason in line
    assert line.endswith(": using /tmp instead")
    assert reason in (tmp_path / "attempt-00/n1.log").read_text()


@pytest.mark.parametrize("length", [1, 20, 26, 27, 28, 29, 40])
def test_rays_sockets_have_room_below_any_folder_of_a_node(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray._private.utils import validate_socket_filepath  # noqa: PLC0415  an optional package

    for job in ("1", "12345678", "1234567890"):  # the last one is of a federation of clusters
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setenv("TMPDIR", "/" + "é" * (length // 2) + "x" * (length % 2))
        validate_socket_filepath(f"{ray_node(node_with(tmp_path, '$TMPDIR', restart=1999)).temp_dir}/{SESSION}")


def test_a_long_temporary_folder_of_a_node_gives_way_to_rays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("y" * 80)
    long.mkdir()
    for folder in (Path("/tmp"), long):
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", None)
        ray = ray_node(node_with(tmp_path / "run", "/scratch"))
        assert ray.environment()["TMPDIR"] == str(ray.temp_dir if folder == long else folder)


def test_a_command_without_ray_compiles_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "/t/" + "y" * 60  # Ray's sockets are not below it
    monkeypatch.setenv("TMPDIR", long)
    node = node_with(tmp_path, "$TMPDIR", "sh", "-c", 'echo "$TRITON_CACHE_DIR"')
    run_everywhere(node)
    assert (node.attempt.log_path("n1")).read_text() == f"{long}/deepscaler-ada/triton\n"


def test_a_node_removes_what_a_killed_start_of_the_job_left(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    kept = [scratch / "dsr-123456789-0", scratch / "dsr-1234567-0", scratch / "deepscaler-ada"]
    for folder in (*kept, scratch / "dsr-12345678-0/ray", scratch / "dsr-12345678-1"):
        folder.mkdir(parents=True)
    ray = replace(ray_node(node_with(tmp_path, "/local")), temp_dir=scratch / "dsr-12345678-1")
    ray.remove_folders()
    assert sorted(scratch.iterdir()) == sorted(kept)
