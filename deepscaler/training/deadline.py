"""Decides when a run has to stop so that its last checkpoint is on disk before the time is over.

>>> parse_deadline("3h50m", now=1000.0)
14800.0
"""

import re

from deepscaler.system.errors import UserError
from deepscaler.system.option import shown_value

MARGIN = 1.25
"""Share of the slowest recent step to add, because steps grow longer as responses do."""

SLACK = 20.0
"""Seconds for what is not measured: the last log lines, the end of Ray."""

_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_EPOCH_FROM = 1_000_000_000


def parse_deadline(text: str, now: float) -> float:
    """Returns a moment in Unix seconds, given as such (SLURM_JOB_END_TIME) or from now (`3h50m`). Raises UserError."""
    # A number without a unit is a moment only if it is after 2001: `300` is a mistake, not a second of 1970.
    if re.fullmatch(r"[0-9]{1,18}", text) and int(text) >= _EPOCH_FROM:
        return float(text)
    parts = re.findall(r"([0-9]{1,9})([dhms])", text)
    # findall skips what does not fit: without this comparison `3 hours` would be 3 h.
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UserError(
            f"--deadline {shown_value(text)} is neither a time from now, such as 3h50m, nor a moment in Unix seconds,"
            " such as $SLURM_JOB_END_TIME"
        )
    return now + sum(int(number) * _UNITS[unit] for number, unit in parts)


def must_stop(time_left: float, time_in_step: float, recent_steps: list[float], save_seconds: float) -> bool:
    """Returns whether the step in flight must be the last: another one and its checkpoint would not fit."""
    # Before the first step there is nothing to save, so stopping early would gain nothing.
    if not recent_steps:
        return time_left < SLACK
    step = MARGIN * max(recent_steps)
    rest_of_this_step = max(0.0, step - time_in_step)
    # verl saves after a whole step only, so the question is whether the step after this one fits, too.
    return time_left < rest_of_this_step + step + MARGIN * save_seconds + SLACK
