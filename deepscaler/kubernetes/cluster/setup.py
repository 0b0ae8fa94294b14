"""Applies once what a place's namespace needs before it accepts jobs; a second time changes nothing.

These are the namespace (if missing), service account, network policy, claims, and the objects of components beside a
RayJob. Objects that cannot be changed (claims, volumes), or that somebody else has changed, stay and are reported.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from deepscaler.kubernetes.cluster.asking import greet
from deepscaler.kubernetes.cluster.compose import Objects, compose_setup, dump, split
from deepscaler.kubernetes.cluster.kubectl import Kubectl, allowed
from deepscaler.kubernetes.cluster.place import Place
from deepscaler.kubernetes.cluster.refusals import ClusterError, explain
from deepscaler.kubernetes.render.environment import CREDENTIALS, SECRETS
from deepscaler.system.errors import UserError

FIXED = ("Namespace", "PersistentVolumeClaim", "PersistentVolume")
"""Kinds that are left alone if they exist."""

PLACEHOLDERS = ("example.com", "example-bucket")
"""Names in the kit's storage that the user must replace."""

# On the server's side: otherwise apply writes the whole object into an annotation of at most 256 KiB, and takes
# fields that somebody else has changed without a word.
APPLY = ("apply", "--server-side", "--field-manager=deepscaler", "--filename", "-")


def set_up(place: Place, notes: Console, *, dry_run: bool) -> int:
    """Applies missing objects, or in a dry run only prints them on standard output. Raises UserError."""
    with tempfile.TemporaryDirectory(prefix="deepscaler-k8s-") as scratch:
        _, objects = split(compose_setup(place, Path(scratch, "setup")))
    _check_placeholders(objects, place)
    cluster = Kubectl(place.context, place.namespace)
    try:
        greet(cluster, notes)
        objects = _wanted(cluster, objects, notes)
    except ClusterError as error:
        if not dry_run:
            raise
        notes.print(f"This is all that a namespace needs: {error}", soft_wrap=True)
    if dry_run:
        print(dump(objects), end="")
        notes.print("Nothing was applied.")
        return 0
    # Applied by itself, since the server's dry run of all others needs the namespace to be there.
    first = [one for one in objects if one["kind"] == "Namespace"]
    rest = [one for one in objects if one["kind"] != "Namespace"]
    applied = _applied(cluster, first, notes) + _applied(cluster, rest, notes)
    notes.print(f"Applied: {', '.join(applied) or 'nothing, all of it is there'}.", soft_wrap=True)
    for line in _still_missing(cluster, place):
        notes.print(line, soft_wrap=True)
    return 0


def _check_placeholders(objects: Objects, place: Place) -> None:
    for one in objects:
        if one["kind"] == "PersistentVolume" and any(name in dump([one]) for name in PLACEHOLDERS):
            raise UserError(
                f"storage {place.storage} has an example's names in {_told(one)}: copy the folder k8s/storage/"
                f"{Path(place.storage).name} beside the site file, put yours in, and name the copy as `storage`"
            )


def _wanted(cluster: Kubectl, objects: Objects, notes: Console) -> Objects:
    """Returns the objects to apply. Raises ClusterError if the user lacks the right to create missing ones."""
    kinds = dict.fromkeys(_resource(one) for one in objects)
    lacking = {kind for _, kind in allowed(cluster, [("create", kind) for kind in kinds])}
    wanted: Objects = []
    missing: Objects = []
    left = []
    for one in objects:
        if one["kind"] not in FIXED and _resource(one) not in lacking:
            wanted.append(one)
        elif _is_there(cluster, one):
            left.append(_told(one))
        else:
            (missing if _resource(one) in lacking else wanted).append(one)
    if missing:
        raise ClusterError(
            f"your user may not make {', '.join(map(_told, missing))} in namespace {cluster.namespace} of"
            f" {cluster.context}: have who runs the cluster give this command, or apply what it prints with --dry-run"
        )
    if left:
        notes.print(f"There already, left alone: {', '.join(left)}.", soft_wrap=True)
    return wanted


