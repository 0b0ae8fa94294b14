"""The curves of a training, as DeepScaleR's Figure 1 has them: reward, validation accuracy, length, entropy by step."""

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from deepscaler.plotting import BLUE, GREY, ORANGE, PAPER_STYLE, STYLE, to_svg
from deepscaler.training.evaluations import Evaluation
from deepscaler.training.metrics import QUANTITIES, Series, quantity, validation
from deepscaler.training.stages import Stage
from evaluation.tables import title

PLAIN = {"text.parse_math": False}
"""A `$` in a name is a dollar."""

COLOURS = (BLUE, ORANGE, "#4fa36c", "#a06cc9", "#c9a227", GREY)
"""Of data sets."""

FEW = 25
"""Points up to which each is marked."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot."""

    name: str
    """In QUANTITIES, or `validation`."""
    title: str
    unit: str


PANELS = (
    Panel("reward", "Mean reward", "share correct"),
    Panel("validation", "Validation accuracy", "percent"),
    Panel("response_length", "Mean response length", "tokens"),
    Panel("entropy", "Entropy of the policy", "nats a token"),
)


def curves_figure(stages: list[Stage], heading: str) -> Figure:
    """All panels in one figure, on white paper."""
    with mpl.rc_context({**PAPER_STYLE, **PLAIN}):
        figure = Figure(figsize=(11, 7), layout="constrained")
        figure.suptitle(heading, x=0.01, ha="left", fontsize=12, fontweight="bold")
        for axes, panel in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
            _draw(axes, panel, stages)
    return figure


def panel_svg(panel: Panel, stages: list[Stage]) -> str:
    """One panel for a page."""
    with mpl.rc_context({**STYLE, **PLAIN}):
        figure = Figure(figsize=(4.8, 3.0), layout="constrained")
        _draw(figure.subplots(), panel, stages)
        return to_svg(figure)


def evaluations_svg(evaluations: list[Evaluation]) -> str:
    """Pass@1 with its interval before and after each stage, a line a benchmark."""
    names = list(dict.fromkeys(name for one in evaluations for name in one.benchmarks))
    with mpl.rc_context({**STYLE, **PLAIN}):
        figure = Figure(figsize=(7.5, 3.2), layout="constrained")
        axes = figure.subplots()
        for index, name in enumerate(names):
            places = [place for place, one in enumerate(evaluations) if name in one.benchmarks]
            shift = (index - (len(names) - 1) / 2) * min(0.08, 0.4 / len(names))  # or bars would hide each other
            scores = [evaluations[place].benchmarks[name] for place in places]
            below, above = [s.value - s.low for s in scores], [s.high - s.value for s in scores]
            axes.errorbar(
                [place + shift for place in places],
                [100 * s.value for s in scores],
                yerr=100 * np.array([below, above]),
                fmt="o-",
                color=COLOURS[index % len(COLOURS)],
                markersize=5,
                linewidth=1.2,
                elinewidth=1,
                capsize=3,
                label=title(name),
            )
        axes.set_xticks(range(len(evaluations)), [one.name for one in evaluations])
        axes.set(xlim=(-0.5, len(evaluations) - 0.5), ylabel="Pass@1, percent")
        axes.grid(axis="y", color=GREY, alpha=0.2)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return to_svg(figure)


def smoothing_window(num_points: int) -> int:
    """Steps of a running mean, an odd number: about a fifteenth of the curve; 1 where there are too few to smooth."""
    window = min(51, num_points // 15 // 2 * 2 + 1)
    return window if window >= 3 else 1


def smooth(values: list[float], window: int) -> list[float]:
    """The running mean around each value; towards the ends of the curve over what there is."""
    ones = np.ones(window)
    sums = np.convolve(values, ones)[window // 2 :][: len(values)]
    counts = np.convolve(np.ones(len(values)), ones)[window // 2 :][: len(values)]
    return [float(value) for value in sums / counts]


def _draw(axes: Axes, panel: Panel, stages: list[Stage]) -> None:
    drawn = _draw_validation(axes, stages) if panel.name == "validation" else _draw_quantity(axes, panel, stages)
    if not drawn:
        axes.text(0.5, 0.5, "none yet", transform=axes.transAxes, ha="center", va="center")
        axes.set_yticks([])
    axes.set_title(panel.title, loc="left", fontsize=11)
    axes.set(xlabel="step", ylabel=panel.unit)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.grid(axis="y", color=GREY, alpha=0.2)
    if len(stages) > 1:
        _mark_stages(axes, stages)


def _draw_quantity(axes: Axes, panel: Panel, stages: list[Stage]) -> bool:
    """Every step thin, and their running mean."""
    curves = [(stage, quantity(stage.metrics, panel.name)) for stage in stages]
    window = smoothing_window(max(len(points) for _, points in curves))
    for stage, points in curves:
        ...
    return any(points for _, points in curves)
