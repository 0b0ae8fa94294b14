"""Submits the jobs of a run, or describes them. It creates nothing before the cluster has agreed to accept it."""

import tempfile
from pathlib import Path

from rich.console import Console

from deepscaler.kubernetes.cluster.asking import (
    check_rights,
    check_set_up,
    check_taken,
    greet,
    greet_if_it_answers,
    say_whether_taken,
)
from deepscaler.kubernetes.cluster.cancel import forget_inputs
from deepscaler.kubernetes.cluster.compose import Objects, compose, dump, split
from deepscaler.kubernetes.cluster.kubectl import Kubectl
from deepscaler.kubernetes.cluster.look import belongs, is_ended, is_job_ended
from deepscaler.kubernetes.cluster.owner import check_owner, owner_of, sign
from deepscaler.kubernetes.cluster.place import Place
from deepscaler.kubernetes.cluster.record import FOLDER, Submitted, submitting, write_jobs
from deepscaler.kubernetes.cluster.refusals import ClusterError
from deepscaler.kubernetes.render.plans import Plan
from deepscaler.system.errors import UserError

RIGHTS = (
    ("create", "rayjobs.ray.io"),
    ("delete", "rayjobs.ray.io"),
    ("list", "rayjobs.ray.io"),
    ("create", "configmaps"),
    ("list", "pods"),
    ("get", "pods/log"),
)
"""Rights that a submission and later commands need."""

DELETE_SECONDS = 120.0
"""Seconds that a finished job has to go; running jobs are not awaited here."""


class AtWorkError(UserError):
    """Signals that a job of this run has not ended."""


def submit(plan: Plan, place: Place, folder: Path, console: Console) -> int:
    """Applies the job of a run in a namespace that is set up. Raises UserError before anything changes."""
    cluster, name = Kubectl(place.context, place.namespace), plan.job.name
    with submitting(folder):
        objects, _ = split(compose(plan, place, folder / FOLDER / name))
        owner = owner_of(greet(cluster, console))
        sign(objects, owner)
        check_rights(cluster, RIGHTS)
        check_set_up(cluster, place, needs_claims=plan.shared)
        record = _record(plan, place, owner)
        try:
            has_ended = _has_ended(cluster, plan, owner)
        except AtWorkError:
            write_jobs(folder, [record])  # the record may be missing: cut off, removed, on another machine
            raise
        # Before the old job is removed: a refusal must leave it.
        check_taken(cluster, objects)
        if has_ended:
            console.print(f"Removing the job {name} that has ended; what it wrote stays on the volume.", soft_wrap=True)
            # kubectl gives up first, with a message that names the job
            cluster.ask("delete", "rayjob", name, f"--timeout={DELETE_SECONDS:.0f}s", seconds=DELETE_SECONDS + 30)
            forget_inputs(cluster, name)
        make(cluster, objects)
        write_jobs(folder, [record])
    console.print(f"Submitted {name}: {size_of(plan)}.", soft_wrap=True)
    console.print(f"Watch: deepscaler status {folder}; deepscaler logs {folder} --follow", soft_wrap=True)
    return 0


def describe(plan: Plan, place: Place, console: Console, *, full: bool) -> int:
    """Prints the objects to apply, and whether the cluster would accept them, if it can be asked.

    Raises UserError if `submit` would.
    """
    with tempfile.TemporaryDirectory(prefix="deepscaler-k8s-") as scratch:
        objects, _ = split(compose(plan, place, Path(scratch) / plan.job.name))
    cluster = Kubectl(place.context, place.namespace)
    user, silence = greet_if_it_answers(cluster, console)
    owner = owner_of(user)
    sign(objects, owner)
    if not silence and _has_ended(cluster, plan, owner):
        console.print(f"Would remove the job {plan.job.name} that has ended.", soft_wrap=True)
    console.print(f"{plan.job.name}: {size_of(plan)}: {plan.job.command_line}", soft_wrap=True)
    if full:
        console.print(dump(objects), soft_wrap=True)
    say_whether_taken(cluster, objects, place, console, silence, needs_claims=plan.shared, rights=RIGHTS)
    return 0


def make(cluster: Kubectl, objects: Objects) -> None:
    """Creates objects. Raises ClusterError."""
    for one in objects:
        try:
            # not `kubectl apply`, which would need the right to patch
            cluster.ask("create", "--field-manager=deepscaler", "-f", "-", given=dump([one]))
        except ClusterError as error:
            # a ConfigMap that exists holds the same, by the hash in its name
            if one["kind"] != "ConfigMap" or "(AlreadyExists)" not in str(error):
                raise


def _has_ended(cluster: Kubectl, plan: Plan, owner: str) -> bool:
    """Returns whether there is a job of the same run that has ended. Raises UserError for a running one."""
    name = plan.job.name
    conductor = cluster.find("job", name) if plan.job.arguments[0] == "chain" else None
    if conductor is not None and not is_job_ended(conductor):
        raise UserError(f"{name} makes the jobs of this chain one after another: end it with `deepscaler cancel`")
    found = cluster.find("rayjob", name)
    if found is None:
        return False
    check_owner(found, owner, cluster.namespace)
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


def _record(plan: Plan, place: Place, owner: str) -> Submitted:
    return Submitted(
        name=plan.job.name,
        context=place.context,
        namespace=place.namespace,
        run_dir=plan.folder,
        owner=owner,
        trains=plan.job.arguments[0] != "evaluate",
    )


def size_of(plan: Plan) -> str:
    """Returns the size of a job in words."""
    job = plan.job
    if job.image == "cpu" or not job.gpus_per_node:
        return f"{job.num_nodes} pods without GPUs" if job.num_nodes > 1 else "a pod without GPUs"
    return f"{job.num_nodes} x {job.gpus_per_node} GPUs"
