"""What a kill may leave behind is repaired; nothing else is guessed at."""

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from deepscaler import cli
from deepscaler.system.errors import UserError
from deepscaler.system.files import FullDiskError
from evaluation.samples import Sample, SampleStore, read_samples
from tests.evaluation.conftest import make_sample


def fill(path: Path, count: int = 3) -> list[Sample]:
    samples = [make_sample(1, number, f"</think> Ünï\u2028cödé {number}") for number in range(count)]
    with SampleStore(path) as store:
        for sample in samples:
            store.append(sample)
    return samples


def test_samples_come_back_as_they_went_in(tmp_path: Path) -> None:
    samples = fill(tmp_path / "s.jsonl")
    assert read_samples(tmp_path / "s.jsonl") == samples


def test_no_file_is_no_samples(tmp_path: Path) -> None:
    assert read_samples(tmp_path / "s.jsonl") == []


def test_a_file_torn_at_any_byte_of_its_last_line_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    samples = fill(path)
    content = path.read_bytes()
    start_of_last = content.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(start_of_last + 1, len(content)):
        path.write_bytes(content[:cut])
        assert read_samples(path) == samples[:2]
        with SampleStore(path) as store:
            assert store.repaired_bytes == cut - start_of_last
            store.append(samples[2])
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    "change",
    [{"text": None}, {"sample": "x"}, {"response_tokens": 10**400}, {"problem_id": ["x"]}, {"seed": True}],
)
def test_a_sample_of_wrong_types_is_refused_by_number(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "s.jsonl"
    fill(path, 1)
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, **change}) + "\n")
    with pytest.raises(UserError, match="line 1 is not a sample"):
        read_samples(path)


def test_only_what_a_kill_can_leave_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    fill(path)
    path.write_bytes(path.read_bytes() + b"garbage\n")
    with pytest.raises(UserError, match="line 4 is not a sample"):
        SampleStore(path)


def test_a_broken_line_in_the_middle_is_refused_by_number(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    fill(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"garbage\n" + lines[2])
    with pytest.raises(UserError, match="line 2 is not a sample"):
        read_samples(path)


def test_a_sample_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    samples = fill(path)
    path.write_bytes(path.read_bytes() * 2)
    assert read_samples(path) == samples


def test_lone_surrogates_and_control_characters_survive(tmp_path: Path) -> None:
    sample = make_sample(1, 0, "</think>\ud800\x00\x1b[31m\r\n")
    with SampleStore(tmp_path / "s.jsonl") as store:
        store.append(sample)
    assert read_samples(tmp_path / "s.jsonl") == [sample]


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_is_named(call: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.jsonl"
    store = SampleStore(path)
    store._synced = -1000.0  # so that it syncs with the next sample

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))  # as of a descriptor, which names no file

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match=f"{path}") as caught:
            store.append(make_sample(1, 0, "x"))
        assert (caught.value.errno, caught.value.filename) == (number, str(path))
        assert isinstance(caught.value, FullDiskError) == (number == errno.ENOSPC)
        if call == "fsync":
            with pytest.raises(OSError, match=f"{path}"):
                store.close()
    if call == "write":
        store.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(store._file)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ESHUTDOWN])
def test_a_disk_that_fails_is_a_failure_that_launchers_try_again(
    number: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_: object) -> int:
        raise OSError(number, os.strerror(number), "/data/samples/aime.jsonl")

    monkeypatch.setattr(cli, "module_of", lambda _: SimpleNamespace(run=run))
    assert cli.main(["evaluate", "--model", "m", "--datasets", "aime", "--output-dir", "out"]) == 1
    told = f"deepscaler: /data/samples/aime.jsonl: {os.strerror(number)}; check the disk, file server or network"
    assert capsys.readouterr().err == f"{told}, then rerun the same command\n"
