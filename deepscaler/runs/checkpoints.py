"""Checkpoints that are whole or do not count.

verl writes into the attempt's own folder; what it has finished is synced, sealed and moved by one rename to

checkpoints/global_step_40/{data.pt, actor/{model,optim,extra_state}_world_size_8_rank_{0..7}.pt, actor/huggingface/,
                            actor/fsdp_config.json, seal.json}

seal.json  {"id": "9f3c2a1b4be1d0aa", "step": 40, "verl_step": 40, "world_size": 8, "files": {"data.pt": 1234, ...}}
"""

import json
import re
import secrets
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.runs.holds import held
from deepscaler.system.errors import UserError
from deepscaler.system.files import reason, remove_tree, sync_directory, sync_tree, write_json

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
    """Step of the run."""
    verl_step: int
    """Step of verl's count, which restarts when training continues from a merged model."""
    world_size: int
    sizes: dict[str, int] = field(default_factory=dict, compare=False)
    """Bytes of every file."""
    identity: str = ""
    """Distinguishes it from others of its step, which an earlier line of the run may have saved; empty in old seals."""


def sealed(run: RunFolder) -> list[Checkpoint]:
    """Returns every checkpoint with a readable seal, the newest first; nothing is verified."""
    # A folder may be pruned between the listing and this reading: such a one has no seal any more, and counts as none.
    found = (read_seal(path) for path in _step_folders(run.checkpoints))
    return sorted((one for one in found if isinstance(one, Checkpoint)), key=lambda one: one.step, reverse=True)


def unreadable(run: RunFolder) -> dict[Path, str]:
    """Returns the checkpoints whose seal cannot be read, and why."""
    found = {path: read_seal(path) for path in _step_folders(run.checkpoints)}
    return {path: why for path, why in found.items() if isinstance(why, str)}


def unsealed(run: RunFolder) -> list[Path]:
    """Returns folders of checkpoints without a seal, which is what a removal that was interrupted leaves."""
    return [path for path in _step_folders(run.checkpoints) if not (path / SEAL).exists() and path.is_dir()]


def newest(run: RunFolder, say: Callable[[str], None]) -> Checkpoint | None:
    """Returns the newest checkpoint whose every file is whole. Damaged ones are set aside with a message.

    Raises UserError if there are checkpoints, but none is whole: training never starts over silently.
    """
    return first_whole(run, lambda found: found[0], say)


def first_whole(
    run: RunFolder, choose: Callable[[list[Checkpoint]], Checkpoint], say: Callable[[str], None]
) -> Checkpoint | None:
    """Returns what `choose` prefers among the checkpoints whose every file is whole; as `newest` otherwise."""
    for path, why in unreadable(run).items():
        _set_aside(path, _step_in_name(path), why, say)
    # Listed again in each round: meanwhile another process may save, prune, or set aside the same damaged one.
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


def read_seal(path: Path) -> Checkpoint | str | None:
    """Returns what a checkpoint's seal says, or why it cannot be read; None if there is none."""
    try:
        seal = json.loads((path / SEAL).read_text(encoding="utf-8"))
    except FileNotFoundError:  # pruned, at this very moment perhaps
        return None
    except NotADirectoryError:
        return f"{path.name} is not a folder"
    except (IsADirectoryError, ValueError, RecursionError) as error:
        return f"{SEAL} cannot be read: {reason(error)}"
    told = seal if isinstance(seal, dict) else {}
    for name in ("step", "verl_step", "world_size"):
        # Not isinstance, because a bool is an int to Python; a seal may come from a mirror that others write to.
        if type(told.get(name)) is not int or told[name] < 0:
            return f"{SEAL} holds no {name}"
    sizes = told.get("files")
    if not isinstance(sizes, dict) or not all(type(size) is int for size in sizes.values()):
        return f"{SEAL} does not give the size of every file"
    return Checkpoint(path, told["step"], told["verl_step"], told["world_size"], sizes, str(told.get("id", "")))


@contextmanager
def holding(run: RunFolder, checkpoint: Checkpoint) -> Iterator[None]:
    """Keeps a checkpoint from being pruned while it is read. Raises UserError if it was pruned before."""
    with held(run, checkpoint.step):
        if not (checkpoint.path / SEAL).is_file():
            raise UserError(
                f"{checkpoint.path} was removed a moment ago, when a newer checkpoint was saved: rerun the same command"
            )
        yield


def _set_aside(path: Path, step: int, why: str, say: Callable[[str], None]) -> None:
    # At random: the step may be made and damaged again in a later attempt, and in containers even pids are the same.
    aside = path.with_name(f"damaged-{path.name}-{secrets.token_hex(4)}")
    try:
        path.rename(aside)
    except FileNotFoundError:  # another process was faster, and says so itself
        return
    say(f"WARNING: the checkpoint of step {step} is damaged ({why}): set aside")
    say(f"         as {aside}; the newest whole one is used.")


