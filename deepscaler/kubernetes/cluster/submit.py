"""Submits the jobs of a run, or tells what would be submitted. Nothing is made before the cluster has agreed to it."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from deepscaler.kubernetes.cluster.cancel import forget_inputs
from deepscaler.kubernetes.cluster.compose import Objects, compose, dump, split
from deepscaler.kubernetes.cluster.kubectl import Kubectl, allowed, check_context
from deepscaler.kubernetes.cluster.look import ENDED, belongs
from deepscaler.kubernetes.cluster.place import Place
from deepscaler.kubernetes.cluster.record import FOLDER, Submitted, submitting, write_jobs
from deepscaler.kubernetes.cluster.refusals import ClusterError, UnreachableError, explain
from deepscaler.kubernetes.render.plans import Plan
from deepscaler.system.errors import UserError

TRIED = "-asked"
"""Behind a name that the server is asked about; a refusal is told without it."""

RIGHTS = (("create", "rayjobs.ray.io"), ("delete", "rayjobs.ray.io"), ("create", "configmaps"), ("get", "pods/log"))
"""What a submission and what follows it need."""


DELETE_SECONDS = 120.0
"""For a finished job to go; what still works is not waited for here."""


class AtWorkError(UserError):
    """A job of this run has not ended."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A job as it is applied."""

    plan: Plan
    objects: Objects


def submit(plans: Sequence[Plan], place: Place, folder: Path, console: Console) -> int:
    """Applies the jobs of a run in a namespace that is set up. Raises UserError before anything is changed."""
    cluster = Kubectl(place.context, place.namespace)
    with submitting(folder):
        composed = [_compose(plan, place, folder) for plan in plans]
        greet(cluster, console)
        check_rights(cluster, RIGHTS)
        check_set_up(cluster, place, needs_claims=any(plan.shared for plan in plans))
        jobs = [_record(one.plan, place) for one in composed]
        try:
            ended = [one.plan.job.name for one in composed if _has_ended(cluster, one.plan)]
        except AtWorkError:
            write_jobs(folder, jobs)  # the note may be missing: it was cut off, removed, or this is another machine
            raise
        for one in composed:
            check_taken(cluster, one.objects)
        for name in ended:
            console.print(f"Removing the job {name} that has ended; what it wrote stays on the volume.", soft_wrap=True)
            cluster.ask("delete", "rayjob", name, f"--timeout={DELETE_SECONDS:.0f}s", seconds=DELETE_SECONDS + 30)
            forget_inputs(cluster, name)
        for one in composed:
            make(cluster, one.objects)
            console.print(f"Submitted {_told(one.plan)}.", soft_wrap=True)
        write_jobs(folder, jobs)
    console.print(f"Watch: deepscaler status {folder}; deepscaler logs {folder} --follow", soft_wrap=True)
    return 0


def describe(plans: Sequence[Plan], place: Place, folder: Path, console: Console, *, full: bool) -> int:
    """Prints what would be applied, and whether the cluster would take it, if it can be asked."""
    for plan in plans:
        console.print(f"{_told(plan)}: {plan.job.command_line}", soft_wrap=True)
        with tempfile.TemporaryDirectory(prefix="deepscaler-k8s-") as scratch:
            objects, _ = split(compose(plan, place, Path(scratch) / plan.job.name))
        if full:
            console.print(dump(objects), soft_wrap=True)
    say_whether_taken(
        Kubectl(place.context, place.namespace),
        objects,
        lambda cluster: check_set_up(cluster, place, needs_claims=any(plan.shared for plan in plans)),
        console,
    )
    return 0


def say_whether_taken(
    cluster: Kubectl, objects: Objects, check: Callable[[Kubectl], None], console: Console, *, it: str = "it"
) -> None:
    """Prints whether the cluster would take objects, once `check` has passed; or why it was not asked.

    Raises ClusterError where it would refuse one.
    """
    try:
        greet(cluster, console)
        check(cluster)
        check_taken(cluster, objects)
        answer = f"and the cluster would take {it}"
    except UnreachableError as reason:
        answer = f"but the cluster was not asked: {reason}"
    console.print(f"The manifests are right, {answer}. Nothing was submitted.", soft_wrap=True)


def greet(cluster: Kubectl, console: Console) -> None:
    """Says which cluster is meant, and as whom, before anything is done there.

    Raises ClusterError for another one, and UnreachableError where it does not answer.
    """
    check_context(cluster)
    who = cluster.run("auth", "whoami", "--output", "jsonpath={.status.userInfo.username}")
    error = explain(who.stderr, cluster.context, cluster.namespace)
    if who.returncode and isinstance(error, UnreachableError):
        raise error
    user = who.stdout.strip() or "a user that it does not name"
    console.print(f"Context {cluster.context}, namespace {cluster.namespace}, as {user}.", soft_wrap=True)


