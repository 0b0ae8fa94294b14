"""Writes and reads report.json, which holds an evaluation's numbers; no other module does.

{"schema": 1, "grader": "kit", "config": {"num_samples": 16, ...}, "average": 0.57, "warnings": [], "provenance": {...},
 "benchmarks": {"aime": {"problems": 30, "samples": 480, "samples_expected": 480,
                         "pass@1": {"value": 0.431, "low": 0.27, "high": 0.6}, "pass@k": {"1": 0.431, ...}, ...}}}
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepscaler.output.cells import Interval
from deepscaler.system.errors import UserError
from deepscaler.system.files import read_json, write_json

SCHEMA = 1
"""Version of the format. It rises when a field changes its meaning; a reader refuses other versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Summarizes the lengths of responses, in tokens."""

    mean: float
    median: int
    p95: int
    max: int

    @classmethod
    def of(cls, lengths: list[int]) -> "Lengths | None":
        """Returns the summary, or None for no responses."""
        if not lengths:
            return None
        ordered = sorted(lengths)
        return cls(
            mean=sum(ordered) / len(ordered),
            median=ordered[len(ordered) // 2],
            p95=ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)],
            max=ordered[-1],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResults:
    """Holds the numbers of one benchmark. Shares and rates are in 0..1."""

    num_problems: int
    num_samples: int
    """Samples that were scored."""
    num_expected: int
    """Samples that were requested."""
    pass_at_1: Interval
    pass_at_k: dict[int, float]
    majority: float
    truncated: float
    """Share of responses that were cut off at the token limit."""
    reasons: dict[str, int]
    """Number of samples by the outcome of grading: correct, wrong, no_box, ..."""
    response_tokens: dict[str, Lengths | None]
    """Lengths of all, correct and wrong responses; None if there are none."""
    problem_pass_rates: dict[str, float]
    """Share of correct samples by problem id; under `--until` the mean of two halves."""
    these_problems: Interval | None = None
    """Pass@1 with its interval over repeated sampling of the same problems, under `--until`."""

    def to_json(self) -> dict[str, Any]:
        """Returns the benchmark's entry in report.json."""
        return {
            "problems": self.num_problems,
            "samples": self.num_samples,
            "samples_expected": self.num_expected,
            "pass@1": asdict(self.pass_at_1),
            "pass@k": {str(k): value for k, value in self.pass_at_k.items()},
            "maj@n": self.majority,
            "truncated": self.truncated,
            "reasons": self.reasons,
            "response_tokens": {
                name: asdict(lengths) if lengths else None for name, lengths in self.response_tokens.items()
            },
            "problem_pass_rates": self.problem_pass_rates,
            **({"pass@1_these_problems": asdict(self.these_problems)} if self.these_problems else {}),
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "BenchmarkResults":
        """Reads what `to_json` wrote. Raises KeyError, TypeError, ValueError or AttributeError for anything else."""
        return cls(
            num_problems=int(found["problems"]),
            num_samples=int(found["samples"]),
            num_expected=int(found["samples_expected"]),
            pass_at_1=_interval(found["pass@1"]),
            # JSON's keys are texts.
            pass_at_k={int(k): float(value) for k, value in found["pass@k"].items()},
            majority=float(found["maj@n"]),
            truncated=float(found["truncated"]),
            reasons={str(reason): int(count) for reason, count in found["reasons"].items()},
            response_tokens={
                name: Lengths(**lengths) if lengths else None for name, lengths in found["response_tokens"].items()
            },
            problem_pass_rates={problem: float(rate) for problem, rate in found["problem_pass_rates"].items()},
            these_problems=_interval(found["pass@1_these_problems"]) if "pass@1_these_problems" in found else None,
        )


def _interval(found: dict[str, Any]) -> Interval:
    return Interval(*(float(found[end]) for end in ("value", "low", "high")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Holds the numbers of an evaluation and the options behind them."""

    grader: str
    config: dict[str, Any]
    """Options of `deepscaler evaluate` that the samples depend on."""
    benchmarks: dict[str, BenchmarkResults]
    average: float | None
    """Mean Pass@1 of the published benchmarks; None unless all of them were run."""
    warnings: list[str]
    provenance: dict[str, Any]

    @property
    def pass_at_1(self) -> dict[str, Interval]:
        """Returns Pass@1 by benchmark."""
        return {name: one.pass_at_1 for name, one in self.benchmarks.items()}


def write_results(path: Path, results: Results) -> None:
    """Writes report.json, whole or not at all."""
    write_json(
        path,
        {
            "schema": SCHEMA,
            "grader": results.grader,
            "config": results.config,
            "benchmarks": {name: one.to_json() for name, one in results.benchmarks.items()},
            "average": results.average,
            "warnings": results.warnings,
            "provenance": results.provenance,
        },
    )


def read_results(path: Path) -> Results:
    """Reads report.json. Raises UserError if another version or program wrote it."""
    report = read_json(path)
    try:
        if report["schema"] != SCHEMA:
            raise ValueError(f"schema {report['schema']!r} instead of {SCHEMA}")
        return Results(
            grader=str(report["grader"]),
            config=dict(report["config"]),
            benchmarks={str(name): BenchmarkResults.from_json(one) for name, one in report["benchmarks"].items()},
            average=None if report["average"] is None else float(report["average"]),
            warnings=[str(warning) for warning in report["warnings"]],
            provenance=dict(report["provenance"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        advice = f"write it again: deepscaler report {path.parent}"
        raise UserError(
            f"{path} is not a report of this version of `deepscaler evaluate` ({error!r}); {advice}"
        ) from error
