"""Pass@1 with its interval, out of the report that an evaluation leaves."""

from pathlib import Path
from typing import Any

from deepscaler.errors import UserError
from deepscaler.training.run_directory import read_json
from evaluation.statistics import Interval


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
