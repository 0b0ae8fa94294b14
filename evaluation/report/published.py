"""Holds published Pass@1 in percent for comparison with a run, each row with the protocol it was measured with.

The same weights differ by up to 20 points between protocols (JustRL-DeepSeek-1.5B on Minerva: 51.5 and 31.9). So a
report shows only rows of its own protocol. Sources and revisions are those of `evaluation.protocols`.
"""

from dataclasses import dataclass, field

from evaluation.protocols import ProtocolName


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedResult:
    """Holds one row of a table in the literature."""

    model: str
    protocol: ProtocolName
    source: str
    scores: dict[str, float]
    """Pass@1 in percent by benchmark; absent if it was not reported."""
    deviations: dict[str, float] = field(default_factory=dict)
    """Standard deviation in points over seeds, with one sample per problem for each; absent if not reported."""
    but: str = ""
    """The source's departure from the protocol."""

    @property
    def told(self) -> str:
        """Returns the source, with its departure from the protocol."""
        return f"{self.source} ({self.but})" if self.but else self.source


def _deepscaler(model: str, source: str = "DeepScaleR README", but: str = "", **scores: float) -> PublishedResult:
    return PublishedResult(model=model, protocol="deepscaler", source=source, scores=scores, but=but)


_JUSTRL = ("aime", "aime25", "amc23", "math", "minerva", "olympiad_bench", "hmmt25", "brumo25", "cmimc25")


def _justrl(model: str, *scores: float) -> PublishedResult:
    return PublishedResult(
        model=model, protocol="justrl", source="JustRL README", scores=dict(zip(_JUSTRL, scores, strict=True))
    )


_SOBER = ("aime", "aime25", "amc23", "math", "minerva", "olympiad_bench")


def _sober(model: str, *scores: tuple[float, float]) -> PublishedResult:
    """Returns the result for pairs of mean and standard deviation over seeds."""
    named = dict(zip(_SOBER, scores, strict=True))
    return PublishedResult(
        model=model,
        protocol="sober",
        source="Sober Look",
        scores={name: mean for name, (mean, _) in named.items()},
        deviations={name: deviation for name, (_, deviation) in named.items()},
    )


def _two(protocol: ProtocolName, source: str, model: str, aime: float, math: float) -> PublishedResult:
    return PublishedResult(model=model, protocol=protocol, source=source, scores={"aime": aime, "math": math})


_R1 = "DeepSeek-R1 README"
_OPEN_R1 = "open-r1 README"

