"""The tables of a recipe file: what its data and its reward are."""

from dataclasses import dataclass

from deepscaler.data.problem import INSTRUCTION
from deepscaler.system.options import option

_KIT = "this kit"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """[data]: how files of one's own are read, mixed and asked."""

    problem: str = option("", "column of your files that holds the problem; empty to find it", source=_KIT)
    answer: str = option("", "column of your files that holds the answer or answers; empty to find it", source=_KIT)
    id: str = option("", "column of your files that identifies a problem; empty for a hash of its text", source=_KIT)
    weights: tuple[float, ...] = option(
        (), "share of each train_dataset in a batch, in their order; empty for their sizes", above=0, source=_KIT
    )
    prompt_suffix: str = option(
        f" {INSTRUCTION}", "text that follows each problem in its prompt", source="DeepScaleR scripts/data"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardOptions:
    """[reward]: the parts of a response's reward."""

    function: str = option("", "reward function of your own, FILE.py:NAME", source=_KIT)
    parts: dict[str, float] = option({"grader": 1.0}, "weight of each part in the reward", source=_KIT)
