"""`deepscaler doctor` tells what is wrong and what to do; it exits with 1 where something is."""

import compileall
from importlib import metadata
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.doctor.packages import check_bytecode, check_imports, check_libraries, check_lock
from deepscaler.system.errors import UserError
from tools.lock import REQUIREMENTS


def test_this_environment_is_as_locked() -> None:
    finding = check_lock(REQUIREMENTS / "cpu.txt")
    assert finding.ok, finding.evidence
    assert finding.evidence.endswith("as locked")


def test_what_differs_from_the_lock_is_named(tmp_path: Path) -> None:
    rich = metadata.version("rich")
    lock = tmp_path / "lock.txt"
    lock.write_text(
        f"# a comment\nrich=={rich} \\\n    --hash=sha256:00\nnumpy==0.1 ; python_version >= '3'\n"
        "never-there==2.0 \\\n    --hash=sha256:00\nother==1 ; sys_platform == 'win32'\n"
    )
    finding = check_lock(lock)
    assert not finding.ok
    assert finding.evidence == f"numpy {metadata.version('numpy')} is installed, 0.1 locked; never-there 2.0 is missing"


def test_a_lock_that_refers_to_another_demands_the_packages_of_both(tmp_path: Path) -> None:
    (tmp_path / "common.txt").write_text("rich==0.1 ; python_version >= '3'\n")
    lock = tmp_path / "lock.txt"
    lock.write_text("# a comment\n--requirement common.txt\nnumpy==0.1\n")
    detail = check_lock(lock).evidence
    assert f"rich {metadata.version('rich')} is installed, 0.1 locked" in detail
    assert f"numpy {metadata.version('numpy')} is installed, 0.1 locked" in detail
    (tmp_path / "common.txt").unlink()
    with pytest.raises(UserError, match=f"cannot read the lock file {tmp_path / 'common.txt'}"):
        check_lock(lock)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read"), (b"\xff\n", "cannot read"), (b"rich>=13\n", "no name==version line")],
)
def test_a_lock_must_be_one(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content:
        (tmp_path / "lock.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        check_lock(tmp_path / "lock.txt")


def test_an_import_that_kills_its_process_is_one_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "for_another_processor.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    killed, missing, fine = check_imports(["for_another_processor", "no_such_module", "json"])
    assert (killed.ok, killed.evidence) == (False, "dies with signal 4")
    assert (missing.ok, missing.evidence) == (False, "ModuleNotFoundError: No module named 'no_such_module'")
    assert fine.ok


def test_imports_that_leave_no_bytecode_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kept", "lost"):
        (tmp_path / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    compileall.compile_file(tmp_path / "kept.py", quiet=1)
    finding = check_bytecode(["kept", "lost", "no_such_module"])
    assert (finding.ok, finding.evidence) == (False, "every process compiles lost again")
    assert check_bytecode(["kept"]).ok


def test_a_login_node_passes_and_a_missing_cache_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEEPSCALER_CACHE", str(tmp_path / "cache"))
    assert main(["doctor", "--for", "login"]) == 0
    assert "Nothing is missing." in capsys.readouterr().out
    monkeypatch.setenv("DEEPSCALER_CACHE", "/proc/version/cache")
    assert main(["doctor", "--for", "login"]) == 1
    assert "FAIL  cache" in capsys.readouterr().out


def test_a_library_that_the_system_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_libraries("torch").ok
    assert check_libraries("no_such_package").ok
    (tmp_path / "ldd").write_text(
        "#!/bin/sh\nprintf '\\tlibnuma.so.1 => not found\\n\\tlibcuda.so.1 => not found\\n'\n"
    )
    (tmp_path / "ldd").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    finding = check_libraries("torch")
    assert (finding.ok, finding.evidence) == (False, "libnuma.so.1")
