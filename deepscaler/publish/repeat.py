"""Compares a record of a training with this machine, and makes the recipe that trains it again.

what                 recorded             here
torch                2.11.0               2.13.0
GPUs                 8 x NVIDIA A100      none
sums.jsonl           sha256 03...         not found: --file sums.jsonl=PATH
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepscaler.data.hub import digest as digest_of_hashes
from deepscaler.data.names import is_file, is_hub, registered
from deepscaler.data.prepare import load_problems, read_manifest
from deepscaler.data.sources import SOURCES
from deepscaler.models.model import fetch_model, find_model, hash_weights
from deepscaler.models.present import is_hub_id
from deepscaler.models.provenance import machine
from deepscaler.models.smollm import HUB_ID, find_small_model, small_model
from deepscaler.publish.checked import sets_of
from deepscaler.publish.differences import Difference, of_machine, of_programs, programs_here
from deepscaler.publish.manifest import ELSEWHERE
from deepscaler.publish.recorded import Recorded, missing_parts, recipe_of
from deepscaler.recipes.recipe import Recipe, with_settings
from deepscaler.runs.metrics import Metrics
from deepscaler.system.errors import UserError
from deepscaler.system.files import sha256

FOLDER = "reproduced"
"""File of the new run with the reward function's text, as recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """This machine, and what the user gives."""

    files: Mapping[str, Path]
    """Data sets and reward functions by their recorded names."""
    model: str
    """Folder or hub id instead of the recorded one; empty for that."""
    data_dir: Path
    settings: tuple[str, ...]
    dry_run: bool
    output_dir: Path
    programs: Mapping[str, str] = field(default_factory=programs_here)
    """Versions of the kit and of packages."""
    machine: Mapping[str, Any] = field(default_factory=machine)
    """GPUs, processor and cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """One stage, ready to be trained again."""

    recipe: Recipe | None
    """None if something is missing that nothing can be trained without."""
    differences: tuple[Difference, ...]
    reward: tuple[Path, str] | None
    """The file that the recipe's reward function has to be written to, and its text."""


def repetition(recorded: Recorded, stage: Mapping[str, Any], here: Here) -> Repetition:
    """Returns a stage to train again, and all that differs. Fetches and prepares what is missing, but in a dry run.

    Raises UserError for a record whose recipe this kit refuses.
    """
    found: list[Difference] = [
        Difference(
            part, "not recorded", "", stops=part == "the text of the reward function" and not _given(stage, here)
        )
        for part in missing_parts(dict(stage))
    ]
    found += of_programs(stage, here.programs)
    found += of_machine(stage, here.machine)
    stored: dict[str, Any] = {**stage["recipe"], "reward": dict(stage["recipe"].get("reward") or {})}
    stored["model"], more = _model(stage, here, recorded)
    found += more
    names = {}
    for option in ("train_dataset", "validation_dataset"):
        for name in sets_of(stored, option):
            # A set may be trained and validated on, and is one difference then.
            if name not in names:
                names[name], more = _set(name, stage, here, recorded)
                found += more
        stored[option] = [names[name] for name in sets_of(stored, option)]
    reward, more = _reward(stage, here)
    found += more
    if reward:
        stored["reward"]["function"] = f"{reward[0]}:{stage['reward']['function']}"
    set_here = {setting.partition("=")[0] for setting in here.settings}
    for name in stage.get("left_out", ()):
        if name not in set_here and name != "model":
            found.append(Difference(name, f"a path, {ELSEWHERE} of it", f"--set {name}=PATH", stops=True))
    if any(one.stops for one in found):
        return Repetition(recipe=None, differences=tuple(found), reward=reward)
    recipe, unknown, lacking = recipe_of(stored)
    found += [Difference(f"recipe.{name}", str(stored.get(name)), "unknown to this kit, left out") for name in unknown]
    if lacking:
        found.append(Difference("fields of the recipe", "not recorded", f"this kit's defaults of {', '.join(lacking)}"))
    changed = with_settings(recipe, list(here.settings))
    for setting in here.settings:
        name = setting.partition("=")[0]
        found.append(Difference(f"recipe.{name}", str(stage["recipe"].get(name, "")), setting.partition("=")[2]))
    return Repetition(recipe=changed, differences=tuple(found), reward=reward)


def compared_steps(stage: Mapping[str, Any], metrics: Metrics) -> tuple[int, list[str]]:
    """Returns how many figures of the first steps are the same to the last digit, and a text for each that is not."""
    same, different = 0, []
    for step, values in (stage.get("first_steps") or {}).items():
        mine = metrics.get(int(step), {})
        for key, value in values.items():
            # Exactly equal: JSON keeps all digits of a float, and after the first different bit everything
            # drifts.
            if mine.get(key) == value:
                same += 1
            else:
                different.append(f"step {step}, {key}: {value} recorded, {mine.get(key)} here")
    return same, different


