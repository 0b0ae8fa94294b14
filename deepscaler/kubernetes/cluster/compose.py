"""Composes a job for a place: a folder that `kubectl apply -k` takes, made of the RayJob and copies of components.

outputs/mine/k8s/train-mine/
  kustomization.yaml   rayjob.yaml   components/kueue/...   the kit's own, with the names of the site file
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from deepscaler.kubernetes.check.check import Report, build, check_text
from deepscaler.kubernetes.cluster.fit import NODE_SELECTOR, adapt, fit, node_labels_patch
from deepscaler.kubernetes.cluster.place import Place, manifests
from deepscaler.kubernetes.render import inputs
from deepscaler.kubernetes.render.emit import to_yaml
from deepscaler.kubernetes.render.plans import Plan
from deepscaler.kubernetes.render.rayjob import comments_of, job_labels, to_rayjob
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_text

KUSTOMIZATION = "kustomization.yaml"
OF_A_JOB = ("RayJob", "Job")
"""Kinds that are made for each job; a ConfigMap is, where it carries the job's name."""

Objects = list[dict[str, Any]]


def compose(plan: Plan, place: Place, folder: Path, *, with_base: bool = False) -> str:
    """Writes a job's folder anew and returns the YAML that kubectl builds of it, checked. Raises UserError.

    `with_base` adds namespace, account, network policy and claims, for a folder that is applied as a whole.
    """
    if folder.is_dir():
        shutil.rmtree(folder)
    image = place.image_of(plan.job.image)
    rayjob = fit(to_rayjob(plan, image), place)
    has_workers = "workerGroupSpecs" in rayjob["spec"]["rayClusterSpec"]
    write_text(folder / "rayjob.yaml", to_yaml(rayjob, comments_of(plan)))
    resources = ["rayjob.yaml"]
    if plan.inputs and not plan.inputs_map:
        config_map = inputs.config_map(plan.job.name, plan.inputs, job_labels(plan.job))
        write_text(folder / "inputs.yaml", inputs.to_yaml(config_map))
        resources.append("inputs.yaml")
    if with_base:
        resources += list(_copied_base(folder, shared=plan.shared))
    copied = [_copied_component(name, place, folder, has_workers=has_workers) for name in place.components]
    is_set = any(NODE_SELECTOR in (folder / one / KUSTOMIZATION).read_text(encoding="utf-8") for one in copied)
    labels = node_labels_patch(place, is_set=is_set) if has_workers else []
    tree = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": place.namespace,
        "resources": resources,
        **({"components": copied} if copied else {}),
        **({"patches": [{"target": {"kind": "RayJob"}, "patch": _text(labels)}]} if labels else {}),
    }
    write_text(folder / KUSTOMIZATION, _text(tree))
    built = build(folder)
    check(built, str(folder))
    return built


def check(text: str, name: str) -> None:
    """Raises UserError where a cluster or its operator would refuse something."""
    report = Report()
    check_text(text, name, report)
    if report.findings:
        raise UserError("; ".join(str(finding) for finding in report.findings[:5]))


def split(built: str) -> tuple[Objects, Objects]:
    """Returns the objects of a job, and what is made once for a namespace: queues, volumes, claims."""
    objects: Objects = [one for one in yaml.safe_load_all(built) if one]
    mine = [one for one in objects if _is_of_job(one)]
    return mine, [one for one in objects if not _is_of_job(one)]


def dump(objects: Sequence[Mapping[str, Any]]) -> str:
    """Returns objects as one YAML text."""
    return "---\n".join(_text(one) for one in objects)


def _is_of_job(one: Mapping[str, Any]) -> bool:
    instance = one["metadata"].get("labels", {}).get("app.kubernetes.io/instance")
    return one["kind"] in OF_A_JOB or (one["kind"] == "ConfigMap" and bool(instance))


def _copied_component(name: str, place: Place, folder: Path, *, has_workers: bool) -> str:
    """Copies a component below a job's folder with the place's names in it, and returns its path there."""
    own = Path(name)
    source = own if own.is_absolute() else manifests() / "components" / name
    target = folder / "components" / own.name
    shutil.copytree(source, target)
    tree = yaml.safe_load((source / KUSTOMIZATION).read_text(encoding="utf-8"))
    for patch in tree.get("patches", ()):
        if isinstance(patch.get("patch"), str) and isinstance(loaded := yaml.safe_load(patch["patch"]), list):
            patch["patch"] = loaded
    tree = adapt(tree, place, has_workers=has_workers)
    for patch in tree.get("patches", ()):
        if isinstance(patch.get("patch"), list):
            patch["patch"] = _text(patch["patch"])
    write_text(target / KUSTOMIZATION, _text(tree))
    return f"components/{own.name}"


def _copied_base(folder: Path, *, shared: bool) -> Iterator[str]:
    """Copies what is made once for a namespace, and yields its folders."""
    for name in ("common", "storage") if shared else ("common",):
        shutil.copytree(manifests() / "base" / name, folder / "base" / name)
        yield f"base/{name}"


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes a patch of several lines as a block."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def _text(tree: Any) -> str:
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, width=float("inf"), allow_unicode=True)
    return text
