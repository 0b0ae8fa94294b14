"""Restates the CRDs' CEL rules in Python, because only the API server evaluates them and no schema validator does.

{"rule": "!has(self.topologyName) || self.nodeLabels.size() >= 1", "message": "at least one nodeLabel is required ..."}
"""

from collections.abc import Callable, Iterator
from typing import Any

from deepscaler.kubernetes.check.finding import Problem

MANAGERS = ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
HOSTNAME = "kubernetes.io/hostname"
VALIDATIONS = "x-kubernetes-validations"


def _borrows(queue: Any) -> bool:
    flavors = [flavor for group in queue.get("resourceGroups") or [] for flavor in group["flavors"]]
    return any("borrowingLimit" in resource for flavor in flavors for resource in flavor["resources"])


BORROWING = (
    "!has(self.{0}) && has(self.resourceGroups) ? self.resourceGroups.all(rg, rg.flavors.all(f, f.resources.all(r,"
    " !has(r.borrowingLimit)))) : true"
)

RULES: dict[str, Callable[[Any], bool]] = {
    BORROWING.format("cohort"): lambda it: "cohort" in it or not _borrows(it),
    BORROWING.format("cohortName"): lambda it: "cohortName" in it or not _borrows(it),
    "!has(self.preference) || (self.whenCanBorrow == 'TryNextFlavor' && self.whenCanPreempt == 'TryNextFlavor')": (
        lambda it: (
            "preference" not in it or [it.get("whenCanBorrow"), it.get("whenCanPreempt")] == ["TryNextFlavor"] * 2
        )
    ),
    (
        "!(self.reclaimWithinCohort == 'Never' && has(self.borrowWithinCohort) && self.borrowWithinCohort.policy !="
        " 'Never')"
    ): lambda it: (
        it.get("reclaimWithinCohort", "Never") != "Never"
        or (it.get("borrowWithinCohort") or {}).get("policy", "Never") == "Never"
    ),
    "self.flavors.all(x, size(x.resources) == size(self.coveredResources))": lambda it: all(
        len(flavor["resources"]) == len(it["coveredResources"]) for flavor in it["flavors"]
    ),
    "!has(self.topologyName) || self.nodeLabels.size() >= 1": lambda it: (
        "topologyName" not in it or it.get("nodeLabels")
    ),
    "self.all(x, x.effect in ['NoSchedule', 'PreferNoSchedule', 'NoExecute'])": lambda it: all(
        taint.get("effect") in EFFECTS for taint in it
    ),
    "self.all(x, !has(x.key) ? x.operator == 'Exists' : true)": lambda it: all(
        "key" in one or one.get("operator") == "Exists" for one in it
    ),
    "self.all(x, has(x.tolerationSeconds) ? x.effect == 'NoExecute' : true)": lambda it: all(
        "tolerationSeconds" not in one or one.get("effect") == "NoExecute" for one in it
    ),
    "self.all(x, !has(x.operator) || x.operator in ['Equal', 'Exists'])": lambda it: all(
        one.get("operator", "Equal") in ("Equal", "Exists") for one in it
    ),
    "self.all(x, has(x.operator) && x.operator == 'Exists' ? !has(x.value) : true)": lambda it: all(
        one.get("operator") != "Exists" or "value" not in one for one in it
    ),
    "self.all(x, !has(x.effect) || x.effect in ['NoSchedule', 'PreferNoSchedule', 'NoExecute'])": lambda it: all(
        one.get("effect", EFFECTS[0]) in EFFECTS for one in it
    ),
    "size(self.filter(i, size(self.filter(j, j == i)) > 1)) == 0": lambda it: all(it.count(one) == 1 for one in it),
    (
        "size(self.filter(i, i.nodeLabel == 'kubernetes.io/hostname')) == 0 || self[size(self) - 1].nodeLabel =="
        " 'kubernetes.io/hostname'"
    ): lambda it: all(level["nodeLabel"] != HOSTNAME for level in it) or it[-1]["nodeLabel"] == HOSTNAME,
    "self in ['ray.io/kuberay-operator', 'kueue.x-k8s.io/multikueue']": lambda it: it in MANAGERS,
    "!((has(self.onSuccess) || has(self.onFailure)) && has(self.deletionRules))": lambda it: (
        not ({"onSuccess", "onFailure"} & set(it) and "deletionRules" in it)
    ),
    "((has(self.onSuccess) && has(self.onFailure)) || has(self.deletionRules))": lambda it: (
        {"onSuccess", "onFailure"} <= set(it) or "deletionRules" in it
    ),
    "!(has(self.jobStatus) && has(self.jobDeploymentStatus))": lambda it: (
        not ({"jobStatus", "jobDeploymentStatus"} <= set(it))
    ),
    "has(self.jobStatus) || has(self.jobDeploymentStatus)": lambda it: bool(
        {"jobStatus", "jobDeploymentStatus"} & set(it)
    ),
}
"""Functions by the rule's text, with single spaces. Rules on `oldSelf` are absent: they compare with the cluster."""


def rule_problems(schema: Any, value: Any, path: str = "") -> Iterator[Problem]:
    """Yields the violations of a CRD's rules in a value whose types the schema has confirmed."""
    for validation in schema.get(VALIDATIONS, []):
        # By the whole text: a rule that a newer CRD words otherwise finds no function here, and a test names
        # it.
        rule = RULES.get(" ".join(validation["rule"].split()))
        if rule and not rule(value):
            yield Problem(path, validation["message"], f"the CRD demands {' '.join(validation['rule'].split())}")
    if isinstance(value, dict):
        for key, inner in value.items():
            below = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
            # The schema lets a null pass only where a field may be one, and there it has nothing to judge.
            if isinstance(below, dict) and inner is not None:
                yield from rule_problems(below, inner, f"{path}.{key}".lstrip("."))
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for number, inner in enumerate(value):
            yield from rule_problems(schema["items"], inner, f"{path}[{number}]")
