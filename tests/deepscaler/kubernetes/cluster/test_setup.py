"""What `k8s setup` applies, leaves alone, and says is missing."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepscaler.cli import main
from deepscaler.kubernetes.cluster.kubectl import find_kubectl
from tests.deepscaler.kubernetes.check.test_check import K8S
from tests.deepscaler.kubernetes.cluster.conftest import FakeKubectl

NOT_FOUND = (1, 'Error from server (NotFound): namespaces "team" not found\n')
FORBIDDEN = (1, 'Error from server (Forbidden): namespaces "team" is forbidden: User "me" cannot get resource\n')
CONFLICT = (
    1,
    'error: Apply failed with 1 conflict: conflict with "kubectl-edit" using networking.k8s.io/v1: .spec.egress\n'
    "Please review the fields above--they currently have other managers. Here\n",
)
SITE = """
context = "research"
namespace = "team"
components = ["kueue", "priority"]
cluster_queue = "all"
data_claim = "ours"
"""


WRAPPER = """#!/bin/sh
[ "$1" = kustomize ] && exec {real} "$@"
if [ "$5 $6" = "auth can-i" ] && grep -qx "$8" {denied}; then echo no; exit 1; fi
exec {fake} "$@"
"""
"""The real kubectl builds, the table answers, and a file names what the user may not create."""


ACCOUNTS = ("ServiceAccount", "ServiceAccount", "Role", "RoleBinding")
"""Of jobs, and of a chain's conductor with its rights."""
POLICIES = ("NetworkPolicy", "NetworkPolicy")
CLAIMS = ("PersistentVolumeClaim", "PersistentVolumeClaim")


@pytest.fixture
def denied(tmp_path: Path) -> Path:
    """Kinds, one a line."""
    file = tmp_path / "denied"
    file.touch()
    return file


@pytest.fixture(scope="module")
def real() -> str:
    """The real kubectl's path: asked for before a table is put first on PATH."""
    return find_kubectl()


