"""Files are whole or absent."""

import errno
import fcntl
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError

import pytest

from deepscaler.system import files
from deepscaler.system.errors import UserError, unknown
from deepscaler.system.files import (
    alone,
    atomic_path,
    locked,
    read_json,
    read_toml,
    reason,
    sha256,
    write_json,
    write_text,
)

BUSY = UserError("another process is here")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "value.json"
    write_json(target, {"a": 1})
    before = sha256(target)
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text(str(1 / 0))
    assert sha256(target) == before
    assert list(tmp_path.iterdir()) == [target]


def test_an_unknown_name_suggests_the_nearest() -> None:
    assert str(unknown("data set", "amie", ["aime", "math"])) == (
        "unknown data set 'amie' (did you mean 'aime'?); valid: aime, math"
    )


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "a" * 1000)
    before = path.stat().st_ino
    with path.open() as held:
        write_text(path, "b" * 2000)
        assert held.read() == "a" * 1000  # a rename leaves the open file alone
    assert path.stat().st_ino != before


@pytest.mark.parametrize("read", [read_json, read_toml])
def test_a_file_that_cannot_be_read_is_named_once_without_a_number(
    tmp_path: Path, read: Callable[[Path], dict[str, Any]]
) -> None:
    for path, why in ((tmp_path / "none", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError) as raised:
            read(path)
        assert str(raised.value) == f"{path} cannot be read: {why}"


@pytest.mark.parametrize("path", [Path(), Path("/")])
def test_a_folder_is_not_written_as_a_file(path: Path) -> None:
    with pytest.raises(UserError, match="is a folder; give the path of a file"):
        write_text(path, "")


def test_a_reason_bears_no_number_of_the_systems() -> None:
    assert reason(URLError(OSError(-2, "Name or service not known"))) == "Name or service not known"
    assert reason(PermissionError(13, "Permission denied", "/x")) == "Permission denied"
    assert reason(OSError("a broken image")) == "a broken image"


FULL = """
import sys
from pathlib import Path
from deepscaler.cli import main
from deepscaler.system import files
files.write_text(Path(sys.argv[1], "fits"), "x" * 20_000)
try:
    files.write_text(Path(sys.argv[1], "large"), "x" * 90_000)
except OSError as error:
    print(error.errno, error.strerror, error.filename)
print(sorted(path.name for path in Path(sys.argv[1]).iterdir()))
with open(Path(sys.argv[1], "rest"), "wb") as rest:
    import contextlib
    with contextlib.suppress(OSError):
        rest.write(bytes(90_000))
        rest.flush()
Path(sys.argv[2]).write_text('{"response": "1", "gold": "1"}\\n')
main(["grade", sys.argv[2], "--output", sys.argv[1] + "/verdicts"])
"""


def test_a_full_disk_is_told_with_path_and_sizes(tmp_path: Path) -> None:
    full, data = tmp_path / "full", tmp_path / "graded.jsonl"
    full.mkdir()
    mount = f"mount -t tmpfs -o size=64k none '{full}' && exec '{sys.executable}' -c \"$0\" '{full}' '{data}'"
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, FULL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"needs leave to mount a small file system: {done.stderr.strip()}")
    first, names = done.stdout.splitlines()[:2]
    assert first == f"28 the disk or quota is full (90.0 kB needed, 45.1 kB free) {full}/large", done.stderr
    assert names == "['fits']", "nothing is left of what did not fit"
    [told] = done.stderr.splitlines()
    assert told.startswith(f"deepscaler: {full}/verdicts: the disk or quota is full ")
    assert re.search(r"\(\d+ bytes needed, 0 bytes free\); free some space, or choose another folder$", told)


def test_a_lock_that_its_holder_removed_with_the_folder_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, opened, open_lock = tmp_path / "jobs", list[Path](), files._open_lock

    def open_before_the_removal(folder: Path) -> IO[str]:
        lock = open_lock(folder)
        if not opened:
            shutil.rmtree(folder)
        opened.append(folder)
        return lock

    monkeypatch.setattr(files, "_open_lock", open_before_the_removal)
    with locked(folder, BUSY), pytest.raises(UserError, match="another process is here"), locked(folder, BUSY):
        pytest.fail("two hold one lock")


def test_a_wait_for_another_process_is_said_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "LOCK_PATIENCE", 0.2)
    with (
        locked(tmp_path, BUSY),
        pytest.raises(UserError, match="another process is preparing data: wait for it, or end it"),
        alone(tmp_path, "preparing data"),
    ):
        pytest.fail("two hold one lock")
    assert capsys.readouterr().err == "Another process is preparing data: waiting for it ...\n"


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError, match=rf"the file system of {tmp_path} offers no locks"), locked(tmp_path, BUSY):
        pytest.fail("nothing is locked")
