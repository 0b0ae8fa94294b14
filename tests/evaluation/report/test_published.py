"""The published numbers, as their source adds them up."""

import pytest

from deepscaler.data.sources import PUBLISHED_BENCHMARKS
from evaluation.report.published import PROTOCOLS, PUBLISHED, results_for

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


def test_every_row_says_how_it_was_measured() -> None:
    assert {result.source for result in PUBLISHED} == set(PROTOCOLS)
    assert all(PROTOCOLS[result.source] in result.told for result in PUBLISHED)
    assert len({(result.model, result.source) for result in PUBLISHED}) == len(PUBLISHED)


def test_one_model_has_a_figure_for_each_protocol_that_measured_it() -> None:
    found = {row.source: row.scores["minerva"] for row in PUBLISHED if row.model == "DeepScaleR-1.5B-Preview"}
    assert found == {"DeepScaleR README": 30.2, "Sober Look": 31.0, "JustRL README": 39.3}


def test_fastcurl_adds_up_to_the_average_its_source_gives() -> None:
    (row,) = (row for row in PUBLISHED if row.model == "FastCuRL-1.5B-V3")
    assert sum(row.scores[name] for name in PUBLISHED_BENCHMARKS) / 5 == pytest.approx(61.6, abs=0.07)
