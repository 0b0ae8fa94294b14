"""Checks whether a queue of Kueue can ever admit a job. The server accepts a job that cannot run, and it waits forever.

RayJob --label--> LocalQueue --> ClusterQueue --> flavors, in order --> ResourceFlavor --> Topology

Every group of equal pods must fit into one flavor with all its requests. The reasons are those of Kueue 0.19's flavor
assigner. Objects that are not given are not judged, because they may be in the cluster.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from deepscaler.kubernetes.check.finding import Problem
from deepscaler.kubernetes.check.quantities import pod_requests, quantity, shown

Tree = Mapping[str, Any]

QUEUE = "kueue.x-k8s.io/queue-name"
NAMESPACE_NAME = "kubernetes.io/metadata.name"
LEVELS = tuple(f"kueue.x-k8s.io/podset-{how}-topology" for how in ("required", "preferred"))
UNCONSTRAINED = "kueue.x-k8s.io/podset-unconstrained-topology"


@dataclass(frozen=True, slots=True)
class PodSet:
    """Describes equal pods of a RayJob, which Kueue places together."""

    path: str
    """Path of their template."""
    name: str
    template: Tree
    count: int

    @property
    def requests(self) -> Mapping[str, Fraction]:
        """Returns the requests of all these pods together."""
        return {name: self.count * amount for name, amount in pod_requests(self.template["spec"]).items()}

    @property
    def level(self) -> str | None:
        """Returns the requested level of the topology, empty for any; None if the pods request no topology."""
        annotations = (self.template.get("metadata") or {}).get("annotations") or {}
        asked = [str(annotations[name]) for name in LEVELS if name in annotations]
        return asked[0] if asked else "" if UNCONSTRAINED in annotations else None


def queue_problems(job: Tree, beside: Sequence[Tree], everything: Sequence[Tree]) -> Iterator[Problem]:
    """Yields the reasons why a RayJob would never be admitted, by its own kustomization, then by all objects."""
    pod_sets = list(_pod_sets(job))
    queue = (job["metadata"].get("labels") or {}).get(QUEUE)
    if not queue:
        for pods in pod_sets:
            if pods.level is not None:
                wrong = f"asks for a topology, and the label {QUEUE} is missing: nothing gives it"
                yield Problem(f"{pods.path}.metadata.annotations", wrong, "add the label (components/kueue)")
        return
    namespace = job["metadata"].get("namespace")
    local = [tree for tree in _named(beside, everything, "LocalQueue", queue) if _namespace_fits(tree, namespace)]
    names = {tree["spec"]["clusterQueue"] for tree in local}
    candidates = [tree for name in names for tree in _named(everything, [], "ClusterQueue", name)]
    found = [list(_refusals(pod_sets, namespace, cluster, everything)) for cluster in candidates]
    # of several queues with one name it is enough that one admits the job: they belong to different clusters
    if found and all(found):
        yield from min(found, key=len)


def cluster_queue_problems(tree: Tree) -> Iterator[Problem]:
    """Yields a flavor that does not list the covered resources in their order, which Kueue's webhook refuses."""
    for number, group in enumerate(tree["spec"].get("resourceGroups") or []):
        covered = list(group.get("coveredResources") or [])
        for place, flavor in enumerate(group.get("flavors") or []):
            named = [resource.get("name") for resource in flavor.get("resources") or []]
            if named != covered:
                path = f"spec.resourceGroups[{number}].flavors[{place}].resources"
                fix = f"list {', '.join(covered)} in this order, as coveredResources does"
                yield Problem(path, f"lists {', '.join(map(str, named)) or 'none'}", fix)


def _pod_sets(job: Tree) -> Iterator[PodSet]:
    cluster = job["spec"].get("rayClusterSpec") or {}
    path = "spec.rayClusterSpec"
    if head := cluster.get("headGroupSpec"):
        yield PodSet(f"{path}.headGroupSpec.template", "head", head["template"], 1)
    for number, group in enumerate(cluster.get("workerGroupSpecs") or []):
        # A replica of several hosts (numOfHosts) is as many pods.
        count = (group.get("replicas") or 0) * (group.get("numOfHosts") or 1)
        where = f"{path}.workerGroupSpecs[{number}].template"
        yield PodSet(where, group.get("groupName", "workers"), group["template"], count)


