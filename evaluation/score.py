"""Turns samples into grades and grades into numbers. The step uses only the folder, so it can be repeated at any time.

scores/aime.jsonl   {"problem_id": "aime/2024-I-1", "sample": 3, "correct": true, "reason": "correct", "answer": "204"}
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deepscaler.output.cells import Interval
from deepscaler.rewards import Grade, grade
from deepscaler.rewards.answers.equivalence import compare
from deepscaler.rewards.answers.literals import decide_cheaply
from deepscaler.rewards.grade import Golds, Mode
from deepscaler.rewards.workers.pool import shared_pool
from deepscaler.system.errors import UserError
from deepscaler.system.files import reason, write_text
from evaluation.folder import EvaluationFolder
from evaluation.protocols import samples_of
from evaluation.samples import Sample, read_samples
from evaluation.statistics import clustered_interval, ks, majority_at_n, pass_at_1, pass_at_k
from evaluation.until import Halves, estimate, halves_of, means_of, num_fixed, numbers_of, plan

NUM_THREADS = 8
"""Threads that grade. Each waits for a worker process in the rare hard case; the cheap cases share the GIL anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Holds a sample and its grade."""

    sample: Sample
    grade: Grade


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkScores:
    """Holds all that a report says about one benchmark."""

    dataset: str
    num_problems: int
    num_samples: int
    """Samples per problem that were requested, at most."""
    num_expected: int
    scored: list[Scored]
    pass_at_1: Interval
    pass_at_k: dict[int, float]
    """Pass@k by k, up to the fewest samples that any problem has; under `--until` up to the first samples."""
    majority: float
    reasons: dict[str, int]
    num_truncated: int
    problem_means: dict[str, float]
    """Share of correct samples by problem id; problems without a sample are left out."""
    these_problems: Interval | None = None
    """Pass@1 with the interval that `--until` narrows, over repeated sampling of exactly these problems."""

    @property
    def is_complete(self) -> bool:
        """Returns whether every requested sample is there."""
        return len(self.scored) == self.num_expected

    def lengths(self, correct: bool | None = None) -> list[int]:
        """Returns response lengths in tokens, of all samples or of the (in)correct ones."""
        return [s.sample.response_tokens for s in self.scored if correct in (None, s.grade.correct)]


def score_benchmark(
    folder: EvaluationFolder, dataset: str, config: dict[str, Any], mode: Mode, advance: Callable[[], None]
) -> BenchmarkScores | None:
    """Grades a benchmark's samples, writes the grades to the folder and returns its numbers; None without samples."""
    problems = {problem["id"]: problem for problem in folder.read_problems(dataset)}
    order = {problem_id: index for index, problem_id in enumerate(problems)}
    num_samples = samples_of(config, dataset)
    expected = range(num_samples)
    samples = read_samples(folder.samples_path(dataset))
    # a folder may hold more than its options request, because --num-samples may be lowered later
    samples = [s for s in samples if s.problem_id in problems and s.sample in expected]
    samples.sort(key=lambda s: (order[s.problem_id], s.sample))  # the file has the order in which they finished
    if not samples:
        return None
    shared_pool().warm_up()
    with_golds = [(s, problems[s.problem_id]["golds"]) for s in samples]
    scored = grade_samples(with_golds, thinking=config["thinking"] == "yes", mode=mode, advance=advance)
    _write_scores(folder.scores_path(dataset, mode), scored)
    return summarize(dataset, len(problems), num_samples, scored, config.get("until") or 0.0)


def read_scored(folder: EvaluationFolder, dataset: str, mode: Mode = "kit") -> list[Scored]:
    """Returns a benchmark's samples with the grades of the last report, ordered by problem and sample number.

    Raises UserError if a sample has no grade yet.
    """
    grades = read_grades(folder, dataset, mode)
    samples = sorted(read_samples(folder.samples_path(dataset)), key=lambda sample: sample.key)
    if missing := sum(sample.key not in grades for sample in samples):
        raise UserError(f"{missing:,} samples in {folder.root} have no grade; {_report_first(folder, mode)}")
    return [Scored(sample=sample, grade=grades[sample.key]) for sample in samples]


def read_grades(folder: EvaluationFolder, dataset: str, mode: Mode = "kit") -> dict[tuple[str, int], Grade]:
    """Returns the grades of the last report by problem and sample number; empty if there was no report."""
    path = folder.scores_path(dataset, mode)
    try:
        # without the empty text after the last line's end
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        rows = [json.loads(line) for line in lines]
        return {(row["problem_id"], row["sample"]): Grade(row["correct"], row["answer"], row["reason"]) for row in rows}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({reason(error)}); {_report_first(folder, mode)}") from error


def _report_first(folder: EvaluationFolder, mode: Mode) -> str:
    return f"run `deepscaler report {folder.root}{'' if mode == 'kit' else f' --grader {mode}'}`"


