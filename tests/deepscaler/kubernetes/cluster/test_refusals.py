"""What kubectl 1.37 prints when a server of Kubernetes 1.36 refuses something, word for word, and what users read."""

from pathlib import Path

import pytest

from deepscaler.kubernetes.check import check
from deepscaler.kubernetes.cluster import kubectl
from deepscaler.kubernetes.cluster.discover import discover
from deepscaler.kubernetes.cluster.refusals import ClusterError, NotThereError, UnreachableError, advice_for, explain
from deepscaler.system.errors import UserError

NO_ANSWER = (
    'E1127 18:25:30.022034   28804 memcache.go:381] "Couldn\'t get current server API group list" err="Get'
    ' \\"https://127.0.0.1:1/api?timeout=32s\\": dial tcp 127.0.0.1:1: connect: connection refused"\n'
) * 5

PLUG_IN = """\
F1127 18:25:36.174614   28877 cred.go:145] print credential failed with error: Failed to retrieve access token:: \
failure while executing gcloud, with args [config config-helper --format=json]: exit status 1 (err: ERROR: \
(gcloud.config.config-helper) You do not currently have an active account selected.
Please run:

  $ gcloud auth login

to obtain new credentials.
)
Unable to connect to the server: getting credentials: exec: executable gke-gcloud-auth-plugin failed with exit code 1
"""

NO_PLUG_IN = """\
Unable to connect to the server: getting credentials: exec: executable gke-gcloud-auth-plugin not found

It looks like you are trying to use a client-go credential plugin that is not installed.

To learn more about this feature, consult the documentation available at:
      https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins

Install gke-gcloud-auth-plugin for use with kubectl
"""

CONFLICT = """\
error: Apply failed with 1 conflict: conflict with "kuberay-operator" using ray.io/v1: \
.spec.rayClusterSpec.workerGroupSpecs
Please review the fields above--they currently have other managers. Here
are the ways you can resolve this warning:
* If you intend to manage all of these fields, please re-run the apply
  command with the `--force-conflicts` flag.
* If you do not intend to manage all of the fields, please edit your
  manifest to remove references to the fields that should keep their
  current managers.
"""

IMMUTABLE = """\
The PersistentVolumeClaim "deepscaler-runs" is invalid: spec: Forbidden: spec is immutable after creation except \
resources.requests and volumeAttributesClassName for bound claims
@@ -10,7 +10,7 @@
   }
  },
  "VolumeName": "pvc-2cb10391-c714-4b38-bf4f-fc51bd058eff",
- "StorageClassName": "standard",
+ "StorageClassName": "other",
"""

POD_SECURITY = """\
Error from server (Forbidden): error when creating "STDIN": pods "a" is forbidden: violates PodSecurity \
"restricted:latest": allowPrivilegeEscalation != false (container "a" must set \
securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "a" must set \
securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "a" must set \
securityContext.runAsNonRoot=true), seccompProfile (pod or container "a" must set \
securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")
"""

EXEC = """\
error: Internal error occurred: unable to upgrade connection: <!DOCTYPE HTML>
<html lang="en">
"""

