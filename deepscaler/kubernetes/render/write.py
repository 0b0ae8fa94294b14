"""Writes the folder k8s/jobs: for each job a RayJob and the kustomization for `kubectl apply -k`.

The RayJobs are generated and committed, so people can read and apply plain YAML, and a test keeps it equal to the
recipes.
"""

from collections.abc import Iterator
from pathlib import Path

from deepscaler.kubernetes.render import inputs
from deepscaler.kubernetes.render.emit import to_yaml
from deepscaler.kubernetes.render.plans import Plan, committed_plans
from deepscaler.kubernetes.render.rayjob import HEADER, comments_of, job_labels, to_rayjob
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_text

NAMESPACE = "deepscaler"

FILES = "the recipe and the files that it names, as they were when this was rendered"
SERVER_SIDE = "too large for the annotation of `kubectl apply`: give --server-side, or use `kubectl create`"


def rendered(plan: Plan, command: str, image: str | None = None) -> str:
    """Returns one RayJob as YAML, headed by the command that makes it."""
    shown = "".join(character if character.isprintable() else " " for character in command)  # it must not end the line
    header = HEADER.format(command=shown)
    rayjob = f"# {header}\n{to_yaml(to_rayjob(plan, image), comments_of(plan))}"
    if not plan.inputs:
        return rayjob
    files = inputs.to_yaml(inputs.config_map(plan.job.name, plan.inputs, job_labels(plan.job)))
    large = f"# {SERVER_SIDE}\n" if len(files) > inputs.MOST_ANNOTATED else ""
    return f"{rayjob}---\n# {FILES}\n{large}{files}"


def committed_files() -> Iterator[tuple[str, str]]:
    """Yields the path below k8s/jobs and the text of every generated file."""
    for plan in committed_plans():
        yield f"{plan.job.name}/rayjob.yaml", rendered(plan, "deepscaler render")
        yield f"{plan.job.name}/kustomization.yaml", _kustomization()


def write_committed(folder: Path, *, dry_run: bool = False) -> list[Path]:
    """Writes the files that differ, and returns them. Raises UserError if the folder does not exist."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: run this in a checkout, or give --output FOLDER")
    written = []
    for name, text in committed_files():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            if not dry_run:
                write_text(path, text)
                path.chmod(0o644)
            written.append(path)
    return written


def _kustomization() -> str:
    """Returns a kustomization without the volumes' claims."""
    tree = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        # no claims: these cannot be changed, so two jobs with different storage would refuse each other's
        "resources": ["../../base/common", "rayjob.yaml"],
    }
    return f"# {HEADER.format(command='deepscaler render')}\n{to_yaml(tree, {})}"
