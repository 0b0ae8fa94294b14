"""Reads from a shared library which GPUs it was compiled for: this needs no GPU, no driver and no CUDA toolkit.

torch's own list of architectures is empty without a GPU, as where images are built, and cuobjdump is part of the
toolkit.

nvcc puts machine code for each architecture into one container after the other:

container  magic 0xBA55ED50 | u16 version 1 | u16 bytes of this header: 16 | u64 bytes of the entries
entry      u16 kind (1 PTX, 2 machine code) | u16 | u32 bytes of this header | u64 bytes of code | ...
           and at byte 28 a u32: the architecture
"""

import mmap
import struct
from pathlib import Path

_MAGIC = struct.pack("<I", 0xBA55ED50)
_CONTAINER = struct.Struct("<4sHHQ")
_ENTRY = struct.Struct("<HHIQ12xI")
_MACHINE_CODE = 2


def architectures(library: Path) -> set[str]:
    """Returns names such as {"sm_80", "sm_90"}; code that the driver would compile first (PTX) does not count."""
    found: set[str] = set()
    # mmap refuses an empty file.
    if not library.stat().st_size:
        return found
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(_MAGIC)
        while start >= 0:
            found |= _in_container(content, start)
            # Not from the container's end: where the magic number is chance, its size is, too.
            start = content.find(_MAGIC, start + len(_MAGIC))
    return found


def _in_container(content: mmap.mmap, start: int) -> set[str]:
    if start + _CONTAINER.size > len(content):
        return set()
    _, version, header, size = _CONTAINER.unpack_from(content, start)
    place, end = start + header, start + header + size
    if (version, header) != (1, _CONTAINER.size) or end > len(content):
        return set()  # the magic number by chance
    found = set()
    while place + _ENTRY.size <= end:
        kind, _, entry_header, code_size, architecture = _ENTRY.unpack_from(content, place)
        if kind == _MACHINE_CODE:
            found.add(f"sm_{architecture}")
        # A header of no length would be read again for ever.
        if entry_header < _ENTRY.size:
            break
        place += entry_header + code_size
    return found
