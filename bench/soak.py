"""Tests whether a training's memory grows in 200 steps of a small model, by the slope for each role (`make soak`).

The same command resumes where it was stopped (`--seconds`); each attempt has its own slopes. The exit code is 1 if a
slope that is not noise exceeds the bound.
"""

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

from deepscaler.models.smollm import small_model
from deepscaler.runs.checkpoints import sealed
from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.runs.memory import Trend, trend_of
from deepscaler.runs.memory_samples import FOLDER, read_samples
from deepscaler.system.processes import deepscaler_command

NUM_STEPS = 200

BOUND = 2_000_000
"""Most bytes per step: a node of 64 GB would last 30,000 steps. The slope's interval separates noise from growth."""

SETTINGS = (
    *("train_batch_size=2", "mini_batch_size=2", "group_size=4", "max_response_length=8", "save_every=10"),
    *("validate_every=50", f"num_steps={NUM_STEPS}"),
)


def trends(attempt: Attempt) -> dict[str, Trend]:
    """Returns the trend of each role, and of all memory in use (`node`), if there are enough steps."""
    found: dict[str, dict[int, int]] = {}
    for path in (attempt.root / FOLDER).glob("*.jsonl"):
        for sample in read_samples(path):
            for role, size in {**sample["roles"], "node": sample["used"]}.items():
                peaks = found.setdefault(role, {})
                peaks[sample["step"]] = max(peaks.get(sample["step"], 0), size)
    return {role: trend for role, peaks in sorted(found.items()) if (trend := trend_of(peaks))}


def main() -> int:
    """Trains, or resumes, and then prints the slopes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="folder of a model (default: quickstart's)")
    parser.add_argument("--folder", type=Path, default=Path("outputs/soak"))
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="seconds until it stops; the same command resumes"
    )
    given = parser.parse_args()
    run, model = RunFolder(given.folder.resolve()), given.model or str(small_model(print))
    settings = [word for setting in (*SETTINGS, f"model={model}") for word in ("--set", setting)]
    command = ["train", "quickstart", "--device", "cpu", "--output-dir", str(run.root), *settings]
    end = time.monotonic() + given.seconds
    with subprocess.Popen(deepscaler_command(command)) as process:
        while process.poll() is None and time.monotonic() < end:
            time.sleep(1)
        if process.poll() is None:
            # the `with` waits for the end, before which a training saves
            process.send_signal(signal.SIGTERM)
    worst = 0.0
    for attempt in run.attempts():
        for role, trend in trends(attempt).items():
            # Only a slope whose whole interval is above 0 is growth.
            grows = trend.low > 0
            worst = max(worst, trend.slope if grows and role != "node" else 0.0)  # others share this machine
            interval = f"{trend.low / 1e3:+9.1f} to {trend.high / 1e3:+9.1f}"
            noise = "" if grows else "  (may be noise)"
            print(f"attempt {attempt.number}  {role:8} {trend.slope / 1e3:+9.1f} kB a step ({interval}){noise}")
    print(
        f"step {sealed(run)[0].step if sealed(run) else 0} of {NUM_STEPS}; largest growth {worst / 1e3:.1f} kB a step"
    )
    return int(worst > BOUND)


if __name__ == "__main__":
    sys.exit(main())
