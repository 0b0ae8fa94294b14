"""Composes a job for a place: a folder for `kubectl apply -k`, made from the RayJob and copies of components.

outputs/mine/k8s/train-mine/
  kustomization.yaml   rayjob.yaml   components/kueue/...   the kit's own, with the names of the site file
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from deepscaler.kubernetes.check.check import Report, build, check_text
from deepscaler.kubernetes.cluster.fit import NODE_SELECTOR, adapt, fit, node_labels_patch, object_patches
from deepscaler.kubernetes.cluster.place import Place, manifests
from deepscaler.kubernetes.render import inputs
from deepscaler.kubernetes.render.emit import to_yaml
from deepscaler.kubernetes.render.plans import Plan
from deepscaler.kubernetes.render.rayjob import comments_of, job_labels, to_rayjob
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_text

KUSTOMIZATION = "kustomization.yaml"
WRITTEN = (KUSTOMIZATION, "rayjob.yaml", "inputs.yaml", "base", "components")
"""Entries that a job's folder may hold."""
OF_A_JOB = ("RayJob", "Job")
"""Kinds that are created for each job; a ConfigMap is one if it carries the job's name."""

Objects = list[dict[str, Any]]


def compose(plan: Plan, place: Place, folder: Path, *, with_base: bool = False) -> str:
    """Rewrites a job's folder and returns the checked YAML that kubectl builds from it. Raises UserError.

    `with_base` adds the namespace, account and network policy, for a folder that is applied as a whole.
    """
    _check_data(plan, place)
    _clear(folder)
    image = place.image_of(plan.job.image)
    rayjob = fit(to_rayjob(plan, image), place)
    has_workers = "workerGroupSpecs" in rayjob["spec"]["rayClusterSpec"]
    write_text(folder / "rayjob.yaml", to_yaml(rayjob, comments_of(plan)))
    resources = ["rayjob.yaml"]
    # The jobs of a chain share the map that its conductor brings.
    if plan.inputs and not plan.inputs_map:
        config_map = inputs.config_map(plan.job.name, plan.inputs, job_labels(plan.job))
        write_text(folder / "inputs.yaml", inputs.to_yaml(config_map))
        resources.append("inputs.yaml")
    if with_base:
        # without the claims: these cannot be changed, so two jobs with different storage would refuse each
        # other's
        resources.append(_copied("base/common", folder))
    copied = [_copied_component(name, place, folder, has_workers=has_workers) for name in place.components]
    is_set = any(NODE_SELECTOR in (folder / one / KUSTOMIZATION).read_text(encoding="utf-8") for one in copied)
    labels = node_labels_patch(place, is_set=is_set) if has_workers else []
    patches = [{"target": {"kind": "RayJob"}, "patch": labels}] if labels else []
    return _built(folder, place, resources, copied, patches)


def compose_setup(place: Place, folder: Path) -> str:
    """Writes what a place's namespace needs once, and returns the YAML that kubectl builds. Raises UserError."""
    _clear(folder)
    resources = [_copied("base/common", folder), *_copied_storage(place, folder)]
    copied = [_copied_component(name, place, folder, has_workers=True) for name in place.components]
    return _built(folder, place, resources, copied, [])


def check_ours(folder: Path) -> None:
    """Raises UserError for a folder that holds anything but a composed job, because rewriting it would remove that."""
    if folder.is_file():
        raise UserError(f"--output {folder} is a file, but with --site a folder is written: give another path")
    others = sorted({path.name for path in folder.glob("*")} - set(WRITTEN))
    if others:
        raise UserError(f"{folder} holds {others[0]}, which is not part of a rendered job: name another folder")


def _check_data(plan: Plan, place: Place) -> None:
    """Raises UserError for data on a volume that the pods would not have."""
    for name in (*plan.job.datasets, plan.job.model):
        if name.startswith("/data/") and not place.data_claim:
            raise UserError(f"{name} is on a volume that no pod has: name its claim as data_claim in the site file")


def _clear(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _built(
    folder: Path, place: Place, resources: Sequence[str], components: Sequence[str], patches: Sequence[dict[str, Any]]
) -> str:
    """Writes the kustomization of a folder and returns what kubectl builds of it, checked."""
    patches = [*patches, *object_patches(place)]
    tree = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": place.namespace,
        "resources": list(resources),
        **({"components": list(components)} if components else {}),
        **({"patches": [{**one, "patch": _text(one["patch"])} for one in patches]} if patches else {}),
    }
    write_text(folder / KUSTOMIZATION, _text(tree))
    built = build(folder)
    check(built, str(folder))
    return built


def check(text: str, name: str) -> None:
    """Raises UserError if a cluster or its operator would refuse something."""
    report = Report()
    check_text(text, name, report)
    if report.findings:
        raise UserError("; ".join(str(finding) for finding in report.findings[:5]))


def split(built: str) -> tuple[Objects, Objects]:
    """Returns the objects of a job, and those created once for a namespace: queues, volumes, claims."""
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
    tree = _read(source / KUSTOMIZATION)
    tree = adapt(tree, place, has_workers=has_workers)
    for patch in tree.get("patches") or ():
        if isinstance(patch.get("patch"), list):
            patch["patch"] = _text(patch["patch"])
    write_text(target / KUSTOMIZATION, _text(tree))
    return f"components/{own.name}"


def _read(file: Path) -> dict[str, Any]:
    """Returns a kustomization whose JSON 6902 patches are lists. Raises UserError for a file of another form."""
    try:
        tree: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        for patch in tree.get("patches") or ():
            if isinstance(patch.get("patch"), str) and isinstance(loaded := yaml.safe_load(patch["patch"]), list):
                patch["patch"] = loaded
                assert all("path" in one for one in loaded), "a patch without a path"
    except (yaml.YAMLError, ValueError, AttributeError, TypeError, AssertionError) as error:
        raise UserError(f"{file} is not a kustomization: {' '.join(str(error).split())[:300]}") from error
    return tree


def _copied(name: str, folder: Path) -> str:
    """Copies a folder of the kit's below another, and returns its path there."""
    shutil.copytree(manifests() / name, folder / name)
    return name


def _copied_storage(place: Place, folder: Path) -> Iterator[str]:
    """Copies the claims with a place's storage class, and the storage built on them, and yields what to apply."""
    claims = folder / _copied("storage/claims", folder)
    tree = yaml.safe_load((claims / KUSTOMIZATION).read_text(encoding="utf-8"))
    tree["resources"] = [one for one in tree["resources"] if not one.startswith("..")]  # the base is there already
    if place.storage_class:
        operations = [{"op": "add", "path": "/spec/storageClassName", "value": place.storage_class}]
        tree["patches"] = [{"target": {"kind": "PersistentVolumeClaim"}, "patch": _text(operations)}]
    write_text(claims / KUSTOMIZATION, _text(tree))
    if Path(place.storage).is_absolute():
        # beside storage/claims, because it refers to `../claims` as the kit's do
        shutil.copytree(place.storage, folder / "storage" / "own")
        yield "storage/own"
    elif place.storage == "claims":
        yield "storage/claims"
    else:
        yield _copied(f"storage/{place.storage}", folder)


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes a patch of several lines as a block."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def _text(tree: Any) -> str:
    # PyYAML would fold at 80 columns, in patches and commands, too.
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, width=float("inf"), allow_unicode=True)
    return text
