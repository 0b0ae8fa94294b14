"""Evaluates a census for KubeRay and for queues: Kueue's, Volcano's, KAI's, and Kueue's topologies."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from deepscaler.kubernetes.cluster.census import Census, name_of
from deepscaler.kubernetes.cluster.findings import Findings, beside, first
from deepscaler.kubernetes.cluster.refusals import KUBERAY

MADE_FOR = (1, 7)
"""Version of KubeRay whose fields the kit's manifests use."""


def about_kuberay(census: Census) -> Iterator[str]:
    """Yields KubeRay's version and scheduling flags, and advice about one that is too old."""
    if not census.has_rayjobs:
        yield f"KubeRay is not installed: {KUBERAY}"
        return
    # Two numbers: a patch or a suffix such as -rc.1 does not change which fields there are. A tag without
    # numbers is "not known", not "too old".
    version = tuple(map(int, re.findall(r"\d+", census.kuberay)[:2]))
    told = f"KubeRay {census.kuberay}" if census.kuberay else "A KubeRay whose version you may not see"
    flags = re.findall(r"--(?:enable-)?(?:batch-scheduler|feature-gates)(?:[= ][^- ]\S*)?", " ".join(census.arguments))
    flags_told = f", {' '.join(flags)}" if flags else ""
    upgrade = "helm upgrade kuberay-operator kuberay/kuberay-operator --version 1.7.0 --namespace kuberay"
    if not census.has_tokens:
        yield f"{told} knows no authOptions: it refuses the kit's jobs, which are made for 1.7: {upgrade}"
    elif version and version < MADE_FOR:
        yield f"{told}{flags_told} is older than 1.7, for which the jobs are made: {upgrade}"
    else:
        yield f"{told}{flags_told}."


def choose_queue(census: Census, found: Findings) -> None:
    """Chooses Kueue if the namespace has a queue of it, else the operator's batch scheduler, else Kueue."""
    scheduler = _scheduler(census.arguments)
    if census.local_queues or (census.cluster_queues and not scheduler):
        _kueue(census, found)
    elif scheduler:
        queues = census.volcano_queues if scheduler == "volcano" else census.kai_queues
        found.components.append(scheduler)
        found.why.append(f"the operator's batch scheduler is {scheduler}")
        chosen = first(queues, "deepscaler", "default")
        found.options.append(("queue", chosen if chosen != "deepscaler" else "", beside(queues, chosen)))


def _kueue(census: Census, found: Findings) -> None:
    found.components.append("kueue")
    if census.local_queues:
        queues = {name_of(one): str(one["spec"]["clusterQueue"]) for one in census.local_queues}
        chosen = first(list(queues), "deepscaler")
        cluster_queue = queues[chosen]
        found.why.append(f"LocalQueue {chosen} of Kueue, in ClusterQueue {cluster_queue}")
        found.options.append(("queue", chosen, f"a LocalQueue; {beside(list(queues), chosen)}"))
    else:
        names = list(map(name_of, census.cluster_queues))
        cluster_queue = first(names, "deepscaler")
        found.why.append(f"ClusterQueue {cluster_queue} of Kueue")
        told = f"`k8s setup` makes a LocalQueue in it; {beside(names, cluster_queue)}"
        found.options.append(("cluster_queue", cluster_queue, told))
    clusters = [one for one in census.cluster_queues if name_of(one) == cluster_queue]
    groups = [group for one in clusters for group in one["spec"].get("resourceGroups") or ()]
    flavors = {flavor["name"] for group in groups for flavor in group["flavors"]}
    covered = sorted({name for group in groups for name in group["coveredResources"]})
    if covered:
        found.notes.append(f"ClusterQueue {cluster_queue} covers {', '.join(covered)}: a job that asks for more waits.")
    named = {str(one["spec"]["topologyName"]) for one in census.flavors if name_of(one) in flavors and _topology(one)}
    for one in census.topologies:
        if name_of(one) in named:
            levels = [str(level["nodeLabel"]) for level in one["spec"]["levels"]]
            found.components.append("topology")
            found.why.append(f"Topology {name_of(one)}")
            # The last level is the host, which one worker fills; what has to be near is what is above it.
            level = levels[-2] if len(levels) > 1 else levels[0]
            found.options.append(("topology", level, f"its levels: {', '.join(levels)}"))


def _topology(flavor: Any) -> str:
    return str((flavor.get("spec") or {}).get("topologyName") or "")


def _scheduler(arguments: Sequence[str]) -> str:
    """Returns the component of the operator's batch scheduler; empty for none, and for one without a component."""
    told = re.search(r"--batch-scheduler[= ][\"']?(volcano|kai-scheduler)\b", " ".join(arguments))
    return told[1].removesuffix("-scheduler") if told else ""
