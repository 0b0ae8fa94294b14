"""Architectures are read from a library's bytes; what only looks like a container is passed over."""

import struct
from pathlib import Path

from deepscaler.doctor.fatbin import architectures


def entry(kind: int, architecture: int, code: bytes = b"code") -> bytes:
    return struct.pack("<HHIQ12xI", kind, 0x101, 64, len(code), architecture).ljust(64, b"\0") + code


def container(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return struct.pack("<4sHHQ", b"\x50\xed\x55\xba", 1, 16, len(body)) + body


def test_machine_code_of_every_container_counts_and_ptx_does_not(tmp_path: Path) -> None:
    library = tmp_path / "libkernels.so"
    library.write_bytes(
        b"\x7fELF" + container(entry(2, 80), entry(1, 120)) + b"between" + container(entry(2, 90, b"x" * 999))
    )
    assert architectures(library) == {"sm_80", "sm_90"}


def test_broken_and_empty_files_have_none(tmp_path: Path) -> None:
    library = tmp_path / "library.so"
    for content in (b"", b"\x50\xed\x55\xba", b"\x50\xed\x55\xba" * 8, container(entry(2, 80))[:40]):
        library.write_bytes(content)
        assert architectures(library) == set()
