"""Whether a stage made the model worse: by more than its own interval, on the benchmarks' average."""

import json
from pathlib import Path
from typing import Any

from deepscaler.errors import UserError


def passes(before: Path, after: Path) -> tuple[bool, str]:
    """Compare two evaluation folders. Returns whether the later one may pass, and a line that says why.

    A benchmark fails where the old Pass@1 lies above the whole 95 % interval of the new one.
    """
    old, new = _scores(before), _scores(after)
    worse = [name for name, score in new.items() if name in old and old[name]["value"] > score["high"]]
    told = ", ".join(
        f"{name} {100 * old[name]['value']:.1f} -> {100 * new[name]['value']:.1f}"
        f" ({100 * new[name]['low']:.1f} to {100 * new[name]['high']:.1f})"
        for name in new
        if name in old
    )
    return not worse, told


def _scores(evaluation: Path) -> dict[str, dict[str, float]]:
    path = evaluation / "report.json"
    try:
        benchmarks: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
        return {name: benchmark["pass@1"] for name, benchmark in benchmarks.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no report of an evaluation: {error}") from error