def check_rights(cluster: Kubectl, rights: Sequence[tuple[str, str]]) -> None:
    """Raises ClusterError where the user lacks a right (verb, resource)."""
    if lacking := allowed(cluster, rights):
        told = ", ".join(f"{verb} {resource}" for verb, resource in lacking)
        raise ClusterError(f"your user may not {told} in namespace {cluster.namespace}: ask who runs the cluster")


def check_taken(cluster: Kubectl, objects: Objects) -> None:
    """Has the server check objects without making them. Raises ClusterError where it would refuse one.

    Under names that are free: what is there by theirs may have fields of the operator, or ones that cannot change.
    """
    renamed = [one | {"metadata": one["metadata"] | {"name": f"{one['metadata']['name']}{TRIED}"}} for one in objects]
    try:
        cluster.ask("create", "--dry-run=server", "-f", "-", given=dump(renamed))
    except ClusterError as error:
        raise type(error)(str(error).replace(TRIED, "")) from error


def make(cluster: Kubectl, objects: Objects) -> None:
    """Makes objects. Raises ClusterError.

    `kubectl apply` would want the right to patch. A ConfigMap that is there holds the same, by the hash in its name.
    """
    for one in objects:
        try:
            cluster.ask("create", "--field-manager=deepscaler", "-f", "-", given=dump([one]))
        except ClusterError as error:
            if one["kind"] != "ConfigMap" or "(AlreadyExists)" not in str(error):
                raise


def check_set_up(cluster: Kubectl, place: Place, *, needs_claims: bool) -> None:
    """Raises ClusterError where the namespace lacks what is made once."""
    claims = [f"pvc/{claim}" for claim in (place.runs_claim, place.cache_claim)] if needs_claims else []
    claims += [f"pvc/{place.data_claim}"] if place.data_claim else []
    missing = [name for name in ("serviceaccount/deepscaler", *claims) if is_missing(cluster, name)]
    if missing:
        raise ClusterError(
            f"namespace {place.namespace} of {place.context} has no {', '.join(missing)}: make it once with"
            " deepscaler k8s setup --site FILE"
        )


def is_missing(cluster: Kubectl, name: str) -> bool:
    """Returns whether the namespace lacks an object; what the user may not look at is taken to be there."""
    try:
        return cluster.find(name) is None
    except ClusterError as error:
        if "(Forbidden)" in str(error):
            return False
        raise


def is_ended(rayjob: dict[str, Any]) -> bool:
    """Returns whether the operator has done with a RayJob."""
    return rayjob.get("status", {}).get("jobDeploymentStatus") in ENDED


def is_job_ended(job: dict[str, Any]) -> bool:
    """Returns whether a Job of Kubernetes has ended, well or not."""
    conditions = job.get("status", {}).get("conditions", ())
    return any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)


def _compose(plan: Plan, place: Place, folder: Path) -> Composed:
    objects, _ = split(compose(plan, place, folder / FOLDER / plan.job.name))
    return Composed(plan, objects)


def _has_ended(cluster: Kubectl, plan: Plan) -> bool:
    """Returns whether there is a job of the same run that has ended. Raises UserError for one that works."""
    name = plan.job.name
    conductor = cluster.find("job", name) if plan.job.arguments[0] == "chain" else None
    if conductor is not None and not is_job_ended(conductor):
        raise UserError(f"{name} makes the jobs of this chain one after another: end it with `deepscaler cancel`")
    found = cluster.find("rayjob", name)
    if found is None:
        return False
    if not belongs(found, plan.folder):
        raise UserError(
            f"{cluster.namespace} has a job {name} of another run ({found['spec']['entrypoint'][:120]}): give another"
            " --output-dir, whose last name names the job"
        )
    if not is_ended(found):
        state = found.get("status", {}).get("jobDeploymentStatus") or "just made"
        raise AtWorkError(
            f"{name} is there already ({state}): watch it with `deepscaler status`, end it with `deepscaler cancel`"
        )
    return True


def _record(plan: Plan, place: Place) -> Submitted:
    return Submitted(
        name=plan.job.name,
        context=place.context,
        namespace=place.namespace,
        run_dir=plan.folder,
        trains=plan.job.arguments[0] != "evaluate",
    )


def size_of(plan: Plan) -> str:
    """Returns what a job asks for, in words."""
    job = plan.job
    if job.image == "cpu" or not job.gpus_per_node:
        return f"{job.num_nodes} pods without GPUs" if job.num_nodes > 1 else "a pod without GPUs"
    return f"{job.num_nodes} x {job.gpus_per_node} GPUs"


def _told(plan: Plan) -> str:
    return f"{plan.job.name}: {size_of(plan)}"
