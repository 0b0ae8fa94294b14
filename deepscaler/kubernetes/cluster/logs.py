"""Prints the log of a job's command from its newest head, or of every container of a pod.

== job train-8k, pod train-8k-x7k2p-head-9wzqd
x7k2p-head-9wzqd | step 12 of 1040 ...
"""

from collections.abc import Sequence

from deepscaler.kubernetes.cluster.follow import Following, lines_of
from deepscaler.kubernetes.cluster.kubectl import Kubectl
from deepscaler.kubernetes.cluster.look import Object, cluster_of, containers, look, name_of
from deepscaler.kubernetes.cluster.record import Submitted
from deepscaler.kubernetes.cluster.speaking import (
    chosen,
    command_container,
    has_begun,
    has_spoken,
    print_heading,
    print_lines,
    speaker,
    why_no_log,
)
from deepscaler.system.errors import UserError, unknown


def show_logs(jobs: Sequence[Submitted], wanted: str | None, num_lines: int, *, follow: bool) -> int:
    """Prints the last lines of a job's command, or of a pod's containers. Raises UserError for another name."""
    cluster, names = cluster_of(jobs), [job.name for job in jobs]
    if follow and (wanted is None or wanted in names):
        return Following(cluster, jobs, wanted, num_lines).run()
    seen = look(jobs)
    pods = {name_of(pod): pod for one in seen for pod in one.pods}
    if wanted and wanted not in names:
        if wanted not in pods:
            raise unknown("job or pod", wanted, [*names, *pods])
        return _show_pod(cluster, pods[wanted], num_lines, follow=follow)
    one = chosen(seen, wanted)
    if one.head is None or not has_begun(one.head):
        raise UserError(f"{why_no_log(one)}; `deepscaler status` shows more")
    print_heading(one, one.head)
    words = ("logs", name_of(one.head), "-c", command_container(one.head), f"--tail={num_lines}")
    print_lines(speaker(one.head), cluster.ask(*words))
    return 0


def _show_pod(cluster: Kubectl, pod: Object, num_lines: int, *, follow: bool) -> int:
    """Prints the log of every container of a pod; for one that waits for a retry, the log of its last try."""
    spoken = [one for one in containers(pod) if has_spoken(one)]
    if not spoken:
        raise UserError(f"no container of {name_of(pod)} has begun; `deepscaler status` shows why")
    for container in spoken:
        name, state = container["name"], container["state"]
        previous = ("--previous",) if "waiting" in state else ()
        print(f"== pod {name_of(pod)}, container {name}{', its last try' if previous else ''}", flush=True)
        words = ("logs", name_of(pod), "-c", name, f"--tail={num_lines}", *previous)
        # only the last one is followed: kubectl does not return from it before that container has ended
        if not (follow and container is spoken[-1] and "running" in state):
            print_lines(name, cluster.ask(*words))
            continue
        with lines_of(cluster.command(*words, "--follow")) as lines:
            while (line := lines.get()) is not None:
                print_lines(name, line)
    return 0
