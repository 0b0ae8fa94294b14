"""Checks the keys of verl's configuration that a recipe's table [verl] sets, without verl: known, ours to set, typed.

data.shuffle = false           fits verl's default there, true or false
data.train_batch_size = 64     refused: set the field train_batch_size
"""

import copy
import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from deepscaler.recipes.recipe import Device, Recipe
from deepscaler.system.option import Option, shown_value
from deepscaler.system.options import options_of, value_of
from deepscaler.verl_plugin.overrides import REPEATABLE, RunPaths, gives_seeds, to_overrides

KEY = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)*")

MOST_DEEP = 16
"""Levels of lists within a value."""

KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int, float),  # verl writes some numbers without a point: top_p: 1
    "float": (int, float),
    "str": (str,),
    "list": (list,),
    "dict": (dict,),
}
"""The types that may stand where verl's default is of a kind; `any` takes all."""

WORDS = {
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "str": "text",
    "list": "a list",
    "dict": "a table",
}

DECIDED = {
    "data.train_files": "set the field train_dataset: the kit prepares the files and checks their hashes",
    "data.val_files": "set the field validation_dataset: the kit prepares the files and checks their hashes",
    "data.custom_cls": "the kit prepares the data sets that verl reads",
    "model.path": "set the field model: a run is bound to its weights",
    "model.external_lib": "the kit's engine for processors is loaded by it",
    "rollout.agent.default_agent_loop": "the kit's loop bounds responses and gives each a seed",
    "rollout.agent.agent_loop_config_path": "the kit's loop bounds responses and gives each a seed",
    "rollout.agent.agent_loop_manager_class": "the kit's manager numbers the prompts of a step",
    "rollout.custom": "the kit's agent loop reads it",
    "reward.custom_reward_function": "set reward.function in [reward]: the kit calls it in bounded processes",
    "reward.reward_manager": "the kit's manager composes the parts in [reward]",
    "custom_reward_function": "verl 0.9.1 reads it no more: set reward.function in [reward]",
    "reward_model": "verl 0.9.1 reads it no more: give the key below `reward`",
    "sandbox_fusion": "verl 0.9.1 reads it no more: give the key below `reward`",
    "trainer.default_local_dir": "the kit gives each attempt a folder for its checkpoints",
    "trainer.default_hdfs_dir": "checkpoints stay in the run's folder, where they are sealed",
    "trainer.resume_mode": "the kit resumes from the newest whole checkpoint",
    "trainer.resume_from_path": "the kit resumes from the newest whole checkpoint",
    "trainer.checkpoint_callback_class": "the kit seals checkpoints by it and stops by it",
    "trainer.max_actor_ckpt_to_keep": "give --keep N: verl would remove what the kit resumes from",
    "trainer.max_critic_ckpt_to_keep": "give --keep N: verl would remove what the kit resumes from",
    "trainer.del_local_ckpt_after_load": "verl would remove what the kit resumes from",
    "trainer.rollout_data_dir": "reports read it from the run's folder",
    "trainer.validation_data_dir": "reports read it from the run's folder",
    "trainer.logger": "give --wandb: status and reports read the other logs",
    "trainer.project_name": "the kit names the run in W&B",
    "trainer.experiment_name": "the kit names the run in W&B",
    "trainer.val_before_train": "a run validates at its first start only",
    "trainer.total_epochs": "set the field num_steps: the steps decide",
    "trainer.device": "give --device",
    "actor.checkpoint": "the kit seals, resumes from and merges what these keys save",
    "ref.checkpoint": "the kit seals, resumes from and merges what these keys save",
    "ray_kwargs": "the launcher starts Ray and says what its processes see",
    "transfer_queue": "the launcher places verl's queue on the machines",
    "critic.enable": "set the field advantage_estimator: none of the kit's needs a critic",
}
"""Keys that the kit decides although no field of a recipe does, with what to do instead; and every key below them."""

PATHS = RunPaths(model="", train_files=(), validation_files=(), run_dir=Path("run"), checkpoint_dir=Path("run"))
"""Any run's, to see which keys follow from the recipe."""


def wrong_keys(recipe: Recipe, device: Device = "cuda") -> Iterator[tuple[str, str]]:
    """Yields every key of the recipe's [verl] that is not for a user to set so, and why, in one line."""
    decided = decided_keys(recipe, device) if recipe.verl else {}
    for key, value in recipe.verl.items():
        if why := _complaint(key, value, decided):
            yield key, why
    if recipe.verl.get(REPEATABLE) is True and not gives_seeds(recipe):
        yield (
            REPEATABLE,
            f"verl's {REPEATABLE} gives all requests to an engine one seed where they have none, so all samples of a"
            " problem would be the same: set seeded_responses = true and asynchronous_rollout = false, or leave it out",
        )


