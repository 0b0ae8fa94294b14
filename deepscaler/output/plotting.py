"""What all plots share: colours that read on light and on dark paper, and files that are the same for the same input.

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
"""Of lines that a legend tells apart."""

INK = "#3d4450"
"""Text on white paper."""

STYLE = {
    "svg.hashsalt": "deepscaler",
    "svg.fonttype": "none",  # text stays text: searchable, and in the page's font
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
"""For a page, light or dark: no background, and text in the middle between both."""

PAPER_STYLE = {
    **STYLE,
    "axes.labelcolor": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "figure.facecolor": "white",
}
"""For a picture on its own: dark on white."""

NAMES_AS_THEY_ARE = {"text.parse_math": False}
"""Beside a style: a `$` in the name of a model or a stage is a dollar, and begins no formula."""

DOTS_PER_INCH = 160


def to_svg(figure: Figure) -> str:
    """An `<svg>` element that scales to the width it is given."""
    buffer = io.StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", metadata=metadata)
    svg = buffer.getvalue()
    svg = re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", svg[svg.index("<svg") :], count=1)
    return re.sub(r'<g id="[a-z]+\w*_\d+"', "<g", svg)  # a page has many, and ids must not repeat


def write_png(figure: Figure, path: Path) -> None:
    """A picture on white paper, whole or absent."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
