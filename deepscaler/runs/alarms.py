"""Finds the signs of a sick training in a run's metrics: at its last step, at each step, and as they begin.

alarms_of(run, metrics)  => [Alarm(SIGNS["cut_off"], 0.994)]
history(run, metrics)    => {"cut_off": [5, 6, 7, 8]}
"""

from contextlib import suppress
from dataclasses import dataclass

from deepscaler.recipes.signs import SIGNS, Sign, threshold_of
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import Metrics, Series, quantity, read_metrics, steps_of
from deepscaler.system.errors import UserError
from deepscaler.system.option import shown_value


@dataclass(frozen=True, slots=True)
class Alarm:
    """A sign that is seen, with the number that was measured."""

    sign: Sign
    value: float

    @property
    def sentence(self) -> str:
        """Returns a sentence that says what is wrong."""
        return self.sign.says.format(value=self.value)

    def __str__(self) -> str:
        """Returns what is wrong and what to do, for people."""
        return f"{self.sentence} {self.sign.advice}"


class NewAlarms:
    """Reports each alarm once, when it begins; those that an earlier attempt ended with were reported by it."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._names = {alarm.sign.name for alarm in self._alarms()}

    def read(self) -> list[Alarm]:
        """Returns the alarms that have begun since the last call."""
        alarms = self._alarms()
        new = [alarm for alarm in alarms if alarm.sign.name not in self._names]
        # Those of now, not all that ever were: a sign that has gone is reported again when it comes back.
        self._names = {alarm.sign.name for alarm in alarms}
        return new

    def _alarms(self) -> list[Alarm]:
        """Returns the alarms of now; none where they cannot be judged."""
        # Whatever it is: the supervisor and the trainer call this, and no training may end by being watched.
        with suppress(Exception):
            return alarms_of(self._run, read_metrics(self._run))
        return []


def alarms_of(run: RunFolder, metrics: Metrics) -> list[Alarm]:
    """Returns the signs that a run shows at its last step."""
    found, steps = [], steps_of(metrics)
    for sign, threshold, points in _watched(run, metrics):
        # A metric that the last step lacks says nothing about it, whatever it was before.
        is_of_now = points and points[-1][0] == steps[-1]
        value = sign.measure([value for _, value in points]) if is_of_now else None
        if value is not None and sign.is_seen(value, threshold):
            found.append(Alarm(sign, value))
    return found


def history(run: RunFolder, metrics: Metrics) -> dict[str, list[int]]:
    """Returns the steps at which each sign was seen, by its name; of those that ever were."""
    found: dict[str, list[int]] = {}
    for sign, threshold, points in _watched(run, metrics):
        values = [value for _, value in points]
        for index, (step, _) in enumerate(points):
            # Each step is judged by what was known then: a later value must not make an earlier step sick.
            value = sign.measure(values[: index + 1])
            if value is not None and sign.is_seen(value, threshold):
                found.setdefault(sign.name, []).append(step)
    return found


def _watched(run: RunFolder, metrics: Metrics) -> list[tuple[Sign, float, Series]]:
    """Returns the signs that are not turned off, each with its threshold and its metric."""
    moved = run.read_manifest()["recipe"].get("signs") or {}
    if not isinstance(moved, dict):
        raise UserError(f"{run.manifest_path} is damaged: signs is {shown_value(moved)}, not a table")
    thresholds = {name: threshold_of(sign, moved) for name, sign in SIGNS.items()}
    return [
        (SIGNS[name], threshold, _points(run, metrics, SIGNS[name].quantity))
        for name, threshold in thresholds.items()
        if threshold is not None
    ]


def _points(run: RunFolder, metrics: Metrics, name: str) -> Series:
    """Returns a metric; of a step's seconds those that were not spent on saving, without steps that compile."""
    points = quantity(metrics, name)
    if name == "not_finite":
        return list({**dict.fromkeys(steps_of(metrics), 0.0), **dict(points)}.items())
    if name != "step_seconds":
        return points
    saving = dict(quantity(metrics, "checkpoint_seconds"))
    # Each attempt compiles in its first step: that it is slow is not a sign of anything.
    first = {(attempt.read_record().get("resumed_step") or 0) + 1 for attempt in run.attempts()}
    return [(step, value - saving.get(step, 0.0)) for step, value in points if step not in first]
