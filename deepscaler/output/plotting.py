"""Defines the style of all plots: colors for light and dark pages, and output that depends only on the input.

with mpl.rc_context(STYLE):
    figure = Figure(figsize=(7.5, 2.8), layout="constrained")
    ...
    return to_svg(figure)
"""

import io
import re
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from deepscaler.system.files import atomic_path

BLUE, ORANGE, GREY = "#4c8dd6", "#e0803a", "#8a8f98"
COLOURS = (BLUE, ORANGE, "#4fa36c", "#a06cc9", "#c9a227", "#3aa6b0", "#c9607a")
"""Colors of lines that a legend distinguishes."""

INK = "#3d4450"
"""Color of text on white paper."""

STYLE = {
    "svg.hashsalt": "deepscaler",
    "svg.fonttype": "none",  # text stays text, so it is searchable and has the page's font
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "text.color": GREY,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
}
"""Style for a page, light or dark: no background, and text halfway between both.

Plots are inline SVG from matplotlib, so a report is one file that needs no script and no network.
"""

PAPER_STYLE = {
    **STYLE,
    "axes.labelcolor": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "figure.facecolor": "white",
}
"""Style for a picture on its own: dark on white."""

NAMES_AS_THEY_ARE = {"text.parse_math": False}
"""Addition to a style, with which a `$` in the name of a model or a stage does not start a formula."""

DOTS_PER_INCH = 160


def to_svg(figure: Figure) -> str:
    """Returns an `<svg>` element that scales to the width it is given."""
    buffer = io.StringIO()
    # matplotlib would write the date and its own version, and equal runs would have unequal pages.
    metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", metadata=metadata)
    svg = buffer.getvalue()
    svg = re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", svg[svg.index("<svg") :], count=1)
    return re.sub(r'<g id="[a-z]+\w*_\d+"', "<g", svg)  # a page has many plots, and ids must be unique


def write_png(figure: Figure, path: Path) -> None:
    """Writes a picture on white paper, atomically."""
    with atomic_path(path) as temporary:
        # The format is given, since the temporary file's name ends in .tmp.
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
