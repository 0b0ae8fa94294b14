"""Run directories written file by file, as a training leaves them."""

import json
import math
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from deepscaler.output.cells import Interval
from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.folder import RunFolder
from deepscaler.system.files import write_json
from evaluation.results import BenchmarkResults, Results, write_results

RECORD = {
    "host": "node17",
    "pid": 4321,
    "command": ["deepscaler", "train", "8k"],
    "started": "2026-11-24T06:49:47+0000",
}


def make_run(root: Path, **changes: Any) -> RunFolder:
    """A run that no attempt was made at."""
    recipe = replace(Recipe(num_steps=8, validate_every=4), **changes)
    write_json(
        root / "run.json",
        {
            "recipe": asdict(recipe),
            "device": "cuda",
            "model": {"name": recipe.model, "identity": "sha256:00"},
            "data": {"aime": "sha256:01"},
            "versions": {"verl": "0.9.1"},
            "git_revision": "abc1234",
        },
    )
    return RunFolder(root)


def add_attempt(run: RunFolder, lines: list[tuple[int, dict[str, Any]]], **record: Any) -> Path:
    """An attempt with what verl logged. Returns the path of its metrics."""
    attempt = run.attempt(len(run.attempts()) + 1)
    attempt.root.mkdir(parents=True)
    attempt.update_record(**{**RECORD, "resumed_step": 0, "step_offset": 0, **record})
    text = "".join(json.dumps({"step": step, "data": data}) + "\n" for step, data in lines)
    attempt.metrics_path.write_text(text)
    return attempt.metrics_path


def learning(num_steps: int, validate_every: int = 4, first: int = 1, level: float = 0.3) -> list[tuple[int, Any]]:
    """What verl logs in a training that goes well: validation before the first step, then one every few."""
    lines = [(first - 1, {"val-core/aime/acc/mean@8": level - 0.02, "val-aux/aime/no_box/mean@8": 0.1})]
    for step in range(first, first + num_steps):
        share = (step - first) / max(1, num_steps)
        noise = 0.03 * math.sin(7.3 * step) + 0.02 * math.cos(3.1 * step)
        data = {
            "critic/score/mean": level + 0.2 * share**0.5 + noise,
            "response_length/mean": 5000 - 2000 * share**0.3 + 8000 * noise,
            "response_length/clip_ratio": 0.2 - 0.1 * share,
            "prompt_length/mean": 120.0,
            "actor/entropy": 0.4 - 0.2 * share + noise / 2,
            "actor/grad_norm": 0.2,
            "actor/pg_clipfrac": 0.001,
            "actor/kl_loss": 0.0004 * step,
            "timing_s/step": 100.0,
            "timing_s/gen": 60.0,
            "perf/throughput": 2500.0,
        }
        if step % validate_every == 0:
            data |= {"val-core/aime/acc/mean@8": level + 0.15 * share + noise / 4, "timing_s/testing": 40.0}
        lines.append((step, data))
    return lines


def make_chain(root: Path) -> Path:
    """Two stages of three, evaluated before and after the first."""
    names = ("8k", "16k", "24k")
    stages = [{"name": name, "directory": f"{place}-{name}"} for place, name in enumerate(names, 1)]
    write_json(root / "chain.json", {"stages": stages, "base": {"directory": "0-base"}})
    add_attempt(make_run(root / "1-8k"), learning(8), ended="2026-11-24T08:00:00+0000", outcome="finished", step=8)
    add_attempt(make_run(root / "2-16k", name="16k", max_response_length=16_384), learning(4, level=0.5))
    for folder, score in (("0-base", 0.3), ("1-8k", 0.4)):
        write_evaluation(root / folder / "evaluation", aime=Interval(score, score - 0.1, score + 0.08))
    return root


def write_evaluation(folder: Path, num_samples: int = 16, **scores: Interval) -> None:
    """An evaluation's report.json with Pass@1 of some benchmarks, which is alike on all of their 30 problems."""

    def rates(score: float) -> dict[str, float]:
        each, more = divmod(round(score * 30 * num_samples), 30)
        return {f"p{problem}": (each + (problem < more)) / num_samples for problem in range(30)}

    benchmarks = {
        name: BenchmarkResults(
            num_problems=30,
            num_samples=30 * num_samples,
            num_expected=30 * num_samples,
            pass_at_1=score,
            pass_at_k={1: score.value},
            majority=score.value,
            truncated=0.0,
            reasons={},
            response_tokens={},
            problem_pass_rates=rates(score.value),
        )
        for name, score in scores.items()
    }
    config = {"num_samples": num_samples}
    results = Results(grader="kit", config=config, benchmarks=benchmarks, average=None, warnings=[], provenance={})
    write_results(folder / "report.json", results)


def seal_checkpoint(root: Path, step: int, age: float = 0) -> None:
    """A sealed checkpoint without its files, so many seconds old."""
    path = root / "checkpoints" / f"global_step_{step}" / "seal.json"
    write_json(path, {"step": step, "verl_step": step, "world_size": 8, "files": {}})
    os.utime(path, (time.time() - age,) * 2)


def end_run(root: Path, step: int) -> None:
    """A run that has come to its end at a step, as far as a chain looks."""
    seal_checkpoint(root, step)
    attempt = RunFolder(root).attempt(1)
    attempt.root.mkdir(parents=True)
    attempt.update_record(outcome="finished")
