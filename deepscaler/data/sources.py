"""Lists all data sets, one row each: the pinned source, and the set's role in the kit.

aime    30 problems    deepscaler/data/test/aime.json @ 95ef74f    {"problem": ..., "answer": "025", "year": 2024, ...}

The five benchmarks of DeepScaleR's table come from the original repository, so they have exactly the rows behind the
published numbers. A new benchmark is a row of `_TABLE`: commands, checks, defaults and reports follow from it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

Row = dict[str, Any]

_ORIGINAL = "https://raw.githubusercontent.com/agentica-project/deepscaler/{revision}/{path}"
_ORIGINAL_REVISION = "95ef74ffee001cce89463f2d61dfdce1d03576c1"
_HUB = "{hub}/datasets/{repository}/resolve/{revision}/{path}"
_REPOSITORY = re.compile(r"(?:https://raw\.githubusercontent\.com/|\{hub\}/datasets/|hub:)([\w.-]+/[\w.-]+)")
_JUSTRL = "https://raw.githubusercontent.com/thunlp/JustRL/{revision}/data/{folder}/test.parquet"
_JUSTRL_REVISION = "cf444e9920b599c865ee6742c88dc162dcabcec2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Describes one data set: its file in a `--source` folder, its pinned address, and the key of a row."""

    name: str
    about: str
    title: str = ""
    """Name in reports; empty for `name`."""
    split: Literal["train", "test"]
    num_rows: int
    """Published number of rows, before cleaning."""
    file: str = ""
    """Path below `--source DIR`; empty for a generated set."""
    url: str = ""
    """Address of the file, or `hub:ORG/NAME@COMMIT:SPLIT` if the split's files must be looked up on the hub."""
    revision: str = ""
    sha256: str = ""
    """Hash of the file at that revision; empty if unknown."""
    license: str = ""
    """License that the card of the set states, with that card in a comment; empty if none is known to state one."""
    problem: str = "problem"
    """Column of the question; the gold is in `answer` everywhere."""
    key: Callable[[Row], str] | None = None
    """Function that identifies a row in its source; None for a hash of the problem."""
    fixes: str = ""
    """JSON file of corrected golds in this package."""
    is_published: bool = False
    """True if the set is in DeepScaleR's table: evaluated by default, and part of the mean."""
    is_contest: bool = False
    """True for a set with so few problems that protocols draw more samples of each."""
    has_solutions: bool = False
    """True if `data check` compares golds with the solutions in its rows."""

    @property
    def is_checked(self) -> bool:
        """Returns whether `data check` searches the set for overlaps, unless it is generated or a corrected copy."""
        return bool(self.file) and not self.fixes

    @property
    def home(self) -> str:
        """Returns the address of the repository that holds the set; empty for a generated one."""
        found = _REPOSITORY.match(self.url)
        site = "https://github.com" if "githubusercontent" in self.url else "https://huggingface.co/datasets"
        return f"{site}/{found[1]}" if found else ""


def _from_original(
    name: str, num_rows: int, about: str, sha256: str, split: Literal["train", "test"] = "test", **more: Any
) -> Source:
    """Returns a file of the DeepScaleR repository, which holds the sets behind its published numbers."""
    file = f"{name.removesuffix('_train')}.json"
    url = _ORIGINAL.format(revision=_ORIGINAL_REVISION, path=f"deepscaler/data/{split}/{file}")
    # The layout of a --source folder: aime.json is both a test set and, below train/, a training set.
    local = file if split == "test" else f"train/{file}"
    pinned: dict[str, Any] = {"url": url, "revision": _ORIGINAL_REVISION, "sha256": sha256}
    return Source(name=name, about=about, split=split, num_rows=num_rows, file=local, **pinned, **more)


def _from_hub(name: str, num_rows: int, about: str, repository: str, revision: str, path: str, **more: Any) -> Source:
    url = _HUB.format(hub="{hub}", repository=repository, revision=revision, path=path)
    file = name + PurePosixPath(path).suffix
    return Source(name=name, about=about, num_rows=num_rows, file=file, url=url, revision=revision, **more)


