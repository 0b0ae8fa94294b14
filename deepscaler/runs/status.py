"""Describes how a run is, from its files alone: nothing is asked of any process, so any machine that sees it can tell.

Status(name="8k", profile="faithful", state="running", attempt=3, host="node17", step=412, num_steps=1040, ...)
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from deepscaler.rewards.parts import PARTS
from deepscaler.runs.alarms import alarms_of
from deepscaler.runs.beats import num_stalls
from deepscaler.runs.checkpoints import SEAL, sealed, unreadable
from deepscaler.runs.fence import is_process_alive
from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.runs.forecast import compared
from deepscaler.runs.goodput import goodput_of
from deepscaler.runs.memory import read_memory
from deepscaler.runs.metrics import Metrics, at_last_step, mean, quantity, read_metrics, validation
from deepscaler.runs.mirror_state import read_state
from deepscaler.runs.outputs import CHAIN, EVALUATION, find_kind
from deepscaler.runs.phases import phase_path, read_moment, seconds_since, usual_of
from deepscaler.runs.space import free_bytes
from deepscaler.runs.stages import read_manifest, run_folders
from deepscaler.system.errors import UserError
from deepscaler.system.files import read_json

STALE = 30.0
"""Seconds without a heartbeat (one comes every two) after which an attempt that has not ended is shown as dead."""

NUM_AVERAGED = 10
"""Last steps whose times are averaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Times in seconds, shares of one, lengths in tokens; None for what is not known (yet)."""

    name: str
    profile: str
    state: str
    """not begun, never started, running, stopping, dead, finished, stopped, failed, fenced; or the chain's next."""
    step: int = 0
    num_steps: int = 0
    attempt: int = 0
    """Its number, which is also how many there were."""
    host: str | None = None
    started: str | None = None
    begun: str | None = None
    """Time at which the newest attempt was ready for its first step."""
    first_step: str | None = None
    """Time at which its first step was logged."""
    ended: str | None = None
    heartbeat_age: float | None = None
    """Since the last sign of life."""
    stop_reason: str | None = None
    why: str | None = None
    """Why the kit itself ended the newest attempt, in a sentence; None if it did not."""
    phase: str | None = None
    """Phase of the trainer: start, generate, reward, log-probabilities, update, weight sync, save, validate, step."""
    phase_seconds: float | None = None
    """Since this phase began."""
    phase_usual: float | None = None
    """Seconds that it takes otherwise; None until it was seen."""
    phase_told: str | None = None
    """Words for what the phase waits for."""
    stall: str | None = None
    """Names who stalls and why, if the training does."""
    stalls: int = 0
    """Number of times that the run has stalled, in all attempts."""
    reward: float | None = None
    parts: dict[str, float] | None = None
    """Mean of each part of the reward, before its weight; of a recipe with several."""
    undecided: float | None = None
    """Share of responses with a part that could not be decided, and counts 0."""
    validation: dict[str, dict[str, float]] | None = None
    """Accuracies by data set: `{"first_step", "first", "last_step", "last"}`."""
    response_length: float | None = None
    cut_off: float | None = None
    clip_fraction: float | None = None
    """Share of tokens at either bound of the probability ratio."""
    clip_high_fraction: float | None = None
    clip_low_fraction: float | None = None
    dual_clip_fraction: float | None = None
    correction_cut: float | None = None
    """Share of tokens whose importance weight was above its bound."""
    entropy: float | None = None
    kl: float | None = None
    """KL divergence of the policy to the reference, nats per token; None without a reference."""
    mismatch: float | None = None
    """KL divergence between rollout engine and trainer, nats per token; None if the trainer does not recompute."""
    zero_variance: float | None = None
    """Share of the batch's groups whose responses got one reward: they teach nothing."""
    discarded_tokens: float | None = None
    """Tokens of responses that were drawn for the last step and discarded."""
    staleness: float | None = None
    """Updates that the weights were ahead of those that drew the batch."""
    step_seconds: float | None = None
    tokens_per_second: float | None = None
    """Tokens of prompts and responses per second, on each GPU."""
    seconds_left: float | None = None
    checkpoint_step: int | None = None
    checkpoint_age: float | None = None
    gate: str | None = None
    """Comparison of a chain's evaluated stage with the stage before."""
    alarms: dict[str, str] | None = None
    """Signs of a sick run at its last step, by name: what is wrong and what to do."""
    mirror: str | None = None
    """URL of the bucket that the run is uploaded to."""
    mirrored_step: int | None = None
    """Step of the newest checkpoint there."""
    mirror_age: float | None = None
    """Since the mirror was last up to date but for `mirror_left`."""
    mirror_left: tuple[str, ...] = ()
    mirror_error: str | None = None
    disk_free: int | None = None
    """Bytes, where the run is."""
    checkpoint_bytes: int | None = None
    """Size of the newest checkpoint."""
    goodput: float | None = None
    """Useful seconds of all attempts over those that they took."""
    memory: dict[str, str] | None = None
    """Memory of each node of the newest attempt: what is in use, how it grows, and when it is full."""
    estimate: dict[str, float] | None = None
    """Cost of the run against its estimate (runs/forecast.py), after five steps."""
    damaged_checkpoints: tuple[str, ...] = ()
    """Why each cannot be read, by the name of its folder."""

    @property
    def stalled(self) -> bool:
        """Returns whether the training stands still now."""
        return bool(self.stall) and self.state in ("running", "stopping")


