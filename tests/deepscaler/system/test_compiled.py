"""Compiled kernels: whose they are, how a machine gets them, and what becomes of old ones."""

import os
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from deepscaler.system import compiled
from deepscaler.system.paths import chosen_caches
from deepscaler.system.processes import python_command

VARIABLES = ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "VLLM_CACHE_ROOT")
USE = "from deepscaler.system import compiled; print(compiled.use())"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEEPSCALER_CACHE", str(tmp_path / "cache"))
    for name in (*VARIABLES, compiled.CHOSEN, "DEEPSCALER_LOCK"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


def launched(machine: Path) -> dict[str, str]:
    """The environment as a launcher makes it for a machine."""
    return {
        **os.environ,
        **dict(zip(VARIABLES, (f"{machine}/{n}" for n in ("triton", "inductor", "vllm")), strict=True)),
    }


def use(environment: dict[str, str]) -> Path:
    done = subprocess.run(python_command("-c", USE), env=environment, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def test_a_key_changes_with_the_lock_and_the_gpu(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = compiled.key()
    assert here == compiled.key(), "one machine has one"
    lock = tmp_path / "train.txt"
    monkeypatch.setenv("DEEPSCALER_LOCK", str(lock))
    keys = {here}
    for text in ("torch==2.11.0", "torch==2.12.0"):
        lock.write_text(text)
        keys.add(compiled.key())
    assert len(keys) == 3
    smi = tmp_path / "bin/nvidia-smi"  # prints what nvidia-smi 570.133 does with these options on two machines
    smi.parent.mkdir()
    monkeypatch.setenv("PATH", f"{smi.parent}:{os.environ['PATH']}")
    for gpu in ("NVIDIA A100-SXM4-80GB, 8.0", "NVIDIA H100 80GB HBM3, 9.0"):
        smi.write_text(f"#!/bin/sh\necho '{gpu}'\necho '{gpu}'\n")
        smi.chmod(0o755)
        keys.add(compiled.key())
    assert len(keys) == 5
    assert compiled.key().startswith("nvidia-h100-80gb-hbm3-9.0-")


def test_torchs_own_default_is_nobodys_choice(cache: Path) -> None:
    code = f"import os, torch._inductor.runtime.cache_dir_utils as own; own.cache_dir(); {USE}"
    code += "; print(os.environ['TORCHINDUCTOR_CACHE_DIR'])"
    done = subprocess.run(python_command("-c", code), capture_output=True, text=True, check=True)
    assert done.stdout.split() == [f"{cache}/compiled/{compiled.key()}{part}" for part in ("", "/inductor")]


def test_a_folder_of_the_users_is_not_torchs_default(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/scratch/ana/torchinductor_kernels")
    assert chosen_caches() == {"TORCHINDUCTOR_CACHE_DIR": "/scratch/ana/torchinductor_kernels"}


def test_all_processes_have_one_key_whatever_they_import_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compiled.key()
    (tmp_path / "vendored-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert compiled.key() == before


def test_a_machine_takes_what_another_one_has_compiled(cache: Path, tmp_path: Path) -> None:
    first = use(launched(tmp_path / "node1"))
    assert first == tmp_path / "node1" / compiled.key()
    (first / "triton").mkdir()
    (first / "triton/kernel.so").write_bytes(b"code")
    archive = cache / "compiled" / f"{compiled.key()}.tar"
    compiled.publish(first, archive)
    second = use(launched(tmp_path / "node2"))
    assert (second / "triton/kernel.so").read_bytes() == b"code"
    archive.write_bytes(b"not an archive")
    assert use(launched(tmp_path / "node3")).is_dir(), "it compiles"


def test_processes_that_start_at_once_unpack_once_and_see_whole_files(cache: Path, tmp_path: Path) -> None:
    full = tmp_path / "full/inductor"
    full.mkdir(parents=True)
    for number in range(200):
        (full / f"{number}.so").write_bytes(bytes([number]) * 100_000)
    archive = cache / "compiled" / f"{compiled.key()}.tar"
    compiled.publish(full.parent, archive)
    environment = launched(tmp_path / "node")
    running = [
        subprocess.Popen(python_command("-c", USE), env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    for _ in range(5):
        compiled.publish(full.parent, archive)  # another machine does meanwhile
    folders = {process.communicate()[0].strip() for process in running}
    assert folders == {str(tmp_path / "node" / compiled.key())}
    unpacked = Path(folders.pop())
    assert len(list(unpacked.glob("inductor/*.so"))) == 200
    assert {path.stat().st_size for path in unpacked.glob("inductor/*.so")} == {100_000}
    left = sorted(path.name for path in unpacked.parent.iterdir())
    assert left == [f".{compiled.key()}.lock", compiled.key()], "no half of one"


def test_a_process_that_is_slow_to_unpack_is_waited_for_and_one_that_was_killed_is_not(
    cache: Path, tmp_path: Path
) -> None:
    begun, environment = tmp_path / "node" / f".{compiled.key()}", launched(tmp_path / "node")
    slowly = f"import time; {USE.replace('print(', 'compiled.tarfile.open = lambda *_: time.sleep(600); print(')}"
    with subprocess.Popen(python_command("-c", slowly), env=environment) as process:
        try:
            while not begun.is_dir():
                assert process.poll() is None
                time.sleep(0.05)
            long_ago = time.time() - compiled.PATIENCE - 1
            os.utime(begun, (long_ago, long_ago))
            impatiently = USE.replace("print(", "compiled.PATIENCE = 0.5; print(")
            subprocess.run(python_command("-c", impatiently), env=environment, check=True)
            assert begun.is_dir()
        finally:
            process.kill()
    assert use(environment).is_dir()
    assert not begun.exists()


def test_folders_that_a_user_chose_stay(cache: Path, tmp_path: Path) -> None:
    environment = launched(tmp_path / "node") | {"VLLM_CACHE_ROOT": "/fast/vllm"}
    code = f"{USE}; import os; print(os.environ['TRITON_CACHE_DIR'])"
    done = subprocess.run(python_command("-c", code), env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", f"{tmp_path}/node/triton"]


def test_what_no_start_uses_for_a_month_is_removed(cache: Path, tmp_path: Path) -> None:
    folder = use(launched(tmp_path / "node"))
    old, other = folder.with_name("old"), folder.with_name("other")
    for path in (old, other):
        path.mkdir()
    (old / ".key").touch()
    archive = cache / "compiled/old.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w"):
        pass
    long_ago = time.time() - compiled.KEPT - 1
    for path in (old, other, archive, folder):
        os.utime(path, (long_ago, long_ago))
    assert use(launched(tmp_path / "node")) == folder
    left = sorted(path.name for path in folder.parent.iterdir() if path.suffix != ".lock")
    assert left == sorted([folder.name, "other"]), "not ours, not ours"
    assert not archive.exists()


def test_a_process_tells_those_that_it_starts(cache: Path, tmp_path: Path) -> None:
    inner = f"{USE}; import os; print(os.environ['VLLM_CACHE_ROOT'])"
    code = f"{USE}; import subprocess, sys; subprocess.run([sys.executable, '-P', '-c', {inner!r}])"
    command = python_command("-c", code)
    done = subprocess.run(command, env=launched(tmp_path / "node"), capture_output=True, text=True, check=True)
    folder = tmp_path / "node" / compiled.key()
    assert sorted(done.stdout.split()) == [str(folder), str(folder), f"{folder}/vllm"]


def test_what_a_machine_has_compiled_is_published_once_it_is_quiet(cache: Path, tmp_path: Path) -> None:
    code = """
import time
from deepscaler.system import compiled

def list_before_a_rename(folder, files=compiled._files):
    compiled._files = files
    yield folder / "triton/tmp.pid_4711/kernel.so"

compiled.QUIET, compiled._files = 0.3, list_before_a_rename
folder = compiled.use()
(folder / "triton").mkdir()
(folder / "triton/kernel.so").touch()
while not compiled.archive_here().exists():
    time.sleep(0.05)
"""
    subprocess.run(python_command("-c", code), env=launched(tmp_path / "node"), check=True)
    with tarfile.open(cache / "compiled" / f"{compiled.key()}.tar") as archive:
        assert archive.getnames() == ["triton/kernel.so"]
