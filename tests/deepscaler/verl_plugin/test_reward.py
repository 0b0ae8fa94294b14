"""verl finds our reward function, awaits it, and gets numbers only."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepscaler.verl_plugin.reward import _own_function, compute_score


def score(response: str, golds: Any, **more: Any) -> dict[str, float]:
    return asyncio.run(compute_score("aime", response, golds, {"id": "aime/1"}, **more))


@pytest.mark.parametrize(
    ("response", "nonzero"),
    [
        (r"</think>\boxed{\frac12}", {"score", "acc"}),
        (r"</think>\boxed{7}", set()),
        ("</think> no box", {"no_box"}),
        (r"<think>\boxed{0.5}", {"no_think_end"}),
        (r"</think>\boxed{9^{9^{9^{9}}}}", set()),
    ],
)
def test_every_end_is_counted(response: str, nonzero: set[str]) -> None:
    found = score(response, "0.5")
    assert set(found) == {"score", "acc", "no_box", "no_think_end", "undecided"}
    assert {name for name, value in found.items() if value} == nonzero


def test_golds_come_as_parquet_gives_them() -> None:
    assert score(r"</think>\boxed{2}", np.array(["1", "2"], dtype=object))["score"] == 1
    assert score(r"</think>\boxed{2}", ["1", "2"])["score"] == 1


@pytest.mark.parametrize("gold", [2, 2.0, np.float64(2), [2.0, 3]])
def test_golds_may_be_numbers(gold: Any) -> None:
    assert score(r"</think>\boxed{2}", gold)["score"] == 1
    assert score(r"</think>\boxed{4}", gold)["score"] == 0


def test_a_model_that_does_not_think_and_arguments_verl_may_add() -> None:
    assert score(r"\boxed{2}", "2", thinking=False, reward_router_address=None)["score"] == 1


def test_parts_are_weighted_and_logged_by_their_names() -> None:
    parts = {"grader": 1.0, "format": 0.1, "overlong": 1.0, "length": 0.5}
    extra_info = {"id": "aime/1", "num_tokens": 90, "truncated": False}
    more = {"parts": parts, "max_tokens": 100, "overlong_buffer": 20, "length_cap": 80}
    found = asyncio.run(compute_score("aime", r"</think>\boxed{2}", "2", extra_info, **more))
    assert {name: found[name] for name in parts} == {"grader": 1, "format": 1, "overlong": -0.5, "length": -1}
    assert found["score"] == pytest.approx(1 + 0.1 - 0.5 - 0.5)
    assert found["acc"] == 1


def test_the_accuracy_is_the_graders_whatever_the_parts_are() -> None:
    found = score(r"</think>\boxed{3}", "2", parts={"format": 1.0})
    assert (found["score"], found["acc"]) == (1, 0)
    assert "acc" not in score(r"</think>\boxed{3}", [], parts={"format": 1.0}), "nothing to grade against"
    assert score(r"</think>\boxed{3}", [])["acc"] == 0, "verl filters groups by it"


def test_a_function_is_asked_by_name_and_its_failures_are_undecided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DEEPSCALER_RUN_DIR", raising=False)
    file = tmp_path / "my.py"
    file.write_text(
        "async def score(response, golds, problem, id, num_tokens, max_tokens, truncated, correct, extra, data_source)"
        ":\n"
        "    assert (golds, problem, data_source, id) == (['2'], 'What is 1+1?', 'aime', 'aime/1')\n"
        "    assert (num_tokens, max_tokens, truncated, extra['level']) == (9, 100, False, 3)\n"
        "    return {'score': 0.5, 'brevity': 0.25, 'was_correct': correct} if 'box' in response else None\n"
    )
    function = {"file": f"{file}:score", "timeout": 30.0, "memory": 1.0, "num_workers": 1}
    extra_info = {"id": "aime/1", "num_tokens": 9, "truncated": False, "problem": "What is 1+1?", "level": 3}
    more = {"parts": {"grader": 1.0, "function": 0.5}, "max_tokens": 100, "function": function, "thinking": False}
    found = asyncio.run(compute_score("aime", r"\boxed{2}", "2", extra_info, **more))
    assert (found["score"], found["function"], found["undecided"]) == (1.25, 0.5, 0)
    assert (found["function_brevity"], found["function_was_correct"], found["function_undecided"]) == (0.25, 1, 0)
    found = asyncio.run(compute_score("aime", "nothing", "2", extra_info, **more))
    assert (found["score"], found["function"], found["undecided"], found["function_undecided"]) == (0, 0, 1, 1)
    assert "the reward is NoneType, not a number" in capsys.readouterr().out
    _own_function(**function).function.close()
