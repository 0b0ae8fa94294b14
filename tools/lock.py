"""Resolves docker/requirements/*.txt from pyproject.toml: `make lock`, or `python tools/lock.py eval train`.

Universal over Python 3.11 and 3.12 on Linux, with hashes.

cpu     what the cpu image installs
eval    what both CUDA images install
train   what the train image adds to it; refers to eval.txt
dev     tools beside cpu's packages, in versions that agree with them
build   what makes this package
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "docker/requirements"
SEAL = "# sealed by tools/lock.py: "
"""Begins a lock's first line."""

GPU_OVERRIDES = REQUIREMENTS / "overrides-gpu.txt"
LOCKS: dict[str, tuple[str, ...]] = {
    "cpu": ("--extra", "cpu", "pyproject.toml", "--override", str(REQUIREMENTS / "overrides-cpu.txt")),
    "dev": ("--group", "dev", "--constraint", str(REQUIREMENTS / "cpu.txt")),
    "eval": ("--extra", "eval", "pyproject.toml", "--override", str(GPU_OVERRIDES)),
    "train": ("--extra", "train", "pyproject.toml", "--override", str(GPU_OVERRIDES)),
    "build": ("--group", "build"),
}
"""Each lock's inputs; a later one may agree with an earlier one."""

GPU = ("eval", "train")
"""Resolved together, so that no package is in both images in two versions."""


def main() -> None:
    """Writes the locks named, or all; options are passed to uv (`--upgrade`)."""
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    names = [argument for argument in sys.argv[1:] if argument not in options] or list(LOCKS)
    if wrong := set(names) - set(LOCKS):
        sys.exit(f"lock: no lock named {', '.join(sorted(wrong))}; valid: {', '.join(LOCKS)}")
    with tempfile.TemporaryDirectory() as folder:
        uv = install_uv(Path(folder))
        for name in LOCKS:
            if name in names and name not in GPU:
                resolve(uv, name, REQUIREMENTS / f"{name}.txt", *options)
                write_seal(name)
        if set(names) & set(GPU):
            resolve_gpu(uv, Path(folder), *options)
            for name in GPU:
                write_seal(name)


def resolve(uv: Path, name: str, output: Path, *options: str) -> None:
    """Writes what a lock's inputs resolve to, unsealed. Versions that the file holds already are kept."""
    command = [str(uv), "pip", "compile", *LOCKS[name], *options]
    # The oldest version; markers in the lock cover the newer ones.
    command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--quiet"]
    command += ["--custom-compile-command", "make lock", "--output-file", str(output)]
    subprocess.run(command, cwd=ROOT, check=True)


def resolve_gpu(uv: Path, folder: Path, *options: str) -> None:
    """Writes the packages of both CUDA images to eval.txt and what training adds to train.txt."""
    locks = [REQUIREMENTS / f"{name}.txt" for name in GPU]
    whole, common = folder / "whole.txt", folder / "common.txt"
    whole.write_text("".join(pin for lock in locks for pin in pins(lock)), encoding="utf-8")
    resolve(uv, "train", whole, *options)
    shutil.copy(whole, common)  # so that eval keeps train's versions
    resolve(uv, "eval", common)
    shared, packages = pins(common), pins(whole)
    if other := [pin.split()[0] for pin in shared if pin not in packages]:
        sys.exit(f"lock: eval resolves to {', '.join(other)}, train to another version")
    added = [pin for pin in packages if pin not in shared]
    locks[0].write_text(common.read_text(encoding="utf-8"), encoding="utf-8")
    locks[1].write_text("# Written by `make lock`\n--requirement eval.txt\n" + "".join(added), encoding="utf-8")


def pins(lock: Path) -> list[str]:
    """Returns a lock's packages, each with its marker and hashes."""
    # A pin and the hashes below it, which are indented.
    return re.findall(r"^[a-z0-9].*\n(?: .*\n)*", lock.read_text(encoding="utf-8"), re.MULTILINE)


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
    together = GPU if name in GPU else (name,)
    if kind == "--extra":
        extras = project["optional-dependencies"]
        packages = [project["dependencies"], *(extras[each] for each in (GPU if group in GPU else (group,)))]
    else:
        packages = pyproject["dependency-groups"]  # all: one may include another
    asked = [project["requires-python"], pyproject["tool"]["uv"], packages]
    files = [REQUIREMENTS / "uv.txt", *(Path(part) for part in LOCKS[name] if part.startswith(str(REQUIREMENTS)))]
    texts = [file.read_text(encoding="utf-8") for file in files] + [unsealed(each) for each in together]
    # With a separator that no text holds: a line that moves from one file to the next is a change.
    return hashlib.sha256("\0".join([json.dumps(asked), *texts]).encode()).hexdigest()


def unsealed(name: str) -> str:
    """Returns a lock's text without its first line, the seal."""
    text = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8")
    return text.partition("\n")[2] if text.startswith(SEAL) else text


if __name__ == "__main__":
    main()
