"""Applies the jobs of a run, or tells what would be applied. Nothing is applied before the cluster has agreed to it."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from deepscaler.kubernetes.cluster.compose import Objects, compose, dump, split
from deepscaler.kubernetes.cluster.kubectl import Kubectl, allowed, check_context
from deepscaler.kubernetes.cluster.place import Place
from deepscaler.kubernetes.cluster.record import FOLDER, Submitted, write_jobs
from deepscaler.kubernetes.cluster.refusals import ClusterError, UnreachableError
from deepscaler.kubernetes.render.plans import Plan
from deepscaler.system.errors import UserError
from deepscaler.system.files import locked

RIGHTS = (("create", "rayjobs.ray.io"), ("delete", "rayjobs.ray.io"), ("create", "configmaps"), ("get", "pods/log"))
"""What a submission and what follows it need."""

ENDED = ("Complete", "Failed", "ValidationFailed")
"""Values of jobDeploymentStatus after which the operator does nothing more."""

DELETE_SECONDS = 120.0
"""For a finished job to go; what still works is not waited for here."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A job as it is applied."""

    plan: Plan
    objects: Objects


def submit(plans: Sequence[Plan], place: Place, folder: Path, console: Console) -> int:
    """Applies the jobs of a run in a namespace that is set up. Raises UserError before anything is changed."""
    cluster = Kubectl(place.context, place.namespace)
    busy = UserError(f"another process is submitting jobs for {folder}; wait for it")
    with locked(folder / FOLDER, busy):
        composed = [_compose(plan, place, folder) for plan in plans]
        greet(cluster, console)
        lacking = allowed(cluster, RIGHTS)
        if lacking:
            told = ", ".join(f"{verb} {resource}" for verb, resource in lacking)
            raise ClusterError(f"your user may not {told} in namespace {place.namespace}: ask who runs the cluster")
        check_set_up(cluster, place, needs_claims=any(plan.shared for plan in plans))
        for one in composed:
            cluster.ask(
                "apply",
                "--server-side",
                "--dry-run=server",
                "--field-manager=deepscaler",
                "-f",
                "-",
                given=dump(one.objects),
            )
        for one in composed:
            _make_room(cluster, one.plan, console)
        for one in composed:
            cluster.ask("apply", "--server-side", "--field-manager=deepscaler", "-f", "-", given=dump(one.objects))
            console.print(f"Applied {_told(one.plan)}.", soft_wrap=True)
        write_jobs(folder, [_record(one.plan, place) for one in composed])
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
    cluster = Kubectl(place.context, place.namespace)
    try:
        greet(cluster, console)
        check_set_up(cluster, place, needs_claims=any(plan.shared for plan in plans))
        cluster.ask(
            "apply", "--server-side", "--dry-run=server", "--field-manager=deepscaler", "-f", "-", given=dump(objects)
        )
        answer = "and the cluster would take it"
    except UnreachableError as reason:
        answer = f"but the cluster was not asked: {reason}"
    console.print(f"The manifests are right, {answer}. Nothing was applied.", soft_wrap=True)
    return 0


def greet(cluster: Kubectl, console: Console) -> None:
    """Says which cluster is meant, and as whom, before anything is done there. Raises ClusterError for another one."""
    check_context(cluster)
    who = cluster.run("auth", "whoami", "--output", "jsonpath={.status.userInfo.username}")
    user = who.stdout.strip() or "a user that it does not name"
    console.print(f"Context {cluster.context}, namespace {cluster.namespace}, as {user}.", soft_wrap=True)


def check_set_up(cluster: Kubectl, place: Place, *, needs_claims: bool) -> None:
    """Raises ClusterError where the namespace lacks what is made once."""
    claims = [f"pvc/{claim}" for claim in (place.runs_claim, place.cache_claim)] if needs_claims else []
    claims += [f"pvc/{place.data_claim}"] if place.data_claim else []
    missing = [name for name in ("serviceaccount/deepscaler", *claims) if cluster.find(name) is None]
    if missing:
        raise ClusterError(
            f"namespace {place.namespace} of {place.context} has no {', '.join(missing)}: make it once with"
            " deepscaler k8s setup --site FILE"
        )


def is_ended(rayjob: dict[str, Any]) -> bool:
    """Returns whether the operator has done with a RayJob."""
    return rayjob.get("status", {}).get("jobDeploymentStatus") in ENDED


def _compose(plan: Plan, place: Place, folder: Path) -> Composed:
    objects, _ = split(compose(plan, place, folder / FOLDER / plan.job.name))
    return Composed(plan, objects)


def _make_room(cluster: Kubectl, plan: Plan, console: Console) -> None:
    """Removes a job of the same run that has ended; what it wrote stays. Raises UserError for one that works."""
    name = plan.job.name
    found = cluster.find("rayjob", name)
    if found is None:
        return
    run = plan.job.arguments[-1]
    if run not in found["spec"]["entrypoint"]:
        raise UserError(
            f"{cluster.namespace} has a job {name} of another run ({found['spec']['entrypoint'][:120]}): give another"
            " --output-dir, whose last name names the job"
        )
    if not is_ended(found):
        state = found.get("status", {}).get("jobDeploymentStatus") or "just made"
        raise UserError(
            f"{name} is there already ({state}): watch it with `deepscaler status`, end it with `deepscaler cancel`"
        )
    console.print(f"Removing the job {name} that has ended; what it wrote stays on the volume.", soft_wrap=True)
    cluster.ask("delete", "rayjob", name, f"--timeout={DELETE_SECONDS:.0f}s", seconds=DELETE_SECONDS + 30)


def _record(plan: Plan, place: Place) -> Submitted:
    return Submitted(name=plan.job.name, context=place.context, namespace=place.namespace, run_dir=plan.run_dir or "")


def _told(plan: Plan) -> str:
    job = plan.job
    size = f"{job.num_nodes} x {job.gpus_per_node} GPUs" if job.image != "cpu" else f"{job.num_nodes} pods without GPUs"
    return f"{job.name}: {size}"
