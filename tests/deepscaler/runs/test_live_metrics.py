"""What the trainer logs is followed line by line, and means what it says."""

import json

from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import LiveMetrics, corrected
from deepscaler.system.files import write_json
from deepscaler.training.progress import describe


def line(step: int, **values: float) -> str:
    return json.dumps({"step": step, "data": {key.replace("__", "/"): value for key, value in values.items()}}) + "\n"


def test_lines_are_taken_when_they_are_whole(run: RunFolder) -> None:
    write_json(run.manifest_path, {"recipe": {"max_response_length": 8}})
    first, second = run.attempt(1), run.attempt(2)
    first.update_record(step_offset=0)
    first.metrics_path.write_text(line(1, timing_s__step=50.0, timing_s__save_checkpoint=5.0))
    second.update_record(step_offset=10)
    live = LiveMetrics(run, second)
    assert not live.has_begun
    assert list(live.read_new()) == []
    assert (live.recent_step_seconds, live.save_seconds) == ([45.0], 5.0)
    text = line(1, timing_s__step=30.0, timing_s__testing=3.0)
    second.metrics_path.write_text(text + text[:20])
    assert [step for step, _ in live.read_new()] == [11]
    second.metrics_path.write_text(text + text)
    assert [step for step, _ in live.read_new()] == [11]
    assert live.recent_step_seconds == [45.0, 33.0, 33.0]


def test_a_line_that_is_not_verls_ends_no_training(run: RunFolder) -> None:
    write_json(run.manifest_path, {"recipe": {"max_response_length": 8}})
    attempt = run.attempt(1)
    attempt.update_record(step_offset=0)
    wrong = ["[]", "{}", '{"step": "x", "data": {}}', '{"step": 1, "data": []}', f'{{"step": 1{400 * "0"}, "data": 0}}']
    lost = '{"step": 2, "data": {"timing_s/step": null, "timing_s/save_checkpoint": "x", "response_length/max": null}}'
    attempt.metrics_path.write_text("\n".join([*wrong, lost, ""]) + line(3, timing_s__step=5.0))
    live = LiveMetrics(run, attempt)
    assert list(live.read_new()) == [(2, {"metrics/not_finite": 1.0}), (3, {"timing_s/step": 5.0})]
    assert live.recent_step_seconds == [5.0]


def test_lines_that_hold_no_metrics_are_passed_over(run: RunFolder) -> None:
    write_json(run.manifest_path, {"recipe": {"max_response_length": 8}})
    first, second = run.attempt(1), run.attempt(2)
    second.update_record(step_offset=0)
    junk = (
        b'5\nnull\n[]\n{"step": 3}\n{"step": "x", "data": {}}\n{"step": 1, "data": 5}\n\xff\n' + b"[" * 100_000 + b"\n"
    )
    first.root.mkdir()
    first.metrics_path.write_bytes(junk)
    live = LiveMetrics(run, second)
    second.metrics_path.write_bytes(junk + line(4, timing_s__step=30.0).encode())
    assert list(live.read_new()) == [(4, {"timing_s/step": 30.0})]


def test_responses_are_cut_off_at_the_limit_not_at_the_longest_of_their_batch() -> None:
    logged = {"response_length/clip_ratio": 0.25, "response_length/max": 24.0, "actor/entropy_loss": 0.5}
    assert corrected(logged, 48)["response_length/clip_ratio"] == 0.0
    assert corrected(logged, 24)["response_length/clip_ratio"] == 0.25
    assert corrected(logged, 24)["actor/entropy"] == 0.5


def test_a_step_is_told_in_one_line_of_what_was_measured() -> None:
    values = {"critic/score/mean": 0.25, "response_length/mean": 1234.5, "val-core/aime/acc/mean@8": 0.3}
    told = describe(7, 100, {**values, "actor/entropy": float("nan")})
    assert told == "step 7/100  reward 0.250  tokens 1,234  aime accuracy 0.300"