def _is_there(cluster: Kubectl, one: dict[str, Any]) -> bool:
    """Returns whether an object exists; a namespace that the user may not read counts as existing."""
    done = cluster.run("get", _resource(one), one["metadata"]["name"], "--output", "name")
    if not done.returncode or "(NotFound)" in done.stderr:
        return not done.returncode
    if "(Forbidden)" in done.stderr:
        return bool(one["kind"] == "Namespace")
    raise explain(done.stderr, cluster.context, cluster.namespace)


def _applied(cluster: Kubectl, objects: Objects, notes: Console) -> list[str]:
    """Applies objects after the server agreed to each, and returns their names."""
    agreed = []
    for one in objects:
        # All are tried before one is applied: a refusal leaves nothing half made.
        done = cluster.run(*APPLY, "--dry-run=server", given=dump([one]))
        if done.returncode and "Apply failed with" in done.stderr:
            said = " ".join(done.stderr.split()).partition("Please review")[0].removeprefix("error: ").strip()
            notes.print(f"{_told(one)} was changed by somebody, and is left as it is: {said}", soft_wrap=True)
        elif done.returncode:
            raise explain(done.stderr or done.stdout, cluster.context, cluster.namespace)
        else:
            agreed.append(one)
    if agreed:
        cluster.ask(*APPLY, given=dump(agreed))
    return [_told(one) for one in agreed]


def _still_missing(cluster: Kubectl, place: Place) -> Iterator[str]:
    """Yields a line for each object that jobs need and `setup` does not create."""
    if "rayjobs.ray.io" not in cluster.ask("api-resources", "--api-group=ray.io", "--output=name"):
        yield "KubeRay is not installed: docs/kubernetes.md (Before) has the helm command."
    for words, advice in _needed(place):
        done = cluster.run("get", *words, "--output", "name")
        if "(NotFound)" in done.stderr or "have a resource type" in done.stderr:
            yield f"There is no {' '.join(words)} yet: {advice}."
    claims = cluster.read("persistentvolumeclaim")["items"]
    for one in claims:
        name, modes = one["metadata"]["name"], one["spec"].get("accessModes", [])
        if name in (place.runs_claim, place.cache_claim) and "ReadWriteMany" not in modes:
            yield f"The claim {name} is {', '.join(modes)}: pods on several nodes need ReadWriteMany."
    if "(NotFound)" in cluster.run("get", "secret", CREDENTIALS, "--output", "name").stderr:
        keys = " ".join(f"--from-literal={key}=..." for key in SECRETS)
        yield (
            f"If a model is gated, or runs are logged: kubectl --context {place.context} --namespace {place.namespace}"
            f" create secret generic {CREDENTIALS} {keys}"
        )


def _needed(place: Place) -> Iterator[tuple[Sequence[str], str]]:
    """Yields objects of the whole cluster or of other people, in kubectl's words, and who creates them."""
    queue, admin = place.queue or "deepscaler", "who runs the cluster makes it"
    if "kueue" in place.components:
        if place.queue and not place.cluster_queue:
            yield ("localqueue.kueue.x-k8s.io", queue), f"{admin}, or give `cluster_queue` for `k8s setup` to make it"
        else:
            yield ("clusterqueue.kueue.x-k8s.io", place.cluster_queue or "deepscaler"), f"{admin} (k8s/cluster/kueue)"
    if "volcano" in place.components:
        yield ("queue.scheduling.volcano.sh", queue), f"{admin} (k8s/cluster/volcano)"
    if "kai" in place.components:
        yield ("queue.scheduling.run.ai", queue), f"{admin} (k8s/cluster/kai)"
    if "priority" in place.components:
        yield ("priorityclass", "deepscaler-training"), f"{admin} (k8s/cluster/priority)"
    if place.data_claim:
        yield ("persistentvolumeclaim", place.data_claim), "make it and put your data there; pods read it at /data"


def _resource(one: dict[str, Any]) -> str:
    """Returns kubectl's unambiguous name for an object's kind: localqueue.kueue.x-k8s.io."""
    group, _, version = one["apiVersion"].rpartition("/")
    return f"{one['kind'].lower()}.{group}" if version and group else str(one["kind"].lower())


def _told(one: dict[str, Any]) -> str:
    return f"{one['kind'].lower()} {one['metadata']['name']}"
