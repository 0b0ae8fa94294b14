"""Every sign of a sick run is seen in the metrics that verl logs, and none in those of a healthy one."""

import html
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from deepscaler.cli import main
from deepscaler.recipes.load import load_recipe
from deepscaler.recipes.signs import LAST, SIGNS
from deepscaler.runs.alarms import NewAlarms, alarms_of, history
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import QUANTITIES, read_metrics
from deepscaler.runs.stages import read_stages
from deepscaler.system.errors import UserError
from deepscaler.training.manifest import FREE
from deepscaler.training.report.tables import progress_table
from deepscaler.training.report.write import write_training_report
from tests.deepscaler.runs.runs import add_attempt, make_run
from tests.deepscaler.runs.sick import NUM_STEPS, falling_ill, healthy
from tests.places import ROOT


def seen(run: RunFolder) -> list[str]:
    return [alarm.sign.name for alarm in alarms_of(run, read_metrics(run))]


def test_a_healthy_run_shows_no_sign_at_any_step(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, healthy())
    assert history(run, read_metrics(run)) == {}
    assert seen(run) == []


@pytest.mark.parametrize("name", SIGNS)
def test_each_sign_is_seen_in_what_verl_logs(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, falling_ill(name))
    assert seen(run) == [name]
    steps = history(run, read_metrics(run))[name]
    assert steps[-1] == NUM_STEPS
    assert steps[0] >= (NUM_STEPS if name == "step_slow" else 25), "not while it was well"


@pytest.mark.parametrize(
    ("name", "key", "course"),
    [
        ("kl_rising", "actor/kl_loss", [0.05 * step for step in range(60)]),
        ("kl_rising", "actor/kl_loss", [0.002 * step for step in range(120)]),
        ("kl_rising", "actor/kl_loss", [1e-4 * 1.1**step for step in range(90)]),
        ("kl_rising", "actor/kl_loss", [0.5 + 0.01 * step for step in range(40)]),
        ("mismatch_rising", "rollout_corr/kl", [0.01 * step for step in range(60)]),
        ("mismatch_rising", "rollout_corr/kl", [1e-7 * 1.1**step for step in range(130)]),
    ],
)
def test_a_steady_rise_is_seen_however_slow_it_is(name: str, key: str, course: list[float], tmp_path: Path) -> None:
    run = make_run(tmp_path)
    lines = healthy(len(course))
    for (_, values), value in zip(lines[1:], course, strict=True):
        values[key] = value
    add_attempt(run, lines)
    assert seen(run) == [name]
    steps = history(run, read_metrics(run))[name]
    assert steps == list(range(steps[0], len(course) + 1)), "from its first step on, until it falls"