@cache
def known_keys() -> dict[str, str]:
    """Returns the kind of every key of verl's configuration, `bool` or `any`; those that Hydra must add have a `+`."""
    text = resources.files("deepscaler.verl_plugin").joinpath("verl_keys.txt").read_text(encoding="utf-8")
    return dict(line.split() for line in text.splitlines() if not line.startswith("#"))


def decided_keys(recipe: Recipe, device: Device = "cuda") -> dict[str, list[str]]:
    """Returns verl's keys that follow from fields of a recipe, and these fields.

    Each field is changed, and the keys compared: no list of them can be out of date.

    {"rollout.n": ["group_size"], ...}
    """
    plain = copy.copy(recipe)
    # A Recipe is frozen, and `replace` would run its checks.
    object.__setattr__(plain, "verl", {})
    before = to_overrides(plain, PATHS, device)
    found: dict[str, list[str]] = {}
    for name, one in options_of(Recipe).items():
        if "." in name or one.kind is dict:
            continue
        for value in _others(one, value_of(plain, name)):
            other = copy.copy(plain)  # past the checks: it is never trained
            object.__setattr__(other, name, value)
            after = to_overrides(other, PATHS, device)
            for key in before.keys() | after.keys():
                if before.get(key, ...) != after.get(key, ...) and name not in found.setdefault(key.lstrip("+"), []):
                    found[key.lstrip("+")].append(name)
    return {key: names for key, names in found.items() if names}


def _others(one: Option, value: Any) -> list[Any]:
    """Returns other values of an option: what 0 switches off depends on it, too."""
    if one.choices:
        return [choice for choice in one.choices if choice != value]
    if one.kind is bool:
        return [not value]
    if one.kind is tuple:
        return [(*value, "other")]
    if one.kind is str:
        return [value + "other"]
    return [value + 1, 0] if value and one.allowed.holds(0) else [value + 1]


def _complaint(key: str, value: Any, decided: dict[str, list[str]]) -> str:
    if not KEY.fullmatch(key):
        hint = f"; write {key.lstrip('+~')!r}, the kit adds what Hydra needs" if key[:1] in "+~" else ""
        return f"invalid verl key {key!r}: expected names with dots between them{hint}"
    for other, names in decided.items():
        if key == other or other.startswith(f"{key}.") or key.startswith(f"{other}."):
            nearest = get_close_matches(key.rpartition(".")[2], names, n=1, cutoff=0.0)[0]
            return f"verl's {key} follows from the recipe: set the field {nearest} instead"
    for part, reason in DECIDED.items():
        # Whole names between dots, wherever they begin: `model.path` is also in `actor_rollout_ref.model.path`.
        if f".{key}.".find(f".{part}.") >= 0:
            return f"verl's {key} is not yours to set: {reason}"
    kind = kind_of(key)
    if not kind:
        return _unknown(key)
    if not _is_plain(value):
        return f"invalid value {shown_value(value)} for verl's {key}: expected numbers, texts, true, false or lists"
    # The type itself, because True is an int to Python, and verl would take it for 1.
    if value != "null" and kind != "any" and type(value) not in KINDS[kind]:
        return f"invalid value {shown_value(value)} for verl's {key}: expected {WORDS[kind]}, as verl's default there"
    return ""


def kind_of(key: str) -> str:
    """Returns the kind of a key of verl's configuration, `any` below a free table; empty if it is none."""
    known = known_keys()
    if kind := known.get(key) or known.get(f"+{key}"):
        return kind
    parents = key.split(".")[:-1]
    above = [".".join(parents[:length]) for length in range(1, len(parents) + 1)]
    return "any" if any(known.get(one) in ("dict", "any") or f"+{one}" in known for one in above) else ""


def _unknown(key: str) -> str:
    """Returns the complaint about a key that verl does not know; the last part alone is often right."""
    names = [name.lstrip("+") for name in known_keys()]
    last = key.rpartition(".")[2]
    ending = [name for name in names if name.endswith(f".{key}")]
    same = [name for name in names if name.rpartition(".")[2] == last]
    near = ending or get_close_matches(key, same, n=1, cutoff=0.0) or get_close_matches(key, names, n=1, cutoff=0.6)
    hint = f" (did you mean {near[0]!r}?)" if near else "; see verl's trainer/config/ppo_trainer.yaml"
    return f"unknown verl key {key!r}{hint}"


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, list):
        return depth < MOST_DEEP and all(_is_plain(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return not value
    return type(value) in (bool, int, float, str)
