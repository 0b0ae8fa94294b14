"""Turns another program's samples into an evaluation's folder, with their verdicts kept beside this kit's.

theirs/aime.jsonl   {"problem_id": "aime/2024-I-1", "sample": 3, "score": 1.0}
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from deepscaler.data.prepare import present_problems
from deepscaler.data.problem import SUFFIX, Problem, ask
from deepscaler.data.sources import SOURCES
from deepscaler.system.errors import UserError
from deepscaler.system.files import sha256, write_json, write_text
from deepscaler.system.paths import data_dir
from evaluation.config import thinks
from evaluation.exchange.child import read_found
from evaluation.exchange.found import Found
from evaluation.folder import EvaluationFolder
from evaluation.protocols import Thinking
from evaluation.samples import Sample, SampleStore

SHORTEST = 20
"""Least characters of a benchmark's problem to search for within a prompt; a shorter one must be the whole prompt."""
PARTS = ("problems", "samples", "theirs")
"""Folders that an import writes before it writes config.json."""
BEGUN = ".importing"
"""File that says that these folders are of an import that has not ended."""
UNTOLD = ("revision", "temperature", "top_p", "max_tokens", "seed", "dtype")
"""Options that a file may leave out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Holds imported samples by data set, each with the problem that it answers."""

    problems: dict[str, dict[str, Problem]]
    """Problems by data set and id."""
    samples: dict[str, list[tuple[Sample, Found]]]

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Returns the numbers of problems and samples of each data set."""
        return {name: (len(self.problems[name]), len(samples)) for name, samples in self.samples.items()}


def read_import(file: Path, form: str, columns: dict[str, str], source: Path | None) -> Imported:
    """Returns a file's samples. A problem of a benchmark on this machine gets the benchmark's id and golds."""
    with tempfile.TemporaryDirectory() as temporary:
        found = read_found(file, form, columns, Path(temporary, "found.jsonl"))
    if not found:
        raise UserError(f"{file} holds no responses; give a file with at least one")
    known = _of_benchmarks({_plain(one.question) for one in found}, source)
    problems: dict[str, dict[str, Problem]] = {}
    samples: dict[str, list[tuple[Sample, Found]]] = {}
    seen: Counter[str] = Counter()
    for one in found:
        problem = known.get(_plain(one.question)) or _own_problem(one)
        name = problem.data_source
        problems.setdefault(name, {}).setdefault(problem.id, problem)
        samples.setdefault(name, []).append((_sample(one, problem.id, seen[problem.id]), one))
        seen[problem.id] += 1
    return Imported(problems=problems, samples=samples)


def write_import(imported: Imported, root: Path, file: Path, form: str, model: str, thinking: Thinking) -> None:
    """Writes the evaluation's folder. Raises UserError if it holds an evaluation already."""
    folder = EvaluationFolder(root)
    check_new(root)
    pairs = [pair for several in imported.samples.values() for pair in several]
    told = next((one.told for _, one in pairs if one.told), {})
    digest = sha256(file)
    if thinking == "auto":
        thinking = "yes" if any(thinks(sample.text) for sample, _ in pairs) else "no"
    with folder.held():
        check_new(root)  # again: another import may have ended since
        _remove_half_an_import(root)
        for name, by_id in imported.problems.items():
            prompts = {sample.problem_id: ask(one.question, suffix="") for sample, one in imported.samples[name]}
            folder.write_problems(name, list(by_id.values()), prompts)
            with SampleStore(folder.samples_path(name)) as store:
                for sample, _ in imported.samples[name]:
                    store.append(sample)
            _write_theirs(folder, name, imported.samples[name])
        # last: without this file the folder is not an evaluation, so after a kill an import starts over
        write_json(
            folder.config_path,
            {
                "model": model or str(told.get("model") or file.stem),
                "datasets": list(imported.problems),
                **{name: told.get(name) for name in UNTOLD},
                "limit": 0,
                "num_samples": 1 + max(sample.sample for sample, _ in pairs),
                "thinking": thinking,
                "engine": "imported",
                "weights": f"imported:{digest[:16]}",
                "imported": {"format": form, "file": file.name, "sha256": digest},
            },
        )
        (root / BEGUN).unlink()


def check_new(root: Path) -> None:
    """Raises UserError if a folder holds an evaluation."""
    if EvaluationFolder(root).is_bound:
        raise UserError(f"{root} holds an evaluation already; give another --output-dir, or remove it")


