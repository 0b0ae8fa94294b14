r"""Computes the parts of a reward that depend only on a response's text and length.

The reward of a response is the sum of weight x part over the parts of its recipe:

grader    1 for a correct answer, else 0
function  the score that the user's own function returns (deepscaler.rewards.function)
format    1 for one `</think>` and one `\boxed{}` after it, else 0
overlong  0 down to -1 over the last tokens before the limit
length    -1 for a response above a length that the user chooses
"""

from deepscaler.rewards.extract import THINK_END, after_thinking, outermost_boxes

PARTS = ("grader", "function", "format", "overlong", "length")


def format_part(response: str, *, thinking: bool) -> float:
    r"""Returns 1 if a response ends its thinking once and boxes one answer after it, else 0.

    This is a format reward like DeepSeek-R1's (arXiv 2501.12948, section 2.2.2). A model that does not think only has
    to box one answer.
    """
    text = after_thinking(response) if thinking else response
    if text is None or (thinking and response.count(THINK_END) != 1):
        return 0.0
    return float(len([box for box in outermost_boxes(text) if box.content]) == 1)


def overlong_part(num_tokens: int, max_tokens: int, buffer: int) -> float:
    """Returns DAPO's soft penalty for length (arXiv 2503.14476, equation 13), from 0 down to -1 at `max_tokens`.

    The penalty is linear and begins `buffer` tokens before `max_tokens`.
    """
    return max(-1.0, min(0.0, (max_tokens - buffer - num_tokens) / buffer))


def length_part(num_tokens: int, cap: int) -> float:
    """Returns -1 for a response of more than `cap` tokens, else 0."""
    return -float(num_tokens > cap)
