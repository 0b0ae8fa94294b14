"""Tests whether other ways of training learn as the recipe `learn` does: `python bench/learn.py`, an hour each.

The script trains the recipe `learn` as published, with GSPO, clip-higher and token weights, and with `--profile fast`
over two ranks. It evaluates the merged models on the held-out sums, and draws all of them to docs/learn-ways.png. The
same command resumes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from matplotlib.figure import Figure

from deepscaler.models.smollm import small_model
from deepscaler.output.plotting import BLUE, INK, ORANGE, PAPER_STYLE
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import Series, mean, quantity, read_metrics, validation
from deepscaler.system.processes import deepscaler_command

WAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "learn": (INK, ()),
    "GSPO, clip-higher, token weights": (
        ORANGE,
        (
            *("policy_loss=gspo", "loss_aggregation=seq-mean-token-mean", "clip_ratio_high=0.28"),
            *("recompute_log_probs=true", "rollout_correction=token"),
        ),
    ),
    "fast, two ranks": (BLUE, ("gpus_per_node=2",)),
}
SMOOTH = 5
"""Number of steps in the running mean."""


def main() -> int:
    """Trains, merges and evaluates each way, resuming earlier work, and draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=tuple(WAYS))
    parser.add_argument("--output-dir", type=Path, default=Path(tempfile.gettempdir()) / "learn-ways")
    parser.add_argument("--figure", type=Path, default=Path(__file__).parent.parent / "docs/learn-ways.png")
    given = parser.parse_args()
    model = str(small_model(print))
    evaluate(model, given.output_dir / "start")
    for name in given.ways:
        folder = given.output_dir / name.replace(", ", "-").replace(" ", "-")
        profile = ("--profile", "fast") if name.startswith("fast") else ()
        settings = (f"model={model}", f"num_steps={given.steps}", "validate_every=8", *WAYS[name][1])
        changes = [word for setting in settings for word in ("--set", setting)]
        run("train", "learn", "--device", "cpu", *profile, "--output-dir", str(folder), *changes)
        run("merge", str(folder))
        evaluate(str(folder / "model"), folder / "evaluation")
        # after each way and not at the end: one takes an hour, and the figure shows those that are done
        draw(given.output_dir, given.figure)
    return 0


def run(*words: str) -> None:
    """Runs a command of the kit."""
    subprocess.run(deepscaler_command(words), check=True)


def evaluate(model: str, folder: Path) -> None:
    """Samples four answers to each held-out sum, as the quickstart does."""
    # float32, because a CPU computes the merged model's bfloat16 slowly
    sampling = ("--num-samples", "4", "--max-tokens", "48", "--dtype", "float32")
    run("evaluate", "--model", model, "--datasets", "arithmetic", "--output-dir", str(folder), *sampling)
    report = json.loads((folder / "report.json").read_text())
    print(folder, json.dumps(report["benchmarks"], indent=None)[:300], flush=True)


def smoothed(points: Series) -> Series:
    """Returns the means of the last SMOOTH points."""
    return [(points[i][0], mean(points[max(0, i - SMOOTH + 1) : i + 1]) or 0.0) for i in range(len(points))]


def draw(root: Path, target: Path) -> None:
    """Draws the trained runs side by side."""
    import matplotlib as mpl

    with mpl.rc_context(PAPER_STYLE):
        figure = Figure(figsize=(11, 3.4), layout="constrained")
        reward, accuracy, entropy = figure.subplots(1, 3)
        for name, (colour, _) in WAYS.items():
            run_folder = RunFolder(root / name.replace(", ", "-").replace(" ", "-"))
            # --ways may leave this one to a later call
            if not run_folder.is_run:
                continue
            metrics = read_metrics(run_folder)
            of_validation = next(iter(validation(metrics).values()), [])
            panels = ((reward, smoothed(quantity(metrics, "reward"))), (accuracy, of_validation))
            for axes, points in (*panels, (entropy, smoothed(quantity(metrics, "entropy")))):
                axes.plot(*zip(*points, strict=True), color=colour, label=name)
        reward.set(xlabel="step", title=f"mean reward, mean of {SMOOTH} steps")
        accuracy.set(xlabel="step", title="held-out sums solved, in training")
        entropy.set(xlabel="step", title=f"entropy, nats, mean of {SMOOTH} steps")
        accuracy.legend(loc="lower right")
        figure.savefig(target, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
