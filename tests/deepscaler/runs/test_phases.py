"""A run teaches how long each phase may stall, first steps apart from later ones."""

import json
import re
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.runs.beats import beats_folder, read_beats, stalls_folder
from deepscaler.runs.fence import identity
from deepscaler.runs.folder import seconds_of
from deepscaler.runs.moments import BEGIN, INPUTS_READY, note_in, start_phases
from deepscaler.runs.phases import CEILING, COLD, FLOOR, SLACK, Usual, phase_path, read_moment, usual_of
from deepscaler.runs.status import read_status
from tests.deepscaler.runs.runs import add_attempt, make_run


def step(gen: float = 40.0, update: float = 20.0, **more: float) -> dict[str, float]:
    timers = {"gen": gen, "update_actor": update, "old_log_prob": 5.0, "ref": 5.0, "update_weights": 1.0, **more}
    return {f"timing_s/{name}": value for name, value in {**timers, "step": sum(timers.values())}.items()}


def after(*steps: dict[str, float]) -> Usual:
    usual = Usual()
    usual.begin()
    for one in steps:
        usual.add(one)
    return usual


def test_before_anything_is_known_the_ceiling_holds_in_every_phase() -> None:
    usual = after()
    assert {usual.bound(phase) for phase in ("start", "generate", "update", "save")} == {CEILING}
    assert usual.seconds("generate") is None


def test_the_first_step_bounds_later_ones_until_they_show_the_phase_themselves() -> None:
    """It compiles, so it takes longer than they will: waiting for the ceiling instead would cost half an hour."""
    usual = after(step(update=90.0))
    assert usual.bound("update") == COLD * FLOOR
    assert usual.bound("generate") == SLACK * sum(step(update=90.0).values()) / 2
    assert usual.bound("save") == CEILING
    usual.add(step())
    assert usual.bound("update") == SLACK * 20.0
    assert usual.bound("log-probabilities") == FLOOR
    assert usual.seconds("log-probabilities") == 10.0


def test_another_attempt_compares_its_first_step_with_all_steps() -> None:
    usual = after(step(update=900.0), step())
    usual.begin(start_seconds=200.0)
    assert usual.bound("update") == SLACK * 900.0
    assert usual.bound("log-probabilities") == COLD * FLOOR


def test_a_first_step_may_take_as_long_as_steps_have_become() -> None:
    """Responses grow: otherwise every attempt would be ended in its first step, and would never learn of it."""
    usual = after(step(), step(), step(update=320.0))
    usual.begin(start_seconds=100.0)
    assert usual.bound("update") == SLACK * 320.0
    assert usual.bound("generate") == SLACK * sum(step(update=320.0).values()) / 2


def test_a_start_may_take_as_long_as_the_longest_and_a_save_since_it_loads_what_was_saved() -> None:
    usual = after(step(), step(save_checkpoint=400.0), step(save_checkpoint=500.0))
    usual.begin(start_seconds=100.0)
    assert usual.bound("start") == SLACK * (100.0 + 500.0)
    usual = Usual()
    for seconds in (900.0, *[200.0] * 20):
        usual.begin(start_seconds=seconds)
    assert usual.bound("start") == SLACK * 200.0  # the last twenty alone


def test_a_phase_that_comes_rarely_has_the_ceiling_until_it_was_seen() -> None:
    usual = after(step(), step())
    assert usual.bound("save") == usual.bound("validate") == CEILING
    usual.add(step(save_checkpoint=50.0) | {"timing_s/testing": 700.0})
    assert usual.bound("save") == SLACK * 50.0
    assert usual.bound("validate") == SLACK * 700.0


def test_generating_may_stand_still_as_long_as_whole_steps_take() -> None:
    """An asynchronous rollout hands over what is ready, then waits for one long response."""
    usual = after(step(), step(gen=0.1), step(gen=0.1, update=300.0))
    assert usual.bound("generate") > SLACK * 300.0


def test_a_step_that_stood_still_teaches_nothing(tmp_path: Path) -> None:
    """Otherwise the second stall of a training would have three times the first one's length to be noticed."""
    run = make_run(tmp_path)
    steps = [(number, step(gen=900.0 if number == 5 else 40.0)) for number in range(1, 7)]
    add_attempt(run, steps)
    assert usual_of(run.attempts()).bound("generate") > SLACK * 900.0
    folder = stalls_folder(run.attempts()[0]) / "1"
    folder.mkdir(parents=True)
    (folder / "silence.json").write_text('{"moment": {"phase": "generate", "step": 3}, "seconds": 800.0}')
    assert usual_of(run.attempts()).bound("generate") == SLACK * sum(step().values()) / 2


