"""Draws the curves of DeepScaleR's Figure 1: reward, validation accuracy, length and entropy by step.

Validations have a band that holds their 95 % intervals, and the reward one that holds those of its batches. No axis is
so narrow that noise fills it.
"""

from dataclasses import dataclass
from itertools import cycle
from math import inf

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from deepscaler.data.sources import title
from deepscaler.output.plotting import BLUE, COLOURS, GREY, NAMES_AS_THEY_ARE, PAPER_STYLE, STYLE, to_svg
from deepscaler.output.terminal import shorten
from deepscaler.runs.metrics import Series, quantity, series, validation
from deepscaler.runs.stages import Stage

FEW = 25
"""Points up to which each is marked."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot."""

    name: str
    """Name in metrics.QUANTITIES, or `validation`."""
    title: str
    unit: str
    least: float = 0.0
    """The least height of the axis, in its unit."""
    share: float = 0.0
    """The least height of the axis as a share of the largest value."""


PANELS = (
    Panel("reward", "Mean reward", "share correct", least=0.4),
    Panel("validation", "Validation accuracy", "percent", least=20),
    Panel("response_length", "Mean response length", "tokens", share=0.5),
    Panel("entropy", "Entropy of the policy", "nats per token", share=0.5),
)


def curves_figure(stages: list[Stage], heading: str, summary: str) -> Figure:
    """Returns all panels in one figure, on white paper."""
    with mpl.rc_context({**PAPER_STYLE, **NAMES_AS_THEY_ARE}):
        # The upper 9 % stay free for the two lines of text, which the engine does not know.
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12, rect=(0, 0, 1, 0.91))
        figure = Figure(figsize=(11, 7.2), layout=layout)
        figure.text(0.012, 0.98, shorten(heading, 95), va="top", fontsize=14, fontweight="bold")
        figure.text(0.012, 0.935, shorten(summary, 130), va="top", fontsize=10.5)
        for axes, panel in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
            _draw(axes, panel, stages)
            axes.set_title(panel.title, loc="left", fontsize=11)
    return figure


def panel_svg(panel: Panel, stages: list[Stage]) -> str:
    """Returns one panel for a page, which shows the title itself."""
    with mpl.rc_context({**STYLE, **NAMES_AS_THEY_ARE}):
        figure = Figure(figsize=(4.8, 3.2), layout="constrained")
        _draw(figure.subplots(), panel, stages)
        return to_svg(figure)


def smoothing_window(num_points: int) -> int:
    """Returns the steps of a running mean, an odd number: about a fifteenth of the curve; 1 for too few points."""
    # Odd, so that each mean belongs to the step in its middle, and the curve is not shifted.
    return min(51, num_points // 15 // 2 * 2 + 1)


def smooth(values: list[float], window: int) -> list[float]:
    """Returns the running mean around each value; near the ends of the curve the window is cut off."""
    half = window // 2
    return [float(np.mean(values[max(0, place - half) : place + half + 1])) for place in range(len(values))]


def _draw(axes: Axes, panel: Panel, stages: list[Stage]) -> None:
    curves = _draw_validation(axes, stages) if panel.name == "validation" else _draw_quantity(axes, panel, stages)
    last = max(stage.start + stage.step for stage in stages) or 1
    axes.set_xlim(-0.03 * last, 1.03 * last)  # the same in all panels
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axes.xaxis.set_major_formatter("{x:,g}")
    if panel.unit == "tokens":
        axes.yaxis.set_major_formatter("{x:,g}")
    if any(curves):
        low, high = axes.get_ylim()
        axes.set_ylim(*_wide_enough(low, high, max(panel.least, panel.share * high)))
    else:
        axes.text(0.5, 0.5, "none so far", transform=axes.transAxes, ha="center", va="center")
        axes.set_yticks([])
    axes.set(xlabel="step", ylabel=panel.unit)
    axes.grid(axis="y", color=GREY, alpha=0.2)
    if len(stages) > 1:
        _mark_stages(axes, stages)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.2, fontsize=9)


def _wide_enough(low: float, high: float, least: float) -> tuple[float, float]:
    """Returns the ends of an axis at least so high; nothing here is negative."""
    if missing := max(0.0, least - (high - low)):
        low, high = low - missing / 2, high + missing / 2
    floor = -0.03 * high
    return max(low, floor), high + max(0.0, floor - low)


