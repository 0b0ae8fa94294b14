r"""Generates small sums with reasoning-gym and fixed seeds, a data set that a 135M-parameter model can partly solve.

reasoning-gym is a maintained library, and it needs no download. Worked examples precede each question as chat turns,
because a model of that size never boxes an answer otherwise. Published benchmarks keep the recipe's exact prompt.
"""

import warnings

from deepscaler.data.problem import Message, Problem
from deepscaler.data.sources import SOURCES
from deepscaler.system.errors import UserError

SEEDS = {"arithmetic": 2024, "arithmetic_train": 42}
NUM_TERMS = (2, 2)
MAX_DIGITS = 2
NUM_CANDIDATES = 6000
"""Sums to draw, enough to replace those that are left out."""

EXAMPLES: tuple[Message, ...] = (
    {"role": "system", "content": r"Answer in \boxed{}."},
    {"role": "user", "content": "What is 14 + 5?"},
    {"role": "assistant", "content": r"14 + 5 = 19. \boxed{19}"},
    {"role": "user", "content": "What is 9 - 4?"},
    {"role": "assistant", "content": r"9 - 4 = 5. \boxed{5}"},
)
"""Worked examples. They are short, because a CPU pays for every token of every prompt."""


def generate(name: str) -> list[Problem]:
    """Returns the problems of one split; no sum is in both. Needs reasoning-gym (in the `eval` and `cpu` extras).

    Half have one digit, half two. The training split repeats the few sums of one digit as they are drawn, because a
    small model does not begin to learn the rest without problems that it nearly knows.
    """
    held_out = dict.fromkeys(_draw("arithmetic"))
    chosen = list(held_out)[: SOURCES["arithmetic"].num_rows]
    if name != "arithmetic":
        excluded = {expression for expression, _ in chosen}
        chosen = [pair for pair in _draw(name) if pair[0] not in excluded][: SOURCES[name].num_rows]
    return [
        Problem(
            id=f"{name}/{number:04}:{expression.replace(' ', '')}",
            data_source=name,
            prompt=(*EXAMPLES, {"role": "user", "content": f"What is {expression}?"}),
            golds=(answer,),
        )
        for number, (expression, answer) in enumerate(chosen)
    ]


def _draw(name: str) -> list[tuple[str, str]]:
    """Returns the (expression, answer) pairs of a split with answers of at least 0, in the order drawn."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # raised by a library that reasoning-gym imports
            from reasoning_gym.arithmetic.chain_sum import ChainSumConfig, ChainSumDataset  # noqa: PLC0415  slow import
    except ImportError as error:
        raise UserError(
            f"{name} needs reasoning-gym, which is not installed: pip install reasoning-gym==0.1.25"
        ) from error
    terms = {"min_terms": NUM_TERMS[0], "max_terms": NUM_TERMS[1], "min_digits": 1, "max_digits": MAX_DIGITS}
    sums = ChainSumDataset(ChainSumConfig(seed=SEEDS[name], size=NUM_CANDIDATES, allow_negation=False, **terms))
    return [(item["metadata"]["expression"], item["answer"]) for item in sums if int(item["answer"]) >= 0]
