"""Ends a run's jobs on a cluster: what makes others first, and none of another run."""

from collections.abc import Sequence

from rich.console import Console

from deepscaler.kubernetes.cluster.kubectl import Kubectl
from deepscaler.kubernetes.cluster.look import RESOURCES, Seen, cluster_of, look
from deepscaler.kubernetes.cluster.record import Submitted

MAKER_SECONDS = 120
"""For the pod that makes the jobs of a chain to go: while it lives it could make the next one."""


def cancel(jobs: Sequence[Submitted], console: Console, *, dry_run: bool) -> int:
    """Deletes what has not ended, and says what becomes of it. Raises ClusterError."""
    cluster = cluster_of(jobs)
    seen = sorted(look(jobs), key=lambda one: one.submitted.kind == "rayjob")
    for one in seen:
        name, kind = one.submitted.name, RESOURCES[one.submitted.kind]
        if reason := _left_alone(one):
            console.print(f"{name}: {reason}.", soft_wrap=True)
            continue
        is_training = one.submitted.kind == "rayjob" and one.submitted.trains
        saves = f"; a training saves first, which may take {_grace(one)}" if one.pods and is_training else ""
        console.print(
            f"{'Would delete' if dry_run else 'Deleting'} {name} in namespace {cluster.namespace} of"
            f" {cluster.context}{saves}.",
            soft_wrap=True,
        )
        if dry_run:
            continue
        if one.submitted.kind == "job":
            words = ("--cascade=foreground", f"--timeout={MAKER_SECONDS}s")
            cluster.ask("delete", kind, name, "--ignore-not-found", *words, seconds=MAKER_SECONDS + 30)
        else:
            cluster.ask("delete", kind, name, "--ignore-not-found", "--wait=false")
        forget_inputs(cluster, name)
    return 0


def forget_inputs(cluster: Kubectl, name: str) -> None:
    """Deletes the files that went along with a job: its pods have them mounted, and the next job brings its own.

    Nothing depends on it, so a user without the right to delete ConfigMaps is not told.
    """
    selector = f"--selector=app.kubernetes.io/instance={name}"
    cluster.run("delete", "configmaps", selector, "--ignore-not-found", "--wait=false")


def _left_alone(seen: Seen) -> str:
    """Returns why a job is not deleted; empty where it is."""
    if seen.job is None:
        return "gone already, or not made yet"
    if not seen.is_ours:
        return (
            f"a job of another run has this name now ({str(seen.job['spec'].get('entrypoint', ''))[:120]}); left alone"
        )
    if seen.job["metadata"].get("deletionTimestamp"):
        return "is being deleted already; a training saves first"
    if seen.is_ended:
        return f"has ended ({seen.status.get('jobDeploymentStatus', 'done')}); nothing to cancel"
    return ""


def _grace(seen: Seen) -> str:
    """Returns how long the pods of a job have to end."""
    seconds = max(int(pod["spec"].get("terminationGracePeriodSeconds", 30)) for pod in seen.pods)
    return f"{seconds} s" if seconds < 120 else f"{seconds / 60:.0f} min"