def _remove_half_an_import(root: Path) -> None:
    """Removes what an import that was killed has left, so that this one's samples are not mixed with another model's.

    Raises UserError if the folders are not an import's, and marks those that follow as one.
    """
    for folder in (root / name for name in PARTS):
        if not folder.exists():
            continue
        if not (root / BEGUN).exists():
            raise UserError(f"{folder} exists, and no import has made it; give another --output-dir, or remove it")
        shutil.rmtree(folder)
    (root / BEGUN).touch()


def disagreements(folder: EvaluationFolder, dataset: str, grades: dict[tuple[str, int], bool]) -> str:
    """Returns in words how often this kit's grader and the file's differ; empty if the file has no verdicts."""
    path = theirs_path(folder, dataset)
    if not path.is_file():
        return ""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    keyed = [((row["problem_id"], row["sample"]), bool(row["score"])) for row in rows]
    both = [(theirs, grades[key]) for key, theirs in keyed if key in grades]
    stricter = sum(theirs and not ours for theirs, ours in both)
    milder = sum(ours and not theirs for theirs, ours in both)
    return (
        f"the file's own grader disagrees on {stricter + milder:,} of {len(both):,} samples"
        f" (right there and wrong here {stricter:,}, wrong there and right here {milder:,})"
    )


def theirs_path(folder: EvaluationFolder, dataset: str) -> Path:
    """Returns the path of an imported file's verdicts."""
    return folder.root / "theirs" / f"{dataset}.jsonl"


def _write_theirs(folder: EvaluationFolder, dataset: str, pairs: list[tuple[Sample, Found]]) -> None:
    rows = [
        {"problem_id": sample.problem_id, "sample": sample.sample, "score": one.score}
        for sample, one in pairs
        if one.score is not None
    ]
    if rows:
        write_text(theirs_path(folder, dataset), "".join(json.dumps(row) + "\n" for row in rows))


def _of_benchmarks(questions: set[str], source: Path | None) -> dict[str, Problem]:
    """Returns the benchmark problem that each question equals or contains; the longest, if there are several."""
    problems: list[tuple[str, Problem]] = []
    for name in SOURCES:
        present = _present(name, source)
        problems += [(_plain(problem.question.removesuffix(SUFFIX)), problem) for problem in present or ()]
    exact = dict(reversed(problems))  # reversed, so the first data set of the table wins
    long = sorted(((text, problem) for text, problem in problems if len(text) >= SHORTEST), key=lambda p: -len(p[0]))
    found = {
        question: exact.get(question) or next((problem for text, problem in long if text in question), None)
        for question in questions
    }
    # A worked example in every prompt is not a match: each problem must match only one distinct prompt.
    times = Counter(problem.id for problem in found.values() if problem)
    return {question: problem for question, problem in found.items() if problem and times[problem.id] == 1}


def _present(name: str, source: Path | None) -> list[Problem] | None:
    entry = SOURCES[name]
    if entry.split != "test" or not entry.is_checked:
        return None
    given = source if source and (source / entry.file).is_file() else None
    return present_problems(name, data_dir(), given)


def _own_problem(one: Found) -> Problem:
    name = re.sub(r"[^\w.-]+", "-", one.dataset, flags=re.ASCII).strip("-.")[:80] or "samples"
    key = hashlib.sha256(_plain(one.question).encode("utf-8", "replace")).hexdigest()[:16]
    name = f"{name}-imported" if name in SOURCES else name  # not the kit's set of that name
    return Problem(id=f"{name}/{key}", data_source=name, prompt=ask(one.question, suffix=""), golds=one.golds)


def _plain(question: str) -> str:
    return " ".join(question.split())


def _sample(one: Found, problem_id: str, number: int) -> Sample:
    return Sample(
        problem_id=problem_id,
        sample=number,
        text=one.text,
        prompt_tokens=0,
        response_tokens=one.response_tokens,
        finish_reason=one.finish_reason,
        seed=0,
        started=0.0,
        finished=0.0,
    )


def plan_lines(imported: Imported, root: Path) -> list[str]:
    """Returns a line for each data set that would be written."""
    return [
        f"{name}: {problems:,} problems, {samples:,} samples"
        + (" (a benchmark of the kit)" if name in SOURCES else "")
        + f" -> {EvaluationFolder(root).samples_path(name)}"
        for name, (problems, samples) in imported.counts.items()
    ]
