"""Published Pass@1 in percent, to stand beside one's own.

The eight models of DeepScaleR's README (n 16, temperature 0.6, top-p 0.95, 32,768 tokens), and two independent
measurements of the last one and its base, which show how far the same weights differ between laboratories.
"""

from dataclasses import dataclass

from deepscaler.data.sources import PUBLISHED_BENCHMARKS

_README = "DeepScaleR README"
_SOBER = "Sober Look, T 0.8, p 0.9"


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """One row of a table in the literature."""

    model: str
    source: str
    scores: dict[str, float]
    """Pass@1 in percent by benchmark; absent where it was not reported."""
    deviations: dict[str, float]
    """Standard deviation over seeds, in percentage points, where reported."""


def _row(model: str, source: str, *scores: float | None, deviations: tuple[float, ...] = ()) -> PublishedResult:
    named = {name: score for name, score in zip(PUBLISHED_BENCHMARKS, scores, strict=True) if score is not None}
    return PublishedResult(model, source, named, dict(zip(named, deviations, strict=False)))


PUBLISHED: tuple[PublishedResult, ...] = (
    # in the order AIME 2024, MATH-500, AMC, Minerva, OlympiadBench
    _row("Qwen2.5-Math-7B-Instruct", _README, 13.3, 79.8, 50.6, 34.6, 40.7),
    _row("rStar-Math-7B", _README, 26.7, 78.4, 47.5, None, 47.1),
    _row("Eurus-2-7B-PRIME", _README, 26.7, 79.2, 57.8, 38.6, 42.1),
    _row("Qwen2.5-7B-SimpleRL", _README, 26.7, 82.4, 62.5, 39.7, 43.3),
    _row("DeepSeek-R1-Distill-Qwen-1.5B", _README, 28.8, 82.8, 62.9, 26.5, 43.3),
    _row("Still-1.5B", _README, 32.5, 84.4, 66.7, 29.0, 45.4),
    _row("DeepScaleR-1.5B-Preview", _README, 43.1, 87.8, 73.6, 30.2, 50.0),
    _row("O1-Preview", _README, 40.0, 81.4, None, None, None),
    _row("DeepSeek-R1-Distill-Qwen-1.5B", _SOBER, 28.7, 84.9, 71.5, 30.5, 52.4, deviations=(4.8, 0.3, 3.9, 1.0, 0.4)),
    _row("DeepScaleR-1.5B-Preview", _SOBER, 37.0, 87.8, 76.2, 31.0, 55.5, deviations=(6.6, 1.0, 4.6, 1.5, 1.1)),
)


def results_for(datasets: list[str]) -> list[PublishedResult]:
    """The rows that say something about at least one of the data sets."""
    return [result for result in PUBLISHED if any(name in result.scores for name in datasets)]
