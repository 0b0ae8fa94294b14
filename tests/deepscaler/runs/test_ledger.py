"""A run's ledger: what each step was trained on, over attempts that were killed."""

from pathlib import Path

import pytest

from deepscaler.runs.folder import RunFolder
from deepscaler.runs.ledger import FILE, Batch, read_ledger, write_batch
from deepscaler.system.errors import UserError


def run_of(folder: Path, *attempts: tuple[int, dict[int, str]]) -> RunFolder:
    """Returns a run of attempts: where each resumed, and what its steps were trained on, a letter a problem."""
    run = RunFolder(folder)
    for number, (resumed, steps) in enumerate(attempts, start=1):
        attempt = run.attempt(number)
        attempt.root.mkdir(parents=True)
        attempt.update_record(resumed_step=resumed)
        for step, problems in steps.items():
            write_batch(attempt, step, Batch(tuple(problems)))
    return run


def test_what_was_never_saved_counts_once_it_is_done_again(tmp_path: Path) -> None:
    run = run_of(tmp_path, (0, {1: "ab", 2: "cd", 3: "ef"}), (1, {2: "cd"}), (1, {2: "cd", 3: "ef", 4: "ab"}))
    ledger = read_ledger(run)
    assert {step: "".join(batch.prompts) for step, batch in ledger.batches.items()} == {
        1: "ab",
        2: "cd",
        3: "ef",
        4: "ab",
    }
    assert ledger.redone == {2: 2, 3: 1}
    assert ledger.missing(5) == [5]


def test_a_problem_that_an_epoch_has_too_often_is_named(tmp_path: Path) -> None:
    ledger = read_ledger(run_of(tmp_path, (0, {1: "ab", 2: "cb", 3: "ab"})))
    epochs = {1: 0.0, 2: 0.0, 3: 1.0}
    assert ledger.again(epochs, {"a": 1, "b": 1, "c": 1}) == {"b": 1}
    assert ledger.again(epochs, {"a": 1, "b": 2, "c": 1}) == {}, "the data has it twice"


def test_a_torn_last_line_is_none_and_any_other_is_told(tmp_path: Path) -> None:
    run = run_of(tmp_path, (0, {1: "ab", 2: "cd"}))
    path = run.attempt(1).root / FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    assert list(read_ledger(run).batches) == [1]
    path.write_bytes(b"{}\n" + whole)
    with pytest.raises(UserError, match=r"line 1 of .*prompts.jsonl is not a step of a run"):
        read_ledger(run)
