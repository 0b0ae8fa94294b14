"""Published Pass@1 in percent, to stand beside one's own.

The eight models of DeepScaleR's README (n 16, temperature 0.6, top-p 0.95, 32,768 tokens), and two independent
measurements of the last one and its base, which show how far the same weights differ between laboratories.
"""

from dataclasses import dataclass

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


def _row(model: str, source: str, deviations: dict[str, float] | None = None, **scores: float) -> PublishedResult:
    return PublishedResult(model, source, scores, deviations or {})


PUBLISHED: tuple[PublishedResult, ...] = (
    _row("Qwen2.5-Math-7B-Instruct", _README, aime=13.3, math=79.8, amc=50.6, minerva=34.6, olympiad_bench=40.7),
    _row("rStar-Math-7B", _README, aime=26.7, math=78.4, amc=47.5, olympiad_bench=47.1),
    _row("Eurus-2-7B-PRIME", _README, aime=26.7, math=79.2, amc=57.8, minerva=38.6, olympiad_bench=42.1),
    _row("Qwen2.5-7B-SimpleRL", _README, aime=26.7, math=82.4, amc=62.5, minerva=39.7, olympiad_bench=43.3),
    _row("DeepSeek-R1-Distill-Qwen-1.5B", _README, aime=28.8, math=82.8, amc=62.9, minerva=26.5, olympiad_bench=43.3),
    _row("Still-1.5B", _README, aime=32.5, math=84.4, amc=66.7, minerva=29.0, olympiad_bench=45.4),
    _row("DeepScaleR-1.5B-Preview", _README, aime=43.1, math=87.8, amc=73.6, minerva=30.2, olympiad_bench=50.0),
    _row("O1-Preview", _README, aime=40.0, math=81.4),
    _row(
        "DeepSeek-R1-Distill-Qwen-1.5B",
        _SOBER,
        **{"aime": 28.7, "math": 84.9, "amc": 71.5, "minerva": 30.5, "olympiad_bench": 52.4},
        deviations={"aime": 4.8, "math": 0.3, "amc": 3.9, "minerva": 1.0, "olympiad_bench": 0.4},
    ),
    _row(
        "DeepScaleR-1.5B-Preview",
        _SOBER,
        **{"aime": 37.0, "math": 87.8, "amc": 76.2, "minerva": 31.0, "olympiad_bench": 55.5},
        deviations={"aime": 6.6, "math": 1.0, "amc": 4.6, "minerva": 1.5, "olympiad_bench": 1.1},
    ),
)


def results_for(datasets: list[str]) -> list[PublishedResult]:
    """Returns the rows that say something about at least one of the data sets."""
    return [result for result in PUBLISHED if any(name in result.scores for name in datasets)]