def _draw_quantity(axes: Axes, panel: Panel, stages: list[Stage]) -> list[Series]:
    """Draws every step as a thin line, and the running mean, which ends where the stage does."""
    curves = [stage.placed(quantity(stage.metrics, panel.name)) for stage in stages]
    if panel.name == "reward":
        _draw_batches(axes, stages)
    longest = max(curves, key=len)
    window = smoothing_window(len(longest))
    mark = "o-" if len(longest) <= FEW else "-"
    for curve in curves:
        steps, values = [step for step, _ in curve], [value for _, value in curve]
        names = ("each step", f"mean of {window} steps") if curve is longest and window > 1 else (None, None)
        width, alpha = (0.8, 0.4) if window > 1 else (1.5, 1)
        axes.plot(steps, values, mark, color=BLUE, linewidth=width, alpha=alpha, markersize=4, label=names[0])
        if window > 1:
            axes.plot(steps, smooth(values, window), color=BLUE, linewidth=2, label=names[1])
    return curves


def _draw_batches(axes: Axes, stages: list[Stage]) -> None:
    """Draws where a batch's mean reward would be by chance alone, around the running mean."""
    label: str | None = "95 % of a batch"
    for stage in stages:
        points = quantity(stage.metrics, "reward")
        if len(stage.reward_half_widths) < 2:
            continue
        smoothed = smooth([value for _, value in points], smoothing_window(len(points)))
        means = {step: mean for (step, _), mean in zip(points, smoothed, strict=True)}
        placed = [(step, means[step], half) for step, half in sorted(stage.reward_half_widths.items()) if step in means]
        steps = [stage.start + step for step, _, _ in placed]
        # The band of a share would leave [0, 1]; other rewards have bounds that only their samples show.
        least = min((value for _, value in series(stage.metrics, "critic/score/min")), default=-inf)
        most = max((value for _, value in series(stage.metrics, "critic/score/max")), default=inf)
        low = [max(least, mean - half) for _, mean, half in placed]
        high = [min(most, mean + half) for _, mean, half in placed]
        axes.fill_between(steps, low, high, color=BLUE, alpha=0.15, linewidth=0, label=label)
        label = None


def _draw_validation(axes: Axes, stages: list[Stage]) -> list[Series]:
    """Draws one line per data set in its band, broken between stages, because the limit of a response may differ."""
    found = [(stage, validation(stage.metrics)) for stage in stages]
    names = list(dict.fromkeys(name for _, by_name in found for name in by_name))
    drawn: list[Series] = []
    for name, colour in zip(names, cycle(COLOURS), strict=False):
        curves = [stage.placed(by_name[name]) for stage, by_name in found if name in by_name]
        size = 4 if max(map(len, curves)) <= FEW else 2.5
        for index, curve in enumerate(curves):
            shares = [100 * value for _, value in curve]
            label = None if index else title(name)
            axes.plot([s for s, _ in curve], shares, "o-", color=colour, markersize=size, linewidth=1.5, label=label)
        for stage in stages:
            _draw_intervals(axes, stage, name, colour)
        first = stages[0].start, dict(curves[0]).get(stages[0].start)
        if first[1] is not None:  # validated before the first step: the model that training starts from
            axes.axhline(
                100 * first[1], color=colour, linestyle=":", linewidth=1.2, label=None if drawn else "at the start"
            )
        drawn += curves
    return drawn


def _draw_intervals(axes: Axes, stage: Stage, name: str, colour: str) -> None:
    intervals = sorted(stage.validation_intervals.get(name, {}).items())
    steps = [stage.start + step for step, _ in intervals]
    low, high = [100 * one.low for _, one in intervals], [100 * one.high for _, one in intervals]
    if len(steps) > 1:
        axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
    elif steps:
        axes.plot([steps[0]] * 2, [low[0], high[0]], color=colour, alpha=0.35, linewidth=4)


def _mark_stages(axes: Axes, stages: list[Stage]) -> None:
    """Draws a dashed line where a stage begins, and its name to the right, above the curves."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.12 * (high - low))
    for stage in stages:
        if stage.start:
            axes.axvline(stage.start, color=GREY, linestyle="--", linewidth=1)
        axes.annotate(
            shorten(stage.name, 20),
            xy=(stage.start, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -2),
            textcoords="offset points",
            va="top",
            fontsize=9,
        )
