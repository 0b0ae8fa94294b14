"""Whether two evaluations were made by one protocol: what would move the numbers without a change of the model."""

import json
from dataclasses import dataclass, field
from typing import Any

from deepscaler.data.sources import title
from evaluation.compare.sides import Side

NO_PROTOCOL = frozenset(("model", "revision", "weights", "datasets", "shard", "imported", "protocol"))
"""Entries of config.json that differ between models, or only say how others came about."""

NOTED = (
    *("num_samples", "samples", "until", "limit", "seed", "deterministic"),
    *("engine", "dtype", "base_url", "api", "leave_out"),
)
"""Options that move samples, but not what the mean over them is an estimate of: said, and no reason to refuse."""


@dataclass(frozen=True, slots=True)
class Protocols:
    """How the protocols of two evaluations compare."""

    differing: list[str] = field(default_factory=list)
    """Reasons against a comparison."""
    notes: list[str] = field(default_factory=list)
    """What a reader should know."""


def compare_protocols(before: Side, after: Side) -> Protocols:
    """Returns what separates two evaluations, but for their models and benchmarks."""
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
        found.notes.append(f"not told by one of them, so not compared: {', '.join(unknown)}")
    if (before.folder is None) != (after.folder is None) or before.folder is None:
        found.notes.append("a report.json holds no prompts: whether these are the same was not compared")
    # a model's own template and the end of its thinking belong to the model; with one template they are a choice
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
        found.differing.append(f"{title(dataset)}: {others} problems have other questions or golds")
    prompts = sum(a.get("prompt_sha256") != b.get("prompt_sha256") for a, b in pairs if a["problem"] == b["problem"])
    if prompts:
        place.append(f"{title(dataset)}: the prompts of {prompts} problems, as tokens")


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
