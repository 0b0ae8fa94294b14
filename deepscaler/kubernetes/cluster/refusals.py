"""Turns kubectl's output about a refusal into one line: the cause and the remedy."""

import re
from itertools import takewhile

from deepscaler.system.errors import UserError

LONGEST = 400
"""Most characters of a message that is passed on unchanged."""


class ClusterError(UserError):
    """Signals that the cluster refused something."""


class NotThereError(ClusterError):
    """Signals that the cluster has no object of that name."""


class UnreachableError(ClusterError):
    """Signals that the cluster did not answer, so its decision is unknown."""


KUBERAY = "helm install kuberay-operator kuberay/kuberay-operator (docs/kubernetes.md, Before)"

POLICY = "a policy of the cluster refuses it: ask who runs the cluster"

SET_UP = "make it once: deepscaler k8s setup --site FILE"

REFUSALS: tuple[tuple[str, type[ClusterError], str], ...] = (
    # Before (NotFound), which the same message holds: a missing namespace is not an object that was
    # deleted.
    (r"namespaces? \"?([\w.-]+)\"? not found|serviceaccount \"[\w.-]+\" not found", ClusterError, SET_UP),
    (r"exceeded quota: ([^,]+)", ClusterError, "the namespace's quota has no room: end a job, or ask for more"),
    (
        r"(maximum|minimum) [\w./-]+ usage per",
        ClusterError,
        "a LimitRange of the namespace does not allow this size: change it in the site file, or ask for more",
    ),
    (
        r"failed calling webhook|failed to call webhook",
        ClusterError,
        "what the cluster asks before it takes an object (Kueue, KubeRay, a policy) does not answer: try again, then"
        " ask who runs the cluster",
    ),
    (r"violates PodSecurity|ValidatingAdmissionPolicy|admission webhook", ClusterError, POLICY),
    (r"\(Forbidden\).*cannot (\w+) resource", ClusterError, "your user lacks this right: ask who runs the cluster"),
    (r"Forbidden: .*immutable|field is immutable", ClusterError, "delete what is there first, or give another name"),
    # Behind the line about rights: admission answers Forbidden, too, without the words "cannot VERB resource".
    (r"\(Forbidden\)", ClusterError, POLICY),
    (r"no matches for kind \"Ray\w+\"|resource type \"ray\w+\"", ClusterError, f"KubeRay is not installed: {KUBERAY}"),
    (
        r"no matches for kind \"(\w+)\"|resource type \"([\w.]+)\"",
        ClusterError,
        "the cluster has no such class: install what the component needs (docs/kubernetes-overlays.md), or drop it",
    ),
    (
        r"Apply failed with \d+ conflicts?",
        ClusterError,
        "another program has changed these fields: end the job with `deepscaler cancel`, then give the command again",
    ),
    (r"\(NotFound\)", NotThereError, "it was deleted, or never there"),
    (r"executable [^ ]+ not found", UnreachableError, "install this plug-in of kubectl: it fetches your credentials"),
    (
        r"Unauthorized|must be logged in|getting credentials|certificate has expired",
        UnreachableError,
        "log in to the cluster again",
    ),
    (
        r"x509:",
        UnreachableError,
        "the server is not the one that the context trusts: check the context, a proxy on the way, the clock",
    ),
    (
        r"context \"?([^\"]*)\"? does not exist|context was not found",
        ClusterError,
        "`kubectl config get-contexts` lists yours; correct `context` in the site file",
    ),
    (
        r"connection (to the server .* )?was refused|connection refused|no such host|i/o timeout|Unable to connect"
        r"|TLS handshake|deadline exceeded|connection reset|network is unreachable|no route to host|unexpected EOF",
        UnreachableError,
        "the cluster cannot be reached from here: check the network and the context",
    ),
    (
        r"\((ServiceUnavailable|TooManyRequests|Timeout|ServerTimeout)\)|etcdserver:|unable to handle the request",
        UnreachableError,
        "the cluster is busy or being mended: try again",
    ),
    (
        r"strict decoding error|is invalid|unknown field|not declared in schema",
        ClusterError,
        "check it: deepscaler k8s check FILE",
    ),
)
"""Pattern, kind and advice; the first match counts."""


SPEAKS = re.compile(
    r"^(error|error from server|unable to connect|the connection to|the \w+ \"|error in config)\b", re.I
)
"""Beginnings of kubectl's own final message; libraries and plug-ins write their logs before it."""

COUNSEL = re.compile(r"^(Please review the fields|It looks like you are trying|ensure CRDs are|@@ )")
"""Beginnings of kubectl's advice, and of the difference that a server shows, which the kit's advice replaces."""

LOG = re.compile(r"^[EIWF]\d{4} ")


def explain(said: str, context: str, namespace: str) -> ClusterError:
    """Returns the error for kubectl's output on failure."""
    text = re.sub(r"^((error|Error from server): )*([Ee]rror from server )?", r"\3", _own_words(said))
    text = re.sub(r"^[Ee]rror from server ", "", text).strip() or "kubectl said nothing"
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    kind, advice = _fitting(text)
    return kind(f"{context}, namespace {namespace}: {shown}{advice and f': {advice}'}")


def advice_for(text: str) -> str:
    """Returns advice about a refusal in an event's text; empty for anything else."""
    return _fitting(text)[1]


def _own_words(said: str) -> str:
    """Returns kubectl's own message, without logs before it and a web page behind it."""
    # A proxy on the way may answer with a whole web page.
    lines = [line for line in said.partition("<!DOCTYPE")[0].splitlines() if line.strip()]
    begin = next((number for number, line in enumerate(lines) if SPEAKS.match(line)), 0)
    own = [line for line in takewhile(lambda line: not COUNSEL.match(line), lines[begin:]) if not LOG.match(line)]
    # Each line once: kubectl repeats what it could not discover for every try.
    return " ".join(" ".join(dict.fromkeys(own or lines)).split())


def _fitting(text: str) -> tuple[type[ClusterError], str]:
    for pattern, kind, advice in REFUSALS:
        if re.search(pattern, text, re.IGNORECASE):
            return kind, advice
    return ClusterError, ""