def _refusals(
    pod_sets: Sequence[PodSet], namespace: str | None, cluster: Tree, everything: Sequence[Tree]
) -> Iterator[Problem]:
    """Yields refusals, placing one set of pods after another as Kueue does."""
    who, spec = f"ClusterQueue {cluster['metadata']['name']}", cluster["spec"]
    wanted = ((spec.get("namespaceSelector") or {}).get("matchLabels") or {}).get(NAMESPACE_NAME)
    # A ClusterQueue without a selector takes no namespace at all, one with an empty selector ({}) every one.
    if "namespaceSelector" not in spec or (wanted and namespace and wanted != namespace):
        fix = f"name it in the namespaceSelector of {who}"
        yield Problem("metadata.namespace", f"{who} takes no job of {namespace or 'any namespace'}", fix)
    groups = spec.get("resourceGroups") or []
    left = {
        (flavor["name"], resource["name"]): quantity(resource["nominalQuota"])
        for group in groups
        for flavor in group["flavors"]
        for resource in flavor["resources"]
    }
    in_cohort = bool(spec.get("cohortName") or spec.get("cohort"))
    for pods in pod_sets:
        covered = {name for group in groups for name in group["coveredResources"]}
        if uncovered := sorted(set(pods.requests) - covered):
            wrong = f"{who} does not cover {', '.join(uncovered)}, so that {pods.name} never starts"
            yield Problem(pods.path, wrong, f"add it to coveredResources and to every flavor of {who}")
            continue
        for group in groups:
            needed = {name: pods.requests[name] for name in group["coveredResources"] if pods.requests.get(name)}
            if not needed:
                continue
            flavors = [_flavor(one["name"], everything) for one in group["flavors"]]
            reasons = []
            for one in flavors:
                reason = _mismatch(pods, one, flavors, everything) or _lack(one, needed, left, in_cohort)
                if not reason:
                    # What one group of pods takes is not there for the next, as in Kueue's own assignment.
                    left |= {key: left[key] - amount for key, amount in _keyed(one, needed)}
                    break
                reasons.append(f"flavor {one['metadata']['name']} {reason}")
            else:
                wrong = f"{who} never admits {pods.name}: {'; '.join(reasons)}"
                yield Problem(pods.path, wrong, "one flavor has to fit, in everything")


def _mismatch(pods: PodSet, flavor: Tree, flavors: Sequence[Tree], everything: Sequence[Tree]) -> str:
    """Returns why these pods cannot use a flavor, whatever its quota; empty if they can."""
    if "kind" not in flavor:
        return ""
    spec, pod = _spec(flavor), pods.template["spec"]
    if pods.level is not None and "topologyName" not in spec:
        return "does not support TopologyAwareScheduling (no topologyName)"
    if pods.level is None and "topologyName" in spec and any(_is_plain(one) for one in flavors):
        return f"supports only TopologyAwareScheduling (no annotation such as {LEVELS[1]})"
    for topology in _named(everything, [], "Topology", spec.get("topologyName")):
        levels = [level["nodeLabel"] for level in topology["spec"]["levels"]]
        if pods.level and pods.level not in levels:
            return f"has no level {pods.level} in its topology ({', '.join(levels)})"
    labels = spec.get("nodeLabels") or {}
    # Kueue compares only labels that a flavor of the group has; all others are the scheduler's business.
    for key in sorted({key for one in flavors for key in _spec(one).get("nodeLabels") or {}}):
        wanted = (pod.get("nodeSelector") or {}).get(key)
        if wanted is not None and labels.get(key) != wanted:
            return f"lacks the label {key}: {wanted}"
    tolerations = [*(pod.get("tolerations") or []), *(spec.get("tolerations") or [])]
    for taint in spec.get("nodeTaints") or []:
        # A taint that only prefers other pods keeps nobody away, in Kueue as in the scheduler.
        if taint["effect"] != "PreferNoSchedule" and not any(_tolerates(one, taint) for one in tolerations):
            return f"has the taint {taint['key']}, which they do not tolerate"
    return ""


def _lack(flavor: Tree, needed: Mapping[str, Fraction], left: Mapping[Any, Fraction], in_cohort: bool) -> str:
    """Returns the resources that a flavor lacks; a queue in a cohort may borrow the rest."""
    lacking = [] if in_cohort else [(key[1], left[key], n) for key, n in _keyed(flavor, needed) if left[key] < n]
    return ", ".join(f"has {shown(has)} of {name}, and {shown(n)} is needed" for name, has, n in lacking)


def _keyed(flavor: Tree, needed: Mapping[str, Fraction]) -> list[tuple[tuple[str, str], Fraction]]:
    return [((flavor["metadata"]["name"], name), amount) for name, amount in needed.items()]


def _flavor(name: str, everything: Sequence[Tree]) -> Tree:
    """Returns a flavor by name; if it is not given, only its name."""
    return next(iter(_named(everything, [], "ResourceFlavor", name)), {"metadata": {"name": name}})


def _spec(flavor: Tree) -> Tree:
    return flavor.get("spec") or {}


def _is_plain(flavor: Tree) -> bool:
    """Returns whether a flavor has no topology; if all flavors of a queue have one, pods need not request it."""
    return "kind" in flavor and "topologyName" not in _spec(flavor)


def _tolerates(toleration: Tree, taint: Tree) -> bool:
    if toleration.get("effect") not in (None, taint["effect"]) or toleration.get("key") not in (None, taint["key"]):
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")


def _namespace_fits(local: Tree, namespace: str | None) -> bool:
    return namespace is None or local["metadata"].get("namespace", namespace) == namespace


def _named(beside: Sequence[Tree], everything: Sequence[Tree], kind: str, name: Any) -> list[Tree]:
    """Returns the objects of a kind and name: those of the same kustomization if there are any, else all."""
    for trees in (beside, everything):
        if found := [tree for tree in trees if tree["kind"] == kind and tree["metadata"].get("name") == name]:
            return found
    return []
