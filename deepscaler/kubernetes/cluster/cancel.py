"""Ends a run's jobs on a cluster: first those that create others, and none of another run."""

from collections.abc import Sequence

from rich.console import Console

from deepscaler.kubernetes.cluster.kubectl import Kubectl
from deepscaler.kubernetes.cluster.look import RESOURCES, Seen, cluster_of, look
from deepscaler.kubernetes.cluster.record import Submitted

MAKER_SECONDS = 120
"""Seconds that the pod that creates a chain's jobs has to end; while it lives it could create the next one."""


def cancel(jobs: Sequence[Submitted], console: Console, *, dry_run: bool) -> int:
    """Deletes jobs that have not ended, and prints the outcome. Raises ClusterError."""
    cluster = cluster_of(jobs)
    # False sorts first: the conductor goes before the jobs that it makes.
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
            # Foreground waits for the pod; by default the Job is gone at once, and its pod may still create the
            # next RayJob.
            words = ("--cascade=foreground", f"--timeout={MAKER_SECONDS}s")
            cluster.ask("delete", kind, name, "--ignore-not-found", *words, seconds=MAKER_SECONDS + 30)
        else:
            # Without waiting: saving takes a training minutes.
            cluster.ask("delete", kind, name, "--ignore-not-found", "--wait=false")
        forget_inputs(cluster, name)
    return 0


def forget_inputs(cluster: Kubectl, name: str) -> None:
    """Deletes the files that accompanied a job: its pods have them mounted, and the next job brings its own."""
    selector = f"--selector=app.kubernetes.io/instance={name}"
    # `run` and not `ask`: nothing depends on it, so who may not delete ConfigMaps gets no message
    cluster.run("delete", "configmaps", selector, "--ignore-not-found", "--wait=false")


def _left_alone(seen: Seen) -> str:
    """Returns why a job is not deleted; empty if it is."""
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
