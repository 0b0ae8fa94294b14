"""Applies a chain whose stages have their own sizes: only its conductor, which creates each stage's RayJob in turn."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from deepscaler.kubernetes.cluster.compose import Objects, check, compose, dump, split
from deepscaler.kubernetes.cluster.conductor import ACCOUNT, RUN_DIR, to_conductor
from deepscaler.kubernetes.cluster.kubectl import Kubectl
from deepscaler.kubernetes.cluster.look import belongs, is_ended, is_job_ended
from deepscaler.kubernetes.cluster.owner import check_owner, owner_of, sign
from deepscaler.kubernetes.cluster.place import Place
from deepscaler.kubernetes.cluster.record import FOLDER, Submitted, submitting, write_jobs
from deepscaler.kubernetes.cluster.submit import DELETE_SECONDS, RIGHTS, AtWorkError, make, size_of
from deepscaler.kubernetes.render.inputs import map_name
from deepscaler.kubernetes.render.plans import Plan
from deepscaler.kubernetes.render.pods import SERVICE_ACCOUNT
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_text

ACCOUNTS = (SERVICE_ACCOUNT, ACCOUNT)
CHAIN_RIGHTS = (*RIGHTS, ("create", "jobs.batch"), ("delete", "jobs.batch"), ("list", "jobs.batch"))


@dataclass(frozen=True, slots=True)
class Left:
    """Holds what an earlier conductor of a chain has left."""

    has_conductor: bool
    """True if its Job has ended and is still there."""
    ended: Sequence[str]
    """RayJobs that have ended, to be removed."""
    kept: Sequence[str]
    """RayJobs that have not ended, with which the new conductor continues."""


def submit_chain(name: str, plans: Sequence[Plan], place: Place, folder: Path, console: Console) -> int:
    """Applies the conductor of a chain. Raises UserError before anything changes, including if one is running."""
    cluster = Kubectl(place.context, place.namespace)
    with submitting(folder):
        owner = owner_of(greet(cluster, console))
        conductor, rayjobs = _compose(name, plans, place, folder / FOLDER, owner)
        check_rights(cluster, CHAIN_RIGHTS)
        check_set_up(cluster, place, needs_claims=True, accounts=ACCOUNTS)
        records = _records(name, plans, place, owner)
        try:
            left = _find_left(cluster, name, plans, owner)
        except AtWorkError:
            write_jobs(folder, records)  # the record may be missing
            raise
        # Before anything is removed: a refusal leaves the cluster as it was.
        check_taken(cluster, [*conductor, *rayjobs])
        _remove_left(cluster, name, left, console)
        make(cluster, conductor)
        write_jobs(folder, records)
    console.print(f"Submitted {name}, which makes {len(plans)} jobs, one after another:", soft_wrap=True)
    for plan in plans:
        console.print(f"  {plan.job.name}: {size_of(plan)}", soft_wrap=True)
    console.print(f"Watch: deepscaler status {folder}; deepscaler logs {folder} --follow", soft_wrap=True)
    return 0


def describe_chain(name: str, plans: Sequence[Plan], place: Place, console: Console, *, full: bool) -> int:
    """Prints each stage, with `full` also the manifests, and whether the cluster would accept them, if it can be asked.

    Raises UserError if `submit_chain` would.
    """
    cluster = Kubectl(place.context, place.namespace)
    user, silence = greet_if_it_answers(cluster, console)
    owner = owner_of(user)
    if not silence:
        left = _find_left(cluster, name, plans, owner)
        for one in [*[name] * left.has_conductor, *left.ended]:
            console.print(f"Would remove the job {one} that has ended.", soft_wrap=True)
        for one in left.kept:
            console.print(f"Would keep the job {one}, which has not ended, and continue with it.", soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="deepscaler-k8s-") as scratch:
        conductor, rayjobs = _compose(name, plans, place, Path(scratch), owner)
    for number, plan in enumerate(plans):
        waits = f"after {plans[number - 1].job.name}" if number else "at once"
        console.print(f"{plan.job.name}: {size_of(plan)}, {waits}: {plan.job.command_line}", soft_wrap=True)
    if full:
        console.print(dump(conductor), soft_wrap=True)
        console.print(f"# {name} makes these, one after another:\n---\n{dump(rayjobs)}", soft_wrap=True)
    asked = [*conductor, *rayjobs]
    say_whether_taken(
        cluster, asked, place, console, silence, needs_claims=True, rights=CHAIN_RIGHTS, accounts=ACCOUNTS
    )
    return 0


def _records(name: str, plans: Sequence[Plan], place: Place, owner: str) -> list[Submitted]:
    """Returns the conductor and then the jobs that it creates; ending them in this order leaves nothing behind."""
    run_dir = plans[0].run_dir or ""
    own = Submitted(
        name=name, kind="job", context=place.context, namespace=place.namespace, run_dir=run_dir, owner=owner
    )
    jobs, before = [own], ""
    for plan in plans:
        jobs.append(replace(own, name=plan.job.name, kind="rayjob", after=before))
        before = plan.job.name
    return jobs


def _compose(name: str, plans: Sequence[Plan], place: Place, folder: Path, owner: str) -> tuple[Objects, Objects]:
    """Returns the objects to apply, and the RayJobs that the conductor creates; writes both below a folder."""
    shared = map_name(name, plans[0].inputs) if plans[0].inputs else ""
    plans = [replace(plan, inputs_map=shared) for plan in plans]
    rayjobs: Objects = []
    for plan in plans:
        mine, _ = split(compose(plan, place, folder / plan.job.name))
        rayjobs += mine
    sign(rayjobs, owner)
    conductor = to_conductor(name, plans, rayjobs, place.namespace)
    sign(conductor, owner)
    text = dump(conductor)
    check(text, name)
    write_text(folder / name / "conductor.yaml", text)
    return conductor, rayjobs


def _find_left(cluster: Kubectl, name: str, plans: Sequence[Plan], owner: str) -> Left:
    """Returns the conductor of the same chain that has ended, and the stages' RayJobs.

    Raises UserError if the conductor is running, or if something belongs to another run.
    """
    names, run_dir = [plan.job.name for plan in plans], plans[0].run_dir
    conductor = cluster.find("job", name)
    if conductor is not None:
        check_owner(conductor, owner, cluster.namespace)
        told = conductor["metadata"].get("annotations", {}).get(RUN_DIR, "something else")
        if told != run_dir:
            raise UserError(
                f"{cluster.namespace} has a job {name} of {told}: give another --output-dir, whose last name names it"
            )
        if not is_job_ended(conductor):
            raise AtWorkError(
                f"{name} is at work already: watch it with `deepscaler status`, end it with `deepscaler cancel`"
            )
    alone = cluster.find("rayjob", name)
    if alone is not None and not is_ended(alone):
        raise UserError(f"{name} is a single job now, which has not ended: end it with `deepscaler cancel`")
    found = [one for own in names if (one := cluster.find("rayjob", own)) is not None]
    for one in found:
        check_owner(one, owner, cluster.namespace)
        if not belongs(one, str(run_dir)):
            raise UserError(
                f"{cluster.namespace} has a job {one['metadata']['name']} of another run: give another --output-dir,"
                " whose last name names the jobs"
            )
    ended = [str(one["metadata"]["name"]) for one in found if is_ended(one)]
    kept = [str(one["metadata"]["name"]) for one in found if not is_ended(one)]
    return Left(conductor is not None, ended, kept)


def _remove_left(cluster: Kubectl, name: str, left: Left, console: Console) -> None:
    """Removes a conductor that has ended, and RayJobs that have ended."""
    if left.has_conductor:
        console.print(f"Removing the job {name} that has ended; what was written stays on the volume.", soft_wrap=True)
        # The RayJobs belong to the Job: without `orphan`, one that is at work would be deleted, too. It waits: until
        # the old Job is gone no other one can have its name.
        words = ("--cascade=orphan", f"--timeout={DELETE_SECONDS:.0f}s")
        cluster.ask("delete", "job", name, *words, seconds=DELETE_SECONDS + 30)
        # `run` and not `ask`: pods that have ended disturb nothing
        cluster.run("delete", "pods", f"--selector=batch.kubernetes.io/job-name={name}", "--wait=false")
        if not left.kept:  # a job that is at work may still need the files, for the pods of its next try
            forget_inputs(cluster, name)
    for one in left.kept:
        console.print(f"Keeping the job {one}, which has not ended: the chain continues with it.", soft_wrap=True)
    if left.ended:
        # they would stay until their time is up; deleted here, the new conductor sees that they are going
        cluster.ask("delete", "rayjob", *left.ended, "--ignore-not-found", "--wait=false")
