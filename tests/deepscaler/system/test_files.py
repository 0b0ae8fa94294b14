"""Files are whole or absent."""

from pathlib import Path

import pytest

from deepscaler.system.errors import unknown
from deepscaler.system.files import atomic_path, sha256, write_json, write_text


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