def _model(stage: Mapping[str, Any], here: Here, recorded: Recorded) -> tuple[str, list[Difference]]:
    """Returns the folder or hub id to start from."""
    name, identity = str(stage["model"].get("name")), str(stage["model"].get("identity", ""))
    # The identity of a model of the hub is its commit, that of a folder a hash over its weights.
    revision = identity if identity and not identity.startswith("sha256:") else "main"
    given = here.model or str(recorded.originals.get(Path(name).name, ""))
    folder = given if given and Path(given).is_dir() else None
    if not folder and name == HUB_ID and identity.startswith("sha256:"):
        made = find_small_model() or (None if here.dry_run else small_model(print))
        folder = str(made) if made else None
        if not folder:
            return HUB_ID, [Difference("model", name, "would be made from its package, and compared")]
    if not folder and is_hub_id(here.model or name):
        wanted = here.model or name
        folder = find_model(wanted, revision if wanted == name else "main")
        if not folder and here.dry_run:
            return wanted, [Difference("model", f"{name} @ {revision}", "not on this machine: would be fetched")]
        folder = folder or str(fetch_model(wanted, revision if wanted == name else "main"))
    if not folder:
        return name, [Difference("model", f"{name} ({identity})", "not found: --model FOLDER", stops=True)]
    own = hash_weights(Path(folder)) if identity.startswith("sha256:") else Path(folder).name
    return folder, [] if own == identity else [Difference("weights to start from", identity, own)]


def _set(name: str, stage: Mapping[str, Any], here: Here, recorded: Recorded) -> tuple[str, list[Difference]]:
    """Returns the name of a data set here."""
    entry = (stage.get("sets") or {}).get(name, {})
    wanted = str((stage.get("data") or {}).get(name, ""))
    if is_hub(name):
        pinned = str(entry.get("source", ""))
        return (
            (pinned, []) if is_hub(pinned) else (name, [Difference(name, "its commit is not recorded", "the newest")])
        )
    if name in SOURCES:
        if not here.dry_run:
            load_problems(name, here.data_dir)
        mine = read_manifest(here.data_dir).get(name, {})
        if not mine:
            return name, [Difference(name, f"sha256 {wanted[:12]}", "not prepared yet: would be, and compared")]
        if mine.get("output_sha256") == wanted:
            return name, []
        theirs = f"revision {str(entry.get('revision', 'unknown'))[:12]}, sha256 {wanted[:12]}"
        own = f"revision {str(mine.get('revision'))[:12]}, sha256 {str(mine.get('output_sha256'))[:12]}"
        return name, [Difference(name, theirs, own)]
    file = here.files.get(name) or next(
        (one for one in (recorded.folder / name, recorded.originals.get(name)) if one and one.is_file()), None
    )
    if file is None and not is_file(name) and name in registered(here.data_dir):
        mine = read_manifest(registered(here.data_dir)[name]).get(name, {})
        same = mine.get("output_sha256") == wanted
        return name, [] if same else [Difference(name, wanted[:12], str(mine.get("output_sha256"))[:12])]
    recorded_hash = str(entry.get("input_sha256", ""))
    if file is None or not file.is_file():
        shown = f"sha256 {recorded_hash[:12] or 'not recorded'}"
        return name, [Difference(name, shown, f"not found: --file {name}=PATH", stops=True)]
    mine_hash = sha256(file)
    # A set of several files has a hash over their hashes, and one of one file has either.
    same = recorded_hash in (mine_hash, digest_of_hashes([mine_hash]))
    return str(file.absolute()), (
        [] if same else [Difference(name, f"sha256 {recorded_hash[:12] or 'not recorded'}", f"sha256 {mine_hash[:12]}")]
    )


def _given(stage: Mapping[str, Any], here: Here) -> bool:
    return str((stage.get("reward") or {}).get("file", "")) in here.files


def _reward(stage: Mapping[str, Any], here: Here) -> tuple[tuple[Path, str] | None, list[Difference]]:
    """Returns where the reward function's text goes, and the text: that of the record, or of a file that was given."""
    reward = stage.get("reward")
    if not reward or not stage["recipe"].get("reward", {}).get("function"):
        return None, []
    name = Path(str(reward["file"])).name
    if name in here.files:
        try:
            text = here.files[name].read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UserError(f"--file {name}={here.files[name]} cannot be read: {error}") from error
        theirs, own = str(reward.get("sha256")), sha256(here.files[name])
        more = [] if own == theirs else [Difference(name, theirs[:12], own[:12])]
    else:
        text, more = str(reward.get("text", "")), []
    return (here.output_dir / FOLDER / name, text), more
