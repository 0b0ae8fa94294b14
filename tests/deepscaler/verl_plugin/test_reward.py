"""verl finds our reward function, awaits it, and gets numbers only."""

import asyncio
from typing import Any

import numpy as np
import pytest

from deepscaler.verl_plugin.reward import compute_score


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
