"""The published numbers, as their source adds them up."""

import pytest

from deepscaler.data.sources import PUBLISHED_BENCHMARKS
from evaluation.report.published import PUBLISHED, results_for

README_AVERAGES = {
    "Qwen2.5-Math-7B-Instruct": 43.8,
    "Eurus-2-7B-PRIME": 48.9,
    "Qwen2.5-7B-SimpleRL": 50.9,
    "DeepSeek-R1-Distill-Qwen-1.5B": 48.9,
    "Still-1.5B": 51.6,
    "DeepScaleR-1.5B-Preview": 57.0,
}


def test_all_eight_models_of_the_readme_are_there() -> None:
    assert sum(result.source == "DeepScaleR README" for result in PUBLISHED) == 8


@pytest.mark.parametrize(("model", "average"), README_AVERAGES.items())
def test_rows_add_up_to_the_averages_their_source_gives(model: str, average: float) -> None:
    row = next(r for r in PUBLISHED if r.model == model and r.source == "DeepScaleR README")
    assert sum(row.scores[name] for name in PUBLISHED_BENCHMARKS) / 5 == pytest.approx(average, abs=0.07)


def test_only_rows_that_say_something_are_shown() -> None:
    assert results_for(["arithmetic"]) == []
    assert "O1-Preview" not in {result.model for result in results_for(["amc"])}
