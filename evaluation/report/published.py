"""Published Pass@1 in percent, to stand beside one's own, each with the protocol that it was measured by.

The eight models of DeepScaleR's README; other measurements of the last one and its base, which show how far the same
weights differ between laboratories and protocols, up to 9 points; the models of the recipes that others published.

JustRL's AMC 2023 is another set (40 problems) than `amc`, and is left out.
"""

from dataclasses import dataclass

README = "DeepScaleR README"
_SOBER = "Sober Look"
_FASTCURL = "FastCuRL README"
_JUSTRL = "JustRL README"

PROTOCOLS = {
    README: "n 16, T 0.6, top-p 0.95, 32,768 tokens, rules",
    _SOBER: "means over seeds, T 0.8, top-p 0.9, rules",
    _FASTCURL: "n 16, T 0.6, top-p 1, 32,768 tokens, rules",
    _JUSTRL: "n 32 (AIME) or 4, T 0.7, top-p 0.9, 31,744 tokens, rules and a model that verifies",
}
"""How each source measured; a model's figure means something beside others of the same protocol."""


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """One row of a table in the literature."""

    model: str
    source: str
    scores: dict[str, float]
    """Pass@1 in percent by benchmark; absent where it was not reported."""
    deviations: dict[str, float]
    """Standard deviation over seeds, in percentage points, where reported."""

    @property
    def told(self) -> str:
        """Returns the source with its protocol: what stands beside a figure wherever it is shown."""
        return f"{self.source} ({PROTOCOLS[self.source]})"


def _row(model: str, source: str, deviations: dict[str, float] | None = None, **scores: float) -> PublishedResult:
    return PublishedResult(model, source, scores, deviations or {})


PUBLISHED: tuple[PublishedResult, ...] = (
    _row("Qwen2.5-Math-7B-Instruct", README, aime=13.3, math=79.8, amc=50.6, minerva=34.6, olympiad_bench=40.7),
    _row("rStar-Math-7B", README, aime=26.7, math=78.4, amc=47.5, olympiad_bench=47.1),
    _row("Eurus-2-7B-PRIME", README, aime=26.7, math=79.2, amc=57.8, minerva=38.6, olympiad_bench=42.1),
    _row("Qwen2.5-7B-SimpleRL", README, aime=26.7, math=82.4, amc=62.5, minerva=39.7, olympiad_bench=43.3),
    _row("DeepSeek-R1-Distill-Qwen-1.5B", README, aime=28.8, math=82.8, amc=62.9, minerva=26.5, olympiad_bench=43.3),
    _row("Still-1.5B", README, aime=32.5, math=84.4, amc=66.7, minerva=29.0, olympiad_bench=45.4),
    _row("DeepScaleR-1.5B-Preview", README, aime=43.1, math=87.8, amc=73.6, minerva=30.2, olympiad_bench=50.0),
    _row("O1-Preview", README, aime=40.0, math=81.4),
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
    _row("FastCuRL-1.5B-V3", _FASTCURL, aime=49.6, math=90.5, amc=78.5, minerva=34.7, olympiad_bench=54.5),
    _row(
        "DeepSeek-R1-Distill-Qwen-1.5B",
        _JUSTRL,
        aime=29.9,
        aime25=22.4,
        math=84.9,
        minerva=34.7,
        olympiad_bench=46.0,
    ),
    _row(
        "DeepScaleR-1.5B-Preview",
        _JUSTRL,
        aime=40.2,
        aime25=28.7,
        math=89.3,
        minerva=39.3,
        olympiad_bench=52.8,
    ),
    _row("ProRL-V2", _JUSTRL, aime=51.9, aime25=35.7, math=92.0, minerva=49.0, olympiad_bench=67.8),
    _row("JustRL-DeepSeek-1.5B", _JUSTRL, aime=52.6, aime25=38.8, math=91.7, minerva=51.5, olympiad_bench=68.0),
    _row("OpenMath-Nemotron-1.5B", _JUSTRL, aime=58.8, aime25=48.4, math=92.4, minerva=26.9, olympiad_bench=71.7),
    _row("JustRL-Nemotron-1.5B", _JUSTRL, aime=69.7, aime25=62.9, math=94.2, minerva=30.2, olympiad_bench=76.6),
)


def results_for(datasets: list[str]) -> list[PublishedResult]:
    """Returns the rows that say something about at least one of the data sets."""
    return [result for result in PUBLISHED if any(name in result.scores for name in datasets)]
