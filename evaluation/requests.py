"""From problems to what an engine is asked: one request for every sample."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from deepscaler.data import Problem
from deepscaler.data.problem import Message
from deepscaler.models.model import ChatTokenizer
from deepscaler.system.errors import UserError
from evaluation.samples import Sample

Key = tuple[str, int]

Prompt = tuple[int, ...] | tuple[Message, ...]
"""Token ids, or the messages of a chat whose template is the server's."""


class EngineError(Exception):
    """An engine cannot go on for now; another start of the same command may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One sample to draw."""

    problem_id: str
    sample: int
    prompt_token_ids: tuple[int, ...]
    max_tokens: int
    seed: int
    messages: tuple[Message, ...] = ()
    """What is sent instead of token ids where they are unknown."""


class Engine(Protocol):
    """What turns requests into samples, in the order they finish."""

    name: str

    def generate(self, requests: Iterable[Request]) -> Iterator[Sample]:
        """Draw all samples in one continuous batch.

        Requests are taken one by one, when there is room for another: what an engine has not taken, others may draw.
        Where `requests` has no more, it may have again later, and an engine that is still at work asks again.
        """

    def describe(self) -> dict[str, object]:
        """Name, version and settings, for the provenance."""


def derive_seed(run_seed: int, problem_id: str, sample: int) -> int:
    """A 31-bit seed of its own for every sample: the same whatever else is drawn, on every machine."""
    digest = hashlib.sha256(f"{run_seed}\0{problem_id}\0{sample}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def tokenize(problems: Iterable[Problem], tokenizer: ChatTokenizer) -> dict[str, tuple[int, ...]]:
    """Token ids of every problem's prompt by its id, generation prompt included."""
    tokenized = {}
    for problem in problems:
        messages = [dict(message) for message in problem.prompt]
        try:
            ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        except Exception as error:  # a template is a program of its own
            raise UserError(f"the model's chat template fails on {problem.id}: {error}") from error
        if not isinstance(ids, list) or not ids:
            raise UserError(f"the model's chat template makes nothing of {problem.id}")
        tokenized[problem.id] = tuple(ids)
    return tokenized


def context_length(longest_prompt: int, max_tokens: int, model_limit: int) -> int:
    """Tokens a sequence may grow to. Raises UserError where the longest prompt leaves no room for a response."""
    if longest_prompt >= model_limit:
        raise UserError(
            f"the longest prompt has {longest_prompt} tokens, the model's context only {model_limit}:"
            " leave that data set out or take a model with a longer context"
        )
    return min(longest_prompt + max_tokens, model_limit)


def to_request(key: Key, prompt: Prompt, max_tokens: int, context: int, run_seed: int) -> Request:
    """Returns what an engine is asked for a sample; its response ends at `max_tokens` or with the context."""
    problem_id, sample = key
    return Request(
        problem_id=problem_id,
        sample=sample,
        prompt_token_ids=tuple(part for part in prompt if isinstance(part, int)),
        max_tokens=min(max_tokens, context - len(prompt)),
        seed=derive_seed(run_seed, problem_id, sample),
        messages=tuple(part for part in prompt if not isinstance(part, int)),
    )
