"""Checks whether what is installed is what was locked, and imports."""

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib import metadata
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from deepscaler.doctor.finding import Finding, judged
from deepscaler.system.errors import UserError
from deepscaler.system.files import reason
from deepscaler.system.processes import python_command

IMPORT_DEADLINE = 300
"""Seconds for one import on a slow disk; vLLM's takes 5 to 20."""

DRIVER = {"libcuda.so.1", "libnvidia-ml.so.1"}
"""Libraries that come with a GPU's driver, from the machine."""

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(?:;\s*([^\\]+))?")

_REFERENCE = re.compile(r"^(?:--requirement|-r)[ =]\s*(\S+)")


def check_lock(lock: Path) -> Finding:
    """Compares every pin whose marker holds here. Raises UserError if there is no such file."""
    from packaging.markers import Marker  # noqa: PLC0415

    pins = [match.groups() for line in _lines(lock) if (match := _PIN.match(line))]
    if not pins:
        raise UserError(f"{lock} holds no name==version line; give one of docker/requirements/*.txt")
    # a pin may be for another interpreter or system
    wanted = {name: version for name, version, marker in pins if not marker or Marker(marker.strip()).evaluate()}
    wrong = [text for name, version in wanted.items() if (text := _difference(name, version))]
    return judged(
        "packages",
        not wrong,
        "; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "") or f"{len(wanted)} as locked",
        f"install {lock} again",
    )


def check_imports(modules: Iterable[str]) -> Iterator[Finding]:
    """Imports each in a process of its own: one built for another processor dies instead of raising."""
    for module in modules:
        name, code = f"imports: {module}", f"import {module} as m; print(getattr(m, '__version__', ''))"
        try:
            result = subprocess.run(
                python_command("-c", code), capture_output=True, text=True, timeout=IMPORT_DEADLINE, check=False
            )
        except subprocess.TimeoutExpired:
            yield Finding(name, "fail", f"not imported after {IMPORT_DEADLINE} s", "is the disk that slow?")
            continue
        if result.returncode == 0:
            # The last word, since a package may print something while it is imported.
            yield Finding(name, "pass", (result.stdout.split() or ["imports"])[-1])
        elif result.returncode < 0:
            yield Finding(name, "fail", f"dies with signal {-result.returncode}", "built for another processor?")
        else:
            last = (result.stderr.strip().splitlines() or ["fails"])[-1][:200]
            yield Finding(name, "fail", last, "not installed?")


def check_bytecode(modules: Iterable[str]) -> Finding:
    """Looks for bytecode of what was imported: without it every process compiles its imports, 30 s instead of 12."""
    origins = {module: spec.origin for module in modules if (spec := find_spec(module)) and spec.origin}
    lacking = [module for module, origin in origins.items() if not Path(cache_from_source(origin)).exists()]
    detail = f"every process compiles {', '.join(lacking)} again" if lacking else "kept"
    compiling = f"{sys.executable} -m compileall -q -j 0 {sysconfig.get_path('purelib')}"
    return judged("bytecode", not lacking, detail, f"unset PYTHONDONTWRITEBYTECODE, or as the owner: {compiling}")


def check_libraries(module: str) -> Finding:
    """Looks for the libraries that a package's compiled parts ask for: vLLM imports without them, and fails later."""
    spec, ldd = find_spec(module), shutil.which("ldd")
    if not (spec and spec.origin and ldd):
        return Finding(f"libraries: {module}", "skip", "not checked: " + ("not installed" if ldd else "no ldd here"))
    folder = Path(spec.origin).parent
    shown = subprocess.run(
        [ldd, *map(str, folder.rglob("*.so"))], capture_output=True, text=True, timeout=IMPORT_DEADLINE, check=False
    ).stdout
    # ldd looks at a file by itself: libraries of other wheels (nvidia/*/lib) are loaded by Python before it.
    carried = {path.name for path in folder.parent.rglob("*.so*")}
    missing = sorted(set(re.findall(r"^\t(\S+) => not found", shown, re.MULTILINE)) - carried - DRIVER)
    return judged(f"libraries: {module}", not missing, ", ".join(missing) or "all there", "missing: install them")


def _lines(lock: Path) -> list[str]:
    """Returns a lock's lines and those of the locks that it refers to, as train.txt does to eval.txt."""
    own = _read(lock)
    referred = [lock.parent / match[1] for line in own if (match := _REFERENCE.match(line))]
    return [*own, *(line for other in referred for line in _read(other))]


def _read(lock: Path) -> list[str]:
    try:
        return lock.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the lock file {lock}: {reason(error)}") from error


def _difference(name: str, version: str) -> str:
    try:
        installed = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} {version} is missing"
    return "" if installed == version else f"{name} {installed} is installed, {version} locked"
