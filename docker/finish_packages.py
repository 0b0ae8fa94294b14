"""Makes installed packages ready for an image: `python finish_packages.py [PREFIX]`, of this environment by default.

It removes what no program here opens, takes the symbol tables out of large libraries, and writes byte code.
"""

import compileall
import hashlib
import mmap
import py_compile
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

UNUSED = (
    "**/*.a",  # for linkers; nothing is linked in an image
    "nvidia/cu*/lib/lib*.alt.so*",  # a second build of NVRTC, which no library names
    "nvidia/cu*/lib/libcusolverMg.so*",  # cuSOLVER over several GPUs, which PyTorch does not link
    "ray/jars/*.jar",  # Ray for Java
)
"""Files by their paths in site-packages. `deepscaler doctor` finds out whether a library lacks one."""

LARGE = 1 << 22
"""Bytes from which a library's symbol table is worth the look: 0.5 GB in all, 268 MB of them Triton's."""


def main() -> None:
    """Does all three; a container with a read-only root could not do any of it for itself."""
    packages = Path(sysconfig.get_path("purelib", vars={"base": sys.argv[1] if len(sys.argv) > 1 else sys.prefix}))
    unused = {file for pattern in UNUSED for file in packages.glob(pattern)}
    print(f"{len(unused)} unused files: {sum(file.lstat().st_size for file in unused) / 1e6:.0f} MB")
    for file in unused:
        file.unlink()
    libraries = [file for file in packages.rglob("*.so*") if not file.is_symlink() and file.stat().st_size > LARGE]
    print(f"symbols of {len(libraries)} libraries: {sum(map(strip, libraries)) / 1e6:.0f} MB")
    compile_all(packages)


def strip(library: Path) -> int:
    """Removes what only debuggers read; returns the bytes saved. Leaves a library alone whose loaded part would change.

    strip has damaged libraries whose segments another tool (auditwheel, as for most wheels) had moved.
    """
    stripped = library.with_name(f"{library.name}.stripped")
    subprocess.run(["/usr/bin/strip", "--strip-unneeded", "-o", stripped, library], check=True)
    saved = library.stat().st_size - stripped.stat().st_size
    if saved <= 0 or loaded(stripped) != loaded(library):
        stripped.unlink()
        return 0
    stripped.replace(library)
    return saved


def loaded(library: Path) -> str:
    """Returns a hash of all that a process maps of a 64-bit ELF library: each segment's place, rights and content."""
    found = hashlib.sha256()
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        (table,), (size, number) = struct.unpack_from("<Q", content, 32), struct.unpack_from("<HH", content, 54)
        for place in range(table, table + size * number, size):
            kind, rights, start, address, _, in_file, in_memory = struct.unpack_from("<IIQQQQQ", content, place)
            if kind == 1:  # PT_LOAD
                found.update(struct.pack("<IQQQ", rights, address, in_file, in_memory))
                # The file's header, which says where the sections are, is the first 64 bytes.
                found.update(memoryview(content)[max(start, 64) : start + in_file])
    return found.hexdigest()


def compile_all(packages: Path) -> None:
    """Writes byte code that is trusted without a look at its source, which never changes in an image.

    Packages hold files for other versions of Python, too, so a file that does not compile is none of our business.
    """
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    # Without `force`, byte code of the other kind would count as done.
    compileall.compile_dir(packages, quiet=2, force=True, workers=0, invalidation_mode=unchecked)


if __name__ == "__main__":
    main()