def adopt_leftovers(
    run: RunFolder, say: Callable[[str], None], check_ownership: Callable[[], None] = lambda: None
) -> None:
    """Seals checkpoints that verl had finished in killed attempts, and reports those that do not count."""
    attempts = run.attempts()
    for attempt in attempts:
        for path in _step_folders(attempt.checkpoints):
            verl_step = _step_in_name(path)
            # verl counts from 0 again after a merge, so its folder's number may lack the steps before.
            offset = attempt.read_record().get("step_offset") or 0
            world_size = _world_size(path)
            step = offset + verl_step
            target = run.checkpoints / f"{PREFIX}{step}"
            # verl writes the tracker after all ranks' files and the loader's state, so a step beyond it may lack some,
            # even if each file is whole.
            finished = _tracker(attempt) >= verl_step and world_size > 0
            # What a fenced attempt saved is of a line of the run that was given up.
            resumed = (other.read_record().get("resumed_step") for other in attempts if other.number > attempt.number)
            went_back = any(earlier is not None and earlier < step for earlier in resumed)
            # The step may have been made again by a later attempt; what that one sealed counts.
            sealed_again = (target / SEAL).exists()
            if went_back or sealed_again:
                say(
                    f"WARNING: attempt {attempt.number} left a checkpoint of step {step}, without which the run has"
                    f" gone on: set aside in {attempt.checkpoints}, until there is a newer one."
                )
            elif not finished or damage(path, _sizes(path), world_size):
                say(
                    f"WARNING: attempt {attempt.number} left a half-written checkpoint of step {step}:"
                    f" set aside in {attempt.checkpoints}, until there is a newer one."
                )
            else:
                publish(run, path, step=step, verl_step=verl_step, check_ownership=check_ownership)
                say(f"Attempt {attempt.number} was killed right after it saved step {step}: kept.")


def publish(
    run: RunFolder, path: Path, *, step: int, verl_step: int, check_ownership: Callable[[], None] = lambda: None
) -> Path:
    """Syncs, seals and moves a finished checkpoint to where it counts, unless `check_ownership` raises before."""
    target, identity = run.checkpoints / f"{PREFIX}{step}", secrets.token_hex(8)
    return seal_into(path, target, step=step, verl_step=verl_step, identity=identity, check=check_ownership)


def seal_into(
    path: Path, target: Path, *, step: int, verl_step: int, identity: str, check: Callable[[], None] = lambda: None
) -> Path:
    """Syncs and seals a finished checkpoint, and gives it its name; returns that. A copy keeps the identity."""
    # In this order: once the seal is on disk, so is everything that it vouches for, also after a power cut.
    sync_tree(path)
    seal = {"step": step, "verl_step": verl_step, "world_size": _world_size(path), "files": _sizes(path)}
    write_json(path / SEAL, {"id": identity, **seal})
    target.parent.mkdir(parents=True, exist_ok=True)
    # After the sync, which takes minutes for a large checkpoint: a newer attempt may have begun meanwhile.
    check()
    if not (target / SEAL).exists():
        remove_tree(target)  # what an interrupted removal left, which would keep the name
    path.rename(target)
    sync_directory(target.parent)
    return target


def damage(path: Path, sizes: dict[str, int], world_size: int) -> list[str]:
    """Returns what is wrong with a checkpoint: files missing, of another size, or whose check sums do not hold."""
    shards = [f"actor/{part}_world_size_{world_size}_rank_{r}.pt" for part in PARTS for r in range(world_size)]
    missing = [f"{name} is missing" for name in [*shards, "data.pt"] if not (path / name).is_file()]
    if missing:
        return missing
    with ThreadPoolExecutor(NUM_READERS) as pool:
        found = list(pool.map(lambda name: _file_damage(path / name, sizes[name]), sizes))
    return [problem for problem in found if problem]


def _file_damage(path: Path, size: int) -> str:
    """Reads a file of torch's to prove it whole: it is a zip archive with a checksum for each tensor."""
    try:
        if path.stat().st_size != size:
            return f"{path.name} has {path.stat().st_size} of {size} bytes"
        # torch.save writes zip archives, whose checksums find what a size does not, such as a block of zeros.
        if path.suffix == ".pt" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                bad = archive.testzip()
            return f"{path.name} is corrupt at {bad}" if bad else ""
        # A torn archive lacks the directory at its end, so it is not a zip file to Python at all.
        return f"{path.name} is not a file of torch's" if path.suffix == ".pt" else ""
    # zipfile raises RuntimeError for an entry that bit rot has marked as encrypted.
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
    """Returns the last step that verl's tracker file names in an attempt."""
    try:
        # verl 0.9.1 writes it in place: a kill may leave it empty, and then the step does not count as finished.
        return int((attempt.checkpoints / "latest_checkpointed_iteration.txt").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return -1


def _step_folders(folder: Path) -> list[Path]:
    """Returns what is named as a checkpoint, by its step."""
    # The whole name has to fit: a mirror's or a user's `global_step_40.tmp` is not a checkpoint.
    found = (path for path in folder.glob(f"{PREFIX}*") if re.fullmatch(f"{PREFIX}[0-9]+", path.name))
    return sorted(found, key=_step_in_name)


def _step_in_name(path: Path) -> int:
    return int(path.name.removeprefix(PREFIX))


def merged_step(run: RunFolder) -> int:
    """Returns the step of the merged model; -1 if there is none."""
    return _step(_merged(run))


def is_merged(run: RunFolder, checkpoint: Checkpoint) -> bool:
    """Returns whether the merged model is that of this checkpoint, and not of another one of its step."""
    told = _merged(run)
    return _step(told) == checkpoint.step and told.get("checkpoint", "") == checkpoint.identity


def _step(told: dict[str, Any]) -> int:
    try:
        return int(told["step"])
    except (ValueError, KeyError, TypeError):
        return -1


def _merged(run: RunFolder) -> dict[str, Any]:
    """Returns what the merge wrote beside the merged model; nothing if there is none."""
    try:
        told = json.loads((run.model / MERGED).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