def read_statuses(directory: Path) -> list[Status]:
    """Returns the status of a run, or of every stage of a chain, whose own file says what it does after a training."""
    statuses = [read_status(name, run) for name, run in run_folders(directory)]
    if find_kind(directory) != "chain":
        return statuses
    stored = read_json(directory / CHAIN)
    after = [str(stage.get("state", "")) for stage in stored["stages"]]
    statuses = [
        replace(status, state=state) if state and status.state == "finished" else status
        for status, state in zip(statuses, after, strict=True)
    ]
    if not stored.get("options", {}).get("gate"):
        return statuses
    folders = [directory / one["directory"] / EVALUATION for one in (stored["base"], *stored["stages"])]
    return [
        replace(status, gate=_judged(before, evaluation))
        for status, before, evaluation in zip(statuses, folders, folders[1:], strict=False)
    ]


def _judged(before: Path, evaluation: Path) -> str | None:
    """Returns what the gate says of a stage; None if one of both models was not evaluated yet."""
    if not ((before / "report.json").is_file() and (evaluation / "report.json").is_file()):
        return None
    from evaluation.compare.gate import judge  # noqa: PLC0415  scipy, which a run without a gate does not need

    try:
        return ": ".join(judge(before, evaluation))
    except UserError as error:
        return str(error)


def from_json(entry: Mapping[str, Any]) -> Status:
    """Returns the status that another kit has written as JSON; what this one does not know is left out."""
    known = {one.name for one in fields(Status)}
    values = {name: value for name, value in entry.items() if name in known}
    # JSON has lists only, and a frozen Status is compared and hashed by its fields.
    several = {name: tuple(values.get(name) or ()) for name in ("damaged_checkpoints", "mirror_left")}
    return Status(**{**values, **several})


def read_status(name: str, run: RunFolder) -> Status:
    """Returns the status of one run, or of a chain's stage that may not have begun."""
    if not run.is_run:
        return Status(name=name, profile="", state="not begun")
    recipe = read_manifest(run)["recipe"]
    common: dict[str, Any] = {"name": name, "profile": recipe["profile"], "num_steps": recipe["num_steps"]}
    attempts = run.attempts()
    if not attempts:
        return Status(state="never started", **common)
    attempt, metrics, now = attempts[-1], read_metrics(run), time.time()
    record = attempt.read_record()
    age = now - _last_sign_of_life(attempt)
    state = _state(attempt, record, age)
    # Right after a resume nothing is logged yet, and an attempt that was cut short may have logged less than it saved.
    step = max(max(metrics, default=0), record.get("resumed_step") or 0, record.get("step") or 0)
    checkpoints = sealed(run)
    return Status(
        **common,
        **_measured(metrics),
        alarms={alarm.sign.name: str(alarm) for alarm in alarms_of(run, metrics)} or None,
        state=state,
        step=step,
        attempt=attempt.number,
        host=record.get("host"),
        started=record.get("started"),
        begun=record.get("begun"),
        first_step=record.get("first_step"),
        ended=record.get("ended"),
        heartbeat_age=age,
        stop_reason=attempt.stop_reason or None if state == "stopping" else None,
        why=record.get("why"),
        stall=record.get("stall") or None,
        stalls=sum(num_stalls(one) for one in attempts),
        **(_phase(attempt) if state in ("running", "stopping") else {}),
        seconds_left=_seconds_left(metrics, recipe, step) if state == "running" else None,
        checkpoint_step=checkpoints[0].step if checkpoints else None,
        checkpoint_age=_age(checkpoints[0].path / SEAL, now) if checkpoints else None,
        **_mirrored(run, now),
        disk_free=free_bytes(run.root),
        checkpoint_bytes=sum(checkpoints[0].sizes.values()) if checkpoints else None,
        goodput=spent.share if (spent := goodput_of(run, metrics)) else None,
        memory={one.node: one.describe(recipe["num_steps"]) for one in read_memory(attempt)} or None,
        estimate=asdict(found) if (found := compared(run, metrics, recipe)) else None,
        damaged_checkpoints=tuple(f"{path.name}: {why}" for path, why in unreadable(run).items()),
    )


