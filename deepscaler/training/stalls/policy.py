"""Decides what follows a stall: a report alone, or the end of the attempt, which is then resumed a few times."""

from deepscaler.runs.folder import RunFolder
from deepscaler.training.manifest import TrainOptions
from deepscaler.training.stalls.watcher import Limits, Stall

CUT_SHORT = "cut short"
"""The outcome of an attempt that the kit itself has ended, so that the run is resumed; its record says why."""

MOST_IN_A_ROW = 3
"""Attempts that may stall one after another without a new checkpoint: more would end the same way."""

GRACE = 10.0
"""Seconds for a trainer that stalls to end when it is asked; then it and its Ray are killed."""


def restarts(options: TrainOptions, *, own_ray: bool) -> bool:
    """Returns whether a stall ends the attempt: by default where a launcher gave the Ray and starts it again."""
    return options.on_stall == "restart" or (not options.on_stall and not own_ray)


def limits_of(options: TrainOptions) -> Limits:
    """Returns how long a training may make no progress."""
    return Limits(floor=options.stall_after, ceiling=max(options.stall_after, options.stall_ceiling))


def tries_again(run: RunFolder) -> bool:
    """Returns whether a run whose last attempt was cut short is resumed here: not after several without progress."""
    records = [attempt.read_record() for attempt in run.attempts()[-MOST_IN_A_ROW:]]
    # A new checkpoint between them is progress: such a run is slow and not stuck.
    steps = {record.get("step") for record in records if record.get("outcome") == CUT_SHORT}
    all_cut = all(record.get("outcome") == CUT_SHORT for record in records)
    return not (len(records) == MOST_IN_A_ROW and all_cut and len(steps) == 1)


def announcement(stall: Stall, run: RunFolder, *, ends: bool) -> str:
    """Returns the announcement of a stall for people: what, why, where the evidence is, and what follows."""
    where = stall.folder.relative_to(run.root) if stall.folder.is_relative_to(run.root) else stall.folder
    then = "The attempt is ended, to be resumed" if ends else "It is left as it is (see --on-stall)"
    return f"STALLED: {stall.sentence} Stacks and logs are in {where}. {then}."
