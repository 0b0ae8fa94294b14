"""Whether a stage made the model worse: by more than its own interval, on the benchmarks' average."""

from pathlib import Path

from deepscaler.training.scores import read_report


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