def test_a_divergence_that_stays_where_it_is_does_not_rise(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    lines = healthy(60)
    for step, values in lines[1:]:
        values |= {"actor/kl_loss": 0.4 + 0.03 * (step % 3), "rollout_corr/kl": 0.05 + 0.02 * (step % 3)}
    add_attempt(run, lines)
    assert history(run, read_metrics(run)) == {}


@pytest.mark.parametrize("name", SIGNS)
def test_a_recipe_moves_a_threshold_or_turns_a_sign_off(name: str, tmp_path: Path) -> None:
    off = make_run(tmp_path / "off", signs={name: False})
    add_attempt(off, falling_ill(name))
    assert seen(off) == []
    is_low = SIGNS[name].is_low
    moved = make_run(tmp_path / "moved", signs={name: 1e9})
    add_attempt(moved, healthy() if is_low else falling_ill(name))
    assert seen(moved) == ([name] if is_low else []), "no number is above it"
    assert "signs" in FREE, "a run may be watched otherwise after a restart"


WRONG = ("nan", "inf", "-inf", "-0.5", "-1", "1" + 400 * "0")
"""Thresholds that TOML can write, and that no number can be compared with in earnest."""


def test_thresholds_are_written_in_a_recipe_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('extends = "8k"\n[signs]\ncut_off = false\nentropy_low = 0.05\n')
    assert load_recipe(str(file)).signs == {"cut_off": False, "entropy_low": 0.05}
    for line, message in (
        ("cutoff = false", "unknown sign 'cutoff' (did you mean 'cut_off'?)"),
        ("cut_off = true", "invalid value True for signs.cut_off: expected a number, or false to turn it off"),
        ("cut_off = 'x'", "invalid value 'x' for signs.cut_off"),
        *((f"cut_off = {value}", "expected a finite number of at least 0, or false to turn it off") for value in WRONG),
    ):
        file.write_text(f'extends = "8k"\n[signs]\n{line}\n')
        with pytest.raises(UserError) as raised:
            load_recipe(str(file))
        assert message in str(raised.value)


def test_saving_and_the_first_step_of_an_attempt_are_not_slow_steps(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    lines = healthy(12)
    lines[10][1].update({"timing_s/step": 900.0, "timing_s/save_checkpoint": 800.0})
    add_attempt(run, lines)
    add_attempt(run, [(13, {"timing_s/step": 800.0}), (14, {"timing_s/step": 100.0})], resumed_step=12)
    assert "step_slow" not in history(run, read_metrics(run))


def test_too_few_steps_tell_nothing(tmp_path: Path) -> None:
    for name in SIGNS.keys() - {"not_finite"}:  # one number that is not finite is one too many
        run = make_run(tmp_path / name)
        add_attempt(run, [line for line in falling_ill(name) if line[0] == 0 or line[0] > NUM_STEPS + 1 - LAST])
        assert seen(run) == []


def test_each_alarm_is_told_once_until_it_is_over(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    lines = [line for _, line in sorted(enumerate([*falling_ill("cut_off")]))]
    path = add_attempt(run, lines[:20])
    alarms, told = NewAlarms(run), []
    with path.open("a") as file:
        for step, values in lines[20:]:
            file.write(json.dumps({"step": step, "data": values}) + "\n")
            file.flush()
            told += [(step, alarm.sign.name) for alarm in alarms.read()]
    assert told == [(29, "cut_off")]
    assert NewAlarms(run).read() == [], "a later attempt does not tell again"


def test_a_line_that_cannot_be_read_ends_no_training(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, healthy(8)).write_text("nonsense\n")
    assert NewAlarms(run).read() == []


def test_what_an_earlier_step_had_is_not_shown_as_how_the_run_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sixth to the tenth step have no reward and responses that are cut off, the others no numbers."""
    run = make_run(tmp_path)
    lines = healthy(30)
    for step, values in lines[6:11]:
        values |= {"critic/score/mean": 0.0, "response_length/clip_ratio": 1.0, "reward/overlong/mean": 0.01 * step}
    lost = ("critic/score/mean", "response_length/clip_ratio", "reward/overlong/mean")
    for _, values in lines[11:]:
        values.update(dict.fromkeys(lost, math.nan))
    add_attempt(run, lines)
    assert seen(run) == ["not_finite"]
    assert history(run, read_metrics(run)).keys() == {"reward_zero", "cut_off", "not_finite"}
    assert main(["status", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "SICK: not_finite" in shown
    assert "\nmean reward " not in shown
    assert "\ncut off " not in shown
    assert main(["status", str(tmp_path), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert [status[name] for name in ("reward", "cut_off", "parts")] == [None, None, None]
    assert status["entropy"] is not None
    rows = {name: cells for name, *cells in progress_table(read_stages(tmp_path))}
    assert rows["mean reward"][0] != "-"
    assert rows["mean reward"][1] == "-", "the last ten steps have none"


def test_what_a_healthy_run_cannot_compute_is_no_sign(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    lines = healthy()
    for _, values in lines[1:]:
        values["training/rollout_actor_probs_pearson_corr"] = None  # of numbers that are all alike
        values.update({"actor/pg_loss": None, "critic/advantages/mean": None})  # of responses that are all masked
    add_attempt(run, lines)
    assert history(run, read_metrics(run)) == {}


@pytest.mark.parametrize("signs", [{"cut_off": 10**400}, {"cut_off": "x"}, {"cut_off": None}, ["cut_off"], "cut_off"])
def test_thresholds_that_are_none_are_told_and_end_no_training(
    signs: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path)
    path = add_attempt(run, healthy(8))
    manifest = json.loads(run.manifest_path.read_text())
    manifest["recipe"]["signs"] = signs
    run.manifest_path.write_text(json.dumps(manifest))
    alarms = NewAlarms(run)
    path.write_text(path.read_text())
    assert alarms.read() == []
    assert main(["status", str(tmp_path)]) == 2
    assert "signs" in capsys.readouterr().err


@pytest.mark.parametrize("name", SIGNS)
def test_no_number_is_too_large_to_be_judged(name: str) -> None:
    for values in (NUM_STEPS * [1e308], [*(NUM_STEPS * [0.0]), *(LAST * [1e308])], NUM_STEPS * [1e308, -1e308]):
        value = SIGNS[name].measure(values)
        assert value is not None, "and raises no OverflowError"


def test_status_and_report_say_what_is_wrong_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path)
    add_attempt(run, falling_ill("undecided"))
    assert main(["status", str(tmp_path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    advice = SIGNS["undecided"].advice
    assert f"SICK: undecided The reward of 3.0% of the responses could not be decided, and counts 0. {advice}" in shown
    assert main(["status", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["alarms"].keys() == {"undecided"}
    report = write_training_report(tmp_path, Console(quiet=True))
    assert f"8k showed a sign of a sick run, undecided, at 5 steps from 26 to 30. {advice}" in report["warnings"]
    assert advice in html.unescape((tmp_path / "report.html").read_text())


def test_the_page_on_training_has_the_table() -> None:
    rows = [line for line in (ROOT / "docs/monitor.md").read_text().splitlines() if line.startswith("| `")]
    for sign in SIGNS.values():
        seen_when = f"{sign.measured}: {'at most' if sign.is_low else 'at least'} {sign.threshold:g}"
        assert f"| `{sign.name}` | {QUANTITIES[sign.quantity].key} | {seen_when} | {sign.reason} |" in rows


def test_every_sign_is_about_a_metric_and_says_the_number() -> None:
    for sign in SIGNS.values():
        assert sign.quantity in QUANTITIES
        assert sign.says.format(value=0.5) != sign.says or "{" not in sign.says
        assert sign.says.endswith(".")
        assert sign.advice.endswith(".")
