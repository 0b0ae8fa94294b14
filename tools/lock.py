"""Resolve docker/requirements/*.txt from pyproject.toml: `make lock`, or `python tools/lock.py eval train`.

Universal over Python 3.11 and 3.12 on Linux, with hashes.

cpu, eval, train   what each image installs
dev                tools beside cpu's packages, in versions that agree with them
build              what makes this package
nvcc               what flash-attn is compiled with
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "docker/requirements"
SEAL = "# sealed by tools/lock.py: "
"""Begins a lock's first line."""

LOCKS: dict[str, tuple[str, ...]] = {
    "cpu": ("--extra", "cpu", "pyproject.toml", "--override", str(REQUIREMENTS / "overrides-cpu.txt")),
    "dev": ("--group", "dev", "--constraint", str(REQUIREMENTS / "cpu.txt")),
    "eval": ("--extra", "eval", "pyproject.toml", "--override", str(REQUIREMENTS / "overrides-gpu.txt")),
    "train": ("--extra", "train", "pyproject.toml", "--override", str(REQUIREMENTS / "overrides-gpu.txt")),
    "build": ("--group", "build"),
    "nvcc": ("--group", "nvcc"),
}
"""Each lock's inputs; a later one may agree with an earlier one."""


def main() -> None:
    """Write the locks named, or all; options go on to uv (`--upgrade`)."""
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    names = [argument for argument in sys.argv[1:] if argument not in options] or list(LOCKS)
    if wrong := set(names) - set(LOCKS):
        sys.exit(f"lock: no lock named {', '.join(sorted(wrong))}; valid: {', '.join(LOCKS)}")
    with tempfile.TemporaryDirectory() as folder:
        uv = install_uv(Path(folder))
        for name in names:
            command = [str(uv), "pip", "compile", *LOCKS[name], *options]
            command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--quiet"]
            command += ["--custom-compile-command", "make lock", "--output-file", str(REQUIREMENTS / f"{name}.txt")]
            subprocess.run(command, cwd=ROOT, check=True)
            write_seal(name)


def install_uv(folder: Path) -> Path:
    """Installs uv from its own lock into a folder; returns its program."""
    command = [sys.executable, "-P", "-m", "pip", "install", "--quiet", "--target", str(folder), "--require-hashes"]
    subprocess.run([*command, "--requirement", str(REQUIREMENTS / "uv.txt")], check=True)
    return folder / "bin/uv"


def write_seal(name: str) -> None:
    """Puts a lock's seal on its first line."""
    text = f"{SEAL}{seal(name)}\n{unsealed(name)}"
    (REQUIREMENTS / f"{name}.txt").write_text(text, encoding="utf-8")


def seal(name: str) -> str:
    """Returns the hash of a lock and of all that it was resolved from: a change of either by hand shows."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, (kind, group) = pyproject["project"], LOCKS[name][:2]
    if kind == "--extra":
        packages = [project["dependencies"], project["optional-dependencies"][group]]
    else:
        packages = pyproject["dependency-groups"]  # all: one may include another
    asked = [project["requires-python"], pyproject["tool"]["uv"], packages]
    files = [REQUIREMENTS / "uv.txt", *(Path(part) for part in LOCKS[name] if part.startswith(str(REQUIREMENTS)))]
    parts = [json.dumps(asked), *(file.read_text(encoding="utf-8") for file in files), unsealed(name)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def unsealed(name: str) -> str:
    """Returns a lock's text without its first line, the seal."""
    text = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8")
    return text.partition("\n")[2] if text.startswith(SEAL) else text


if __name__ == "__main__":
    main()
