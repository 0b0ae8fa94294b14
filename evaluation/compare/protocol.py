"""Checks whether two evaluations used the same protocol: every difference that moves numbers but not the model."""

import json
from dataclasses import dataclass, field
from typing import Any

from deepscaler.data.sources import title
from evaluation.compare.sides import Side

NO_PROTOCOL = frozenset(("model", "revision", "weights", "datasets", "shard", "imported", "protocol"))
"""Entries of config.json that belong to the model, or that only explain other entries."""

NOTED = (
    *("num_samples", "samples", "until", "limit", "seed", "deterministic"),
    *("engine", "dtype", "base_url", "api", "leave_out"),
)
"""Options that change samples but not the quantity their mean estimates: worth a note, not a refusal."""


@dataclass(frozen=True, slots=True)
class Protocols:
    """Lists the differences between the protocols of two evaluations."""

    differing: list[str] = field(default_factory=list)
    """Differences that forbid a comparison."""
    notes: list[str] = field(default_factory=list)
    """Differences that a reader should know about."""


def compare_protocols(before: Side, after: Side) -> Protocols:
    """Returns the differences between two evaluations, apart from their models and benchmarks."""
    found = Protocols()
    if before.grader != after.grader:
        found.differing.append(f"grader: {before.grader} -> {after.grader}")
    names = [name for name in dict.fromkeys([*before.config, *after.config]) if name not in (*NO_PROTOCOL, "thinking")]
    unknown = []
    for name in names:
        old, new = before.config.get(name), after.config.get(name)
        if old == new:
            continue
        if old is None or new is None:
            unknown.append(name)
        else:
            place = found.notes if name in NOTED else found.differing
            place.append(f"{name}: {_shown(old)} -> {_shown(new)}")
    if unknown:
        found.notes.append(f"unknown for one of them, so not compared: {', '.join(unknown)}")
    if (before.folder is None) != (after.folder is None) or before.folder is None:
        found.notes.append("a report.json holds no prompts, so these were not compared")
    # The chat template and the end of thinking belong to the model. With one template for both, they are the user's
    # choice, so a difference forbids the comparison.
    is_one_template = before.chat_template is not None and before.chat_template == after.chat_template
    place = found.differing if is_one_template else found.notes
    old, new = before.config.get("thinking"), after.config.get("thinking")
    if old != new and None not in (old, new):
        place.append(f"thinking: {old} -> {new}")
    for dataset in before.datasets:
        if dataset in after.datasets and before.folder and after.folder:
            _compare_problems(dataset, before, after, found, place)
    return found


def _compare_problems(dataset: str, before: Side, after: Side, found: Protocols, place: list[str]) -> None:
    old, new = before.problems(dataset), after.problems(dataset)
    pairs = [(old[name], new[name]) for name in old if name in new]
    others = sum(a["problem"] != b["problem"] or a["golds"] != b["golds"] for a, b in pairs)
    if others:
        found.differing.append(f"{title(dataset)}: {others} problems have different questions or golds")
    prompts = sum(a.get("prompt_sha256") != b.get("prompt_sha256") for a, b in pairs if a["problem"] == b["problem"])
    if prompts:
        place.append(f"{title(dataset)}: {prompts} problems have different prompts, as tokens")


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
