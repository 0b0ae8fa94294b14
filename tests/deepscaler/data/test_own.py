"""A set of one's own is read, checked and registered; what is wrong with it is one line with its row and what to do."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from deepscaler.cli import main
from deepscaler.data import load_problems
from deepscaler.data.columns import Columns
from deepscaler.data.convert import write_problems
from deepscaler.data.own import OwnOptions, keep_own, prepare_own, told
from deepscaler.data.problem import SUFFIX
from deepscaler.data.rows import MAX_ROW, read_rows
from deepscaler.data.table import problems_of
from deepscaler.system.errors import UserError

GOOD = '{"question": "1+1?", "final": 2}\n'


def convert(file: Path, target: Path | None = None, **columns: str) -> dict[str, Any]:
    """Does in this process what the child does."""
    wanted = {"problem": "", "answer": "", "id": "", **columns}
    return write_problems([str(file)], str(target or ""), "mine", wanted, SUFFIX, "train", False, True)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", "", "is empty: write one problem per line"),
        ("a.jsonl", "\n \n", "holds no rows"),
        ("a.json", "[]", "holds no rows"),
        ("a.jsonl", GOOD + '{"question": "1+2?", "fin', "line 2: not valid JSON (Unterminated string"),
        ("a.json", '[{"question": "1+1?", "final": 2}, {"question": "1', "row 2: not valid JSON (Unterminated"),
        ("a.json", '[{"question": "1+1?", "final": 2}', "the list does not end; check whether the file is cut off"),
        ("a.jsonl", GOOD.encode() + b'{"question": "\xff", "final": 3}\n', "line 2: byte 15 is not UTF-8"),
        ("a.json", b'[{"question": "\xff", "final": 3}]', "byte 16 is not UTF-8"),
        ("a.jsonl", GOOD.encode("utf-16"), "save it as UTF-8"),
        ("a.parquet", GOOD, "cannot read parquet"),
        ("a.parquet", b"PAR1garbagePAR1", "cannot read parquet"),
        ("a.jsonl", b"PAR1garbagePAR1", "give it the extension .parquet"),
        ("a.jsonl", GOOD + '{"question": "' + "a" * MAX_ROW + '", "final": 3}\n', "line 2: longer than 16 MiB"),
        ("a.jsonl", '{"question": ' + "[" * 100_000, "line 1: not valid JSON (it is nested too deeply)"),
        ("a.jsonl", '{"frage": "1+1?", "final": 2}\n', "the row has frage, final: give --problem COLUMN"),
        ("a.jsonl", '{"question": "1+1?", "b": 2}\n', "the row has question, b: give --answer COLUMN"),
        ("a.json", '{"data": [{"question": "1+1?", "final": 2}]}', "the rows are inside 'data'"),
        ("a.json", '["1+1?"]', "row 1: expected an object"),
        (
            "a.jsonl",
            '{"question": "1+2?", "final": NaN}\n',
            "answer is neither text nor a number (first: a.jsonl, line 1)",
        ),
    ],
)
def test_a_broken_file_is_refused_with_its_row_and_what_to_do(
    tmp_path: Path, name: str, content: str | bytes, says: str
) -> None:
    with pytest.raises(UserError) as error:
        convert(write(tmp_path, name, content), tmp_path / "out.parquet")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_column_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 1: unknown column 'finale' \(did you mean 'final'\?\)"):
        convert(write(tmp_path, "a.jsonl", GOOD), answer="finale")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"question": "1+2?", "final": None}, "null answer"),
        ({"question": "1+2?", "final": ""}, "empty answer"),
        ({"question": "1+2?", "final": []}, "empty answer"),
        ({"question": "1+2?", "final": {"value": 3}}, "answer is neither text nor a number"),
        ({"question": "1+2?", "final": [[3]]}, "answer is neither text nor a number"),
        ({"question": "1+2?", "final": float("inf")}, "answer is neither text nor a number"),
        ({"question": "1+2?", "final": True}, "answer is neither text nor a number"),
        ({"question": "1+2?", "final": "see figure"}, "gold is a figure"),
        ({"question": "1+2?", "final": "\\frac{1}{2"}, "gold has unbalanced brackets"),
        ({"question": None, "final": 3}, "no problem"),
        ({"question": " ", "final": 3}, "no problem"),
        ({"final": 3}, "no problem"),
        ({"question": 7, "final": 3}, "problem is not text"),
        ({"question": [{"role": "user"}], "final": 3}, "problem is not text"),
        ({"question": "\ud800", "final": 3}, "text is not valid Unicode"),
        ([1, 2], "row is not an object"),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_by_its_reason(tmp_path: Path, row: object, why: str) -> None:
    report = convert(write(tmp_path, "a.jsonl", GOOD + json.dumps(row) + "\n"))
    assert report["dropped"] == {why: 1}
    assert report["first"] == {why: "a.jsonl, line 2"}
    [_, line] = told("mine", report)
    assert line.startswith(f"mine: 1 row left out: {why} (first: a.jsonl, line 2); ")


@pytest.mark.parametrize(
    ("name", "content", "golds"),
    [
        ("bom.jsonl", b"\xef\xbb\xbf" + GOOD.encode(), [("2",)]),
        ("crlf.jsonl", GOOD.replace("\n", "\r\n") * 1, [("2",)]),
        ("list.jsonl", json.dumps([{"question": "1/2?", "final": [0.5, "1/2", "1/2"]}]), [("0.5", "1/2")]),
        ("lines.json", GOOD + "\n" + GOOD.replace("1+1", "0+2"), [("2",), ("2",)]),
        ("numbers.json", json.dumps([{"question": "a", "final": 142.0}, {"Question": "b"}]), [("142",)]),
        ("gsm8k.jsonl", json.dumps({"question": "q", "answer": "48/2=<<48/2=24>>24\n#### 1,072"}), [("1,072",)]),
        ("math.jsonl", json.dumps({"problem": "q", "solution": "so\n\\boxed{\\frac{1}{2}}."}), [("\\frac{1}{2}",)]),
    ],
)
def test_what_people_write_is_read(tmp_path: Path, name: str, content: str | bytes, golds: list[object]) -> None:
    convert(write(tmp_path, name, content), tmp_path / "out.parquet")
    assert [problem.golds for problem in problems_of(tmp_path / "out.parquet")] == golds


def test_a_long_solution_without_a_marked_answer_is_no_gold(tmp_path: Path) -> None:
    rows = [
        {"problem": "q", "solution": "it is \\boxed{5}"},
        {"problem": "p", "solution": "as one sees by long thought it is 5 then"},
    ]
    report = convert(write(tmp_path, "a.json", json.dumps(rows)))
    assert report["dropped"] == {"solution has no \\boxed{} and no ####": 1}
    assert report["golds"] == {"in \\boxed{}": 1}


def test_a_list_is_read_piece_by_piece(tmp_path: Path) -> None:
    rows = [{"problem": "x" * 3000, "answer": number} for number in range(1500)]
    file = write(tmp_path, "a.json", json.dumps(rows, indent=1))
    assert file.stat().st_size > 4 << 20
    assert [row for _, row in read_rows(file)] == rows


def test_a_set_of_verls_schema_keeps_its_prompts_and_ids(tmp_path: Path) -> None:
    prompt = [{"content": "Be brief.", "role": "system"}, {"content": "1+1?", "role": "user"}]
    row = {"prompt": prompt, "reward_model": {"ground_truth": "2"}, "extra_info": {"index": "a-7"}}
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "verl.parquet")
    report = convert(tmp_path / "verl.parquet", tmp_path / "out.parquet")
    [problem] = problems_of(tmp_path / "out.parquet")
    assert (list(problem.prompt), problem.golds, problem.id) == (prompt, ("2",), "mine/a-7")
    assert report["columns"] == {"problem": "prompt", "answer": "reward_model.ground_truth", "id": "extra_info.index"}


def test_ids_are_stable_and_none_comes_twice(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "problem": "a", "answer": 1},
        {"id": 1, "problem": "b", "answer": 2},
        {"problem": "b", "answer": 2},
    ]
    report = convert(write(tmp_path, "a.json", json.dumps(rows)), tmp_path / "out.parquet")
    ids = [problem.id for problem in problems_of(tmp_path / "out.parquet")]
    assert ids[:2] == ["mine/1", "mine/1~2"]
    assert len(set(ids)) == 3
    assert report["repeated_ids"] == 1


def test_copies_and_near_copies_are_counted_and_can_be_left_out(tmp_path: Path) -> None:
    long = "A train leaves the station at noon and travels west at a constant speed of 60 miles per hour until it stops"
    questions = [long, long.upper() + " $ $", long + " at last", "How many primes lie below 100?"]
    file = write(tmp_path, "a.json", json.dumps([{"problem": question, "answer": 1} for question in questions]))
    entry = prepare_own(str(file), tmp_path / "all", called="mine")
    assert (entry["rows"], entry["duplicates"], entry["near_duplicates"]) == (4, 1, 1)
    assert "mine: 1 duplicates and 1 near-duplicates (kept; " in "\n".join(told("mine", entry))
    entry = prepare_own(str(file), tmp_path / "few", OwnOptions(drop_duplicates=True), called="mine")
    assert (entry["rows"], entry["dropped"]) == (2, {"duplicate": 2})


def test_a_set_that_holds_every_problem_a_hundred_times_takes_little_longer(tmp_path: Path) -> None:
    questions = [
        f"A box holds {n} red and {n + 1} blue marbles; how many ways are there to draw {n} of them?" for n in range(30)
    ]
    rows = [{"problem": question, "answer": 1} for question in questions * 100]
    report = convert(write(tmp_path, "a.json", json.dumps(rows)))
    assert report["duplicates"] == 2970


def test_a_name_is_registered_and_is_a_name_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEEPSCALER_CACHE", str(tmp_path))
    file = write(tmp_path, "sums.jsonl", GOOD + '{"question": "1+2?", "final": null}\n')
    assert main(["data", "prepare", str(file), "--name", "mine"]) == 0
    said = capsys.readouterr().out
    assert "mine: columns: problem = 'question', answer = 'final', id = a hash of the text" in said
    assert "mine: 1 row left out: null answer (first: sums.jsonl, line 2); give the answer" in said
    [problem] = load_problems("mine", tmp_path / "data")
    assert (problem.question, problem.golds, problem.data_source) == (f"1+1?{SUFFIX}", ("2",), "mine")
    entry = json.loads((tmp_path / "data/manifest.json").read_text())["mine"]
    assert (entry["rows"], entry["dropped"], entry["given"]) == (1, {"null answer": 1}, str(file))
    assert len(entry["input_sha256"]) == len(entry["output_sha256"]) == 64
    main(["data", "list"])
    assert "mine" in capsys.readouterr().out
    assert (
        main(
            [
                "train",
                "8k",
                "--set",
                "train_dataset=mine",
                "--set",
                "model=/a",
                "--output-dir",
                str(tmp_path / "r"),
                "--dry-run",
            ]
        )
        == 0
    )
    assert main(["data", "prepare", "mine", "--missing"]) == 0
    file.write_text(GOOD * 2)
    assert main(["data", "prepare", "mine"]) == 0
    assert len(load_problems("mine", tmp_path / "data")) == 2
    capsys.readouterr()
    assert main(["data", "prepare", "min"]) == 2
    assert "did you mean 'mine'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["aime", "a b", "x.jsonl", "../x", ""])
def test_a_name_that_cannot_be_registered_is_refused(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, "sums.jsonl", GOOD)
    try:
        code = main(["data", "prepare", str(file), "--output-dir", str(tmp_path / "d"), "--name", name])
    except SystemExit as stop:
        code = int(str(stop.code))
    assert code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("content", ["", "{", '{"frage": 1}', b"\xff"])
def test_a_refused_file_leaves_nothing_half_written(
    tmp_path: Path, content: str | bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, "sums.jsonl", content)
    assert main(["data", "prepare", str(file), "--output-dir", str(tmp_path / "d"), "--name", "mine"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in (tmp_path / "d").glob("*") if not path.name.endswith(".lock")] == []


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name, says in (("pipe.jsonl", "is not a regular file"), ("none.jsonl", "there is no file")):
        with pytest.raises(UserError, match=says):
            prepare_own(str(tmp_path / name), tmp_path / "d")


def test_a_file_that_breaks_its_reader_breaks_only_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 4096), pyarrow.array(["a" * (16 << 20)]))
    parquet.write_table(pyarrow.table({"question": texts, "final": [1] * 4096}), tmp_path / "bomb.parquet")
    monkeypatch.setattr("deepscaler.data.convert.MEMORY", 1 << 30)  # 64 GiB in a few kB
    with pytest.raises(UserError, match=r"a row needs more than 1 GiB of memory: give smaller rows"):
        prepare_own(str(tmp_path / "bomb.parquet"), tmp_path / "d")
    assert not list((tmp_path / "d").glob("*.parquet"))


def test_a_set_without_answers_is_for_rewards_without_the_grader(tmp_path: Path) -> None:
    file = write(tmp_path, "words.jsonl", '{"problem": "Say yes."}\n{"problem": "Say no.", "answer": null}\n')
    with pytest.raises(UserError, match="line 1: no column has a usual name of an answer"):
        prepare_own(str(file), tmp_path / "d")
    entry = prepare_own(str(file), tmp_path / "d", OwnOptions(answers=False), called="words")
    assert (entry["rows"], entry["without_answer"]) == (2, 2)
    assert any("2 rows lack an answer" in line for line in told("words", entry))
    assert [problem.golds for problem in problems_of(tmp_path / "d/words.parquet")] == [(), ()]
    with pytest.raises(
        UserError, match="words: 2 rows of 2 lack an answer, which only rewards without the part grader"
    ):
        keep_own("words", tmp_path / "run", OwnOptions(), tmp_path / "d", renew=True)
    keep_own("words", tmp_path / "other", OwnOptions(answers=False), tmp_path / "d", renew=True)


def test_a_kept_copy_stays_when_its_original_changes_or_goes(tmp_path: Path) -> None:
    file, folder, look = write(tmp_path, "sums.jsonl", GOOD), tmp_path / "kept", tmp_path / "data"
    options = OwnOptions(columns=Columns(problem="question"))
    path, entry, changed = keep_own(str(file), folder, options, look, renew=False)
    assert (entry["rows"], changed) == (1, "")
    file.write_text(GOOD + GOOD.replace("1+1", "2+0"))
    assert keep_own(str(file), folder, options, look, renew=False)[2] == f"{file} has changed since"
    assert len(list(problems_of(path))) == 1
    file.unlink()
    assert keep_own(str(file), folder, options, look, renew=False)[2] == ""
    write(tmp_path, "sums.jsonl", GOOD + GOOD.replace("1+1", "2+0"))
    keep_own(str(file), folder, options, look, renew=True)
    assert len(list(problems_of(path))) == 2
