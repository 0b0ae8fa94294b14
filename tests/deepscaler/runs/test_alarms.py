"""Every sign of a sick run is seen in the metrics that verl logs, and none in those of a healthy one."""

import html
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deepscaler.cli import main
from deepscaler.recipes.load import load_recipe
from deepscaler.recipes.signs import LAST, SIGNS
from deepscaler.runs.alarms import NewAlarms, alarms_of, history
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import QUANTITIES, read_metrics
from deepscaler.system.errors import UserError
from deepscaler.training.manifest import FREE
from deepscaler.training.report.write import write_training_report
from tests.deepscaler.runs.runs import add_attempt, learning, make_run
from tests.places import ROOT

NUM_STEPS = 30

SICK: dict[str, dict[str, list[float]]] = {
    "reward_zero": {"critic/score/mean": [0.0]},
    "reward_constant": {"critic/score/mean": [0.5]},
    "no_variance": {"training/filter_groups/zero_variance_groups": [1.0, 0.9]},
    "entropy_low": {"actor/entropy": [0.008, 0.003]},
    "kl_rising": {"actor/kl_loss": [0.4, 0.6]},
    "mismatch_rising": {"rollout_corr/kl": [0.01, -0.03]},
    "cut_off": {"response_length/clip_ratio": [0.97, 1.0], "response_length/max": [8192.0]},
    "undecided": {"reward/undecided/mean": [0.03]},
    "step_slow": {"timing_s/step": [310.0]},
}
"""What a run logs from its 25th step on, by turns."""


def healthy(num_steps: int = NUM_STEPS) -> list[tuple[int, Any]]:
    lines = learning(num_steps)
    for step, values in lines[1:]:
        values |= {
            "training/filter_groups/zero_variance_groups": (0.25, 1.0, 0.625)[step % 3],
            "rollout_corr/kl": 1e-4 * (1 + step % 3),
            "reward/undecided/mean": 0.0,
            "response_length/max": 8192.0,
        }
    return lines


def falling_ill(name: str) -> list[tuple[int, Any]]:
    lines = healthy()
    for step, values in lines[25:] if name != "step_slow" else lines[-1:]:
        values |= {key: course[step % len(course)] for key, course in SICK[name].items()}
    return lines


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


@pytest.mark.parametrize("name", SIGNS)
def test_a_recipe_moves_a_threshold_or_turns_a_sign_off(name: str, tmp_path: Path) -> None:
    beyond = -1.0 if SIGNS[name].is_low else 1e9
    for number, moved in enumerate((False, beyond)):
        run = make_run(tmp_path / str(number), signs={name: moved})
        add_attempt(run, falling_ill(name))
        assert seen(run) == []
    assert "signs" in FREE, "a run may be watched otherwise after a restart"


def test_thresholds_are_written_in_a_recipe_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('extends = "8k"\n[signs]\ncut_off = false\nentropy_low = 0.05\n')
    assert load_recipe(str(file)).signs == {"cut_off": False, "entropy_low": 0.05}
    for line, message in (
        ("cutoff = false", "unknown sign 'cutoff' (did you mean 'cut_off'?)"),
        ("cut_off = true", "invalid value True for signs.cut_off: expected a number, or false to turn it off"),
        ("cut_off = 'x'", "invalid value 'x' for signs.cut_off"),
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
    for name in SIGNS:
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
    rows = [line for line in (ROOT / "docs/train.md").read_text().splitlines() if line.startswith("| `")]
    for sign in SIGNS.values():
        seen_when = f"{sign.measured}: {'at most' if sign.is_low else 'at least'} {sign.threshold:g}"
        assert f"| `{sign.name}` | {QUANTITIES[sign.quantity].key} | {seen_when} | {sign.reason} |" in rows


def test_every_sign_is_about_a_metric_and_says_the_number() -> None:
    for sign in SIGNS.values():
        assert sign.quantity in QUANTITIES
        assert sign.says.format(value=0.5) != sign.says or "{" not in sign.says
        assert sign.says.endswith(".")
        assert sign.advice.endswith(".")
