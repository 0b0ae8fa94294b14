"""Opens one of the evaluations to compare: a folder of `deepscaler evaluate`, or a report.json, which has no texts.

open_side("A", Path("outputs/base"), "kit").read("aime").counts      {"aime/2024-I-1": (7, 16), ...}
"""

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

from deepscaler.output.cells import short_name
from deepscaler.rewards.grade import Mode
from deepscaler.system.errors import UserError
from deepscaler.system.files import file_size
from evaluation.folder import EvaluationFolder
from evaluation.results import Results, read_results
from evaluation.score import Scored, read_scored, unbiased_means

MOST_SAMPLES = 1_000_000
"""Most samples per problem that a report.json may claim; it bounds the search for fractions."""


@dataclass(frozen=True, slots=True)
class Graded:
    """Holds the grades of one evaluation on one benchmark."""

    counts: dict[str, tuple[int, int]]
    """Number of correct samples and of all samples by problem id; under `--until` numbers with the report's rate."""
    scored: dict[str, list[Scored]] = field(default_factory=dict)
    """Samples with their grades by problem id; empty for a report.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Holds one evaluation. It reads one benchmark at a time, because the texts of all would fill the memory."""

    name: str
    """A letter, because columns of tables are narrow."""
    path: Path
    config: dict[str, Any]
    provenance: dict[str, Any]
    grader: str
    datasets: list[str]
    folder: EvaluationFolder | None = None
    """The folder; None if only a report.json, and so only rates, are known."""
    results: Results | None = None

    @property
    def model(self) -> str:
        """Returns the model's name as one printable line."""
        return short_name(str(self.config.get("model", "unknown")))

    @property
    def chat_template(self) -> str | None:
        """Returns the hash of the model's chat template, if it is known."""
        return self.provenance.get("chat_template_sha256")

    def problems(self, dataset: str) -> dict[str, dict[str, Any]]:
        """Returns the question, golds and prompt hash by problem id; empty for a report.json."""
        return {one["id"]: one for one in self.folder.read_problems(dataset)} if self.folder else {}

    def read(self, dataset: str) -> Graded:
        """Returns the grades of one benchmark. Raises UserError if they cannot be read."""
        if self.folder is None:
            assert self.results is not None
            return Graded(counts_of(self.results, dataset, self.path))
        scored = read_scored(self.folder, dataset, "kit" if self.grader == "kit" else "deepscaler")
        # groupby joins neighbors only; read_scored has sorted them by problem.
        groups = {name: list(group) for name, group in groupby(scored, key=lambda one: one.sample.problem_id)}
        counts = {name: (sum(one.grade.correct for one in group), len(group)) for name, group in groups.items()}
        # The rates of the report: with --until outcomes decide how many samples there are, so a plain mean is biased.
        if self.config.get("until") and len(groups) == len(self.problems(dataset)):
            most = self.config.get("num_samples")
            for name, rate in unbiased_means(groups).items():
                counts[name] = to_counts(rate, most, counts[name][1], f"{self.path}: {name}")
        return Graded(counts, groups)


def open_side(name: str, path: Path, mode: Mode) -> Side:
    """Returns the evaluation at a path. Raises UserError if there is no scored evaluation."""
    folder = EvaluationFolder(path)
    # Whoever publishes an evaluation may leave its samples out; then its report still compares.
    has_samples = folder.is_bound and any(map(file_size, path.glob("samples/*.jsonl")))
    if path.is_file() or not has_samples:
        report = path if path.is_file() else folder.report_path("json", mode)
        if not report.is_file():
            raise UserError(
                f"{path} holds no scored evaluation: give the --output-dir of `deepscaler evaluate`, or a report.json"
            )
        results = read_results(report)
        return Side(
            name=name,
            path=path,
            config=results.config,
            provenance=results.provenance,
            grader=results.grader,
            datasets=list(results.benchmarks),
            results=results,
        )
    config = folder.read_config()
    return Side(
        name=name,
        path=path,
        config=config,
        provenance=folder.read_provenance(),
        grader=mode,
        datasets=[one for one in config["datasets"] if file_size(folder.samples_path(one))],
        folder=folder,
    )


def counts_of(results: Results, dataset: str, path: Path) -> dict[str, tuple[int, int]]:
    """Returns correct and drawn samples per problem from a report's rates. Raises UserError for impossible rates."""
    most, one = results.config.get("num_samples"), results.benchmarks[dataset]
    # A report gives only the total of all problems' samples.
    num_drawn = one.num_samples / max(len(one.problem_pass_rates), 1)
    return {
        problem: to_counts(rate, most, num_drawn, f"{path}: {problem}")
        for problem, rate in one.problem_pass_rates.items()
    }


def to_counts(rate: float, most: object, num_drawn: float, where: str) -> tuple[int, int]:
    """Returns the counts of correct and drawn samples with a rate, near to `num_drawn`.

    Raises UserError, naming `where`, if no count up to `most` can have it.
    """
    if not 0 <= rate <= 1 or not isinstance(most, int) or not 0 < most <= MOST_SAMPLES:
        raise UserError(f"{where} has an impossible rate of {rate} over {most} samples; write the report again")
    exact = Fraction(rate).limit_denominator(most)
    # So the rate of up to `most` samples is exact, and that of two halves' mean almost (a mean over problems to some
    # hundredths of a point). The number of samples is the nearest multiple of the denominator.
    times = max(1, round(num_drawn / exact.denominator))
    return exact.numerator * times, exact.denominator * times
