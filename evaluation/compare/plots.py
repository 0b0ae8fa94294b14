"""Draws the comparison's plot as inline SVG."""

import matplotlib as mpl
from matplotlib.figure import Figure

from deepscaler.output.plotting import BLUE, GREY, NAMES_AS_THEY_ARE, ORANGE, STYLE, to_svg
from evaluation.compare.compare import Comparison


def forest_plot(one: Comparison, margin: float) -> str:
    """Returns a plot of the differences with their intervals, one row per benchmark; a band marks the margin."""
    rows = [*one.rows, *([one.pooled] if one.pooled else [])]
    with mpl.rc_context({**STYLE, **NAMES_AS_THEY_ARE}):
        figure = Figure(figsize=(7.5, 0.9 + 0.45 * len(rows)), layout="constrained")
        axes = figure.subplots()
        axes.axvspan(-100 * margin, 100 * margin, color=GREY, alpha=0.15, linewidth=0)
        axes.axvline(0, color=GREY, linewidth=1)
        for place, row in enumerate(rows):
            colour = ORANGE if row.verdict == "worse" else BLUE if row.verdict == "better" else GREY
            ends = [100 * row.found.low, 100 * row.found.high]
            axes.plot(ends, [place, place], color=colour, linewidth=6, alpha=0.4, solid_capstyle="butt")
            mark = "D" if row is one.pooled else "o"
            axes.plot(100 * row.found.value, place, mark, color=colour, markersize=8, zorder=3)
        reach = 1.08 * max(100 * margin, *(100 * abs(end) for row in rows for end in (row.found.low, row.found.high)))
        axes.set_yticks(range(len(rows)), [row.title for row in rows])
        label = f"points that {one.after.name} scores more than {one.before.name}"
        # the y axis points down, so that rows stand in the order of the table
        axes.set(xlim=(-reach, reach), ylim=(len(rows) - 0.4, -0.6), xlabel=label)
        axes.grid(axis="x", color=GREY, alpha=0.2)
        return to_svg(figure)