def grade_samples(
    with_golds: Iterable[tuple[Sample, Golds]],
    *,
    thinking: bool,
    mode: Mode,
    advance: Callable[[], None] = lambda: None,
) -> list[Scored]:
    """Returns each sample with its grade, in the given order; calls `advance` after each."""

    def grade_one(one: tuple[Sample, Golds]) -> Scored:
        sample, golds = one
        verdict = grade(sample.text, golds, thinking=thinking, mode=mode)
        advance()
        return Scored(sample=sample, grade=verdict)

    with ThreadPoolExecutor(NUM_THREADS) as threads:
        return list(threads.map(grade_one, with_golds))


def summarize(
    dataset: str, num_problems: int, num_samples: int, scored: list[Scored], until: float = 0.0
) -> BenchmarkScores:
    """Returns a benchmark's numbers from its graded samples; `until` is the half width in points it was drawn to."""
    by_problem: dict[str, list[Scored]] = {}
    for one in scored:
        by_problem.setdefault(one.sample.problem_id, []).append(one)
    groups = list(by_problem.values())
    outcomes = [[one.grade.correct for one in group] for group in groups]
    votes = [_votes(group) for group in groups]
    fewest = min(len(group) for group in groups)
    scores = BenchmarkScores(
        dataset=dataset,
        num_problems=num_problems,
        num_samples=num_samples,
        num_expected=num_problems * num_samples,
        scored=scored,
        pass_at_1=pass_at_1(outcomes),
        pass_at_k={k: pass_at_k(outcomes, k) for k in ks(fewest)},
        majority=majority_at_n(votes, outcomes),
        reasons=dict(sorted(Counter(one.grade.reason for one in scored).items())),
        num_truncated=sum(one.sample.finish_reason == "length" for one in scored),
        problem_means={problem: float(np.mean(row)) for problem, row in zip(by_problem, outcomes, strict=True)},
    )
    return _by_halves(scores, by_problem, until / 100) if until and len(groups) == num_problems else scores


def _by_halves(scores: BenchmarkScores, by_problem: dict[str, list[Scored]], half_width: float) -> BenchmarkScores:
    """Returns the scores as `--until` changes them: unbiased means, their interval and the samples needed."""
    halves = _halves(by_problem)
    wanted = plan(halves, scores.num_samples, half_width)
    there = {one.sample.key for one in scores.scored}
    missing = sum((p, number) not in there for p, counts in wanted.items() for number in numbers_of(counts))
    scores = replace(scores, num_expected=len(scores.scored) + missing)
    if not _are_begun(halves):
        return scores
    means, these_problems = estimate(halves, half_width)
    interval = clustered_interval(list(means.values()), len(scores.scored))
    # Outcomes decide how many samples follow the first ones, so a larger k is estimated from the first ones alone.
    num_first = num_fixed(halves, half_width)
    first = [[*even[:num_first], *odd[:num_first]] for even, odd in halves.values()]
    return replace(
        scores,
        pass_at_1=interval,
        pass_at_k={k: interval.value if k == 1 else pass_at_k(first, k) for k in ks(2 * num_first)},
        problem_means=means,
        these_problems=these_problems,
    )


def unbiased_means(by_problem: Mapping[str, list[Scored]]) -> dict[str, float]:
    """Returns each problem's share of correct samples as `--until` estimates it; empty while a half has none."""
    halves = _halves(by_problem)
    return means_of(halves) if _are_begun(halves) else {}


def _halves(by_problem: Mapping[str, list[Scored]]) -> dict[str, Halves]:
    return {p: halves_of({one.sample.sample: one.grade.correct for one in group}) for p, group in by_problem.items()}


def _are_begun(halves: Mapping[str, Halves]) -> bool:
    return all(half for both in halves.values() for half in both)


def _votes(group: Iterable[Scored]) -> list[str | None]:
    """Returns a key for each answer of a problem: correct answers vote together, and so do equal wrong ones."""
    keys: list[str | None] = []
    seen: list[str] = []
    for one in group:
        answer = one.grade.answer
        if one.grade.correct or answer is None:
            keys.append("correct" if one.grade.correct else None)
            continue
        # Only the cheap comparison: pairs of wrong answers are many, and a missed match only splits a vote.
        alike = next((other for other in seen if compare(answer, other, decide_cheaply)), None)
        if alike is None:
            seen.append(answer)
        keys.append(f"answer:{alike or answer}")
    return keys


def _write_scores(path: Path, scored: list[Scored]) -> None:
    lines = [
        {
            "problem_id": one.sample.problem_id,
            "sample": one.sample.sample,
            "correct": one.grade.correct,
            "reason": one.grade.reason,
            "answer": one.grade.answer,
        }
        for one in scored
    ]
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
