"""Makes `.venv` from nothing but Python 3.11 or 3.12 and pip: `python3 tools/bootstrap.py`.

Installs docker/requirements/cpu.txt and dev.txt (hashes checked, nothing resolved), torch's CPU build, this checkout.
torch is installed apart: its CPU build is a different file in every index, so no lock that works everywhere can hold
its hash. uv comes from a lock of its own, by pip, which a fresh machine has; it installs the other locks in a third of
pip's time, and resolves them for two Python versions at once, which pip cannot (tools/lock.py). If uv fails, pip
installs all. Does nothing if that was done before and no requirement has changed since.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
LOCKS = (ROOT / "docker/requirements/cpu.txt", ROOT / "docker/requirements/dev.txt")
UV = ROOT / "docker/requirements/uv.txt"
TORCH = "torch==2.13.0"
SUPPORTED = ((3, 11), (3, 12))


def main() -> None:
    """Brings `.venv` up to date, and prints each step."""
    _use_supported_python()
    stamp, wanted = ENVIRONMENT / "ready", _fingerprint()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    started = time.monotonic()
    if not (ENVIRONMENT / "bin/python").exists():
        _say("Making .venv ...")
        _make_environment()
    _say("Installing torch (CPU build, about 190 MB) ...")
    _install_torch()
    _say("Installing the locked packages (about 2 GB on disk, one to three minutes) ...")
    _install_locks()
    _say("Installing this checkout ...")
    # Built by the locked hatchling; isolated, pip would fetch another one without a hash.
    _pip("install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    # Last: an installation that was cut off is done again.
    stamp.write_text(wanted, encoding="utf-8")
    _say(f"The environment is ready ({time.monotonic() - started:.0f} s).")


def _use_supported_python() -> None:
    """Continues in Python 3.11 or 3.12, wherever one is."""
    if sys.version_info[:2] in SUPPORTED:
        return
    for major, minor in SUPPORTED:
        if found := shutil.which(f"python{major}.{minor}"):
            # Everything below has to be of the interpreter that the environment is made of.
            os.execv(found, [found, *sys.argv])  # noqa: S606  the same script, another interpreter
    sys.exit(
        f"bootstrap: this is Python {sys.version.split()[0]}; install Python 3.11 or 3.12 (PYTHON=/path/to/it make ...)"
    )


def _make_environment() -> None:
    """Makes a virtual environment, by the system's own pip where ensurepip is missing (Debian without python3-venv)."""
    try:
        venv.create(ENVIRONMENT, with_pip=True, symlinks=True)
    except (subprocess.CalledProcessError, ImportError):
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        venv.create(ENVIRONMENT, with_pip=False, symlinks=True)
        if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
            shutil.rmtree(ENVIRONMENT)
            sys.exit(
                "bootstrap: this Python has neither pip nor ensurepip: apt-get install python3-pip (or python3-venv)"
            )
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", str(ENVIRONMENT / "bin/python"), "install", "--quiet", "pip"],
            check=True,
        )


def _install_torch() -> None:
    """Installs the CPU build where an index or PIP_FIND_LINKS has it, else PyPI's CUDA build, which runs on CPU too."""
    if _pip("install", "--no-deps", f"{TORCH}+cpu", may_fail=True):
        _say("No CPU build of torch in your package index: taking the CUDA build (3 GB; it runs without a GPU).")
        _say("To avoid that, point PIP_EXTRA_INDEX_URL at PyTorch's CPU index and run this again.")
        _pip("install", TORCH)


def _install_locks() -> None:
    """Installs the locked packages with uv, which takes a third of pip's time; with pip where uv cannot."""
    wanted = ["--no-deps", "--require-hashes", *(part for lock in LOCKS for part in ("--requirement", str(lock)))]
    if _pip("install", "--no-deps", "--require-hashes", "--requirement", str(UV), may_fail=True) == 0:
        command = [ENVIRONMENT / "bin/uv", "pip", "install", "--quiet", "--python", ENVIRONMENT / "bin/python", *wanted]
        result = subprocess.run(
            command, env=uv_environment(pip_settings()), capture_output=True, text=True, check=False
        )
        if result.returncode == 0:
            return
        _say(f"uv failed, so pip installs them: {(result.stderr.strip().splitlines() or ['no message'])[-1]}")
    _pip("install", *wanted)


def pip_settings() -> dict[str, str]:
    """Returns what pip is configured with, by its variables or files: {"index-url": "https://..."}."""
    command = [str(ENVIRONMENT / "bin/python"), "-m", "pip", "--disable-pip-version-check", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    settings = {}
    for line in sorted(listed, key=lambda line: line.startswith(":env:")):  # a variable counts more than a file
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'")
    return settings


def uv_environment(settings: dict[str, str]) -> dict[str, str]:
    """Returns the environment for uv, which does not read pip's settings: the index and the certificates of pip."""
    environment = dict(os.environ)
    # not extra-index-url: PyPI, or its mirror, has all locked packages
    for name, variable in (("index-url", "UV_DEFAULT_INDEX"), ("cert", "SSL_CERT_FILE")):
        if name in settings:
            environment.setdefault(variable, settings[name])
    return environment


def _pip(*arguments: str, may_fail: bool = False) -> int:
    """Runs the environment's pip quietly; its output is shown if it fails."""
    command = [str(ENVIRONMENT / "bin/python"), "-m", "pip", "--disable-pip-version-check", *arguments]
    if arguments[0] == "install":
        command.append("--no-compile")  # byte-compiling 2 GB takes longer than installing it
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode and not may_fail:
        sys.exit(f"{result.stdout[-2000:]}{result.stderr[-4000:]}\nbootstrap: {' '.join(command)} failed")
    return result.returncode


def _fingerprint() -> str:
    """Returns a hash of everything that the environment was made from."""
    contents = b"".join(path.read_bytes() for path in (*LOCKS, UV, ROOT / "pyproject.toml", Path(__file__)))
    return hashlib.sha256(contents).hexdigest()


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
