"""Assembles a server's answer from the events of its stream, in any of the formats that servers use.

data: {"model": "small", "choices": [{"delta": {"reasoning": "hm"}}]}            vLLM and others, if the model thinks
data: {"choices": [{"text": "2", "finish_reason": "stop"}]}                      /v1/completions
data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
"""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

from evaluation.engines.manners import Miss, said
from evaluation.requests import Request
from evaluation.samples import Sample

MAX_LINE = 4 << 20
"""Most bytes of one event."""
ENDS = {
    **dict.fromkeys(("stop", "eos", "content_filter", "tool_calls", "function_call"), "stop"),
    "length": "length",
}
"""Reasons with which the model or its limit ends a response, and those that samples keep. Some gateways say `eos`. Any
other (vLLM's `abort`, DeepSeek's `insufficient_system_resource`, a gateway's `error`) means that text is missing."""


MOST_NAMES = 50
"""Names of models and fingerprints to keep; a proxy may invent one for each answer, or for each event."""


class Parts:
    """Assembles an answer from the events of its stream, for either API and several servers."""

    def __init__(self) -> None:
        self._reasoning: list[str] = []
        self._content: list[str] = []
        self._usage: dict[str, Any] = {}
        self.finish_reason: Any = ""
        self.names: set[str] = set()

    def add(self, event: dict[str, Any]) -> None:
        """Adds one event. Raises TypeError, AttributeError or KeyError for an unexpected form."""
        self._usage = event.get("usage") or self._usage
        if len(self.names) < MOST_NAMES:
            self.names |= {str(event[name])[:200] for name in ("model", "system_fingerprint") if event.get(name)}
        for choice in event.get("choices", [])[:1]:
            part = choice.get("delta") or choice.get("message") or {}
            self._reasoning.append(part.get("reasoning_content") or part.get("reasoning") or "")
            self._content.append(part.get("content") or choice.get("text") or "")
            self.finish_reason = choice.get("finish_reason") or self.finish_reason

    @property
    def text(self) -> str:
        """Returns the response, with reasoning that the server separated put back into <think>."""
        reasoning, content = "".join(self._reasoning), "".join(self._content)
        if reasoning:
            content = f"<think>{reasoning}" + (f"</think>{content}" if content else "")
        return content.encode("utf-8", "replace").decode()  # a lone surrogate cannot be written as UTF-8

    def to_sample(self, request: Request, started: float) -> Sample:
        """Returns the sample; its token counts are 0 if the server does not report them.

        Raises Miss for a response that neither the model nor its limit has ended.
        """
        if not self.finish_reason:
            raise Miss(f"the answer broke off after {len(self.text):,} characters")
        finish_reason = ENDS.get(str(self.finish_reason))
        if finish_reason is None:
            told = said(json.dumps(self.finish_reason).encode(), "")
            raise Miss(f"the server ended the answer after {len(self.text):,} characters with finish_reason {told}")
        prompt, total = (_count(self._usage, f"{name}_tokens") for name in ("prompt", "total"))
        # Some servers leave reasoning tokens out of completion_tokens, but not out of the total.
        response = max(_count(self._usage, "completion_tokens"), total - prompt)
        return Sample(
            problem_id=request.problem_id,
            sample=request.sample,
            text=self.text,
            prompt_tokens=prompt or len(request.prompt_token_ids),
            response_tokens=response,
            finish_reason=finish_reason,
            seed=request.seed,
            started=started,
            finished=time.time(),
        )


async def events(chunks: AsyncIterator[bytes], limit: int, *, is_stream: bool) -> AsyncIterator[dict[str, Any]]:
    """Yields the events of a stream, or the one answer of a server that does not stream.

    Raises Miss for an answer of more than `limit` bytes, or an event of more than MAX_LINE.
    """
    size, rest = 0, b""
    async for chunk in chunks:
        size += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n") if is_stream else (rest + chunk,)
        if size > limit or len(rest) > (MAX_LINE if is_stream else limit):
            raise Miss(f"the answer exceeds {size >> 20} MiB, more than its tokens can take")
        for line in lines:
            data = line.removeprefix(b"data:").strip()
            if line.startswith(b"data:") and data != b"[DONE]":
                yield json.loads(data)
    if not is_stream:
        yield json.loads(rest)


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    # Not isinstance: JSON's true is an int in Python.
    return value if type(value) is int and 0 <= value < 1 << 40 else 0