def _from_justrl(name: str, num_rows: int, title: str, folder: str, sha256: str) -> Source:
    """Returns a MathArena set from JustRL's repository, with exactly the rows behind its published numbers.

    The hub's files of these sets have the same sizes, but no complete commit of them could be found.
    """
    return Source(
        name=name,
        about=f"{title}, as JustRL measures it (MathArena, CC BY-NC-SA 4.0)",
        title=title,
        split="test",
        num_rows=num_rows,
        file=f"{name}.parquet",
        url=_JUSTRL.format(revision=_JUSTRL_REVISION, folder=folder),
        revision=_JUSTRL_REVISION,
        sha256=sha256,
        # Of MathArena's sets, whose copies these are: "license: cc-by-nc-sa-4.0" in the cards of hmmt_feb_2025,
        # brumo_2025 and cmimc_2025 at https://huggingface.co/MathArena.
        license="cc-by-nc-sa-4.0",
        key=_arena_key,
        is_contest=True,
    )


def _arena_key(row: Row) -> str:
    return str(row["problem_idx"])


def _exam_key(row: Row) -> str:
    return f"{row['year']}-{('', 'I', 'II')[int(row['aime_number'])]}-{row['problem_number']}"


def _amc_key(row: Row) -> str:
    """Returns `2022-12A-1` for `.../2022_AMC_12A_Problems/Problem_1`."""
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
        # https://huggingface.co/datasets/agentica-org/DeepScaleR-Preview-Dataset at that commit: "License: mit"
        license="mit",
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
        is_contest=True,
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
        is_contest=True,
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
        is_contest=True,
    ),
    _from_hub(
        "aime26",
        30,
        "AIME 2026 (MathArena, CC BY-NC-SA 4.0)",
        "MathArena/aime_2026",
        "d2de22f3c656b4f56cf8981212186377d1e23bc3",
        "data/train-00000-of-00001.parquet",
        sha256="d91db799651b4cc1f0734f52792a695c9cc60dac342524b3d8e5b2ff31c3e957",
        title="AIME 2026",
        # https://huggingface.co/datasets/MathArena/aime_2026/blob/main/README.md: "license: cc-by-nc-sa-4.0"
        license="cc-by-nc-sa-4.0",
        split="test",
        key=_arena_key,
        is_contest=True,
    ),
    _from_hub(
        "amc23",
        40,
        "AMC 12 of 2023, the 40 problems that projects other than DeepScaleR use",
        "math-ai/amc23",
        "80815d37005feb82cd7f8fbc6901d5d3eff43057",
        "test-00000-of-00001.parquet",
        sha256="b696e87ba47be4e879a60fd4ef1d4aa522ba78c5ae013c6aff5cc9788a397c5e",
        title="AMC 2023",
        split="test",
        problem="question",
        key=lambda row: str(row["id"]),
        is_contest=True,
    ),
    _from_justrl(
        "hmmt25",
        30,
        "HMMT Feb 2025",
        "HMMT25",
        "ccca64d248b89dc0765e40b893fe4ebeab242226a4336027d95d256886a3d5f2",
    ),
    _from_justrl(
        "brumo25",
        30,
        "BRUMO 2025",
        "BRUMO25",
        "ef510deea34c5b6d165c06d020acede1c1031eb91d90336cb4d615d9e55ba391",
    ),
    _from_justrl(
        "cmimc25",
        40,
        "CMIMC 2025",
        "CMIMC25",
        "7f290e5564265e57b0fe91c72bde2f1a06ca147148b7787084c54a0354abfcce",
    ),
    Source(
        name="math_beyond",
        about="MATH-Beyond, problems that base models of up to 8B do not solve in 1,024 tries",
        title="MATH-Beyond",
        split="test",
        num_rows=181,
        file="math_beyond.jsonl",
        url="hub:brendel-group/MATH-Beyond@1a2a6294ff8d673aeb271ab3eff272e8d6b48c2d:test",
        revision="1a2a6294ff8d673aeb271ab3eff272e8d6b48c2d",
        # https://huggingface.co/datasets/brendel-group/MATH-Beyond/blob/main/README.md at that commit: "license: mit"
        license="mit",
    ),
    Source(name="arithmetic", about="small sums, held out (generated)", split="test", num_rows=64),
    Source(name="arithmetic_train", about="small sums to learn from (generated)", split="train", num_rows=2000),
)

SOURCES: dict[str, Source] = {source.name: source for source in _TABLE}
"""Every data set by name."""

PUBLISHED_BENCHMARKS = tuple(source.name for source in _TABLE if source.is_published)
"""The benchmarks of DeepScaleR's table, in its order."""


def title(dataset: str) -> str:
    """Returns the name of a data set for people; a name that is not in the table stays unchanged."""
    return (dataset in SOURCES and SOURCES[dataset].title) or dataset