PUBLISHED: tuple[PublishedResult, ...] = (
    _deepscaler("Qwen2.5-Math-7B-Instruct", aime=13.3, math=79.8, amc=50.6, minerva=34.6, olympiad_bench=40.7),
    _deepscaler("rStar-Math-7B", aime=26.7, math=78.4, amc=47.5, olympiad_bench=47.1),
    _deepscaler("Eurus-2-7B-PRIME", aime=26.7, math=79.2, amc=57.8, minerva=38.6, olympiad_bench=42.1),
    _deepscaler("Qwen2.5-7B-SimpleRL", aime=26.7, math=82.4, amc=62.5, minerva=39.7, olympiad_bench=43.3),
    _deepscaler("DeepSeek-R1-Distill-Qwen-1.5B", aime=28.8, math=82.8, amc=62.9, minerva=26.5, olympiad_bench=43.3),
    _deepscaler("Still-1.5B", aime=32.5, math=84.4, amc=66.7, minerva=29.0, olympiad_bench=45.4),
    _deepscaler("DeepScaleR-1.5B-Preview", aime=43.1, math=87.8, amc=73.6, minerva=30.2, olympiad_bench=50.0),
    _deepscaler("O1-Preview", aime=40.0, math=81.4),
    _deepscaler(
        "FastCuRL-1.5B-V3",
        "FastCuRL README",
        "top-p 1",
        **{"aime": 49.6, "math": 90.5, "amc": 78.5, "minerva": 34.7, "olympiad_bench": 54.5},
    ),
    _justrl("DeepSeek-R1-Distill-Qwen-1.5B", 29.90, 22.40, 63.82, 84.90, 34.65, 45.95, 13.44, 30.94, 12.89),
    _justrl("DeepScaleR-1.5B-Preview", 40.21, 28.65, 73.83, 89.30, 39.34, 52.79, 18.96, 40.00, 21.00),
    _justrl("ProRL-V2", 51.87, 35.73, 88.75, 92.00, 49.03, 67.84, 19.38, 47.29, 25.86),
    _justrl("JustRL-DeepSeek-1.5B", 52.60, 38.75, 91.02, 91.65, 51.47, 67.99, 21.98, 52.71, 25.63),
    _justrl("OpenMath-Nemotron-1.5B", 58.75, 48.44, 90.55, 92.40, 26.93, 71.70, 30.10, 61.67, 30.08),
    _justrl("QuestA-Nemotron-1.5B", 71.56, 62.08, 93.44, 92.95, 32.08, 72.28, 40.94, 67.50, 41.48),
    _justrl("JustRL-Nemotron-1.5B", 69.69, 62.92, 96.02, 94.15, 30.24, 76.59, 40.63, 66.88, 41.72),
    _sober(
        "DeepSeek-R1-Distill-Qwen-1.5B", (28.7, 4.8), (22.3, 5.2), (71.5, 3.9), (84.9, 0.3), (30.5, 1.0), (52.4, 0.4)
    ),
    _sober("Open-RS3", (29.7, 4.6), (24.7, 6.5), (69.2, 5.5), (84.2, 1.1), (28.6, 2.3), (51.8, 0.8)),
    _sober("STILL-3-1.5B-preview", (34.7, 5.5), (24.0, 6.4), (72.5, 5.4), (86.6, 1.9), (30.0, 0.6), (53.9, 1.5)),
    _sober("FastCuRL-1.5B-Preview", (36.3, 4.6), (26.5, 3.7), (76.9, 4.8), (87.5, 1.0), (30.8, 1.6), (56.7, 0.8)),
    _sober("DeepScaleR-1.5B-Preview", (37.0, 6.6), (30.3, 4.3), (76.2, 4.6), (87.8, 1.0), (31.0, 1.5), (55.5, 1.1)),
    _sober(
        "Nemotron-Research-Reasoning-Qwen-1.5B",
        *((48.3, 6.3), (33.0, 5.1), (87.0, 4.8), (91.0, 0.5), (37.5, 1.6), (62.8, 0.9)),
    ),
    _sober("JustRL-DeepSeek-1.5B", (43.3, 5.4), (32.7, 4.9), (88.0, 5.0), (87.7, 0.6), (31.9, 0.2), (50.4, 0.6)),
    _sober("JustRL-Nemotron-1.5B", (69.7, 4.0), (55.7, 3.9), (96.0, 2.4), (93.1, 0.4), (26.2, 0.8), (73.0, 0.6)),
    _sober("QuestA-Nemotron-1.5B", (76.0, 4.1), (63.3, 7.0), (96.0, 1.3), (92.7, 1.0), (28.4, 1.5), (73.7, 0.7)),
    _sober("VibeThinker-1.5B", (75.7, 3.9), (71.3, 7.7), (96.5, 2.1), (96.7, 0.5), (41.5, 1.3), (77.2, 0.2)),
    _two("lighteval", _OPEN_R1, "DeepSeek-R1-Distill-Qwen-1.5B", 30.7, 83.1),
    _two("lighteval", _OPEN_R1, "DeepSeek-R1-Distill-Qwen-7B", 50.8, 94.5),
    _two("lighteval", _OPEN_R1, "DeepSeek-R1-Distill-Qwen-14B", 65.9, 94.1),
    _two("lighteval", _OPEN_R1, "DeepSeek-R1-Distill-Qwen-32B", 69.7, 95.6),
    _two("r1", _R1, "DeepSeek-R1-Distill-Qwen-1.5B", 28.9, 83.9),
    _two("r1", _R1, "DeepSeek-R1-Distill-Qwen-7B", 55.5, 92.8),
    _two("r1", _R1, "DeepSeek-R1-Distill-Qwen-14B", 69.7, 93.9),
    _two("r1", _R1, "DeepSeek-R1-Distill-Qwen-32B", 72.6, 94.3),
)


def results_for(datasets: list[str], protocol: str) -> list[PublishedResult]:
    """Returns the rows of a protocol (or of `all`) that have a score for at least one of the data sets."""
    rows = [result for result in PUBLISHED if protocol in ("all", result.protocol)]
    return [result for result in rows if any(name in result.scores for name in datasets)]
