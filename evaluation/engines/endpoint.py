"""Draws from a server: vLLM, SGLang or a hosted model, through the `openai` client, which only this module imports.

Answers are streamed, so a server that hangs is noticed, proxies do not cut a silent connection, and no answer has to
fit into memory. A sample counts once the server has said why it ended.

The client handles URLs and headers only. Left alone it would retry without counting, follow redirects, send
OPENAI_API_KEY to any server, and read refusals of any size and events of any length into memory. So retries, headers
and the reading of streams are ours.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count
from queue import SimpleQueue
from threading import Thread
from typing import Any

from deepscaler.system.errors import UserError
from evaluation.config import EvaluationConfig
from evaluation.engines.manners import MISSES, Answer, Miss, Pace, backoff, judge, limit_told, said
from evaluation.engines.stream import MOST_NAMES, Parts, events
from evaluation.requests import EngineError, Request
from evaluation.samples import Sample

MAX_SILENCE = 600.0
"""Seconds without a byte; hosted models think that long before their first word."""
CONNECT_TIMEOUT = 30.0
MAX_ERROR = 64 << 10
"""Most bytes of a refusal to read."""
SMALLEST_LIMIT, BYTES_A_TOKEN = 1 << 20, 2048
"""Bytes that an answer may have, plus bytes for each token. A token of a stream takes about 300."""
PATIENCE = 5.0
"""Seconds to wait for open requests to be canceled."""
QUIET = 10.0
"""Least seconds between two lines about failures."""


class EndpointEngine:
    """Keeps a number of requests open until every sample is drawn."""

    name = "openai"

    def __init__(self, config: EvaluationConfig, say: Callable[[str], None]) -> None:
        try:
            import openai  # noqa: PLC0415
        except ImportError as error:
            raise UserError(
                f"--engine openai needs the package openai ({error}): pip install 'deepscaler-cluster-kit[endpoint]'"
            ) from error
        self._config, self._say, self._openai = config, say, openai
        self._key = read_key(config.api_key_env)
        self._pace = Pace(config.max_requests)
        self._num_drawn = 0
        self._given_up: list[str] = []
        self._num_open = 0
        """Requests whose answers have not ended."""
        self._last_line = 0.0
        self._has_told_end = False
        self._answered_as: set[str] = set()
        self._num_named_otherwise = 0
        """Answers with a name beyond the first MOST_NAMES."""
        self._limit = SMALLEST_LIMIT + BYTES_A_TOKEN * config.max_tokens

    def generate(self, requests: Iterable[Request]) -> Iterator[Sample]:
        """Yields every sample when it ends. Raises EngineError or UserError if the server stops answering."""
        drawn: SimpleQueue[Sample | BaseException | None] = SimpleQueue()
        # The loop runs in a thread: in the main thread, a signal's exception would get lost in one of its callbacks.
        loop = asyncio.new_event_loop()
        work = loop.create_task(self._draw_all(list(requests), drawn.put))

        def run() -> None:
            try:
                loop.run_until_complete(work)
            except asyncio.CancelledError:
                pass
            except BaseExceptionGroup as group:  # a TaskGroup wraps the first error of its tasks
                drawn.put(group.exceptions[0])
            except BaseException as error:
                drawn.put(error)
            finally:
                drawn.put(None)
                loop.close()

        thread = Thread(target=run, name="endpoint", daemon=True)
        thread.start()
        try:
            while (one := drawn.get()) is not None:
                if isinstance(one, BaseException):
                    raise one
                yield one
        finally:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(work.cancel)
            thread.join(PATIENCE)

    def describe(self) -> dict[str, object]:
        """Returns the server's address, and the models and fingerprints that its answers have named so far."""
        found: dict[str, object] = {
            "name": self.name,
            "version": self._openai.__version__,
            "base_url": self._config.base_url,
            "api": self._config.api,
            "answered_as": sorted(self._answered_as),
        }
        if self._num_named_otherwise:
            found["answers_with_other_names"] = self._num_named_otherwise
        return found

    async def _draw_all(self, requests: list[Request], put: Callable[[Sample], None]) -> None:
        waiting, num_wanted = iter(requests), self._num_drawn + len(requests)
        async with self._client() as client, asyncio.TaskGroup() as group:
            for _ in range(min(self._config.concurrency, len(requests))):
                group.create_task(self._work(client, waiting, put))
        # The last answer may spend a limit, and then nothing is missing.
        if self._pace.end and self._num_drawn < num_wanted:
            raise self._pace.end
        if self._given_up:
            raise EngineError(
                f"{len(self._given_up)} samples failed repeatedly (last: {self._given_up[-1]}); the others are"
                " saved, so rerun the same command to try these again"
            )

    async def _work(self, client: Any, waiting: Iterator[Request], put: Callable[[Sample], None]) -> None:
        # One iterator for all tasks: it is only touched between two awaits, so it needs no lock.
        for request in waiting:
            try:
                if sample := await self._draw(client, request):
                    put(sample)
            except (EngineError, UserError) as error:
                # Not raised here: the group would cancel every other request, and their answers are paid for.
                self._pace.close(error)
            if self._pace.end:
                break
        if self._pace.end and self._num_open and not self._has_told_end:
            self._has_told_end = True
            self._say(f"Sending no more requests: {self._pace.end}. Waiting for {self._num_open} open ones ...")

    async def _draw(self, client: Any, request: Request) -> Sample | None:
        """Returns a sample, after as many requests as it takes; None if it is given up, or if requests are over."""
        misses, num_before = 0, self._num_drawn
        for num_tries in count(1):
            if not await self._pace.admit():
                break
            try:
                sample = await self._ask(client, request)
                self._num_drawn += 1
                return sample
            except Miss as miss:
                misses += miss.weight
                self._tell(str(miss))
                if misses >= MISSES and self._num_drawn == num_before:
                    raise EngineError(
                        f"{self._config.base_url} failed {num_tries} times in a row (last: {miss}); drawn samples are"
                        " saved, so rerun the same command to resume"
                    ) from None
                if misses >= MISSES:  # other samples have come back meanwhile, so only this request fails
                    self._given_up.append(str(miss))
                    return None
                if miss.wait:
                    self._pace.hold(miss.wait)
                else:
                    await self._pace.sleep(backoff(misses))
        return None

    async def _ask(self, client: Any, request: Request) -> Sample:
        """Returns the answer to one request. Raises Miss for a failure that may pass, UserError for any other."""
        started = time.time()
        self._num_open += 1
        try:
            async with asyncio.timeout(self._config.request_timeout):
                return await self._answer(client, request, started)
        except (Miss, UserError):
            raise
        except Exception as error:  # the client, httpx below it and unexpected JSON all raise types of their own
            cause: BaseException | None = error
            while cause:
                if isinstance(cause, Answer):
                    raise judge(cause, self._key) from None
                cause = cause.__cause__
            # openai's, httpx's and asyncio's have no class in common but this word in their names.
            is_timeout = "Timeout" in type(error).__name__
            origin = error.__cause__ or error
            name = type(origin).__name__
            told = said(str(origin).encode("utf-8", "replace"), self._key)
            reason = f"no answer in {time.time() - started:.0f} s" if is_timeout else f"{name}: {told}"
            raise Miss(reason, timed_out=is_timeout) from None
        finally:
            self._num_open -= 1

    async def _answer(self, client: Any, request: Request, started: float) -> Sample:
        parameters = {
            "temperature": self._config.temperature,
            "top_p": self._config.top_p,
            "max_tokens": request.max_tokens,
            "seed": request.seed,
        }
        asked: dict[str, Any] = {
            name: value for name, value in parameters.items() if name not in self._config.leave_out
        }
        asked |= {"model": self._config.model, "stream": True, "stream_options": {"include_usage": True}}
        asked["extra_headers"] = self._headers()
        if request.messages:
            stream = client.chat.completions.with_streaming_response.create(messages=list(request.messages), **asked)
        else:
            stream = client.completions.with_streaming_response.create(prompt=list(request.prompt_token_ids), **asked)
        answer = Parts()
        async with stream as response:
            if wait := limit_told(response.headers):
                self._pace.hold(wait)
            is_stream = "event-stream" in response.headers.get("content-type", "")
            async for event in events(response.iter_bytes(), self._limit, is_stream=is_stream):
                if "error" in event:  # servers report a failure within a stream whose status was 200
                    raise Miss(f"the server said: {said(json.dumps(event).encode(), self._key)}")
                answer.add(event)
        sample = answer.to_sample(request, started)
        new = sorted(answer.names - self._answered_as)
        room = MOST_NAMES - len(self._answered_as)
        self._answered_as |= {*new[:room]}
        self._num_named_otherwise += len(new) > room
        return sample

    def _client(self) -> Any:
        """Returns a client that neither retries, as retries are counted here, nor follows redirects with the key."""
        timeout = self._openai.Timeout(MAX_SILENCE, connect=CONNECT_TIMEOUT)
        return self._openai.AsyncOpenAI(
            base_url=self._config.base_url,
            # Without a key the client refuses to be made; the header below keeps this word off the wire.
            api_key=self._key or "none",
            # Given, or the client would read OPENAI_ADMIN_KEY.
            admin_api_key="",
            max_retries=0,
            timeout=timeout,
            http_client=self._openai.DefaultAsyncHttpxClient(
                follow_redirects=False, timeout=timeout, event_hooks={"response": [_refuse]}
            ),
        )

    def _headers(self) -> dict[str, Any]:
        """Returns the extra headers of every request. They keep out what the client would take from the environment."""
        nobody = self._openai.Omit()  # the client reads OPENAI_ORG_ID and OPENAI_PROJECT_ID by itself
        headers: dict[str, Any] = {"OpenAI-Organization": nobody, "OpenAI-Project": nobody}
        if not self._key:
            headers["Authorization"] = nobody  # the client would send OPENAI_API_KEY to any server
        return headers | {"Accept-Encoding": "identity"}  # a compressed answer could exceed the limit once unpacked

    def _tell(self, reason: str) -> None:
        if time.monotonic() - self._last_line > QUIET:
            self._last_line = time.monotonic()
            self._say(f"A request failed ({reason}); retrying.")


async def _refuse(response: Any) -> None:
    """Raises Answer for every status but 200, with the beginning of the body."""
    if response.status_code == 200:
        return
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= MAX_ERROR:
            break
    raise Answer(response.status_code, response.headers, body[:MAX_ERROR])


def read_key(variable: str) -> str:
    """Returns the key in a variable, empty if no variable is named. Raises UserError that never shows the key."""
    key = os.environ.get(variable, "").strip() if variable else ""
    if variable and not key:
        raise UserError(f"--api-key-env {variable}: that variable is not set; export it first")
    if not key.isascii() or not (key.isprintable()):
        raise UserError(f"--api-key-env {variable}: expected a key of printable ASCII characters; export it again")
    return key
