"""Records what another machine needs to train the same again, and nothing that concerns this machine alone.

deepscaler.json  {"schema": 1, "kit": "0.1.0", "git_revision": "...", "weights": "sha256:...",
                  "stages": [{"name": "8k", "recipe": {...}, "device": "cuda", "steps": 1040, "model": {...},
                              "data": {...}, "sets": {...}, "reward": {...}, "versions": {...}, "hardware": {...},
                              "first_steps": {"1": {"critic/score/mean": 0.31, ...}}}]}
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepscaler.data.names import is_file
from deepscaler.models.base import base_of
from deepscaler.publish.checked import check_names, check_parts, read_record
from deepscaler.runs.metrics import Metrics, is_of_the_machine
from deepscaler.runs.reward_file import KEY as REWARD
from deepscaler.runs.stages import Stage
from deepscaler.system.errors import UserError

FILE = "deepscaler.json"
SCHEMA = 1
KEPT = ("device", "data", "versions", "hardware", "kit", "git_revision")
"""Parts of run.json that are the same for everybody."""

FIRST_STEPS = 3
"""Steps whose figures a repetition is compared by; after the first that differs, all differ."""

ELSEWHERE = "…/"
"""Begins what is left of an absolute path: its last part."""


def portable(stages: Sequence[Stage], base_model: str = "", *, with_reward: bool = True) -> list[dict[str, Any]]:
    """Returns the stages of a run or chain as deepscaler.json has them, the first first.

    `base_model` is the hub id of the model that they started from, where that was a folder.
    """
    # a chain's later stages start from the model of the stage before, so all name and identify the first one's
    model = stages[0].manifest["model"]
    # Only the name: the identity of a folder is a hash over its weights, which `reproduce` compares with the hub's.
    base = {"name": base_model or base_of(str(model["name"])).name, "identity": model.get("identity", "")}
    return [_stage(stage, base, with_reward=with_reward) for stage in stages]


def first_steps(metrics: Metrics) -> dict[str, dict[str, float]]:
    """Returns what a seed decides of the first steps, the validation before them included."""
    return {
        str(step): {key: value for key, value in sorted(values.items()) if not is_of_the_machine(key)}
        for step, values in metrics.items()
        if step <= FIRST_STEPS
    }


def without_paths(stages: Sequence[Stage], base_model: str = "") -> list[Stage]:
    """Returns the stages with recipes that name no folder of this machine, for pictures and tables."""
    base = base_model or base_of(str(stages[0].manifest["model"]["name"])).name if stages else ""
    return [
        replace(stage, manifest={**stage.manifest, "recipe": _recipe(stage.manifest["recipe"], base)[0]})
        for stage in stages
    ]


def read_portable(path: Path) -> dict[str, Any]:
    """Returns a deepscaler.json. Raises UserError for anything else, and for one of a later kit."""
    found = read_record(path)
    if found.get("schema") != SCHEMA or not isinstance(found.get("stages"), list) or not found["stages"]:
        raise UserError(f"{path} is not a manifest of this kit: expected schema {SCHEMA} and stages")
    for stage in found["stages"]:
        check_parts(stage, str(path))
    check_names(found["stages"], str(path))
    return found


def _stage(stage: Stage, base: Mapping[str, str], *, with_reward: bool) -> dict[str, Any]:
    manifest = stage.manifest
    recipe, left_out = _recipe(manifest["recipe"], base["name"])
    found = {
        "name": stage.name,
        "recipe": recipe,
        "left_out": left_out,
        "steps": stage.step,
        "model": dict(base),
        "first_steps": first_steps(stage.metrics),
        "sets": {_short(name): _set(entry) for name, entry in manifest.get("sets", {}).items()},
        **{name: manifest[name] for name in KEPT if name in manifest},
    }
    found["data"] = {_short(name): digest for name, digest in manifest.get("data", {}).items()}
    if isinstance(reward := manifest.get(REWARD), dict):
        kept = {name: value for name, value in reward.items() if name != "source" and (with_reward or name != "text")}
        # An older kit kept the text in the run's copy alone.
        if with_reward and "text" not in kept and (copy := stage.run.root / REWARD / str(reward.get("file"))).is_file():
            kept["text"] = copy.read_text(encoding="utf-8", errors="replace")
        found[REWARD] = kept
    return found


def _recipe(recipe: Mapping[str, Any], base: str) -> tuple[dict[str, Any], list[str]]:
    """Returns a recipe without paths of this machine, and the fields of which only the last part of a path is left."""
    left_out: list[str] = []

    def cleaned(value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {key: cleaned(item, f"{name}.{key}" if name else key) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [cleaned(item, name) for item in value]
        if isinstance(value, str) and value.startswith(("/", "~")):
            # Sets and reward functions are found again by their bare names (`--file NAME=PATH`); for any other
            # path a reader has to give the whole field, so that its name is kept.
            if not name.endswith(("_dataset", "reward.function")):
                left_out.append(name)
                return f"{ELSEWHERE}{Path(value).name}"
            return Path(value).name
        return value

    return cleaned({**recipe, "model": base}, ""), left_out


def _set(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is known of a set; of a file on this machine its own name alone."""
    return {key: _short(str(value)) if key == "source" else value for key, value in entry.items()}


def _short(name: str) -> str:
    """Returns the name of a set without the folders of a file."""
    return Path(name).name if name.startswith(("/", "~")) or (is_file(name) and "://" not in name) else name
