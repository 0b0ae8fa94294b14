"""Turns problems into an engine's requests, one for every sample."""

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
    """Signals that an engine cannot continue for now; rerunning the same command may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Describes one sample to draw."""

    problem_id: str
    sample: int
    prompt_token_ids: tuple[int, ...]
    max_tokens: int
    seed: int
    messages: tuple[Message, ...] = ()
    """Messages to send instead of token ids, if these are unknown."""


class Engine(Protocol):
    """Turns requests into samples, in the order they finish."""

    name: str

    def generate(self, requests: Iterable[Request]) -> Iterator[Sample]:
        """Yields all samples, drawn in one continuous batch.

        An engine takes requests one at a time, when it has room for another, because other engines may draw those it
        has not taken. An exhausted `requests` may yield more later, so an engine that is still drawing asks again.
        """

    def describe(self) -> dict[str, object]:
        """Returns the engine's name, version and settings, for the provenance."""


def derive_seed(run_seed: int, problem_id: str, sample: int) -> int:
    """Returns a sample's own 31-bit seed, which depends neither on the other samples drawn nor on the machine."""
    # With a separator that no id holds: otherwise problem 1, sample 11 and problem 11, sample 1 would be one
    # text.
    digest = hashlib.sha256(f"{run_seed}\0{problem_id}\0{sample}".encode()).digest()
    # 31 bits: some servers keep a seed in a signed 32-bit integer.
    return int.from_bytes(digest[:4], "big") >> 1


def tokenize(problems: Iterable[Problem], tokenizer: ChatTokenizer) -> dict[str, tuple[int, ...]]:
    """Returns the token ids of every problem's prompt by its id, generation prompt included."""
    tokenized = {}
    for problem in problems:
        messages = [dict(message) for message in problem.prompt]
        try:
            # return_dict: transformers 5 returns a dictionary by default, version 4 the list.
            ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        except Exception as error:  # a chat template is a Jinja program, which may raise anything
            raise UserError(
                f"the model's chat template fails on {problem.id} ({error}): give another --model"
            ) from error
        if not isinstance(ids, list) or not ids:
            raise UserError(f"the model's chat template produces no tokens for {problem.id}: give another --model")
        tokenized[problem.id] = tuple(ids)
    return tokenized


def context_length(longest_prompt: int, max_tokens: int, model_limit: int) -> int:
    """Returns the most tokens of a sequence. Raises UserError if the longest prompt leaves no room for a response."""
    if longest_prompt >= model_limit:
        raise UserError(
            f"the longest prompt has {longest_prompt} tokens, but the model's context only {model_limit}:"
            " leave that data set out or use a model with a longer context"
        )
    return min(longest_prompt + max_tokens, model_limit)


def to_request(key: Key, prompt: Prompt, max_tokens: int, context: int, run_seed: int) -> Request:
    """Returns the request for a sample, whose response ends at `max_tokens` or at the end of the context."""
    problem_id, sample = key
    return Request(
        problem_id=problem_id,
        sample=sample,
        prompt_token_ids=tuple(part for part in prompt if isinstance(part, int)),
        max_tokens=min(max_tokens, context - len(prompt)),
        seed=derive_seed(run_seed, problem_id, sample),
        messages=tuple(part for part in prompt if not isinstance(part, int)),
    )