TIMES = {"started": "2026-11-24T06:49:47+0000", "begun": "2026-11-24T06:54:47+0000"}


def test_what_attempts_have_logged_is_known_to_the_next(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, [(0, {"val-core/aime/acc/mean@8": 0.3}), (1, step()), (2, step())], **TIMES)
    usual = usual_of(run.attempts())
    usual.begin()
    assert usual.bound("start") == SLACK * 300.0
    assert usual.bound("generate") == COLD * FLOOR


def test_what_the_kit_does_before_verl_starts_is_not_part_of_the_start(tmp_path: Path) -> None:
    """The watcher looks at verl alone: forty minutes of resharding must not allow hours in every later start."""
    run = make_run(tmp_path)
    add_attempt(run, [(1, step())], **TIMES)
    note_in(run.attempts()[0], INPUTS_READY, float(seconds_of(TIMES["begun"]) or 0) - 200)
    assert usual_of(run.attempts()).bound("start") == SLACK * 200.0
    add_attempt(run, [], **TIMES)
    note_in(run.attempts()[1], INPUTS_READY, float(seconds_of(TIMES["begun"]) or 0) + 5)
    assert usual_of(run.attempts()).first["start"] == [200.0]  # the clock was set back


def test_a_start_that_stalled_and_recovered_teaches_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, [(1, step())], **TIMES)
    folder = stalls_folder(run.attempts()[0]) / "1"
    folder.mkdir(parents=True)
    (folder / "silence.json").write_text('{"moment": {"phase": "start", "step": 0}, "seconds": 500.0}')
    assert usual_of(run.attempts()).bound("start") == CEILING


def test_status_shows_the_phase_and_what_is_usual(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path)
    add_attempt(run, [(1, step()), (2, step()), (3, step())], **identity())
    attempt = run.attempts()[-1]
    phase_path(attempt).write_text(
        '{"beat": 3, "phase": "generate", "seconds": 41.2, "step": 4, "told": "37 of 64 prompts are finished", "x": 1}'
    )
    attempt.update_record(stall="no progress for 63 s in generate: a prompt was lost.")
    assert read_moment(attempt).step == 4
    assert main(["status", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    found = re.search(r"phase generate for (\d+)\.\d s \(usually 40\.0 s\): 37 of 64 prompts are finished", text)
    assert found
    assert int(found[1]) >= 41
    assert "STALLED no progress for 63 s in generate: a prompt was lost." in text


def test_a_stall_before_there_is_a_trainer_shows_until_the_attempt_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ray may never come up, and then nothing says in which phase the training is."""
    run = make_run(tmp_path)
    add_attempt(run, [], **identity())
    attempt = run.attempts()[-1]
    attempt.update_record(stall="no progress for 1800 s in start: the trainer waits for something to come up.")
    assert read_status("8k", run).stalled
    assert main(["status", str(tmp_path)]) == 0
    assert "STALLED no progress for 1800 s in start" in " ".join(capsys.readouterr().out.split())
    attempt.update_record(ended="2026-11-24T08:00:00+0000", outcome="failed")
    assert not read_status("8k", run).stalled


def test_status_says_why_the_kit_ended_an_attempt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path)
    add_attempt(run, [(1, step())], ended="2026-11-24T08:00:00+0000", outcome="cut short", step=1)
    attempt = run.attempts()[-1]
    attempt.explain_end("the reward worker is stopped.")
    attempt.explain_end("the head's node is full.")
    assert main(["status", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert ": cut short" in text
    assert "ended because the reward worker is stopped. step" in text


def test_what_the_watcher_and_status_read_may_hold_anything(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, [])
    [attempt] = run.attempts()
    beats_folder(attempt).mkdir()
    beat = {"beat": 1, "role": "rank", "host": "node1", "pid": 7}
    for number, content in enumerate((b"5", b"[]", b"{}", b"\xff", json.dumps(beat).encode())):
        (beats_folder(attempt) / f"{number}.json").write_bytes(content)
    assert [one.pid for one in read_beats(attempt)] == [7]
    moments = [{"moment": name, "time": seconds} for name, seconds in ((BEGIN, 1.0), (INPUTS_READY, 3.0))]
    first, second = (json.dumps(moment).encode() for moment in moments)
    (attempt.root / "moments.jsonl").write_bytes(first + b"\n\xff\n5\n" + second + b"\n")
    assert [seconds for _, seconds in start_phases(attempt)] == [2.0]
