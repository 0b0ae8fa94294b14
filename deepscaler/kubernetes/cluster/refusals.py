"""Turns what kubectl prints when a cluster refuses something into one line: the cause, and what to do about it."""

import re

from deepscaler.system.errors import UserError

LONGEST = 400
"""Characters of a message that is passed on as it is."""


class ClusterError(UserError):
    """The cluster refused something."""


class NotThereError(ClusterError):
    """The cluster has no object of that name."""


class UnreachableError(ClusterError):
    """The cluster did not answer: nothing is known of what it would say."""


KUBERAY = "helm install kuberay-operator kuberay/kuberay-operator (k8s/README.md, Before)"

REFUSALS: tuple[tuple[str, type[ClusterError], str], ...] = (
    (r"namespaces? \"?([\w.-]+)\"? not found", ClusterError, "make it once: deepscaler k8s setup --site FILE"),
    (r"exceeded quota: ([^,]+)", ClusterError, "the namespace's quota has no room: end a job, or ask for more"),
    (r"\(Forbidden\).*cannot (\w+) resource", ClusterError, "your user lacks this right: ask who runs the cluster"),
    (r"\(Forbidden\)", ClusterError, "a policy of the cluster refuses it: ask who runs the cluster"),
    (r"no matches for kind \"Ray\w+\"|resource type \"ray\w+\"", ClusterError, f"KubeRay is not installed: {KUBERAY}"),
    (
        r"no matches for kind \"(\w+)\"|resource type \"([\w.]+)\"",
        ClusterError,
        "the cluster has no such class: install what a component needs (k8s/README.md), or leave the component out",
    ),
    (r"\(NotFound\)", NotThereError, "it was deleted, or never there"),
    (
        r"Unauthorized|must be logged in|getting credentials|certificate has expired",
        UnreachableError,
        "log in to the cluster anew",
    ),
    (
        r"context \"?([^\"]*)\"? does not exist|context was not found",
        ClusterError,
        "`kubectl config get-contexts` lists yours; correct `context` in the site file",
    ),
    (
        r"connection (to the server .* )?was refused|connection refused|no such host|i/o timeout|Unable to connect"
        r"|TLS handshake|deadline exceeded",
        UnreachableError,
        "the cluster cannot be reached from here: check the network and the context",
    ),
    (r"admission webhook", ClusterError, "a policy of the cluster refuses it: ask who runs the cluster"),
    (r"strict decoding error|is invalid|unknown field", ClusterError, "check it: deepscaler k8s check FILE"),
)
"""Pattern, kind, advice; the first that fits."""


def explain(said: str, context: str, namespace: str) -> ClusterError:
    """Returns the error for what kubectl printed on failing."""
    text = " ".join(said.partition("<!DOCTYPE")[0].split())  # what stands between may answer with a page
    text = re.sub(r"^(error: )?(Error from server )?", r"\2", text).strip() or "kubectl said nothing"
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    kind, advice = _fitting(text)
    return kind(f"{context}, namespace {namespace}: {shown}{advice and f': {advice}'}")


def advice_for(text: str) -> str:
    """Returns what to do about something that a cluster refused, as an event tells it; empty for anything else."""
    return _fitting(text)[1]


def _fitting(text: str) -> tuple[type[ClusterError], str]:
    for pattern, kind, advice in REFUSALS:
        if re.search(pattern, text, re.IGNORECASE):
            return kind, advice
    return ClusterError, ""
