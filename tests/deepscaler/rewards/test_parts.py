"""The parts of a reward as their sources define them."""

import pytest

from deepscaler.rewards.parts import format_part, length_part, overlong_part


@pytest.mark.parametrize(
    ("num_tokens", "penalty"),
    [(1, 0), (16_384, 0), (16_385, -1 / 4096), (18_432, -0.5), (20_480, -1), (30_000, -1)],
)
def test_the_overlong_penalty_is_dapos(num_tokens: int, penalty: float) -> None:
    """Its L_max is 20,480 and its L_cache 4,096."""
    assert overlong_part(num_tokens, 20_480, 4096) == pytest.approx(penalty)


@pytest.mark.parametrize(("num_tokens", "penalty"), [(1000, 0), (1001, -1)])
def test_a_length_cap_allows_its_own_length(num_tokens: int, penalty: float) -> None:
    assert length_part(num_tokens, 1000) == penalty


@pytest.mark.parametrize(
    ("response", "thinking", "plain"),
    [
        (r"a</think>b \boxed{4}", 1, 1),
        (r"<think>a</think>\boxed{\frac{1}{2}}", 1, 1),
        (r"\boxed{1}</think>\boxed{4}", 1, 0),
        (r"a</think>b</think>\boxed{4}", 0, 1),
        (r"\boxed{4}", 0, 1),
        (r"\boxed{4}</think>", 0, 1),
        (r"</think>\boxed{4} or \boxed{5}", 0, 0),
        (r"</think>\boxed{}", 0, 0),
        ("</think>4", 0, 0),
        ("", 0, 0),
    ],
)
def test_the_format_is_one_end_of_thinking_and_one_box_after_it(response: str, thinking: int, plain: int) -> None:
    assert format_part(response, thinking=True) == thinking
    assert format_part(response, thinking=False) == plain