def _phase(attempt: Attempt) -> dict[str, Any]:
    """Returns what a living attempt does, once it says so; the file of a trainer that says nothing more ages."""
    if not phase_path(attempt).is_file():
        return {}
    moment = read_moment(attempt)
    return {
        "phase": moment.phase,
        "phase_seconds": moment.seconds + seconds_since(phase_path(attempt)),
        "phase_usual": usual_of([attempt]).seconds(moment.phase),
        "phase_told": moment.told or None,
    }


def _mirrored(run: RunFolder, now: float) -> dict[str, Any]:
    state = read_state(run)
    if state is None:
        return {}
    return {
        "mirror": state.url,
        "mirrored_step": state.steps[-1] if state.steps else None,
        "mirror_age": now - state.at if state.at else None,
        "mirror_left": tuple(state.left),
        "mirror_error": state.error or None,
    }


def _state(attempt: Attempt, record: dict[str, Any], age: float) -> str:
    # The end that was written down comes first, since no heartbeat follows it either.
    if "ended" in record:
        return str(record.get("outcome", "failed"))
    # A process that died on this machine shows at once; on another machine only its silence does.
    if age > STALE or is_process_alive(record) is False:
        return "dead"
    return "stopping" if attempt.stop_path.exists() else "running"


def _age(path: Path, now: float) -> float | None:
    try:
        return now - path.stat().st_mtime
    except FileNotFoundError:  # pruned since it was listed
        return None


def _last_sign_of_life(attempt: Attempt) -> float:
    """Returns when the attempt last wrote: its folder comes first, then its record, then its heartbeats."""
    signs = (attempt.heartbeat_path, attempt.record_path, attempt.root)
    return max(path.stat().st_mtime for path in signs if path.exists())


def _measured(metrics: Metrics) -> dict[str, Any]:
    """Returns what verl logged of the last step, times as a mean over some steps, and each set's last validation."""
    last = at_last_step(metrics)
    accuracies = {
        dataset: {"first_step": p[0][0], "first": p[0][1], "last_step": p[-1][0], "last": p[-1][1]}
        for dataset, p in validation(metrics).items()
    }
    shown = (
        *("reward", "undecided", "response_length", "cut_off", "kl", "mismatch", "correction_cut", "zero_variance"),
        *("clip_fraction", "clip_high_fraction", "clip_low_fraction", "dual_clip_fraction"),
        *("discarded_tokens", "staleness", "entropy"),
    )
    return {
        **{name: last.get(name) for name in shown},
        "parts": {part: last[f"{part}_part"] for part in PARTS if f"{part}_part" in last} or None,
        "validation": accuracies or None,
        "step_seconds": mean(quantity(metrics, "step_seconds")[-NUM_AVERAGED:]),
        "tokens_per_second": mean(quantity(metrics, "throughput")[-NUM_AVERAGED:]),
    }


def _seconds_left(metrics: Metrics, recipe: dict[str, Any], step: int) -> float | None:
    """Steps at the pace of the last ones, and the validations between them."""
    pace = mean(quantity(metrics, "step_seconds")[-NUM_AVERAGED:])
    if pace is None:
        return None
    validating = (mean(quantity(metrics, "validation_seconds")) or 0.0) / (recipe.get("validate_every") or 1)
    # Saving is in the pace: verl's step includes it.
    return max(0, int(recipe["num_steps"]) - step) * (pace + validating)
