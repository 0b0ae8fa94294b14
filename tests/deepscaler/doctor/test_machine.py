"""Checks of a machine fail for real: in namespaces, on small and read-only disks, under limits, at another time."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.doctor import examine
from deepscaler.doctor.checks import CHECKS
from deepscaler.doctor.examine import examine_fast
from deepscaler.doctor.subject import Subject

SHAPE = {
    "model_type": "llama",
    **dict.fromkeys(("num_hidden_layers", "num_attention_heads", "num_key_value_heads"), 1),
    **dict.fromkeys(("hidden_size", "intermediate_size", "vocab_size"), 64),
}
"""Configuration of a model of 32 thousand parameters."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for namespaces and mounts")


def doctor(*words: str | Path, before: str = "", inside: str = "", **variables: str) -> dict[str, dict[str, Any]]:
    """Returns the findings of `deepscaler doctor --fast` by the checks' names.

    A shell runs the lines `before` it, where `inside` names flags of unshare in namespaces of their own.
    """
    command = [sys.executable, "-P", "-m", "deepscaler", "doctor", "--fast", "--json", "--for", "cpu", *map(str, words)]
    shell = ["bash", "-c", f"set -e\n{before}\nexec {shlex.join(command)}"]
    done = subprocess.run(
        [*(("unshare", *inside.split()) if inside else ()), *shell],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **variables},
        check=False,
    )
    assert done.stdout, done.stderr
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert done.returncode == any(finding["status"] == "fail" for finding in findings.values())
    return findings


def test_nothing_fails_here_within_seconds(tmp_path: Path) -> None:
    found = doctor("--output-dir", tmp_path)
    assert [finding for finding in found.values() if finding["status"] == "fail"] == []
    assert found["run folder"]["status"] == "pass"
    assert found["run folder"]["link"] == "docs/reference/checks.md#run-folder"


def test_low_limits_fail() -> None:
    found = doctor(before="ulimit -n 300; ulimit -f 1000000")["limits"]
    assert found["status"] == "fail"
    assert "open files 300 (ulimit -n), at least 4096 wanted; bytes of a file" in found["evidence"]


@needs_root
def test_a_quota_of_the_processor_counts_as_cores() -> None:
    """The doctor counts a quota of `docker --cpus` or of a pod's limits, though the affinity mask names every core."""
    root = Path("/sys/fs/cgroup")
    folder = (root / "cpu" if (root / "cpu").is_dir() else root) / f"deepscaler-{os.getpid()}"
    try:
        folder.mkdir()
        if (folder / "cpu.max").is_file():
            (folder / "cpu.max").write_text("50000 100000")
        else:
            (folder / "cpu.cfs_quota_us").write_text("50000")
    except OSError as error:
        pytest.skip(f"needs control groups that can be written ({error})")
    try:
        found = doctor(before=f"echo $$ > {folder}/cgroup.procs")["cores"]
    finally:
        deadline = time.monotonic() + 60
        while folder.is_dir() and time.monotonic() < deadline:
            with suppress(OSError):  # a process of it is about to end
                folder.rmdir()
            time.sleep(0.05)
    assert found["evidence"] == f"0.5 of {os.cpu_count()}"


@needs_root
def test_a_small_shared_memory_fails() -> None:
    found = doctor(before="mount -t tmpfs -o size=32m tmpfs /dev/shm", inside="-m")["shared memory"]
    assert (found["status"], found["evidence"]) == ("fail", "33.6 MB in /dev/shm")
    assert "--shm-size" in found["fix"]


@needs_root
def test_a_read_only_file_system_fails_as_cache_and_as_run_folder(tmp_path: Path) -> None:
    found = doctor(
        "--output-dir",
        tmp_path / "run",
        before=f"mount -t tmpfs tmpfs {tmp_path}; mount -o remount,ro {tmp_path}",
        inside="-m",
        DEEPSCALER_CACHE=str(tmp_path / "cache"),
    )
    assert found["cache"]["status"] == "fail"
    assert found["run folder"]["evidence"] == f"{tmp_path} cannot be written (Read-only file system)"
    assert found["clock"]["status"] == "skip"


