"""Checkpoints that are whole or do not count.

verl writes into the attempt's own folder; what it has finished is synced, sealed and moved by one rename to

checkpoints/global_step_40/{data.pt, actor/{model,optim,extra_state}_world_size_8_rank_{0..7}.pt, actor/huggingface/,
                            actor/fsdp_config.json, seal.json}

seal.json  {"step": 40, "verl_step": 40, "world_size": 8, "files": {"data.pt": 1234, ...}}
"""

import json
import os
import re
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.runs.holds import held
from deepscaler.system.errors import UserError
from deepscaler.system.files import reason, sync_directory, sync_tree, write_json

PREFIX = "global_step_"
"""verl reads the step from what follows it in a folder's name."""

SEAL = "seal.json"
MERGED = "merged.json"
PARTS = ("model", "optim", "extra_state")
NUM_READERS = 8
"""Shards read at once when a checkpoint is verified."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A sealed checkpoint."""

    path: Path
    step: int
    """Of the run."""
    verl_step: int
    """Of verl's count, which begins anew where the world size changed."""
    world_size: int
    sizes: dict[str, int] = field(default_factory=dict, compare=False)
    """Bytes of every file."""


def sealed(run: RunFolder) -> list[Checkpoint]:
    """Returns every checkpoint with a readable seal, the newest first; nothing is verified."""
    found = (_read_seal(path) for path in _step_folders(run.checkpoints))
    return sorted((one for one in found if isinstance(one, Checkpoint)), key=lambda one: one.step, reverse=True)


def unreadable(run: RunFolder) -> dict[Path, str]:
    """Returns the checkpoints whose seal cannot be read, and why."""
    found = {path: _read_seal(path) for path in _step_folders(run.checkpoints)}
    return {path: why for path, why in found.items() if isinstance(why, str)}


def unsealed(run: RunFolder) -> list[Path]:
    """Returns folders of checkpoints without a seal, which is what a removal that was interrupted leaves."""
    return [path for path in _step_folders(run.checkpoints) if not (path / SEAL).exists() and path.is_dir()]