@pytest.fixture
def site(real: str, kubectl: FakeKubectl, denied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster with KubeRay and nothing in it, and a user who may do everything."""
    program = tmp_path / "bin/kubectl"
    program.parent.mkdir()
    program.write_text(WRAPPER.format(real=real, denied=denied, fake=shutil.which("kubectl")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    kubectl.answers["config current-context"] = "research\n"
    kubectl.answers["auth whoami"] = "me"
    kubectl.answers["auth can-i"] = "yes"
    kubectl.answers["api-resources"] = "rayjobs.ray.io\n"
    kubectl.answers["get"] = NOT_FOUND
    kubectl.answers["get persistentvolumeclaim --output json"] = '{"items": []}'
    kubectl.answers["apply"] = ""
    file = tmp_path / "cluster.toml"
    file.write_text(SITE)
    return file


def applied(kubectl: FakeKubectl) -> list[str]:
    """Kinds that were applied for good, in order."""
    calls = [words for words in kubectl.calls if words[0] == "apply"]
    texts = zip(calls, kubectl.given, strict=True)
    trees: list[Any] = [
        tree for words, text in texts if "--dry-run=server" not in words for tree in yaml.safe_load_all(text)
    ]
    return [tree["kind"] for tree in trees]


def test_all_is_made_after_the_server_agreed(
    kubectl: FakeKubectl, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["k8s", "setup", "--site", str(site)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Context research, namespace team, as me.\n")
    kinds = applied(kubectl)
    assert kinds[0] == "Namespace", "before what lies in it"
    assert sorted(kinds[1:]) == sorted([*ACCOUNTS, *POLICIES, "LocalQueue", *CLAIMS])
    dry = [words for words in kubectl.calls if words[0] == "apply" and "--dry-run=server" in words]
    assert len(dry) == len(kinds)
    assert all("--server-side" in words for words in kubectl.calls if words[0] == "apply")
    for line in (
        "There is no clusterqueue.kueue.x-k8s.io all yet: who runs the cluster makes it (k8s/cluster/kueue).",
        "There is no priorityclass deepscaler-training yet: who runs the cluster makes it (k8s/cluster/priority).",
        "There is no persistentvolumeclaim ours yet: make it and put your data there; pods read it at /data.",
        "kubectl --context research --namespace team create secret generic deepscaler-credentials --from-literal=HF_TO",
    ):
        assert line in said


def test_what_cannot_be_changed_or_was_changed_is_left_alone(
    kubectl: FakeKubectl, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl.answers["get namespace team"] = FORBIDDEN  # and taken to be there
    kubectl.answers["get persistentvolumeclaim deepscaler-runs"] = "persistentvolumeclaim/deepscaler-runs\n"
    claim = '{"metadata": {"name": "deepscaler-runs"}, "spec": {"accessModes": ["ReadWriteOnce"]}}'
    kubectl.answers["get persistentvolumeclaim --output json"] = f'{{"items": [{claim}]}}'
    assert main(["k8s", "setup", "--site", str(site)]) == 0
    said = capsys.readouterr().out
    assert "There already, left alone: namespace team, persistentvolumeclaim deepscaler-runs.\n" in said
    assert "The claim deepscaler-runs is ReadWriteOnce: pods on several nodes need ReadWriteMany." in said
    assert sorted(applied(kubectl)) == sorted([*ACCOUNTS, *POLICIES, "LocalQueue", "PersistentVolumeClaim"])
    kubectl.answers["apply --server-side --field-manager=deepscaler --filename - --dry-run=server"] = CONFLICT
    assert main(["k8s", "setup", "--site", str(site)]) == 0
    said = capsys.readouterr().out
    told = (
        "networkpolicy deepscaler was changed by somebody, and is left as it is: Apply failed with 1 conflict: conflict"
    )
    assert told in said
    assert "Applied: nothing" in said


def test_rights_that_are_missing_are_told_in_one_line(
    kubectl: FakeKubectl, site: Path, denied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    denied.write_text("namespace\nnetworkpolicy.networking.k8s.io\nserviceaccount\n")
    kubectl.answers["get namespace team"] = "namespace/team\n"
    for name in ("deepscaler", "deepscaler-chain"):
        kubectl.answers[f"get serviceaccount {name}"] = f"serviceaccount/{name}\n"
    kubectl.answers["get networkpolicy.networking.k8s.io deepscaler-chain"] = "there\n"
    assert main(["k8s", "setup", "--site", str(site)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "your user may not make networkpolicy deepscaler in namespace team of research: have who runs the" in line
    assert applied(kubectl) == []
    kubectl.answers["get networkpolicy.networking.k8s.io deepscaler"] = "networkpolicy.networking.k8s.io/deepscaler\n"
    assert main(["k8s", "setup", "--site", str(site)]) == 0, "others have made it"
    assert sorted(applied(kubectl)) == sorted(["Role", "RoleBinding", "LocalQueue", *CLAIMS])


@pytest.mark.parametrize("trouble", ["", "rights", "away"])
def test_a_dry_run_prints_yaml_and_applies_nothing(
    trouble: str, kubectl: FakeKubectl, site: Path, denied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if trouble == "rights":
        denied.write_text("networkpolicy.networking.k8s.io\n")
    elif trouble == "away":
        kubectl.answers["get"] = (1, "The connection to the server 10.0.0.1:6443 was refused\n")
    assert main(["k8s", "setup", "--site", str(site), "--dry-run"]) == 0
    printed = capsys.readouterr()
    kinds = [tree["kind"] for tree in yaml.safe_load_all(printed.out)]
    assert len(kinds) == 4 + len(ACCOUNTS) + len(POLICIES)
    assert ("This is all that a namespace needs" in printed.err) is bool(trouble)
    assert "apply" not in [words[0] for words in kubectl.calls]


def test_names_of_an_example_are_not_applied(
    kubectl: FakeKubectl, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write_text('context = "research"\nstorage = "nfs"')
    assert main(["k8s", "setup", "--site", str(site)]) == 2
    assert "storage nfs has an example's names in persistentvolume" in capsys.readouterr().err
    shutil.copytree(K8S / "storage/nfs", tmp_path / "ours")
    volumes = tmp_path / "ours/volumes.yaml"
    volumes.write_text(volumes.read_text().replace("nfs.example.com", "10.0.0.7"))
    site.write_text('context = "research"\nstorage = "ours"')
    assert main(["k8s", "setup", "--site", str(site)]) == 0
    assert applied(kubectl).count("PersistentVolume") == 2


def test_another_context_is_refused(kubectl: FakeKubectl, site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl.answers["config current-context"] = "elsewhere\n"
    assert main(["k8s", "setup", "--site", str(site)]) == 2
    assert "the current context of kubectl is elsewhere, the site file is for research" in capsys.readouterr().err
    assert applied(kubectl) == []
