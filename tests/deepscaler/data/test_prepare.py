"""Data sets become parquet, or one line says why not."""

import codecs
import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from deepscaler.cli import main
from deepscaler.data import load_problems
from deepscaler.data import prepare as prepare_set
from deepscaler.data.clean import clean_gold, clean_rows
from deepscaler.data.fetch import read_rows
from deepscaler.data.prepare import parquet_path
from deepscaler.data.sources import PUBLISHED_BENCHMARKS, SOURCES
from deepscaler.rewards import is_equivalent
from deepscaler.system.files import sha256

AIME_ROW = {"problem": "What is 5 times 5?", "answer": "025", "year": 2024, "aime_number": 2, "problem_number": 4}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "aime.json").write_text(json.dumps([AIME_ROW, {**AIME_ROW, "problem_number": 5, "answer": None}]))
    return folder


def prepare(source: Path, *names: str) -> int:
    return main(["data", "prepare", *names, "--source", str(source), "--output-dir", str(source.parent / "data")])


def test_a_row_has_verls_schema_and_the_recipes_prompt(source: Path) -> None:
    assert prepare(source, "aime") == 0
    rows = parquet.read_table(source.parent / "data/aime.parquet").to_pylist()
    question = r"What is 5 times 5? Let's think step by step and output the final answer within \boxed{}."
    assert rows == [
        {
            "data_source": "aime",
            "prompt": [{"content": question, "role": "user"}],
            "ability": "math",
            "reward_model": {"ground_truth": ["025"], "style": "rule"},
            "extra_info": {"id": "aime/2024-II-4", "index": 0, "split": "test"},
        }
    ]


def test_the_manifest_counts_dropped_rows_and_hashes(source: Path) -> None:
    prepare(source, "aime")
    entry = json.loads((source.parent / "data/manifest.json").read_text())["aime"]
    assert entry["rows"] == 1
    assert entry["dropped"] == {"null answer": 1}
    assert entry["input_sha256"] == sha256(source / "aime.json")
    assert entry["output_sha256"] == sha256(source.parent / "data/aime.parquet")


def test_the_same_input_gives_the_same_bytes(source: Path) -> None:
    prepare(source, "aime")
    first = sha256(source.parent / "data/aime.parquet")
    prepare(source, "aime")
    assert sha256(source.parent / "data/aime.parquet") == first