@needs_root
def test_a_disk_without_room_for_a_checkpoint_fails(tmp_path: Path, model_folder: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (model_folder / "config.json").write_text(json.dumps(SHAPE))
    recipe = tmp_path / "mine.toml"
    recipe.write_text(f'extends = "quickstart"\nmodel = "{model_folder}"\n')
    small = f"mount -t tmpfs -o size=64k tmpfs {disk}"
    found = doctor("--output-dir", disk, "--recipe", recipe, before=small, inside="-m")
    assert found["disk space"]["status"] == "fail", found["disk space"]
    assert " kB free, a checkpoint takes " in found["disk space"]["evidence"], (
        "another check's files are there meanwhile"
    )
    assert found["model"]["status"] == "pass"


@pytest.mark.skipif(not shutil.which("faketime"), reason="needs faketime")
def test_a_clock_that_differs_from_the_file_servers_warns(tmp_path: Path) -> None:
    """Libfaketime moves the clock of the process; NO_FAKE_STAT leaves the times of files, which another one wrote."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    found = doctor("--output-dir", tmp_path, LD_PRELOAD=str(library), FAKETIME="+90s", NO_FAKE_STAT="1")["clock"]
    assert found["status"] == "warn"
    assert 90 <= float(found["evidence"].split()[0]) < 120, found
    assert "chronyc" in found["fix"]


@needs_root
def test_a_name_that_is_not_resolved_and_a_node_without_network_fail() -> None:
    found = doctor("--recipe", "16k", before="hostname nowhere-at-all", inside="-u -n")
    assert found["host name"]["status"] == "fail"
    assert found["host name"]["evidence"].startswith("nowhere-at-all is not resolved")
    assert found["interface"]["evidence"] == "none but the loopback"


@needs_root
def test_few_ports_and_a_wrong_interface_are_named() -> None:
    lines = "ip link add veth1 type veth peer veth2; ip addr add 10.9.8.7/24 dev veth1; ip link set veth1 up"
    lines += "; mount -t proc proc /proc; echo 40000 40999 > /proc/sys/net/ipv4/ip_local_port_range"
    found = doctor(before=lines, inside="-n -m", NCCL_SOCKET_IFNAME="ib0")
    assert found["local ports"]["evidence"] == "1000 of 40000 to 40999 free"
    assert found["local ports"]["status"] == "warn"
    assert found["interface"]["evidence"] == "NCCL_SOCKET_IFNAME=ib0 names none of veth1"


def test_a_model_that_is_nowhere_fails_offline() -> None:
    found = doctor("--recipe", "8k", HF_HOME="/nowhere")["model"]
    assert found["status"] == "fail"
    assert found["evidence"].endswith("is not here, and HF_HUB_OFFLINE is set")


def test_a_check_that_hangs_is_named_and_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    hangs = [replace(one, run=lambda _: never.wait()) if one.name == "run folder" else one for one in CHECKS]
    # With a quick one alone: on a busy machine the others may take longer than this waits.
    monkeypatch.setattr(examine, "CHECKS", tuple(one for one in hangs if one.name in ("run folder", "python")))
    found = {finding.name: finding for finding in examine_fast(Subject(purpose="cpu"), seconds=2.0)}
    never.set()
    assert (found["run folder"].status, found["run folder"].evidence) == ("fail", "no answer within 2 s")
    assert found["python"].status == "pass"


def test_an_error_of_a_check_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [replace(one, run=lambda _: 1 / 0) if one.name == "cores" else one for one in CHECKS]
    monkeypatch.setattr(examine, "CHECKS", tuple(broken))
    found = {finding.name: finding for finding in examine_fast(Subject(purpose="cpu"))}
    assert found["cores"].evidence == "the check itself failed: ZeroDivisionError: division by zero"


def test_json_is_one_object_and_the_exit_code_tells(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--fast", "--json", "--for", "login"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"node", "versions", "findings"}
    assert {"name", "status", "evidence", "fix", "link"} == set(told["findings"][0])