REFUSED: dict[str, tuple[str, type[ClusterError], str, str]] = {
    "forbidden": (
        'Error from server (Forbidden): rayjobs.ray.io is forbidden: User "researcher" cannot list resource "rayjobs"'
        ' in API group "ray.io" in the namespace "kstate"\n',
        ClusterError,
        '(Forbidden): rayjobs.ray.io is forbidden: User "researcher" cannot list resource "rayjobs" in API group'
        ' "ray.io" in the namespace "kstate"',
        "your user lacks this right: ask who runs the cluster",
    ),
    "no object": (
        'Error from server (NotFound): rayjobs.ray.io "nope" not found\n',
        NotThereError,
        '(NotFound): rayjobs.ray.io "nope" not found',
        "it was deleted, or never there",
    ),
    "no pod": (
        'error: error from server (NotFound): pods "nopod" not found in namespace "kstate"\n',
        NotThereError,
        '(NotFound): pods "nopod" not found in namespace "kstate"',
        "it was deleted, or never there",
    ),
    "no namespace": (
        'Error from server (NotFound): namespaces "nonamespace" not found\n',
        ClusterError,
        '(NotFound): namespaces "nonamespace" not found',
        "make it once: deepscaler k8s setup --site FILE",
    ),
    "no KubeRay": (
        'error: resource mapping not found for name: "train-8k" namespace: "" from "STDIN": no matches for kind'
        ' "RayJob" in version "ray.io/v1"\nensure CRDs are installed first\n',
        ClusterError,
        'resource mapping not found for name: "train-8k" namespace: "" from "STDIN": no matches for kind "RayJob" in'
        ' version "ray.io/v1"',
        "KubeRay is not installed: helm install kuberay-operator kuberay/kuberay-operator (docs/kubernetes.md, Before)",
    ),
    "no class": (
        'error: the server doesn\'t have a resource type "workloads" in group "kueue.x-k8s.io"\n',
        ClusterError,
        'the server doesn\'t have a resource type "workloads" in group "kueue.x-k8s.io"',
        "the cluster has no such class: install what the component needs (docs/kubernetes-overlays.md), or drop it",
    ),
    "quota": (
        'Error from server (Forbidden): error when creating "STDIN": pods "a" is forbidden: exceeded quota: q,'
        " requested: pods=1, used: pods=0, limited: pods=0\n",
        ClusterError,
        '(Forbidden): error when creating "STDIN": pods "a" is forbidden: exceeded quota: q, requested: pods=1,'
        " used: pods=0, limited: pods=0",
        "the namespace's quota has no room: end a job, or ask for more",
    ),
    "limit range": (
        'Error from server (Forbidden): error when creating "STDIN": pods "a" is forbidden: maximum memory usage per'
        " Container is 64Gi, but limit is 512Gi\n",
        ClusterError,
        '(Forbidden): error when creating "STDIN": pods "a" is forbidden: maximum memory usage per Container is 64Gi,'
        " but limit is 512Gi",
        "a LimitRange of the namespace does not allow this size: change it in the site file, or ask for more",
    ),
    "no account": (
        'Error from server (Forbidden): error when creating "STDIN": pods "a" is forbidden: error looking up service'
        ' account kstate/nope: serviceaccount "nope" not found\n',
        ClusterError,
        '(Forbidden): error when creating "STDIN": pods "a" is forbidden: error looking up service account'
        ' kstate/nope: serviceaccount "nope" not found',
        "make it once: deepscaler k8s setup --site FILE",
    ),
    "pod security": (
        POD_SECURITY,
        ClusterError,
        '(Forbidden): error when creating "STDIN": pods "a" is forbidden: violates PodSecurity "restricted:latest":'
        ' allowPrivilegeEscalation != false (container "a" must set securityContext.allowPrivilegeEscalation=false),'
        ' unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot'
        ' != true (pod or container "a" must set securityContext.runAsNonRoot=true), secc...',
        "a policy of the cluster refuses it: ask who runs the cluster",
    ),
    "webhook refuses": (
        'Error from server (Forbidden): error when creating "STDIN": admission webhook "vrayjob.kb.io" denied the'
        " request: spec.shutdownAfterJobFinishes: Invalid value: false: a kueue managed job should delete the cluster"
        " after finishing\n",
        ClusterError,
        '(Forbidden): error when creating "STDIN": admission webhook "vrayjob.kb.io" denied the request:'
        " spec.shutdownAfterJobFinishes: Invalid value: false: a kueue managed job should delete the cluster after"
        " finishing",
        "a policy of the cluster refuses it: ask who runs the cluster",
    ),
    "webhook does not answer": (
        'Error from server (InternalError): error when creating "STDIN": Internal error occurred: failed calling'
        ' webhook "mrayjob.kb.io": failed to call webhook: Post "https://kueue-webhook-service.kueue-system.svc:443/'
        'mutate-ray-io-v1-rayjob?timeout=10s": context deadline exceeded\n',
        ClusterError,
        '(InternalError): error when creating "STDIN": Internal error occurred: failed calling webhook'
        ' "mrayjob.kb.io": failed to call webhook: Post "https://kueue-webhook-service.kueue-system.svc:443/'
        'mutate-ray-io-v1-rayjob?timeout=10s": context deadline exceeded',
        "what the cluster asks before it takes an object (Kueue, KubeRay, a policy) does not answer: try again, then"
        " ask who runs the cluster",
    ),
    "conflict": (
        CONFLICT,
        ClusterError,
        'Apply failed with 1 conflict: conflict with "kuberay-operator" using ray.io/v1:'
        " .spec.rayClusterSpec.workerGroupSpecs",
        "another program has changed these fields: end the job with `deepscaler cancel`, then give the command again",
    ),
    "unknown field": (
        "Error from server: failed to create typed patch object (kstate/a; ray.io/v1, Kind=RayJob): .spec.foo: field"
        " not declared in schema\n",
        ClusterError,
        "failed to create typed patch object (kstate/a; ray.io/v1, Kind=RayJob): .spec.foo: field not declared in"
        " schema",
        "check it: deepscaler k8s check FILE",
    ),
    "immutable": (
        IMMUTABLE,
        ClusterError,
        'The PersistentVolumeClaim "deepscaler-runs" is invalid: spec: Forbidden: spec is immutable after creation'
        " except resources.requests and volumeAttributesClassName for bound claims",
        "delete what is there first, or give another name",
    ),
    "refused connection": (
        f"{NO_ANSWER}The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?\n",
        UnreachableError,
        "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?",
        "the cluster cannot be reached from here: check the network and the context",
    ),
    "unknown host": (
        "Unable to connect to the server: dial tcp: lookup nohost.invalid on 10.255.255.53:53: no such host\n",
        UnreachableError,
        "Unable to connect to the server: dial tcp: lookup nohost.invalid on 10.255.255.53:53: no such host",
        "the cluster cannot be reached from here: check the network and the context",
    ),
    "expired token": (
        "error: You must be logged in to the server (Unauthorized)\n",
        UnreachableError,
        "You must be logged in to the server (Unauthorized)",
        "log in to the cluster again",
    ),
    "plug-in failed": (
        PLUG_IN,
        UnreachableError,
        "Unable to connect to the server: getting credentials: exec: executable gke-gcloud-auth-plugin failed with"
        " exit code 1",
        "log in to the cluster again",
    ),
    "no plug-in": (
        NO_PLUG_IN,
        UnreachableError,
        "Unable to connect to the server: getting credentials: exec: executable gke-gcloud-auth-plugin not found",
        "install this plug-in of kubectl: it fetches your credentials",
    ),
    "another certificate": (
        "Unable to connect to the server: tls: failed to verify certificate: x509: certificate signed by unknown"
        " authority\n",
        UnreachableError,
        "Unable to connect to the server: tls: failed to verify certificate: x509: certificate signed by unknown"
        " authority",
        "the server is not the one that the context trusts: check the context, a proxy on the way, the clock",
    ),
    "no context": (
        "Error in configuration: context was not found for specified context: nope\n",
        ClusterError,
        "Error in configuration: context was not found for specified context: nope",
        "`kubectl config get-contexts` lists yours; correct `context` in the site file",
    ),
    "busy": (
        "Error from server (ServiceUnavailable): the server is currently unable to handle the request\n",
        UnreachableError,
        "(ServiceUnavailable): the server is currently unable to handle the request",
        "the cluster is busy or being mended: try again",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_told_in_one_line_with_what_to_do(case: str) -> None:
    said, kind, shown, advice = REFUSED[case]
    error = explain(said, "research", "deepscaler")
    assert str(error) == f"research, namespace deepscaler: {shown}: {advice}"
    assert type(error) is kind


def test_a_kubectl_that_hangs_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs where, for one, the kubeconfig is on a file server that does not answer."""
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(kubectl, "SECONDS", 0.2)
    monkeypatch.setattr(check, "SECONDS", 0.2)
    with pytest.raises(UnreachableError, match="`kubectl config current-context` did not end within 0"):
        kubectl.current_context()
    with pytest.raises(UnreachableError, match="`kubectl config view` did not end"):
        discover(tmp_path / "cluster.toml", "research")
    with pytest.raises(UserError, match="did not end within 0"):
        check.build(tmp_path)


def test_what_nobody_has_foreseen_is_told_as_it_is() -> None:
    assert str(explain(EXEC, "a", "b")) == ("a, namespace b: Internal error occurred: unable to upgrade connection:")
    assert str(explain("", "a", "b")) == "a, namespace b: kubectl said nothing"
    assert advice_for("a pod of an event says something new") == ""
