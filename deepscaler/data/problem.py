r"""Holds one problem, in the form that is stored, trained on and evaluated.

Problem(id="aime/2024-I-1", data_source="aime", golds=("204",),
        prompt=({"role": "user", "content": "Every morning Aya ... \\boxed{}."},))
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

INSTRUCTION = r"Let's think step by step and output the final answer within \boxed{}."
"""DeepScaleR's instruction, word for word (from its data/deepscaler_dataset script), which a space precedes."""

SUFFIX = f" {INSTRUCTION}"
"""Text that follows a question in its prompt."""

PLACE = "{problem}"
"""Placeholder for the question in a prompt template."""

Message = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Holds a prompt and its correct answers."""

    id: str
    """Identifier that is stable across runs and machines: `<data source>/<key of the source>`."""
    data_source: str
    prompt: tuple[Message, ...]
    """Chat messages, exactly as the chat template gets them."""
    golds: tuple[str, ...]
    """Correct answers; an answer must match any one of them."""

    @property
    def question(self) -> str:
        """Returns the last user message."""
        return self.prompt[-1]["content"]

    def to_verl_row(self, split: str, index: int) -> dict[str, Any]:
        """Returns a row of verl's RLHFDataset; the ground truth is a list in every file, so files can be mixed."""
        return {
            "data_source": self.data_source,
            "prompt": [dict(message) for message in self.prompt],
            "ability": "math",
            # verl's naive manager reads ground_truth alone; its example scripts write the style `rule`.
            "reward_model": {"style": "rule", "ground_truth": list(self.golds)},
            "extra_info": {"id": self.id, "split": split, "index": index},
        }

    @classmethod
    def from_verl_row(cls, row: dict[str, Any]) -> "Problem":
        """Returns the problem that `to_verl_row` made a row of."""
        return cls(
            id=row["extra_info"]["id"],
            data_source=row["data_source"],
            prompt=tuple({"role": m["role"], "content": m["content"]} for m in row["prompt"]),
            golds=tuple(row["reward_model"]["ground_truth"]),
        )


def ask(question: str, examples: Sequence[Message] = (), suffix: str = SUFFIX) -> tuple[Message, ...]:
    """Returns the recipe's prompt for a question, after any worked examples."""
    return (*examples, {"role": "user", "content": f"{question}{suffix}"})


def ask_by(problem: Problem, template: str) -> Problem:
    """Returns a problem whose question and worked examples follow a prompt template.

    A user's own prompt, which does not end in the recipe's suffix, stays unchanged.
    """

    def asked(message: Message) -> Message:
        question = message["content"].removesuffix(SUFFIX)
        is_ours = message["role"] == "user" and question != message["content"]
        return {**message, "content": template.replace(PLACE, question)} if is_ours else message

    return replace(problem, prompt=tuple(map(asked, problem.prompt)))
