"""Resolve docker/requirements/cpu.txt from pyproject.toml: `make lock`.

Universal over Python 3.11 and 3.12 on Linux, with hashes. torch is left out: its CPU build has a name and a hash of its
own in every index, so tools/bootstrap.py installs it. What else is left
out stands in overrides.txt.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "docker/requirements"
UV = "uv==0.13.9"


def main() -> None:
    """Write the lock file."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, UV], check=True)
        command = [f"{folder}/bin/uv", "pip", "compile", "pyproject.toml", "--extra", "cpu", "--extra", "dev"]
        command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--quiet"]
        command += ["--override", str(REQUIREMENTS / "overrides.txt"), "--custom-compile-command", "make lock"]
        command += ["--output-file", str(REQUIREMENTS / "cpu.txt"), *sys.argv[1:]]
        subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
