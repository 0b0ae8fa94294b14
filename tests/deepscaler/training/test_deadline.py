"""A run stops while there is time to save."""

import pytest

from deepscaler.system.errors import UserError
from deepscaler.training.deadline import must_stop, parse_deadline


@pytest.mark.parametrize(
    ("text", "moment"), [("3h50m", 1000 + 3 * 3600 + 50 * 60), ("90s", 1090), ("1d", 87_400), ("1800000000", 1.8e9)]
)
def test_deadlines_are_times_from_now_or_moments(text: str, moment: float) -> None:
    assert parse_deadline(text, now=1000.0) == moment


@pytest.mark.parametrize("text", ["", "soon", "3", "3h50", "h", "-5m", "3h 5m", "1" * 400, "1" * 400 + "h", "²h"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="neither a time from now"):
        parse_deadline(text, now=0.0)


@pytest.mark.parametrize(
    ("time_left", "time_in_step", "stops"),
    [(1000, 0, False), (290, 0, True), (290, 90, False), (170, 90, True), (5, 0, True)],
)
def test_the_step_in_flight_is_the_last_where_another_one_would_not_fit(
    time_left: float, time_in_step: float, stops: bool
) -> None:
    assert must_stop(time_left, time_in_step, [80.0, 100.0], save_seconds=20.0) is stops


def test_without_a_measured_step_only_the_end_itself_stops() -> None:
    assert not must_stop(60, 0, [], 0)
    assert must_stop(10, 0, [], 0)
