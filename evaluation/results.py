"""report.json of an evaluation, read by whoever compares numbers: its only reader."""

from pathlib import Path
from typing import Any

from deepscaler.output.cells import Interval
from deepscaler.system.errors import UserError
from deepscaler.system.files import read_json


def read_report(path: Path) -> tuple[dict[str, Interval], dict[str, Any]]:
    """Pass@1 by benchmark, and the options and grader behind it. Raises UserError if it is no report."""
    report = read_json(path)
    try:
        scores = {
            benchmark: Interval(*(float(found["pass@1"][end]) for end in ("value", "low", "high")))
            for benchmark, found in report["benchmarks"].items()
        }
        options = {**report.get("config", {}), "grader": report.get("grader")}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is no report of `deepscaler evaluate`: {error!r}; report on it again") from error
    return scores, options


def passes(before: Path, after: Path) -> tuple[bool, str]:
    """Compare two evaluation folders. Returns whether the later one may pass, and a line that says why.

    A benchmark fails where the old Pass@1 lies above the whole 95 % interval of the new one.
    """
    old, new = (read_report(evaluation / "report.json")[0] for evaluation in (before, after))
    worse = [name for name, score in new.items() if name in old and old[name].value > score.high]
    told = ", ".join(
        f"{name} {100 * old[name].value:.1f} -> {100 * new[name].value:.1f}"
        f" ({100 * new[name].low:.1f} to {100 * new[name].high:.1f})"
        for name in new
        if name in old
    )
    return not worse, told
