"""Reads an evaluation's folder, finished or in progress, as a source for the page."""

from collections import Counter
from pathlib import Path, PurePath
from typing import Any

from deepscaler.data.sources import title
from deepscaler.output.cells import short_name
from deepscaler.rewards.grade import Grade
from deepscaler.view.budget import budget_of
from deepscaler.view.source import UNREADABLE, VERDICTS, Row, Source, read_lines, unreadable_lines
from evaluation.folder import EvaluationFolder
from evaluation.protocols import samples_of
from evaluation.samples import Sample, parse_sample
from evaluation.score import read_grades

FACTS = ("protocol", "num_samples", "temperature", "top_p", "max_tokens", "seed", "thinking", "engine", "weights")
"""Options that show a reader how the samples were drawn."""

MAX_FACT = 19
"""Most characters of a value, which leaves a dozen digits of the weights' hash."""

UNGRADED = VERDICTS.index("ungraded")


def sample_files(folder: EvaluationFolder) -> list[Path]:
    """Returns the files of samples: the evaluation's own, and those of running engines."""
    datasets = folder.read_config()["datasets"]
    files = [one.samples_path(name) for name in datasets for one in (folder, *folder.shards())]
    return [path for path in files if path.is_file()]


def read_evaluation(root: Path) -> Source:
    """Returns an evaluation as a source. Raises UserError if the folder is not an evaluation or is damaged."""
    folder = EvaluationFolder(root)
    config = folder.read_config()
    problems: list[dict[str, Any]] = []
    sets: list[dict[str, Any]] = []
    rows: list[Row] = []
    lost = wanted = 0
    for name in config["datasets"]:
        if not folder.problems_path(name).is_file():
            continue
        own = folder.read_problems(name)
        numbers = {one["id"]: len(problems) + place for place, one in enumerate(own)}
        found, broken = _read_rows(folder, name, len(sets), numbers)
        problems += [{"id": one["id"], "text": one["problem"], "golds": one["golds"]} for one in own]
        sets.append({"name": title(name)})
        wanted += 0 if "imported" in config else len(own) * samples_of(config, name)
        rows += found
        lost += broken
    if not any(row.length for row in rows):  # an imported file may not give lengths
        rows = [row._replace(length=-1) for row in rows]
    # Not by whole rows: a reward of NaN is neither less nor more than another.
    rows.sort(key=lambda row: row[:3])
    return Source(
        kind="evaluation",
        name=name_of(str(config["model"])),
        folder=root,
        unit="tokens",
        facts={
            name: "unknown" if config[name] is None else str(config[name])[:MAX_FACT]
            for name in FACTS
            if name in config
        },
        sets=sets,
        problems=problems,
        rows=rows,
        read=_details,
        notes=[*_notes(rows, wanted, config, root), *unreadable_lines(lost)],
        more={"budget": budget_of(rows, len(sets), config.get("max_tokens"))},
    )


def _read_rows(folder: EvaluationFolder, name: str, number: int, numbers: dict[str, int]) -> tuple[list[Row], int]:
    """Returns a benchmark's rows, each (problem, sample) once, and the number of lines that are not samples."""
    grades = read_grades(folder, name)
    rows: dict[tuple[str, int], Row] = {}
    lost = 0
    for one in (folder, *folder.shards()):
        path = one.samples_path(name)
        if not path.is_file():
            continue
        for place, line in read_lines(path):
            try:
                sample = parse_sample(line)
                problem = numbers[sample.problem_id]
            except UNREADABLE:
                lost += 1
                continue
            grade = grades.get(sample.key)
            row = Row(
                set=number,
                problem=problem,
                sample=sample.sample,
                verdict=VERDICTS.index(grade.reason) if grade and grade.reason in VERDICTS else UNGRADED,
                cut_off=sample.finish_reason == "length",
                length=sample.response_tokens,
                reward=float("nan"),
                place=place,
                answer=_answer(grade),
            )
            rows.setdefault(sample.key, row)  # gathering copies a shard's samples before it removes the shard
    return list(rows.values()), lost


def name_of(model: str) -> str:
    """Returns a model's name for people; a run's merged model, which is called `model`, has the run's name."""
    path = PurePath(model)
    return short_name(str(path.parent) if path.name == "model" and path.parent.name else model)


def _answer(grade: Grade | None) -> str | None:
    return grade.answer if grade and isinstance(grade.answer, str) else None


def _details(line: bytes) -> dict[str, Any]:
    sample: Sample = parse_sample(line)
    numbers = {"prompt tokens": sample.prompt_tokens, "seed": str(sample.seed)}
    seconds = sample.finished - sample.started
    return {"text": sample.text, "numbers": {**numbers, "seconds": round(seconds, 1)} if seconds > 0 else numbers}


def _notes(rows: list[Row], wanted: int, config: dict[str, Any], root: Path) -> list[str]:
    notes = []
    if "imported" in config:
        notes.append(f"Imported from {config['imported'].get('file')} of {config['imported'].get('format')}.")
    elif len(rows) < wanted:
        most = "up to " if config.get("until") else ""  # --until may end drawing early
        notes.append(f"So far {len(rows):,} of {most}{wanted:,} samples are drawn.")
    missing = Counter(row.verdict for row in rows)[UNGRADED]
    if missing:
        notes.append(f"{missing:,} samples have no grade yet; run: deepscaler report {root}")
    if not rows:
        notes.append("There are no samples yet.")
    return notes
