"""Defines the tables of a recipe file that describe its data and its reward."""

from dataclasses import dataclass

from deepscaler.data.problem import SUFFIX
from deepscaler.rewards.function import split_function
from deepscaler.rewards.parts import PARTS
from deepscaler.system.errors import UserError, unknown
from deepscaler.system.options import option

_KIT = "this kit"

MAX_WEIGHT = 1e6
"""Largest size of a part's weight: rewards are added up in 32 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """[data]: how files of one's own are read, mixed and asked."""

    problem: str = option("", "column of your files that holds the problem; empty to find it", source=_KIT)
    answer: str = option("", "column of your files that holds the answer or answers; empty to find it", source=_KIT)
    id: str = option(
        "", "column of your files that identifies a problem; empty to find it, else a hash of the text", source=_KIT
    )
    weights: tuple[float, ...] = option(
        (), "share of each train_dataset in the training, in their order; empty for their sizes", above=0, source=_KIT
    )
    prompt_suffix: str = option(
        SUFFIX, "text that follows each problem in its prompt", source="DeepScaleR scripts/data"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardOptions:
    """[reward]: the parts of a response's reward."""

    function: str = option("", "reward function of your own, FILE.py:NAME", source=_KIT)
    parts: dict[str, float] = option(
        {"grader": 1.0},
        f"weight of each part of the reward: {', '.join(PARTS)}",
        at_least=-MAX_WEIGHT,
        at_most=MAX_WEIGHT,
        source="DeepScaleR's reward: its grader alone",
    )
    timeout: float = option(
        10.0, "seconds on the clock for a call of reward.function; then it is undecided", above=0, source=_KIT
    )
    memory: float = option(4.0, "GiB that a worker of reward.function may add", above=0, source=_KIT)
    num_workers: int = option(
        8, "calls of reward.function at once in each of verl's reward workers", above=0, at_most=1024, source=_KIT
    )
    overlong_buffer: int = option(
        0,
        "tokens before max_response_length over which the part `overlong` falls from 0 to -1",
        at_least=0,
        source="DAPO, arXiv 2503.14476, section 3.4",
    )
    length_cap: int = option(0, "tokens above which the part `length` is -1 instead of 0", at_least=0, source=_KIT)

    def check(self, max_response_length: int) -> None:
        """Raises UserError for parts that cannot be computed, and for options that no part uses."""
        for name in self.parts:
            if name not in PARTS:
                raise unknown("part in reward.parts", name, PARTS)
        if not self.parts:
            raise UserError("reward.parts is empty: give one or more parts a weight, such as {grader = 1.0}")
        if self.function:
            split_function(self.function)
        for part, field, value, fix in (
            ("function", "function", self.function, "FILE.py:NAME"),
            ("overlong", "overlong_buffer", self.overlong_buffer, "a number of tokens; DAPO's is 4096"),
            ("length", "length_cap", self.length_cap, "a number of tokens"),
        ):
            if part in self.parts and not value:
                raise UserError(f"reward.parts has {part}, which needs reward.{field}: give {fix}")
            if value and part not in self.parts:
                raise UserError(f"reward.{field} is of no effect: reward.parts has no {part}; add {part} = 1.0")
        for field, value in (("overlong_buffer", self.overlong_buffer), ("length_cap", self.length_cap)):
            # A buffer of the whole length would punish every response.
            if value >= max_response_length:
                raise UserError(f"reward.{field} {value} must be below max_response_length {max_response_length}")
