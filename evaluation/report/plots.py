"""Draws the report's plots as inline SVG."""

import math

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from deepscaler.data.sources import title
from deepscaler.output.plotting import BLUE, GREY, ORANGE, STYLE, to_svg
from evaluation.report.published import results_for
from evaluation.score import BenchmarkScores


def accuracy_plot(benchmarks: list[BenchmarkScores], protocol: str) -> str:
    """Returns a plot of Pass@1 with its interval per benchmark, and a protocol's published results as small marks."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 0.7 + 0.55 * len(benchmarks)), layout="constrained")
        axes = figure.subplots()
        for row, one in enumerate(benchmarks):
            value, low, high = (100 * x for x in (one.pass_at_1.value, one.pass_at_1.low, one.pass_at_1.high))
            axes.plot([low, high], [row, row], color=BLUE, linewidth=6, alpha=0.35, solid_capstyle="round")
            axes.plot(value, row, "o", color=BLUE, markersize=9, label="this run" if row == 0 else None, zorder=3)
            published = [r.scores[one.dataset] for r in results_for([one.dataset], protocol)]
            axes.plot(published, [row] * len(published), "|", color=ORANGE, markersize=14, markeredgewidth=2)
        if results_for([one.dataset for one in benchmarks], protocol):
            label = f"published models, protocol {protocol}"
            # an empty line, which puts the marks into the legend once and not for each benchmark
            axes.plot([], [], "|", color=ORANGE, markersize=12, markeredgewidth=2, label=label)
        axes.set_yticks(range(len(benchmarks)), [title(one.dataset) for one in benchmarks])
        axes.set(xlim=(-1, 101), ylim=(len(benchmarks) - 0.4, -0.6), xlabel="Pass@1, percent")
        axes.grid(axis="x", color=GREY, alpha=0.2)
        axes.legend(loc="lower center", ncols=2, bbox_to_anchor=(0.5, 1.0))
        return to_svg(figure)


def length_plot(one: BenchmarkScores) -> str:
    """Returns a histogram of response lengths, correct and wrong stacked."""
    correct, wrong = one.lengths(correct=True), one.lengths(correct=False)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.7, 2.4), layout="constrained")
        axes = figure.subplots()
        edges = bin_edges(max(*correct, *wrong, 1))
        axes.hist([correct, wrong], bins=edges, stacked=True, color=[BLUE, ORANGE], label=["correct", "wrong"])
        axes.set(xlabel="response tokens", ylabel="samples")
        axes.legend(loc="upper right")  # the default tries every place, which takes seconds with many samples
        return to_svg(figure)


def bin_edges(longest: int) -> list[int]:
    """Returns the edges of about 30 equal bins, from 0 to above the longest response."""
    step = math.ceil(longest / 30)
    # One step above: a histogram drops what is longer than its last edge, first of all the responses at the limit.
    return list(range(0, longest + step + 1, step))


def problem_plot(one: BenchmarkScores) -> str:
    """Returns a plot of every problem's share of correct samples, from the easiest to the hardest."""
    rates = 100 * np.sort(list(one.problem_means.values()))[::-1]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.7, 2.4), layout="constrained")
        axes = figure.subplots()
        # a step after the last point has no width, so the last problem's rate stands there twice
        axes.fill_between(np.arange(len(rates) + 1), np.append(rates, rates[-1]), step="post", color=BLUE, alpha=0.75)
        axes.set(xlabel="problems, easiest first", ylabel="correct samples, %", ylim=(0, 102), xlim=(0, len(rates)))
        return to_svg(figure)


def pass_at_k_plot(benchmarks: list[BenchmarkScores]) -> str:
    """Returns a plot of pass@k over k, one line per benchmark."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 2.8), layout="constrained")
        axes = figure.subplots()
        for index, one in enumerate(benchmarks):
            shares = [100 * value for value in one.pass_at_k.values()]
            axes.plot(list(one.pass_at_k), shares, "o-", color=f"C{index}", label=title(one.dataset), markersize=4)
        axes.set_xscale("log", base=2)
        # A logarithmic axis of base 2 would be labeled 2^4.
        axes.xaxis.set_major_formatter(lambda k, _: f"{k:g}")
        axes.set(xlabel="k", ylabel="pass@k, percent", ylim=(0, 102))
        axes.grid(axis="y", color=GREY, alpha=0.2)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return to_svg(figure)
