"""Copies a whole checkpoint for another number of ranks, optimizer included: sealed, atomic, verified.

resharded/.making-x1y2/global_step_40/      while it is made
resharded/global_step_40-of-2/              once it is whole; whatever is killed in between leaves nothing that counts
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from deepscaler.recipes.recipe import Device
from deepscaler.runs.checkpoints import SEAL, Checkpoint, holding, newest, seal_into, sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.resharded import copies, copy_folder, planned_copy, remove_copy, whole_copy
from deepscaler.runs.space import free_bytes
from deepscaler.system.errors import UserError
from deepscaler.system.files import alone, in_bytes
from deepscaler.system.processes import python_command
from deepscaler.training.rewrite import run_apart, seconds_allowed
from deepscaler.verl_plugin.overrides import num_storage_units

MAKING = ".making-"

VERSIONS = (1, 2)
"""Versions of FSDP whose files can be split again."""

SHOWN_LINES = 3
"""The last lines of the output that are shown where it fails."""

Say = Callable[[str], None]


class ForeignCheckpointError(UserError):
    """Signals a checkpoint in a form that the kit cannot split again."""


def reshard(run: RunFolder, num_ranks: int, say: Say) -> Checkpoint:
    """Returns the newest whole checkpoint for so many ranks, made unless it is there.

    Raises UserError if no checkpoint is whole or the disk has no room, ForeignCheckpointError for another form.
    """
    checkpoint = newest(run, say)
    if checkpoint is None:
        raise UserError(f"{run.root} has no whole checkpoint to reshard; train it first")
    return reshard_checkpoint(run, checkpoint, num_ranks, say)


def reshard_checkpoint(run: RunFolder, checkpoint: Checkpoint, num_ranks: int, say: Say) -> Checkpoint:
    """Returns a checkpoint for so many ranks, made unless it is there; raises as `reshard`."""
    if checkpoint.world_size == num_ranks:
        return checkpoint
    if done := whole_copy(run, checkpoint, num_ranks):
        say(f"The copy of step {checkpoint.step} for {num_ranks} ranks is there: {done.path}")
        return done
    # Before anything is removed or copied: a form that is not known must cost nothing.
    if why := _foreign(run, checkpoint, num_ranks):
        raise ForeignCheckpointError(f"the checkpoint {checkpoint.path} cannot be resharded: {why}")
    with alone(copies(run), f"resharding {run.root}", say, seconds_allowed(checkpoint)):
        # Asked again, for this may have waited for a process that made it.
        return whole_copy(run, checkpoint, num_ranks) or _make_copy(run, checkpoint, num_ranks, say)


def _make_copy(run: RunFolder, checkpoint: Checkpoint, num_ranks: int, say: Say) -> Checkpoint:
    for left in copies(run).glob(f"{MAKING}*"):  # by a command that was killed
        shutil.rmtree(left, ignore_errors=True)
    # The rename at the end needs a free name.
    remove_copy(copy_folder(run, checkpoint.step, num_ranks))  # a damaged one
    _check_room(run, checkpoint)
    say(
        f"Resharding the checkpoint of step {checkpoint.step}, optimizer included: {checkpoint.world_size} ->"
        f" {num_ranks} ranks ..."
    )
    with holding(run, checkpoint), tempfile.TemporaryDirectory(dir=copies(run), prefix=MAKING) as folder:
        made = Path(folder) / checkpoint.path.name
        # The loader's state and the rest are the same for all ranks; a seal is of the files that it lists.
        shutil.copytree(checkpoint.path, made, ignore=shutil.ignore_patterns("actor", SEAL))
        _split(checkpoint, made, num_ranks, device_of(run))
        for file in made.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)
        made.chmod(0o755)
        target = copy_folder(run, checkpoint.step, num_ranks)
        step, verl_step, identity = checkpoint.step, checkpoint.verl_step, checkpoint.identity
        seal_into(made, target, step=step, verl_step=verl_step, identity=identity)
    say(f"Resharded, and equal to the last bit: {target}")
    # Read back from the disk: what verl will load is what was verified.
    copy = whole_copy(run, checkpoint, num_ranks)
    if copy is None:
        raise UserError(
            f"{target} was damaged, or removed when a newer checkpoint was saved, right after it was written: rerun the"
            " same command"
        )
    return copy


def device_of(run: RunFolder) -> Device:
    """Returns what a run is trained on; shards name it."""
    return "cpu" if run.read_manifest().get("device") == "cpu" else "cuda"


def describe_reshard(run: RunFolder, num_ranks: int, say: Say) -> None:
    """Says what `reshard` would do (`--dry-run`); no shard is read. Raises UserError if nothing can be done."""
    run.read_manifest()
    checkpoints = sealed(run)
    if not checkpoints:
        raise UserError(f"{run.root} has no whole checkpoint to reshard; train it first")
    checkpoint = checkpoints[0]
    if checkpoint.world_size == num_ranks:
        say(f"{checkpoint.path} is of {num_ranks} ranks: nothing to do.")
        return
    if why := _foreign(run, checkpoint, num_ranks):
        raise ForeignCheckpointError(f"the checkpoint {checkpoint.path} cannot be resharded: {why}")
    size = sum(checkpoint.sizes.values())
    target = copy_folder(run, checkpoint.step, num_ranks)
    done = " (there already)" if whole_copy(run, checkpoint, num_ranks) else ""
    say(f"{checkpoint.path} ({checkpoint.world_size} ranks, {in_bytes(size)}) -> {target}{done}")


def plan_copy(run: RunFolder, checkpoint: Checkpoint, num_ranks: int) -> Checkpoint:
    """Returns the checkpoint that a training of so many ranks would resume from, as far as can be told unread."""
    if checkpoint.world_size == num_ranks or _foreign(run, checkpoint, num_ranks):
        return checkpoint
    return planned_copy(run, checkpoint, num_ranks)


def for_ranks(run: RunFolder, checkpoint: Checkpoint | None, num_ranks: int, say: Say) -> Checkpoint | None:
    """Returns what a training of so many ranks resumes from: the checkpoint, or a copy made of it.

    Where none can be made, the checkpoint comes back with its own number of ranks, and `train` begins from its merged
    model. Raises UserError if the disk has no room.
    """
    if checkpoint is None or checkpoint.world_size == num_ranks:
        return checkpoint
    try:
        return reshard_checkpoint(run, checkpoint, num_ranks, say)
    except ForeignCheckpointError as error:
        say(f"WARNING: {error}.")
        return checkpoint


def _foreign(run: RunFolder, checkpoint: Checkpoint, num_ranks: int) -> str:
    """Returns why a checkpoint cannot be resharded, as far as its smallest files show; empty if they show nothing."""
    try:
        config = json.loads((checkpoint.path / "actor/fsdp_config.json").read_text(encoding="utf-8"))
        version = config.get("FSDP_version")
    except (OSError, ValueError, AttributeError) as error:
        return f"its fsdp_config.json cannot be read ({error})"
    if version not in VERSIONS:
        return f"it is of FSDP {version}, known are 1 and 2"
    # A critic's shards would have to be split as well; no recipe of the kit has one.
    if others := [path.name for path in checkpoint.path.glob("*/*_world_size_*") if path.parent.name != "actor"]:
        return f"it has shards of more than the actor ({others[0]})"
    parts = [num_storage_units(ranks, device_of(run)) for ranks in (checkpoint.world_size, num_ranks)]
    if (checkpoint.path / "transfer_queue").is_dir() and parts[0] != parts[1]:
        return f"responses in flight were saved in {parts[0]} parts, {num_ranks} ranks would read {parts[1]}"
    return ""


def _check_room(run: RunFolder, checkpoint: Checkpoint) -> None:
    size, free = sum(checkpoint.sizes.values()), free_bytes(run.root)
    if free < size:
        raise UserError(
            f"{run.root} has {in_bytes(free)} free, a copy of step {checkpoint.step} for another number of ranks needs"
            f" {in_bytes(size)}: free some space, or train with {checkpoint.world_size} ranks"
        )


def _split(checkpoint: Checkpoint, made: Path, num_ranks: int, device: str) -> None:
    command = python_command("-m", "deepscaler.training.resharding.write")
    command += [str(checkpoint.path / "actor"), str(made / "actor"), str(num_ranks), device]
    log = made.with_name("reshard.log")
    code = run_apart(command, log, checkpoint, "resharding")
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if code:
        end = " / ".join(lines[-SHOWN_LINES:])
        raise UserError(f"resharding {checkpoint.path} ended with {code}: {end}")
    if why := json.loads(lines[-1])["foreign"]:
        raise ForeignCheckpointError(f"the checkpoint {checkpoint.path} cannot be resharded: {why}")
