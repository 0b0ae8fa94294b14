"""`deepscaler estimate` before a run, and `status` about it after five steps."""

import json
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.runs.forecast import FILE
from deepscaler.system.files import read_json, write_json
from tests.deepscaler.runs.runs import add_attempt, learning, make_run

OF_8K = ["estimate", "8k", "--gpu", "a100-80"]


def test_a_chain_has_a_row_for_each_stage_and_their_sum(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "8k", "16k", "--gpu", "a100-80", "--price", "2", "--eval", "aime"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.split("\n- ")[0].splitlines())) <= 80
    for told in ("8k ", "4 x 8 GPUs", "price", "all ", "assumption", "--mean-response", "not measured", "Not counted"):
        assert told in printed
    assert main(["estimate", "8k", "16k", "--gpu", "a100-80", "--price", "2", "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [stage["num_gpus"] for stage in stages] == [8, 32]
    for stage in stages:
        assert stage["price"]["high"] == pytest.approx(2 * stage["gpu_hours"]["high"])
        assert stage["gpu_hours"]["low"] < stage["gpu_hours"]["middle"] < stage["gpu_hours"]["high"]


def test_machines_and_lengths_are_as_given(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--nodes", "2", "--gpus-per-node", "4", "--mean-response", "3000", "5000", "--json"]
    assert main(["estimate", "8k", "16k", "--gpu", "h100", *options]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [(stage["num_gpus"], stage["mean_response"]["middle"]) for stage in stages] == [(8, 3000), (8, 5000)]
    assert main(["estimate", "8k", "--gpu", "h100", "--nodes", "4", "--set", "num_steps=10", "--json"]) == 0
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    assert (stage["num_gpus"], stage["num_steps"]) == (32, 10)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["8k", "--gpu", "a100"], "unknown GPU 'a100'; valid: A100-40GB, A100-80GB"),
        (["8k", "16k", "24k", "--gpu", "h100", "--mean-response", "3000", "4000"], "2 numbers for 3 recipes"),
        (["8k", "--gpu", "h100", "--mean-response", "8192"], "below max_response_length 8,192"),
        (["8k", "--gpu", "h100", "--nodes", "3"], "recipe 8k: "),
        (["dapo", "--gpu", "h100"], "give a folder of it: --set model=FOLDER"),
        (["8k", "--gpu", "h100", "--eval", "mine.jsonl"], "the size of mine.jsonl is not known"),
    ],
)
def test_what_cannot_be_estimated_is_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_after_five_steps_status_tells_how_far_off_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path, num_steps=1040)
    assert main([*OF_8K, "--price", "2", "--run-dir", str(tmp_path)]) == 0
    add_attempt(run, learning(4))
    capsys.readouterr()
    assert main(["status", str(tmp_path)]) == 0
    assert "estimated" not in capsys.readouterr().out
    lines = learning(6)
    for step, data in lines[1:]:
        # the first is slow, as it compiles; the fourth holds a save
        data["timing_s/step"] = 900.0 if step == 1 else 620.0 if step == 4 else 600.0
        if step == 4:
            data["timing_s/save_checkpoint"] = 20.0
    add_attempt(run, lines)
    assert main(["status", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["estimate"]
    pace = 600 + 20 / 20 + 40 / 4
    middle = read_json(tmp_path / FILE)["step_seconds"]["middle"]
    assert found["step_seconds"] == pytest.approx(pace)
    assert found["times"] == pytest.approx(pace / middle)
    assert found["inside"] is True
    assert found["gpu_hours"] == pytest.approx(pace * 1040 * 8 / 3600)
    assert main(["status", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert f"{pace / middle:.2g} times as long as estimated: a step 611 s, not {middle:,.0f} s (within" in printed
    assert "at a price of 2,824" in printed


def test_a_run_far_off_its_spread_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path)
    assert main([*OF_8K, "--run-dir", str(tmp_path)]) == 0
    lines = learning(6)
    for _, data in lines[1:]:
        data["timing_s/step"] = 5000.0
    add_attempt(run, lines)
    assert main(["status", str(tmp_path)]) == 0
    assert "OUTSIDE its spread" in capsys.readouterr().out


def test_other_machines_than_estimated_are_not_compared_and_a_torn_file_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_attempt(make_run(tmp_path), learning(6))
    assert main([*OF_8K, "--nodes", "2", "--run-dir", str(tmp_path)]) == 0
    assert main(["status", str(tmp_path)]) == 0
    assert "estimated" not in capsys.readouterr().out
    write_json(tmp_path / FILE, {"gpu": "H100-80GB"})
    assert main(["status", str(tmp_path)]) == 2
    assert "does not hold an estimate" in capsys.readouterr().err
