"""Reads the rollouts and validations of a run, or of a chain of runs, as one source for the page.

rollouts/13.jsonl    {"input": "...", "output": "...", "gts": ["7"], "score": 1.0, "step": 13, "uid": "095c2612_0_0"}
validation/16.jsonl  the same plus the reward function's values: acc, no_box, no_think_end, undecided, truncated, ...
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepscaler.output.terminal import printable
from deepscaler.recipes.stored import stored_options
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import Metrics, read_metrics
from deepscaler.runs.prompts import Prompts, golds_of
from deepscaler.runs.stages import read_manifest, run_folders
from deepscaler.view.source import UNREADABLE, VERDICTS, Row, Source, number, read_lines, unreadable_lines
from deepscaler.view.steps import step_table

KINDS = ("rollouts", "validation")
KNOWN = ("input", "output", "gts", "score", "step", "uid", "reward", "acc", *VERDICTS, "truncated")
"""Keys of a line that have their own places on the page; the other numbers appear in a list."""


def response_files(root: Path) -> list[Path]:
    """Returns the files of responses of a run or chain."""
    return [path for _, run in run_folders(root) if run.is_run for kind in KINDS for _, path in _numbered(run, kind)]


def read_training(root: Path) -> Source:
    """Returns a run or chain as a source. Raises UserError if the folder is neither."""
    reader = _Reader()
    notes, facts = [], {}
    start = 0
    for name, run in run_folders(root):
        if not run.is_run:
            notes.append(f"{name} has not begun.")
            continue
        recipe = read_manifest(run)["recipe"]
        metrics = read_metrics(run)
        reader.read_run(name, run, start, stored_options(recipe), metrics)
        if max(metrics, default=0) < recipe["num_steps"]:
            notes.append(f"So far {name} is at step {max(metrics, default=0):,} of {recipe['num_steps']:,}.")
        facts[name] = f"{recipe['num_steps']:,} steps, profile {printable(str(recipe['profile']))}"
        start += int(recipe["num_steps"])
    # Not by whole rows: a reward of NaN is neither less nor more than another.
    reader.rows.sort(key=lambda row: row[:3])
    return Source(
        kind="training",
        name=printable(root.resolve().name),
        folder=root,
        unit="characters",
        facts=facts,
        sets=reader.sets,
        problems=reader.problems,
        rows=reader.rows,
        read=_details,
        notes=[*notes, *unreadable_lines(reader.lost), *([] if reader.rows else ["There are no responses yet."])],
        more={"steps": step_table(reader.sets, reader.rows, reader.metrics)},
    )


class _Reader:
    """Collects the rows of one run after another."""

    def __init__(self) -> None:
        self.sets: list[dict[str, Any]] = []
        self.problems: list[dict[str, Any]] = []
        self.rows: list[Row] = []
        self.metrics: dict[int, Mapping[str, float]] = {}
        """Metrics that verl logged for a set's step, by the set's index."""
        self.lost = 0
        self._numbers: dict[tuple[str, tuple[str, ...]], int] = {}

    def read_run(self, name: str, run: RunFolder, start: int, recipe: dict[str, Any], metrics: Metrics) -> None:
        """Adds the rollouts and validations of a run whose steps begin after `start` on the common axis."""
        prompts = Prompts([run.root / "data" / "train.parquet", run.root / "data" / "validation.parquet"])
        is_grade = recipe.get("reward.parts") == {"grader": 1.0}  # then a rollout's reward is the grader's verdict
        for kind in KINDS:
            for step, path in _numbered(run, kind):
                label = f"{name}, step {step:,}" if kind == "rollouts" else f"{name}, validation at step {step:,}"
                self.metrics[len(self.sets)] = metrics.get(step, {})
                self.sets.append({"name": label, "stage": name, "kind": kind, "step": start + step})
                self._read_file(path, len(self.sets) - 1, prompts, is_grade)

    def _read_file(self, path: Path, number_of_set: int, prompts: Prompts, is_grade: bool) -> None:
        seen: dict[tuple[int, str], int] = {}
        for place, line in read_lines(path):
            try:
                values = json.loads(line)
                problem = self._problem(values, prompts)
                # verl numbers the responses behind the prompt's own id: 095c2612_0_0. A problem may be drawn
                # twice in a step.
                group = (problem, str(values.get("uid", "")).partition("_")[0])
                seen[group] = seen.get(group, -1) + 1
                row = Row(
                    set=number_of_set,
                    problem=problem,
                    sample=seen[group],
                    verdict=_verdict(values, is_grade),
                    cut_off=number(values.get("truncated")) == 1,
                    length=len(values["output"]),
                    reward=number(values.get("score")),
                    place=place,
                    answer=None,
                )
            except UNREADABLE:
                self.lost += 1
                continue
            self.rows.append(row)

    def _problem(self, values: dict[str, Any], prompts: Prompts) -> int:
        prompt, golds = values["input"], golds_of(values.get("gts"))
        if not isinstance(prompt, str) or not isinstance(values["output"], str):
            raise TypeError("a response is text")
        key = (prompt, golds)
        if key not in self._numbers:
            asked = prompts.find(prompt, list(golds))
            text, name = (asked.question, asked.id) if asked else (prompt, f"prompt {len(self.problems) + 1}")
            self._numbers[key] = len(self.problems)
            self.problems.append({"id": name, "text": text, "golds": list(golds), "prompt": prompt})
        return self._numbers[key]


def _verdict(values: dict[str, Any], is_grade: bool) -> int:
    accuracy = number(values.get("acc", values.get("score") if is_grade else None))
    if accuracy == 1:
        return VERDICTS.index("correct")
    for name in ("no_think_end", "no_box", "undecided"):
        # The order is the grader's: without </think> it does not look for a box.
        if number(values.get(name)) == 1:
            return VERDICTS.index(name)
    return VERDICTS.index("wrong" if is_grade or accuracy == 0 else "ungraded")


def _numbered(run: RunFolder, kind: str) -> list[tuple[int, Path]]:
    """Returns the files of one kind with their steps, the first step first."""
    found = [(int(path.stem), path) for path in (run.root / kind).glob("*.jsonl") if path.stem.isdecimal()]
    return sorted(found)


def _details(line: bytes) -> dict[str, Any]:
    values = json.loads(line)
    numbers = {name: value for name, value in values.items() if name not in KNOWN and not math.isnan(number(value))}
    return {"text": str(values["output"]), "numbers": numbers}
