"""Resolve docker/requirements/*.txt from pyproject.toml: `make lock`, or `python tools/lock.py eval train`.

Universal over Python 3.11 and 3.12 on Linux, with hashes.

cpu, eval, train   what each image installs
dev                tools beside cpu's packages, in versions that agree with them
build              what makes this package
nvcc               what flash-attn is compiled with
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "docker/requirements"
UV = "uv==0.13.9"

LOCKS: dict[str, tuple[str, ...]] = {
    "cpu": ("pyproject.toml", "--extra", "cpu", "--override", str(REQUIREMENTS / "overrides-cpu.txt")),
    "dev": ("--group", "dev", "--constraint", str(REQUIREMENTS / "cpu.txt")),
    "eval": ("pyproject.toml", "--extra", "eval", "--override", str(REQUIREMENTS / "overrides-gpu.txt")),
    "train": ("pyproject.toml", "--extra", "train", "--override", str(REQUIREMENTS / "overrides-gpu.txt")),
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
        subprocess.run([sys.executable, "-P", "-m", "pip", "install", "--quiet", "--target", folder, UV], check=True)
        for name in names:
            command = [f"{folder}/bin/uv", "pip", "compile", *LOCKS[name], *options]
            command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--quiet"]
            command += ["--custom-compile-command", "make lock", "--output-file", str(REQUIREMENTS / f"{name}.txt")]
            subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
