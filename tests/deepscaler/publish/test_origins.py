"""A card lists every set of a training, and not the files that the run made of them."""

import re
from typing import Any

from deepscaler.data.compose import TRAIN, VALIDATION
from deepscaler.data.sources import SOURCES
from deepscaler.publish.origins import data_table


def manifest(data: dict[str, str], sets: dict[str, Any]) -> dict[str, Any]:
    return {"stages": [{"data": data, "sets": sets}]}


def test_an_authors_parquet_is_listed_and_the_runs_own_files_are_not() -> None:
    data = {TRAIN: "aa", VALIDATION: "bb", "mine.parquet": "cc"}
    table = data_table(manifest(data, {"mine.parquet": {"rows": 1200}}))
    assert "| mine.parquet | 1,200 | `cc` | a file of the author's, not published here | unknown |" in table
    assert TRAIN not in table
    assert VALIDATION not in table


def test_a_set_of_the_kit_has_its_cards_license_or_the_place_to_look() -> None:
    names = ("deepscaler", "math_beyond", "hmmt25", "amc23", "aime", "arithmetic_train", "hub:nobody/nothing@ab:train")
    table = data_table(manifest(dict.fromkeys(names, "aa"), {"deepscaler": {"revision": "b6ae8c6"}}))
    rows = {row.split(" | ")[0].strip("| "): row.rstrip(" |").split(" | ")[-2:] for row in table.splitlines()[2:]}
    hub = "https://huggingface.co/datasets"
    assert rows["deepscaler"] == [f"{hub}/agentica-org/DeepScaleR-Preview-Dataset @ b6ae8c6", "mit"]
    assert rows["math_beyond"] == [f"{hub}/brendel-group/MATH-Beyond @ unknown revision", "mit"]
    assert rows["hmmt25"] == ["https://github.com/thunlp/JustRL @ unknown revision", "cc-by-nc-sa-4.0"]
    assert rows["amc23"][1] == f"unknown, see {hub}/math-ai/amc23"
    assert rows["aime"][1] == "unknown, see https://github.com/agentica-project/deepscaler"
    assert rows["arithmetic_train"][1] == "none: generated"
    assert rows["hub:nobody/nothing@ab:train"][1] == f"unknown, see {hub}/nobody/nothing"


def test_every_set_that_is_downloaded_has_a_place() -> None:
    assert all(re.fullmatch(r"https://\S+/[\w.-]+/[\w.-]+", one.home) for one in SOURCES.values() if one.file)
