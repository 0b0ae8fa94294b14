"""A run's data is composed once, by shares, and stays what it was."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from deepscaler.data import compose as composing
from deepscaler.data.compose import Mixture, check_composed, compose, copies, data_folder, take_sources
from deepscaler.data.names import look_in
from deepscaler.data.own import prepare_own
from deepscaler.data.prepare import parquet_path, prepare
from deepscaler.data.problem import SUFFIX
from deepscaler.data.table import problems_of, rows_of
from deepscaler.system.errors import UserError
from deepscaler.system.files import sha256


@pytest.fixture
def look(tmp_path: Path) -> Path:
    folder = tmp_path / "prepared"
    prepare("arithmetic", folder)
    prepare("arithmetic_train", folder)
    return folder


def sums(folder: Path, name: str, count: int) -> str:
    rows = [{"question": f"What is {number} + {count}?", "final": number + count} for number in range(count)]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


def mixture(*train: str, **options: object) -> Mixture:
    return Mixture(**{"train": train, "validation": ("arithmetic",), **options})  # type: ignore[arg-type]


def test_a_published_set_is_trained_on_byte_by_byte(look: Path, tmp_path: Path) -> None:
    data = compose(mixture("arithmetic_train"), tmp_path / "run", look)
    assert data.train.read_bytes() == parquet_path("arithmetic_train", look).read_bytes()
    assert (data.folder / "validation.parquet").read_bytes() == parquet_path("arithmetic", look).read_bytes()
    assert data.notes == ()
    assert data.hashes == {
        "train.parquet": sha256(data.train),
        "validation.parquet": sha256(parquet_path("arithmetic", look)),
        "arithmetic_train": sha256(data.train),
        "arithmetic": sha256(parquet_path("arithmetic", look)),
    }


def test_sets_stand_one_after_another_and_keep_their_names(look: Path, tmp_path: Path) -> None:
    mine = sums(tmp_path, "mine.jsonl", 10)
    data = compose(mixture(mine, "arithmetic_train"), tmp_path / "run", look)
    sources = [row["data_source"] for row in rows_of(data.train)]
    assert sources == ["mine"] * 10 + ["arithmetic_train"] * 2000
    assert "columns: problem = 'question', answer = 'final'" in data.notes[0]


@pytest.mark.parametrize(
    ("sizes", "weights", "rows"),
    [
        ([500, 2000], (), [500, 2000]),
        ([500, 2000], (0.7, 0.3), [4667, 2000]),
        ([500, 2000], (7, 3), [4667, 2000]),
        ([100, 100], (0.5, 0.5), [100, 100]),
        ([500, 40_000], (0.999, 0.001), [404_595, 405]),
    ],
)
def test_shares_hold_and_no_set_is_cut_short_of_a_whole_one(
    sizes: list[int], weights: tuple[float, ...], rows: list[int]
) -> None:
    assert copies(sizes, weights) == rows


def test_weights_repeat_the_rows_of_small_sets_evenly_and_the_seed_decides(look: Path, tmp_path: Path) -> None:
    mine, other = sums(tmp_path, "mine.jsonl", 10), sums(tmp_path, "other.jsonl", 25)
    weighted = mixture(mine, other, weights=(0.5, 0.5), seed=7)
    data = compose(weighted, tmp_path / "run", look)
    found = Counter(problem.id for problem in problems_of(data.train))
    assert Counter(number for name, number in found.items() if name.startswith("mine/")) == {2: 5, 3: 5}
    assert all(number == 1 for name, number in found.items() if name.startswith("other/"))
    assert "training data by weights" in "".join(data.notes)
    again = compose(weighted, tmp_path / "again", look)
    assert sha256(again.train) == sha256(data.train)
    shuffled = compose(mixture(mine, other, weights=(0.5, 0.5), seed=8), tmp_path / "other", look)
    assert sha256(shuffled.train) != sha256(data.train)


def test_another_prompt_suffix_takes_the_place_of_the_usual_one(look: Path, tmp_path: Path) -> None:
    mine = sums(tmp_path, "mine.jsonl", 2)
    data = compose(mixture(mine, "arithmetic_train", prompt_suffix=" Box it."), tmp_path / "run", look)
    questions = [problem.question for problem in problems_of(data.train)]
    assert questions[:2] == ["What is 0 + 2? Box it.", "What is 1 + 2? Box it."]
    assert not any("Box it." in question or SUFFIX in question for question in questions[2:])


def test_a_run_that_has_begun_trains_on_its_copy_whatever_becomes_of_the_file(look: Path, tmp_path: Path) -> None:
    mine, run = sums(tmp_path, "mine.jsonl", 10), tmp_path / "run"
    first = compose(mixture(mine), run, look)
    sums(tmp_path, "mine.jsonl", 11)
    renewed = compose(mixture(mine), run, look)
    assert renewed.hashes != first.hashes, "nothing was trained yet"
    (run / "run.json").write_text("{}")
    sums(tmp_path, "mine.jsonl", 12)
    later = compose(mixture(mine), run, look)
    assert later.hashes == renewed.hashes
    assert later.notes[0] == f"{mine} has changed since this run copied it: the run continues with its copy"
    Path(mine).unlink()
    assert compose(mixture(mine), run, look).hashes == renewed.hashes
    (data_folder(run) / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="has changed since this run began"):
        compose(mixture(mine), run, look)


def test_a_second_start_replaces_nothing_that_a_run_is_bound_to(
    look: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    first, second = mixture(sums(tmp_path, "one.jsonl", 5)), mixture(sums(tmp_path, "two.jsonl", 7))
    data = compose(first, run, look)
    check_composed(run, data.hashes)
    compose(second, run, look)  # before the first owns the run
    with pytest.raises(UserError, match=r"train\.parquet was replaced by another start of .*: rerun"):
        check_composed(run, data.hashes)
    assert compose(first, run, look).hashes == data.hashes
    keep = composing.keep_own

    def keep_while_the_first_begins(*given: Any, **named: Any) -> Any:
        (run / "run.json").write_text("{}")
        return keep(*given, **named)

    monkeypatch.setattr(composing, "keep_own", keep_while_the_first_begins)
    with pytest.raises(UserError, match="another process has begun"):
        compose(second, run, look)
    check_composed(run, data.hashes)


def test_a_job_trains_on_what_was_submitted_without_seeing_the_file(look: Path, tmp_path: Path) -> None:
    mine, run = sums(tmp_path, "mine.jsonl", 10), tmp_path / "run"
    said = take_sources(mixture(mine), run, look)
    assert "columns: problem = 'question'" in said[0]
    sums(tmp_path, "mine.jsonl", 11)
    data = compose(mixture(mine), run, look)
    assert len(list(problems_of(data.train))) == 10
    assert data.notes[0].endswith("the run continues with its copy")
    Path(mine).unlink()
    assert len(list(problems_of(compose(mixture(mine), run, look).train))) == 10


def test_a_registered_set_travels_with_the_run(look: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepscaler.data.names._folders", [])
    prepare_own(sums(tmp_path, "sums.jsonl", 10), look, called="mine")
    take_sources(mixture("mine"), tmp_path / "run", look)
    look_in(data_folder(tmp_path / "run") / "sources")
    elsewhere = tmp_path / "elsewhere"
    prepare("arithmetic", elsewhere)
    data = compose(mixture("mine"), tmp_path / "run", elsewhere)
    assert [problem.data_source for problem in problems_of(data.train)] == ["mine"] * 10


def test_a_dry_run_checks_and_writes_nothing(look: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    take_sources(mixture(sums(tmp_path, "mine.jsonl", 10)), run, look, dry_run=True)
    (tmp_path / "bad.jsonl").write_text("{")
    with pytest.raises(UserError, match=r"bad\.jsonl, line 1: not valid JSON"):
        take_sources(mixture(str(tmp_path / "bad.jsonl")), run, look, dry_run=True)
    assert not run.exists()


def test_two_files_of_one_name_are_refused(look: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    one, other = sums(tmp_path, "mine.jsonl", 2), sums(tmp_path / "a", "mine.jsonl", 2)
    with pytest.raises(UserError, match="are both called 'mine': rename one"):
        compose(mixture(one, other), tmp_path / "run", look)


def test_contamination_is_said_at_the_start(look: Path, tmp_path: Path) -> None:
    mine, held_out = sums(tmp_path, "mine.jsonl", 10), sums(tmp_path, "held_out.jsonl", 10)
    data = compose(mixture(mine, validation=(held_out,)), tmp_path / "run", look)
    assert data.notes[-1] == "contamination: it holds 10 of 10 of " + held_out + ", word for word or nearly"
    assert len(data.record["contamination"][held_out]) == 10
    (tmp_path / "run" / "run.json").write_text("{}")
    again = compose(mixture(mine, validation=(held_out,)), tmp_path / "run", look)
    assert again.notes[-1] == data.notes[-1], "it is said at every start"
