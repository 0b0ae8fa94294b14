"""`deepscaler doctor --on slurm` on nodes that are slow, cut off, small or odd, and a training on such nodes."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deepscaler.doctor import __file__ as own_file
from slurm.job_folder import JobFolder
from slurm.jobs import read_jobs
from tests.integration.processes import deepscaler, run
from tests.integration.slurm.sandbox import NAME, NETWORK, on_node, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("idle")]

SITE_FILE = 'partition = "gpu"\naccount = "research"\nexclusive = false\nmem = "8G"\nscratch = "/tmp/ray"\n'
SLURMD_PORT = "6818"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEEPSCALER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "site.toml").write_text(SITE_FILE)
    return tmp_path / "site.toml"


def doctor(site: Path, *words: str) -> dict[str, Any]:
    """Returns the JSON of an examination of three nodes, with the findings of each by their names."""
    command = ["doctor", "--on", "slurm", "--site", site, "--nodes", 3, "--gpus", 0, "--for", "cpu", "--fast", "--json"]
    done = run(deepscaler(*command, "--output-dir", site.with_name("doctor"), *words))
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    nodes = {node: {one["name"]: one for one in findings} for node, findings in told["nodes"].items()}
    assert done.returncode == any(one["status"] == "fail" for found in nodes.values() for one in found.values())
    return {**told, "nodes": nodes}


@contextmanager
def slowed(node: str, rate: str) -> Iterator[None]:
    on_node(node, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "64kb", "latency", "400ms")
    try:
        yield
    finally:
        on_node(node, "tc", "qdisc", "del", "dev", "eth0", "root", check=False)


@contextmanager
def replaced(node: str, file: Path, by: Path) -> Iterator[None]:
    """Has one node see another file in a place."""
    on_node(node, "mount", "--bind", str(by), str(file))
    try:
        yield
    finally:
        on_node(node, "umount", str(file))


def test_a_slow_node_is_named_and_another_takes_its_place(site: Path) -> None:
    slow = f"{NAME}2"
    with slowed(slow, "20mbit"):
        told = doctor(site, "--exclude-slow")
    assert len(read_jobs(site.with_name("doctor"))) == 2, "bad nodes make a second examination"
    assert slow not in told["nodes"]
    assert len(told["nodes"]) == 3
    for found in told["nodes"].values():
        assert found["bandwidth"]["status"] in ("pass", "warn"), found["bandwidth"]
        assert "over 3 nodes" in found["all-reduce"]["evidence"]
    first = JobFolder(next(site.parent.glob("doctor/slurm/0001-*"))).attempt(0)
    lines = (first.root / f"{slow}.log").read_text().splitlines()
    traffic = json.loads(lines[-1])["traffic"]
    assert all(one["bits"] < 1e9 for one in traffic if "pair" in one), traffic


def test_nodes_that_are_cut_off_or_differ_are_named_each_for_its_fault(site: Path, tmp_path: Path) -> None:
    """A cut port, another version of the code, a small /dev/shm; SLURM's own port stays open."""
    small, odd, cut = (f"{NAME}{number}" for number in (1, 2, 3))  # srun is on the first one, and is spoken to
    edited = tmp_path / "edited.py"
    edited.write_text(Path(own_file).read_text() + "# edited\n")
    on_node(small, "mount", "-o", "remount,size=32m", "/dev/shm")
    for number in (1, 2, 4):
        source = ["-s", f"{NETWORK}.{10 + number}", "!", "--dport", SLURMD_PORT]
        on_node(cut, "iptables", "-A", "INPUT", "-p", "tcp", "--syn", *source, "-j", "DROP")
    try:
        with replaced(odd, Path(own_file), edited):
            told = doctor(site)
    finally:
        on_node(cut, "iptables", "-F")
        on_node(small, "mount", "-o", "remount,size=50%", "/dev/shm")
    nodes = told["nodes"]
    assert nodes[cut]["ports between nodes"]["status"] == "fail"
    assert "timed out" in nodes[cut]["ports between nodes"]["evidence"]
    assert "bandwidth" not in nodes[cut]
    assert nodes[odd]["same versions"]["status"] == "fail"
    assert nodes[odd]["same versions"]["evidence"].startswith("code ")
    assert nodes[small]["shared memory"]["status"] == "fail"
    assert "bandwidth" in nodes[odd], "the others go on"
    failed = {(node, name) for node, found in nodes.items() for name, one in found.items() if one["status"] == "fail"}
    assert failed == {(cut, "ports between nodes"), (odd, "same versions"), (small, "shared memory")}
    assert told["leave_out"] == [small, odd, cut]


def test_a_training_does_not_begin_on_nodes_of_different_code(site: Path, tmp_path: Path) -> None:
    edited, root = tmp_path / "edited.py", tmp_path / "run"
    edited.write_text(Path(own_file).read_text() + "# edited\n")
    command = ["train", "quickstart", "--device", "cpu", "--set", "num_nodes=2", "--set", f"model={tmp_path}"]
    with replaced(f"{NAME}2", Path(own_file), edited):
        assert run(deepscaler(*command, "--on", "slurm", "--site", site, "--output-dir", root)).returncode == 0
        [job] = read_jobs(root)
        folder = JobFolder(root / "slurm" / job.folder)
        record = wait_until(lambda: folder.last_record() if "code" in folder.last_record() else None, "the job's end")
    assert record["code"] == 2
    assert record["reason"].startswith("doctor: ")
    assert "code " in record["reason"]
    assert record["reason"].endswith("install the same on every node; --skip-doctor starts anyway")
    noted = json.loads((folder.attempt(0).root / f"{NAME}2.doctor.json").read_text())
    assert set(noted) == {"versions", "warnings"}
    assert noted["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
