"""All data sets, one row each: where it comes from, pinned, and what the kit does with it.

aime    30 problems    deepscaler/data/test/aime.json @ 95ef74f    {"problem": ..., "answer": "025", "year": 2024, ...}

A new benchmark is a row of `_TABLE`: commands, checks, defaults and reports follow from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

Row = dict[str, Any]

_ORIGINAL = "https://raw.githubusercontent.com/agentica-project/deepscaler/{revision}/{path}"
_ORIGINAL_REVISION = "95ef74ffee001cce89463f2d61dfdce1d03576c1"
_HUB = "{hub}/datasets/{repository}/resolve/{revision}/{path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One data set: its file in a `--source` folder, its pinned address, and the key of a row."""

    name: str
    about: str
    title: str = ""
    """Name in reports; empty for `name`."""
    split: Literal["train", "test"]
    num_rows: int
    """As published, before cleaning."""
    file: str = ""
    """Below `--source DIR`; empty for what is generated."""
    url: str = ""
    revision: str = ""
    sha256: str = ""
    """Of the file at that revision, where it is known."""
    key: Callable[[Row], str] | None = None
    """What identifies a row in its source; None for a hash of the problem."""
    fixes: str = ""
    """A JSON file of corrected golds in this package."""
    is_published: bool = False
    """Whether it is in DeepScaleR's table: evaluated by default, and a part of the mean."""
    has_solutions: bool = False
    """Whether `data check` compares golds with the solutions in its rows."""

    @property
    def is_checked(self) -> bool:
        """Returns whether `data check` looks for overlaps: not in what is generated or a corrected copy."""
        return bool(self.file) and not self.fixes


def _from_original(
    name: str, num_rows: int, about: str, sha256: str, split: Literal["train", "test"] = "test", **more: Any
) -> Source:
    """Returns a file of the DeepScaleR repository, which holds the sets its published numbers were measured on."""
    file = f"{name.removesuffix('_train')}.json"
    url = _ORIGINAL.format(revision=_ORIGINAL_REVISION, path=f"deepscaler/data/{split}/{file}")
    local = file if split == "test" else f"train/{file}"
    pinned: dict[str, Any] = {"url": url, "revision": _ORIGINAL_REVISION, "sha256": sha256}
    return Source(name=name, about=about, split=split, num_rows=num_rows, file=local, **pinned, **more)


def _from_hub(name: str, num_rows: int, about: str, repository: str, revision: str, path: str, **more: Any) -> Source:
    url = _HUB.format(hub="{hub}", repository=repository, revision=revision, path=path)
    file = name + PurePosixPath(path).suffix
    return Source(name=name, about=about, num_rows=num_rows, file=file, url=url, revision=revision, **more)


def _exam_key(row: Row) -> str:
    return f"{row['year']}-{('', 'I', 'II')[int(row['aime_number'])]}-{row['problem_number']}"


def _amc_key(row: Row) -> str:
    """`.../2022_AMC_12A_Problems/Problem_1` -> `2022-12A-1`."""
    exam, problem = str(row["url"]).split("/")[-2:]
    year, _, division, _ = exam.split("_")
    return f"{year}-{division}-{problem.removeprefix('Problem_')}"


def _minerva_key(row: Row) -> str:
    return str(row["idx"])


_MINERVA_SHA256 = "ba6147602d8b2f9071ecf578e29aa1100c634bdfa982d4c6745c2bd3077554ba"

_TABLE = (
    _from_hub(
        "deepscaler",
        40315,
        "DeepScaleR's training set: AIME and AMC before 2024, Omni-MATH, STILL",
        "agentica-org/DeepScaleR-Preview-Dataset",
        "b6ae8c60f5c1f2b594e2140b91c49c9ad0949e29",
        "deepscaler.json",
        split="train",
    ),
    _from_original(
        "aime_train",
        975,
        "AIME 1983 to 2023",
        "78f1b9bae6d00794b43e79a5842917f7ef4e355d9b705743c61f255f3c7c5d49",
        split="train",
        key=_exam_key,
    ),
    _from_original(
        "math_train",
        7474,
        "MATH's training problems",
        "569230b362fd501e1a33d8f29aae3b4b989d32e2b91b07c3f48493528c3bf6d2",
        split="train",
    ),
    # DeepScaleR's table, in its order
    _from_original(
        "aime",
        30,
        "AIME 2024",
        "03fd341fee10fb71cf906be4eb3042081f314c4d16077489e41f9375085d20d2",
        title="AIME 2024",
        key=_exam_key,
        is_published=True,
    ),
    _from_original(
        "math",
        500,
        "MATH-500",
        "02e232722dd1f9ab307124bfff40621d32193632b6b84aa9a246e701f0478141",
        title="MATH-500",
        key=lambda row: str(row["unique_id"]).removesuffix(".json"),
        is_published=True,
    ),
    _from_original(
        "amc",
        83,
        "AMC 12 A and B, 2022 and 2023",
        "2666a217cb566efb77ebfce61841d5d8855d4b4be89633b29df3a43dcfd942dd",
        title="AMC",
        key=_amc_key,
        is_published=True,
    ),
    _from_original(
        "minerva",
        272,
        "Minerva Math, golds as published",
        _MINERVA_SHA256,
        title="Minerva",
        key=_minerva_key,
        is_published=True,
        has_solutions=True,
    ),
    _from_original(
        "olympiad_bench",
        675,
        "OlympiadBench, text-only English mathematics",
        "c1e099f7b5830fb843fa52d48d0af8a296a94745cb5981b4ce539dd18af6f8ee",
        title="Olympiad Bench",
        key=lambda row: str(row["id"]),
        is_published=True,
    ),
    Source(
        name="minerva_fixed",
        about="Minerva Math, golds that contradict their own solution corrected",
        title="Minerva (fixed)",
        split="test",
        num_rows=272,
        file="minerva.json",
        url=_ORIGINAL.format(revision=_ORIGINAL_REVISION, path="deepscaler/data/test/minerva.json"),
        revision=_ORIGINAL_REVISION,
        sha256=_MINERVA_SHA256,
        key=_minerva_key,
        fixes="minerva_fixes.json",
    ),
    _from_hub(
        "aime25",
        30,
        "AIME 2025, later than DeepScaleR and its base model",
        "math-ai/aime25",
        "563bb8404243c5f09de6ec262f2db674fe5bce9b",
        "test.jsonl",
        title="AIME 2025",
        split="test",
        key=lambda row: str(row["id"]),
    ),
    Source(name="arithmetic", about="small sums, held out (generated)", split="test", num_rows=64),
    Source(name="arithmetic_train", about="small sums to learn from (generated)", split="train", num_rows=2000),
)

SOURCES: dict[str, Source] = {source.name: source for source in _TABLE}
"""Every data set by name."""

PUBLISHED_BENCHMARKS = tuple(source.name for source in _TABLE if source.is_published)
"""The benchmarks of DeepScaleR's table, in its order."""


def title(dataset: str) -> str:
    """Returns the name of a data set for people; a name that the table does not know stays as it is."""
    return (dataset in SOURCES and SOURCES[dataset].title) or dataset
