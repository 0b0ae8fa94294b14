"""Curves: smoothed without a shift, one axis for all stages, the same picture for the same files."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from deepscaler.output.plotting import write_png
from deepscaler.runs.spread import with_spread
from deepscaler.runs.stages import read_stages
from deepscaler.training.report.curves import FEW, PANELS, curves_figure, panel_svg, smooth, smoothing_window
from deepscaler.training.report.tables import notes
from tests.deepscaler.runs.runs import add_attempt, learning, make_chain, make_run
from tests.deepscaler.runs.samples import add_data, add_responses

PANEL = {panel.name: panel for panel in PANELS}


def test_smoothing_leaves_a_straight_line_straight() -> None:
    values = [float(step) for step in range(100)]
    assert smooth(values, 7)[3:-3] == values[3:-3]
    assert smooth([2.0] * 10, 5) == [2.0] * 10


@pytest.mark.parametrize("num_points", [0, 1, 5, FEW, 30, 45, 100, 1040, 100_000])
def test_a_smoothing_window_is_odd_and_small(num_points: int) -> None:
    window = smoothing_window(num_points)
    assert window % 2 == 1
    assert 1 <= window <= max(1, min(51, num_points // 15 + 1))


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.name)
@pytest.mark.parametrize("num_steps", [0, 1, 2, 8, 60])
def test_every_panel_is_drawn_however_few_steps_there_are(tmp_path: Path, panel: object, num_steps: int) -> None:
    add_attempt(make_run(tmp_path, num_steps=60), learning(num_steps))
    svg = panel_svg(panel, read_stages(tmp_path))  # type: ignore[arg-type]
    assert svg.startswith("<svg")
    assert ("none so far" in svg) == (num_steps == 0 and panel is not PANEL["validation"])


def test_a_stage_goes_on_where_the_one_before_it_ended(tmp_path: Path) -> None:
    figure = curves_figure(read_stages(make_chain(tmp_path)), "heading", "summary")
    reward, accuracy, *_ = figure.axes
    steps = [list(line.get_xdata()) for line in reward.lines if len(line.get_xdata()) > 2]
    assert [steps[0][0], steps[0][-1], steps[1][0], steps[1][-1]] == [1, 8, 9, 12]
    assert [max(line.get_ydata()) > 1 for line in accuracy.lines if line.get_linestyle() == "-"] == [True, True]


def test_stages_are_divided_by_a_dashed_line_and_named(tmp_path: Path) -> None:
    for axes in curves_figure(read_stages(make_chain(tmp_path)), "heading", "summary").axes:
        assert [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"] == [8]
        assert {"8k", "16k"} <= {text.get_text() for text in axes.texts}


def test_a_single_run_has_no_boundaries(tmp_path: Path) -> None:
    add_attempt(make_run(tmp_path), learning(8))
    for axes in curves_figure(read_stages(tmp_path), "heading", "summary").axes:
        assert not [line for line in axes.lines if line.get_linestyle() == "--"]


def test_the_same_files_make_the_same_curves(tmp_path: Path) -> None:
    stages = read_stages(make_chain(tmp_path))
    assert panel_svg(PANELS[0], stages) == panel_svg(PANELS[0], stages)
    for name in ("a.png", "b.png"):
        write_png(curves_figure(stages, "heading", "summary"), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_name_with_dollars_and_tags_is_only_text(tmp_path: Path) -> None:
    add_attempt(make_run(tmp_path), [(1, {"val-core/$<script>$/acc/mean@8": 0.3})])
    svg = panel_svg(PANEL["validation"], read_stages(tmp_path))
    assert "<script" not in svg
    assert re.search(r"\$&lt;script&gt;\$", svg)


def height(axes: Any) -> float:
    low, high = axes.get_ylim()
    return float(high - low)


def test_noise_does_not_fill_an_axis(tmp_path: Path) -> None:
    values = {"critic/score/mean": 0.4, "response_length/mean": 5000.0, "actor/entropy": 0.3}
    lines = [
        (
            step,
            {name: value * (1 + 0.01 * (step % 2)) for name, value in values.items()}
            | {"val-core/a/acc/mean@1": share},
        )
        for step, share in ((1, 0.344), (2, 0.359))
    ]
    add_attempt(make_run(tmp_path), lines)
    reward, accuracy, length, entropy = curves_figure(read_stages(tmp_path), "heading", "summary").axes
    assert height(accuracy) >= 20
    assert height(reward) >= 0.4
    assert height(length) >= 2500
    assert height(entropy) >= 0.15
    for axes in (reward, accuracy, length, entropy):
        assert axes.get_ylim()[0] > -0.05 * axes.get_ylim()[1]


def test_bands_hold_the_intervals_and_the_start_is_a_line(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_data(run, aime=range(2, 66))
    outcomes = {number: [float(number < 24)] for number in range(2, 66)}
    for step in (0, 4):
        add_responses(run, "validation", step, outcomes)
    for step in (1, 2, 3, 4):
        add_responses(run, "rollouts", step, {2: [1, 1], 3: [0, 0], 4: [1, 0]})
    rewards = {"critic/score/mean": 0.5, "critic/score/max": 1.0, "critic/score/min": 0.0}
    lines: list[Any] = [(step, rewards | {"val-core/aime/acc/mean@1": 22 / 64}) for step in (4,)]
    lines = [(0, {"val-core/aime/acc/mean@1": 22 / 64}), *((step, rewards) for step in (1, 2, 3)), *lines]
    add_attempt(run, lines)
    (stage,) = [with_spread(stage) for stage in read_stages(tmp_path)]
    reward, accuracy, *_ = curves_figure([stage], "heading", "summary").axes
    band = accuracy.collections[0].get_paths()[0].get_extents()
    interval = stage.validation_intervals["aime"][4]
    assert stage.is_measured
    assert (band.y0, band.y1) == pytest.approx((100 * interval.low, 100 * interval.high))
    assert 10 < band.height < height(accuracy)
    (start,) = [line for line in accuracy.lines if line.get_linestyle() == ":"]
    assert set(start.get_ydata()) == {100 * 22 / 64}
    spread = reward.collections[0].get_paths()[0].get_extents()
    assert (spread.y0, spread.y1) == (0, 1)  # no batch of three groups tells more, and no mean leaves its rewards


def test_a_curve_that_only_knows_the_number_of_problems_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_data(run, aime=range(2, 66))
    add_attempt(run, [(0, {"val-core/aime/acc/mean@8": 0.3})])
    (stage,) = [with_spread(stage) for stage in read_stages(tmp_path)]
    assert any("their intervals count each problem once" in note for note in notes([stage]))


def test_a_report_says_what_attempts_cost_and_whose_memory_grows(tmp_path: Path) -> None:
    run = make_run(tmp_path, num_steps=100)
    add_attempt(run, learning(4), started="2026-11-24T06:00:00+0000", ended="2026-11-24T06:10:00+0000")
    times = {"started": "2026-11-24T06:10:00+0000", "ended": "2026-11-24T06:20:00+0000"}
    add_attempt(run, learning(4, first=5), resumed_step=4, **times)
    path = run.attempt(2).root / "memory/head1.jsonl"
    path.parent.mkdir()
    samples = [{"step": step, "used": 10**9 * step, "limit": 10**11, "roles": {}} for step in range(1, 40)]
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    [stage] = read_stages(tmp_path)
    told = " ".join(notes([stage]))
    assert "took 2 attempts; 73 % of their time made steps that count." in told, "880 of 1,200 seconds"
    assert "Memory grows on head1: 39.0 GB of 100.0 GB in use, 1.0 GB more a step: full at step 95" in told