def test_dry_run_writes_nothing(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = source.parent / "data"
    assert main(["data", "prepare", "--source", str(source), "--output-dir", str(target), "--dry-run"]) == 0
    assert "aime.json" in capsys.readouterr().out
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[{", "not valid JSON"),
        ('{"a": 1}', "expected a list"),
        ('[{"answer": "1"}]', "row 1 has no 'problem'"),
        ("[3]", "row 1 has no 'problem'"),
        ('[{"problem": "2+2?", "answer": "4"}]', "lacks the field that identifies it"),
        ("[]", "no usable problem"),
    ],
)
def test_a_bad_file_is_one_line_and_leaves_nothing(
    source: Path, content: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "aime.json").write_text(content)
    assert prepare(source, "aime") == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not list((source.parent / "data").glob("*")) if (source.parent / "data").exists() else True


def test_a_missing_file_says_the_layout(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(source, "math_train") == 2
    assert "needs the layout <folder>/train/math.json" in capsys.readouterr().err


def test_an_unknown_name_lists_the_valid_ones(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(source, "olympiad") == 2
    error = capsys.readouterr().err
    assert "did you mean 'olympiad_bench'?" in error
    assert "minerva_fixed" in error


def test_offline_without_a_source_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", "aime", "--output-dir", str(tmp_path)]) == 2
    assert "--source DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("published", "clean"),
    [
        (142.0, "142"),
        ("025", "025"),
        ("0.53\n", "0.53"),
        ("$\\frac{1}{2}$", "\\frac{1}{2}"),
        (None, ""),
        ("$1$,$2$", "$1$,$2$"),
    ],
)
def test_golds_are_cleaned_but_not_rewritten(published: object, clean: str) -> None:
    assert clean_gold(published) == clean


def test_arithmetic_is_reproducible_and_its_splits_share_no_sum(tmp_path: Path) -> None:
    held_out = load_problems("arithmetic", tmp_path)
    train = load_problems("arithmetic_train", tmp_path)
    assert len(held_out) == SOURCES["arithmetic"].num_rows
    assert len(train) == SOURCES["arithmetic_train"].num_rows
    assert not {p.question for p in held_out} & {p.question for p in train}
    assert load_problems("arithmetic", tmp_path / "again") == held_out
    assert len({p.question for p in held_out}) == len(held_out)
    for problems in (held_out, train):
        assert len({p.id for p in problems}) == len(problems)
        num_one_digit = sum(len(p.question) == len("What is 1 + 1?") for p in problems)
        assert 0.4 < num_one_digit / len(problems) < 0.6


def test_a_set_generated_by_another_version_is_generated_again(tmp_path: Path) -> None:
    problems = load_problems("arithmetic", tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    for revision in ("", "of another version"):
        row = problems[0].to_verl_row("test", 0)
        parquet.write_table(pyarrow.Table.from_pylist([row]), parquet_path("arithmetic", tmp_path))
        entry = {"revision": revision, "output_sha256": sha256(parquet_path("arithmetic", tmp_path))}
        (tmp_path / "manifest.json").write_text(json.dumps({"arithmetic": {**manifest["arithmetic"], **entry}}))
        assert load_problems("arithmetic", tmp_path) == problems


def test_published_sets_are_complete(shared_data: Path, tmp_path: Path) -> None:
    for name in (*PUBLISHED_BENCHMARKS, "minerva_fixed", "aime_train"):
        problems = load_problems(name, tmp_path, shared_data)
        assert len(problems) == SOURCES[name].num_rows
        assert len({problem.id for problem in problems}) == len(problems)


def test_math_train_drops_its_rows_without_an_answer(shared_data: Path, tmp_path: Path) -> None:
    prepare_set("math_train", tmp_path, shared_data)
    entry = json.loads((tmp_path / "manifest.json").read_text())["math_train"]
    assert entry["rows"] + sum(entry["dropped"].values()) == SOURCES["math_train"].num_rows
    assert entry["dropped"]["null answer"] == 2


def test_every_gold_grades_as_correct_against_itself(shared_data: Path, tmp_path: Path) -> None:
    golds = [g for n in PUBLISHED_BENCHMARKS for p in load_problems(n, tmp_path, shared_data) for g in p.golds]
    assert len(golds) >= 1560
    assert [gold for gold in golds if not is_equivalent(gold, gold)] == []
    assert [gold for gold in golds if not is_equivalent(f"${gold}$.", gold)] == []


def test_the_fixed_minerva_differs_where_a_gold_contradicted_its_solution(shared_data: Path, tmp_path: Path) -> None:
    published = load_problems("minerva", tmp_path, shared_data)
    fixed = load_problems("minerva_fixed", tmp_path, shared_data)
    changed = [(p, f) for p, f in zip(published, fixed, strict=True) if p.golds != f.golds]
    assert len(changed) == 35
    assert all(p.prompt == f.prompt for p, f in changed)


def test_a_source_folder_is_read_and_leaves_the_prepared_data_alone(source: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "nothing"
    assert load_problems("aime", data_dir, source)
    assert not data_dir.exists()


def test_only_the_pinned_file_counts_as_the_pinned_revision(source: Path, shared_data: Path, tmp_path: Path) -> None:
    assert prepare_set("aime", tmp_path, source)["revision"] == ""
    assert prepare_set("aime", tmp_path, shared_data)["revision"] == SOURCES["aime"].revision


def test_prepared_data_that_was_changed_is_prepared_again(tmp_path: Path) -> None:
    first = load_problems("arithmetic", tmp_path)
    parquet_path("arithmetic", tmp_path).write_bytes(b"PAR1")
    assert load_problems("arithmetic", tmp_path) == first


def test_a_broken_manifest_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "manifest.json").write_text("[1]")
    assert main(["data", "prepare", "arithmetic", "--output-dir", str(tmp_path)]) == 2
    assert "is not a manifest" in capsys.readouterr().err
    assert not parquet_path("arithmetic", tmp_path).exists()


@pytest.mark.parametrize("answer", [{"a": 1}, [["4"]], float("nan"), float("inf"), True, "\ud800"])
def test_what_is_no_answer_is_dropped_by_reason(answer: object) -> None:
    rows = [{"problem": "2+2?", "answer": answer}, {"problem": "2+3?", "answer": "5"}]
    problems, dropped = clean_rows(rows, SOURCES["math_train"])
    assert [problem.golds for problem in problems] == [("5",)]
    assert sum(dropped.values()) == 1


def test_json_lines_may_hold_any_other_line_separator(tmp_path: Path) -> None:
    file = tmp_path / "aime25.jsonl"
    file.write_text('{"problem": "a\u2028b\u0085c"}\n\n{"problem": "d"}\n')
    assert [row["problem"] for row in read_rows(file, "aime25")] == ["a\u2028b\u0085c", "d"]


def test_an_empty_source_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("prepare", "check"):
        assert main(["data", action, "--source", str(tmp_path)]) == 2
        assert "holds no data set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("[asy] draw((0,0)--(1,1)); [/asy]", "gold is a figure"),
        ("proof", "gold is not a value"),
        (r"\square", "gold is not a value"),
        (r"\frac{1}{2", "gold has unbalanced brackets"),
        ("1" * 5000, "gold is too long to compare"),
    ],
)
def test_a_gold_that_no_answer_can_equal_is_refused_by_reason(answer: str, reason: str) -> None:
    problems, dropped = clean_rows([{"problem": "1+1?", "answer": answer}], SOURCES["math_train"])
    assert not problems
    assert dropped == {reason: 1}
    problems, dropped = clean_rows([{"problem": "1+1?", "answer": [answer, "2"]}], SOURCES["math_train"])
    assert [problem.golds for problem in problems] == [("2",)]


def test_a_mark_at_the_beginning_of_a_published_file_is_no_content(source: Path) -> None:
    file = source / "aime.json"
    file.write_bytes(codecs.BOM_UTF8 + file.read_bytes())
    assert prepare(source, "aime") == 0
    file = source / "lines.jsonl"
    file.write_bytes(codecs.BOM_UTF8 + json.dumps(AIME_ROW).encode() + b"\n")
    assert read_rows(file, "aime")[0] == AIME_ROW


def test_prepare_and_check_take_the_folder_of_data_by_the_name_that_training_does(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(source.parent / "mine")
    assert main(["data", "prepare", "aime", "--source", str(source), "--data-dir", folder]) == 0
    assert Path(folder, "aime.parquet").is_file()
    own = source / "sums.jsonl"
    own.write_text("".join(json.dumps({"problem": f"{n} + 1?", "answer": n + 1}) + "\n" for n in range(3)))
    assert main(["data", "prepare", str(own), "--name", "sums", "--data-dir", folder]) == 0
    capsys.readouterr()
    assert main(["data", "check", "sums", "--data-dir", folder]) == 0
    assert "of the benchmarks on this machine are in sums: aime (1)" in " ".join(capsys.readouterr().out.split())
    assert main(["data", "check", "sums", "--data-dir", str(source / "no")]) == 2
    assert "does not exist: give the one that data was prepared in" in capsys.readouterr().err.splitlines()[-1]