def newest(run: RunFolder, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint whose every file is whole; what is damaged is set aside, said aloud.

    Raises UserError where there are checkpoints, but none is whole: training never starts over silently.
    """
    return first_whole(run, lambda found: found[0], say)


def first_whole(
    run: RunFolder, choose: Callable[[list[Checkpoint]], Checkpoint], say: Callable[[str], None]
) -> Checkpoint | None:
    """Returns what `choose` prefers among the checkpoints whose every file is whole; as `newest` otherwise."""
    for path, why in unreadable(run).items():
        _set_aside(path, _step_in_name(path), why, say)
    while found := sealed(run):
        checkpoint = choose(found)
        with held(run, checkpoint.step):
            if not (checkpoint.path / SEAL).is_file():  # pruned a moment ago
                continue
            problems = damage(checkpoint.path, checkpoint.sizes, checkpoint.world_size)
            if not problems:
                return checkpoint
            _set_aside(checkpoint.path, checkpoint.step, "; ".join(problems[:3]), say)
    if damaged := list(run.checkpoints.glob("damaged-*")):  # now, or by an earlier attempt
        raise UserError(
            f"none of the {len(damaged)} checkpoints in {run.checkpoints} is whole, all were set aside there as"
            " damaged-*; restore one of them, or remove these folders to start the run from scratch"
        )
    return None


def _read_seal(path: Path) -> Checkpoint | str | None:
    """Returns what a checkpoint's seal says, or why it cannot be read; None where there is none."""
    try:
        seal = json.loads((path / SEAL).read_text(encoding="utf-8"))
    except FileNotFoundError:  # pruned, at this very moment perhaps
        return None
    except NotADirectoryError:
        return f"{path.name} is no folder"
    except (IsADirectoryError, ValueError, RecursionError) as error:
        return f"{SEAL} cannot be read: {reason(error)}"
    told = seal if isinstance(seal, dict) else {}
    for name in ("step", "verl_step", "world_size"):
        if type(told.get(name)) is not int or told[name] < 0:
            return f"{SEAL} holds no {name}"
    sizes = told.get("files")
    if not isinstance(sizes, dict) or not all(type(size) is int for size in sizes.values()):
        return f"{SEAL} does not tell the size of every file"
    return Checkpoint(path, told["step"], told["verl_step"], told["world_size"], sizes)


def _set_aside(path: Path, step: int, why: str, say: Callable[[str], None]) -> None:
    aside = path.with_name(f"damaged-{path.name}-{os.getpid()}")
    path.rename(aside)
    say(f"WARNING: the checkpoint of step {step} is damaged ({why}): set aside")
    say(f"         as {aside}; the newest whole one is used.")


def adopt_leftovers(run: RunFolder, say: Callable[[str], None]) -> None:
    """Look at what killed attempts left: seal what verl had finished, and say what it had not."""
    for attempt in run.attempts():
        for path in _step_folders(attempt.checkpoints):
            verl_step = _step_in_name(path)
            offset = attempt.read_record().get("step_offset") or 0
            world_size = _world_size(path)
            target = run.checkpoints / f"{PREFIX}{offset + verl_step}"
            finished = _tracker(attempt) >= verl_step and world_size > 0
            if target.exists() or not finished or damage(path, _sizes(path), world_size):
                say(
                    f"WARNING: attempt {attempt.number} left a half-written checkpoint of step {offset + verl_step}:"
                    f" set aside in {attempt.checkpoints}, until there is a newer one."
                )
            else:
                publish(run, path, step=offset + verl_step, verl_step=verl_step)
                say(f"Attempt {attempt.number} was killed right after it saved step {offset + verl_step}: kept.")


def publish(run: RunFolder, path: Path, *, step: int, verl_step: int) -> Path:
    """Sync, seal and move a finished checkpoint to where it counts."""
    sync_tree(path)
    seal = {"step": step, "verl_step": verl_step, "world_size": _world_size(path), "files": _sizes(path)}
    write_json(path / SEAL, seal)
    target = run.checkpoints / f"{PREFIX}{step}"
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
    sync_directory(target.parent)
    return target


def damage(path: Path, sizes: dict[str, int], world_size: int) -> list[str]:
    """What is wrong with a checkpoint: files missing, of another size, or whose check sums do not hold."""
    shards = [f"actor/{part}_world_size_{world_size}_rank_{r}.pt" for part in PARTS for r in range(world_size)]
    missing = [f"{name} is missing" for name in [*shards, "data.pt"] if not (path / name).is_file()]
    if missing:
        return missing
    with ThreadPoolExecutor(NUM_READERS) as pool:
        found = list(pool.map(lambda name: _file_damage(path / name, sizes[name]), sizes))
    return [problem for problem in found if problem]


def _file_damage(path: Path, size: int) -> str:
    """Torch's files are zip archives with a check sum for each tensor: reading them proves them whole."""
    try:
        if path.stat().st_size != size:
            return f"{path.name} has {path.stat().st_size} of {size} bytes"
        if path.suffix == ".pt" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                bad = archive.testzip()
            return f"{path.name} is corrupt at {bad}" if bad else ""
        return f"{path.name} is no file of torch's" if path.suffix == ".pt" else ""
    except (OSError, zipfile.BadZipFile, RuntimeError) as error:
        return f"{path.name}: {reason(error)}"


def _sizes(path: Path) -> dict[str, int]:
    files = (file for file in path.rglob("*") if file.is_file() and file.name != SEAL)
    return {str(file.relative_to(path)): file.stat().st_size for file in sorted(files)}


def _world_size(path: Path) -> int:
    """Ranks that wrote a checkpoint; 0 if its configuration is not there (verl's rank 0 writes it last)."""
    try:
        config: dict[str, Any] = json.loads((path / "actor/fsdp_config.json").read_text(encoding="utf-8"))
        return int(config["world_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _tracker(attempt: Attempt) -> int:
    """The last step that verl says it has saved in an attempt."""
    try:
        return int((attempt.checkpoints / "latest_checkpointed_iteration.txt").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return -1


def _step_folders(folder: Path) -> list[Path]:
    """Returns what is named as a checkpoint, by its step."""
    found = (path for path in folder.glob(f"{PREFIX}*") if re.fullmatch(f"{PREFIX}[0-9]+", path.name))
    return sorted(found, key=_step_in_name)


def _step_in_name(path: Path) -> int:
    return int(path.name.removeprefix(PREFIX))


def merged_step(run: RunFolder) -> int:
    """The step of the merged model; -1 if there is none."""
    try:
        return int(json.loads((run.model / MERGED).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1
