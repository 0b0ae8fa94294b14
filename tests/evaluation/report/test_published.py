"""The published numbers, as their source adds them up."""

import pytest

from evaluation.protocols import PROTOCOLS
from evaluation.report.published import PUBLISHED, PublishedResult, results_for

AVERAGES = {
    ("deepscaler", "Qwen2.5-Math-7B-Instruct"): 43.8,
    ("deepscaler", "Eurus-2-7B-PRIME"): 48.9,
    ("deepscaler", "Qwen2.5-7B-SimpleRL"): 50.9,
    ("deepscaler", "DeepSeek-R1-Distill-Qwen-1.5B"): 48.9,
    ("deepscaler", "Still-1.5B"): 51.6,
    ("deepscaler", "DeepScaleR-1.5B-Preview"): 57.0,
    ("deepscaler", "FastCuRL-1.5B-V3"): 61.6,
    ("justrl", "DeepSeek-R1-Distill-Qwen-1.5B"): 37.65,
    ("justrl", "DeepScaleR-1.5B-Preview"): 44.88,
    ("justrl", "ProRL-V2"): 53.08,
    ("justrl", "JustRL-DeepSeek-1.5B"): 54.87,
    ("justrl", "OpenMath-Nemotron-1.5B"): 56.74,
    ("justrl", "QuestA-Nemotron-1.5B"): 63.81,
    ("justrl", "JustRL-Nemotron-1.5B"): 64.32,
}


def row_of(protocol: str, model: str) -> PublishedResult:
    (row,) = (row for row in PUBLISHED if (row.protocol, row.model) == (protocol, model))
    return row


def test_all_eight_models_of_the_readme_are_there() -> None:
    assert sum(result.source == "DeepScaleR README" for result in PUBLISHED) == 8


@pytest.mark.parametrize(("protocol", "model"), AVERAGES)
def test_rows_add_up_to_the_averages_their_source_gives(protocol: str, model: str) -> None:
    names, row = PROTOCOLS[protocol].mean, row_of(protocol, model)
    assert sum(row.scores[name] for name in names) / len(names) == pytest.approx(AVERAGES[protocol, model], abs=0.07)


def test_only_rows_of_a_protocol_that_say_something_are_shown() -> None:
    assert results_for(["arithmetic"], "deepscaler") == []
    assert "O1-Preview" not in {result.model for result in results_for(["amc"], "deepscaler")}
    assert {result.protocol for result in results_for(["aime"], "sober")} == {"sober"}
    assert {result.protocol for result in results_for(["aime"], "all")} == set(PROTOCOLS)
    assert results_for(["aime"], "None") == []


def test_no_protocol_has_two_rows_of_a_model() -> None:
    assert len({(row.model, row.protocol) for row in PUBLISHED}) == len(PUBLISHED)
    assert all(row.deviations.keys() <= row.scores.keys() for row in PUBLISHED)


def test_one_model_has_a_figure_for_each_protocol_that_measured_it() -> None:
    found = {row.protocol: row.scores["minerva"] for row in PUBLISHED if row.model == "DeepScaleR-1.5B-Preview"}
    assert found == {"deepscaler": 30.2, "sober": 31.0, "justrl": 39.34}


def test_the_83_problems_and_the_40_are_told_apart() -> None:
    assert {row.protocol for row in PUBLISHED if "amc" in row.scores} == {"deepscaler"}
    assert {row.protocol for row in PUBLISHED if "amc23" in row.scores} == {"justrl", "sober"}
