"""Whether the GPU code here was compiled for the recipe's GPUs, and which GPUs there are."""

import json
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from deepscaler.doctor.fatbin import architectures
from deepscaler.doctor.packages import Finding
from deepscaler.system.processes import python_command

WANTED = {"sm_80": "A100", "sm_90": "H100"}
LIBRARIES = {"torch": "lib/libtorch_cuda*.so", "vllm": "_C*.so"}
"""Of each package, by paths from its folder: where its GPU code is."""

DEADLINE = 300
"""Seconds for torch to be imported and to find the GPUs."""

_COUNT = """
import json, torch
print(json.dumps([torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]))
"""


def check_architectures(packages: tuple[str, ...]) -> Iterator[Finding]:
    """Each installed package's GPU code; one that is not installed fails its import already."""
    for package in packages:
        spec = find_spec(package) if package in LIBRARIES else None
        if spec and spec.origin:
            folder = Path(spec.origin).parent
            compiled = {name for library in folder.glob(LIBRARIES[package]) for name in architectures(library)}
            missing = [f"{name} ({gpu})" for name, gpu in WANTED.items() if name not in compiled]
            shown = " ".join(sorted(compiled, key=lambda name: (len(name), name))) or "none"
            yield Finding(f"{package}'s GPU code", not missing, shown, f"{', '.join(missing)} missing: another build")


def check_gpus() -> Finding:
    """GPUs are reported, not demanded: an image is examined where it is built."""
    try:
        result = subprocess.run(
            python_command("-c", _COUNT), capture_output=True, text=True, timeout=DEADLINE, check=True
        )
        gpus = json.loads(result.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError):
        return Finding("GPUs", False, "torch does not answer", "see the import of torch above")
    return Finding("GPUs", True, f"{len(gpus)} x {gpus[0]}" if gpus else "none on this machine")
