"""Writes a first place file from what a cluster shows; a user can read and change every line of it.

context = "research"            # of kubectl; a command is refused while another one is current
components = ["kueue", "a100"]  # LocalQueue team-a of Kueue, in ClusterQueue research; 4 nodes with 8 x NVIDIA-A100...
"""

import json
from pathlib import Path
from typing import Any

from deepscaler.kubernetes.cluster.census import take_census
from deepscaler.kubernetes.cluster.choices import judge
from deepscaler.kubernetes.cluster.findings import Findings
from deepscaler.kubernetes.cluster.kubectl import Kubectl, configured, current_context
from deepscaler.kubernetes.cluster.place import Place, load_place
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_text
from deepscaler.system.options import options_of


def discover(file: Path, context: str = "", namespace: str = "", *, dry_run: bool = False) -> str:
    """Writes a place file and returns a summary; a dry run returns the file's text and writes nothing.

    Raises UserError if the file exists, if there is no context, or if the cluster does not answer.
    """
    if file.exists():
        raise UserError(f"{file} is there already; remove it, or name another file")
    context = context or current_context()
    if not context:
        raise UserError("kubectl has no current context: give --context, `kubectl config get-contexts` lists yours")
    namespace = namespace or _namespace_of(context) or str(options_of(Place)["namespace"].default)
    census = take_census(Kubectl(context, namespace))
    findings = judge(census, namespace)
    text = place_file(context, namespace, findings)
    if dry_run:
        return text.rstrip()
    write_text(file, text)
    # Read back, so that whatever a cluster calls its things is found wrong here and not in the first job.
    load_place(file)
    lines = [f"{file}: context {context}, namespace {namespace}; {'; '.join(findings.why) or 'no component'}."]
    lines += findings.notes
    lines.append(f"Put in the repository of your images, read the rest, then: deepscaler k8s setup --site {file}")
    return "\n".join(lines)


def place_file(context: str, namespace: str, findings: Findings) -> str:
    """Returns the text of a place file, with a comment on each line and without defaults."""
    default = {name: one.default for name, one in options_of(Place).items()}
    lines = ["# Written by `deepscaler k8s init`; k8s/sites/example.toml describes every option."]
    lines += [f"# {note}" for note in findings.notes]
    options = [
        ("context", context, "of kubectl; a command is refused while another one is current"),
        ("namespace", namespace, "of the jobs"),
        ("image", "registry.example.com/deepscaler", "change it to where your images are"),
        ("components", findings.components, "; ".join(findings.why)),
        *findings.options,
    ]
    for name, value, comment in options:
        if value and value != default[name]:
            lines.append(f"{name} = {_toml(value)}  # {comment}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {json.dumps(one)}" for key, one in value.items()) + "}"
    # Not escaped: JSON escapes a character beyond 16 bits as two, which TOML refuses.
    return json.dumps(value, ensure_ascii=False)


def _namespace_of(context: str) -> str:
    """Returns the namespace that a context names, unless it is `default`."""
    named = configured("view", "--minify", "--context", context, "--output", "jsonpath={..namespace}")
    return "" if named == "default" else named
