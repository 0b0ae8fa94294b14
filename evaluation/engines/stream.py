"""Puts a server's answer together from the events of its stream, in whatever way the server tells it.

data: {"model": "small", "choices": [{"delta": {"reasoning": "hm"}}]}            vLLM and others, of a model that thinks
data: {"choices": [{"text": "2", "finish_reason": "stop"}]}                      /v1/completions
data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
"""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

from evaluation.engines.manners import Miss
from evaluation.requests import Request
from evaluation.samples import Sample

MAX_LINE = 4 << 20
"""Bytes of one event."""


class Parts:
    """Puts an answer together from the events of its stream, of either API and of several servers."""

    def __init__(self) -> None:
        self._reasoning: list[str] = []
        self._content: list[str] = []
        self._usage: dict[str, Any] = {}
        self.finish_reason = ""
        self.names: set[str] = set()

    def add(self, event: dict[str, Any]) -> None:
        """Adds one event; one of another form raises TypeError, AttributeError or KeyError."""
        self._usage = event.get("usage") or self._usage
        self.names |= {str(event[name])[:200] for name in ("model", "system_fingerprint") if event.get(name)}
        for choice in event.get("choices", [])[:1]:
            part = choice.get("delta") or choice.get("message") or {}
            self._reasoning.append(part.get("reasoning_content") or part.get("reasoning") or "")
            self._content.append(part.get("content") or choice.get("text") or "")
            self.finish_reason = choice.get("finish_reason") or self.finish_reason

    @property
    def text(self) -> str:
        """Returns the response; what a server took apart as reasoning stands in <think> again."""
        reasoning, content = "".join(self._reasoning), "".join(self._content)
        if reasoning:
            content = f"<think>{reasoning}" + (f"</think>{content}" if content else "")
        return content.encode("utf-8", "replace").decode()  # half a surrogate pair could not be written

    def to_sample(self, request: Request, started: float) -> Sample:
        """Returns the sample; its tokens are 0 where the server does not count them."""
        prompt, total = (_count(self._usage, f"{name}_tokens") for name in ("prompt", "total"))
        # some servers leave the tokens of reasoning out of completion_tokens, but not out of the total
        response = max(_count(self._usage, "completion_tokens"), total - prompt)
        return Sample(
            problem_id=request.problem_id,
            sample=request.sample,
            text=self.text,
            prompt_tokens=prompt or len(request.prompt_token_ids),
            response_tokens=response,
            finish_reason="length" if self.finish_reason == "length" else "stop",
            seed=request.seed,
            started=started,
            finished=time.time(),
        )


async def events(chunks: AsyncIterator[bytes], limit: int, *, is_stream: bool) -> AsyncIterator[dict[str, Any]]:
    """Yields the events of a stream, or the one answer of a server that does not stream. Raises Miss for too much."""
    size, rest = 0, b""
    async for chunk in chunks:
        size += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n") if is_stream else (rest + chunk,)
        if size > limit or len(rest) > (MAX_LINE if is_stream else limit):
            raise Miss(f"the answer is longer than {size >> 20} MiB, more than its tokens can take")
        for line in lines:
            data = line.removeprefix(b"data:").strip()
            if line.startswith(b"data:") and data != b"[DONE]":
                yield json.loads(data)
    if not is_stream:
        yield json.loads(rest)


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if type(value) is int and 0 <= value < 1 << 40 else 0
