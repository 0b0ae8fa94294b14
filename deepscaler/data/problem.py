r"""One problem as it is stored, trained on and evaluated.

Problem(id="aime/2024-I-1", data_source="aime", golds=("204",),
        prompt=({"role": "user", "content": "Every morning Aya ... \\boxed{}."},))
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

INSTRUCTION = r"Let's think step by step and output the final answer within \boxed{}."
"""DeepScaleR's instruction, word for word (its data/deepscaler_dataset script); a space precedes it."""

SUFFIX = f" {INSTRUCTION}"
"""What follows a question in its prompt."""

PLACE = "{problem}"
"""Stands for the question in a template of a prompt."""

Message = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A prompt and the answers that are right."""

    id: str
    """Stable across runs and machines: `<data source>/<key of the source>`."""
    data_source: str
    prompt: tuple[Message, ...]
    """Chat messages, exactly as the chat template gets them."""
    golds: tuple[str, ...]
    """Any one of these is correct."""

    @property
    def question(self) -> str:
        """The last user message."""
        return self.prompt[-1]["content"]

    def to_verl_row(self, split: str, index: int) -> dict[str, Any]:
        """A row of verl's RLHFDataset; the ground truth is a list in every file, so that files can be mixed."""
        return {
            "data_source": self.data_source,
            "prompt": [dict(message) for message in self.prompt],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": list(self.golds)},
            "extra_info": {"id": self.id, "split": split, "index": index},
        }

    @classmethod
    def from_verl_row(cls, row: dict[str, Any]) -> "Problem":
        """The inverse of `to_verl_row`."""
        return cls(
            id=row["extra_info"]["id"],
            data_source=row["data_source"],
            prompt=tuple({"role": m["role"], "content": m["content"]} for m in row["prompt"]),
            golds=tuple(row["reward_model"]["ground_truth"]),
        )


def ask(question: str, examples: Sequence[Message] = (), suffix: str = SUFFIX) -> tuple[Message, ...]:
    """The recipe's prompt for a question, after any worked examples."""
    return (*examples, {"role": "user", "content": f"{question}{suffix}"})


def ask_by(problem: Problem, template: str) -> Problem:
    """Returns a problem whose questions are asked by a template, those of its worked examples too.

    A prompt of the user's own, which does not end in the recipe's suffix, stays as it is.
    """

    def asked(message: Message) -> Message:
        question = message["content"].removesuffix(SUFFIX)
        is_ours = message["role"] == "user" and question != message["content"]
        return {**message, "content": template.replace(PLACE, question)} if is_ours else message

    return replace(problem, prompt=tuple(map(asked, problem.prompt)))
