"""Asks a cluster about the user, rights, set-up and whether it accepts a job, before anything changes there."""

from collections.abc import Sequence

from rich.console import Console

from deepscaler.kubernetes.cluster.compose import Objects, dump
from deepscaler.kubernetes.cluster.kubectl import Kubectl, allowed, check_context
from deepscaler.kubernetes.cluster.place import Place
from deepscaler.kubernetes.cluster.refusals import ClusterError, UnreachableError, explain
from deepscaler.kubernetes.render.pods import SERVICE_ACCOUNT

TRIED = "-asked"
"""Suffix of a name that the server is asked about; messages omit it."""


def greet(cluster: Kubectl, console: Console) -> str:
    """Prints which cluster is used, before anything changes there. Returns the user's name there; empty if unknown.

    Raises ClusterError for another cluster, and UnreachableError if it does not answer.
    """
    check_context(cluster)
    # A server before 1.28 may know no SelfSubjectReview, and one that refuses it may take the job all the same.
    who = cluster.run("auth", "whoami", "--output", "jsonpath={.status.userInfo.username}")
    error = explain(who.stderr, cluster.context, cluster.namespace)
    if who.returncode and isinstance(error, UnreachableError):
        raise error
    user = who.stdout.strip()
    named = user or "a user that it does not name"
    console.print(f"Context {cluster.context}, namespace {cluster.namespace}, as {named}.", soft_wrap=True)
    return user


def greet_if_it_answers(cluster: Kubectl, console: Console) -> tuple[str, str]:
    """Returns the user as `greet` does, and why the cluster was not asked; one of the two is empty."""
    try:
        return greet(cluster, console), ""
    except UnreachableError as reason:
        return "", str(reason)


def say_whether_taken(
    cluster: Kubectl,
    objects: Objects,
    place: Place,
    console: Console,
    silence: str,
    *,
    needs_claims: bool,
    rights: Sequence[tuple[str, str]],
    accounts: Sequence[str] = (SERVICE_ACCOUNT,),
) -> None:
    """Prints whether the cluster would accept objects in a namespace that is set up, or `silence`: why it is not asked.

    Raises ClusterError if it would refuse one, or if the user lacks one of the rights (verb, resource).
    """
    try:
        if not silence:
            check_rights(cluster, rights)
            check_set_up(cluster, place, needs_claims=needs_claims, accounts=accounts)
            check_taken(cluster, objects)
    except UnreachableError as reason:
        silence = str(reason)
    answer = f"but the cluster was not asked: {silence}" if silence else "and the cluster would take them"
    console.print(f"The manifests are right, {answer}. Nothing was submitted.", soft_wrap=True)


def check_rights(cluster: Kubectl, rights: Sequence[tuple[str, str]]) -> None:
    """Raises ClusterError if the user lacks a right (verb, resource)."""
    if lacking := allowed(cluster, rights):
        told = ", ".join(f"{verb} {resource}" for verb, resource in lacking)
        raise ClusterError(f"your user may not {told} in namespace {cluster.namespace}: ask who runs the cluster")


def check_set_up(
    cluster: Kubectl, place: Place, *, needs_claims: bool, accounts: Sequence[str] = (SERVICE_ACCOUNT,)
) -> None:
    """Raises ClusterError if the namespace lacks objects that are created once: accounts of pods, volumes."""
    claims = [f"pvc/{claim}" for claim in (place.runs_claim, place.cache_claim)] if needs_claims else []
    claims += [f"pvc/{place.data_claim}"] if place.data_claim else []
    needed = [f"serviceaccount/{account}" for account in accounts] + claims
    missing = [name for name in needed if _is_missing(cluster, name)]
    if missing:
        raise ClusterError(
            f"namespace {place.namespace} of {place.context} has no {', '.join(missing)}: make it once with"
            " deepscaler k8s setup --site FILE"
        )


def check_taken(cluster: Kubectl, objects: Objects) -> None:
    """Makes the server check objects without creating them. Raises ClusterError if it would refuse one."""
    # under names that nobody uses, because objects that exist may have fields of the operator or immutable ones
    renamed = [one | {"metadata": one["metadata"] | {"name": f"{one['metadata']['name']}{TRIED}"}} for one in objects]
    try:
        cluster.ask("create", "--dry-run=server", "-f", "-", given=dump(renamed))
    except ClusterError as error:
        # Of the same type: a cluster that does not answer has refused nothing, and callers treat it otherwise.
        raise type(error)(str(error).replace(TRIED, "")) from error


def _is_missing(cluster: Kubectl, name: str) -> bool:
    """Returns whether the namespace lacks an object; one that the user may not read counts as present."""
    try:
        return cluster.find(name) is None
    except ClusterError as error:
        if "(Forbidden)" in str(error):
            return False
        raise
