"""Serves rollouts: collects the requests of a turn, then draws them in batches, in a thread of its own.

The same requests are always drawn in the same batches, so that a run can be repeated to the last digit (see turn). An
asynchronous trainer aborts it before each update: unfinished responses go back as far as they are, verl's client
asks for the rest once generation is resumed with new weights, and requests that come meanwhile wait for that.
"""

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from deepscaler.verl_plugin.beats import doing
from deepscaler.verl_plugin.cpu import turn
from deepscaler.verl_plugin.cpu.turn import Turn

QUIET = 0.2
"""Seconds without a new request after which requests without a turn are drawn: verl sends those of a step at once."""

PATIENCE = 30.0
"""Seconds without a new request after which a turn is drawn that is not whole: an agent loop failed before it asked."""

FIRST_PATIENCE = 240.0
"""The same for the first turn: agent loops import their modules before it, on a busy machine for minutes, and a part of
it would be computed in other batches than in a run that is to be the same. Less than a first step's stall bound."""


@dataclass(frozen=True, slots=True)
class _Request:
    draw: Any
    answer: "asyncio.Future[Any]"
    turn: Turn | None

    @property
    def place(self) -> int:
        return self.turn.place if self.turn else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A response as verl's client reads it; verl's own TokenOutput would import all of verl into this process."""

    token_ids: list[int]
    log_probs: list[float] | None
    stop_reason: str
    extra_fields: dict[str, Any]
    routed_experts: None = None
    num_preempted: None = None


@ray.remote
class RolloutServer:
    """One model, asked token ids for token ids."""

    def __init__(self, model: str, response_length: int, max_num_seqs: int) -> None:
        import torch  # noqa: PLC0415
        from transformers import AutoModelForCausalLM  # noqa: PLC0415

        from deepscaler.models.decoding import end_tokens  # noqa: PLC0415

        self._model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self._ends = end_tokens(self._model)
        self._response_length, self._max_num_seqs = response_length, max_num_seqs
        self._global_steps: int | None = None
        self._turns: dict[str, list[_Request]] = {}
        """Requests that wait, by the name of their turn; those without one stand below an empty name."""
        self._arrived = asyncio.Event()
        self._patience = FIRST_PATIENCE
        self._worker: asyncio.Task[None] | None = None
        self._aborted = threading.Event()
        self._resumed, self._idle = asyncio.Event(), asyncio.Event()
        self._resumed.set()
        self._idle.set()

    async def ready(self) -> None:
        """Starts to serve; the model is loaded by then."""
        self._worker = asyncio.create_task(self._serve())

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any], **_: Any
    ) -> Any:
        """Draws one response to a prompt."""
        import torch  # noqa: PLC0415

        from deepscaler.models.decoding import Draw  # noqa: PLC0415

        assert self._worker is not None
        seed = sampling_params.get("seed")
        draw = Draw(
            prompt_token_ids=tuple(prompt_ids),
            max_tokens=int(sampling_params.get("max_tokens") or self._response_length),
            temperature=float(sampling_params["temperature"]),
            top_p=float(sampling_params["top_p"]),
            generator=torch.Generator().manual_seed(secrets.randbits(63) if seed is None else seed),
        )
        request = _Request(draw, asyncio.get_running_loop().create_future(), sampling_params.get(turn.KEY))
        self._turns.setdefault(request.turn.name if request.turn else "", []).append(request)
        self._arrived.set()
        with doing("response"):
            drawn = await request.answer
        return Output(
            token_ids=drawn.token_ids,
            log_probs=drawn.log_probs if sampling_params.get("logprobs") else None,
            stop_reason="aborted" if drawn.finish_reason == "abort" else "completed",
            extra_fields={"global_steps": self._global_steps},
        )

    async def load_weights(self, arrays: dict[str, npt.NDArray[np.float32]], global_steps: int | None) -> None:
        """Replaces the weights with the trainer's."""
        import torch  # noqa: PLC0415

        state = {name: torch.from_numpy(array) for name, array in arrays.items()}
        # Not strict, since a tied head is in the model's state and not among the weights that verl sends.
        missing, unexpected = self._model.load_state_dict(state, strict=False)
        tied = set(self._model.all_tied_weights_keys or ())
        wrong = [*unexpected, *(set(missing) - tied)]
        assert not wrong, wrong
        self._global_steps = global_steps

    async def abort_all_requests(self, **_: Any) -> None:
        """Ends what is being drawn, and draws nothing until generation is resumed."""
        # In this order: no batch begins while the one in flight ends, and the caller waits until none is left.
        self._resumed.clear()
        self._aborted.set()
        await self._idle.wait()

    async def resume_generation(self) -> None:
        """Draws again."""
        # Before the event, or the first batch after it would end at once.
        self._aborted.clear()
        self._resumed.set()

    async def wake_up(self, **_: Any) -> None:
        """Does nothing: the server never sleeps, and has neither a cache to clear nor a profiler."""

    sleep = clear_kv_cache = start_profile = stop_profile = wake_up

    async def _serve(self) -> None:
        """Draws batch after batch; an error goes to those who wait for it."""
        async for batch in self._batches():
            await self._resumed.wait()
            self._idle.clear()
            try:
                await asyncio.to_thread(self._draw, batch, asyncio.get_running_loop())
            except Exception as error:  # whatever torch raises
                for request in batch:
                    if not request.answer.done():
                        request.answer.set_exception(error)
            finally:
                self._idle.set()

    async def _batches(self) -> AsyncIterator[list[_Request]]:
        """Yields turns when they are whole, each in its own order, in parts that fit."""
        while True:
            name = next((name for name, requests in self._turns.items() if self._is_whole(requests)), None)
            if name is None:
                self._arrived.clear()
                seconds = QUIET if "" in self._turns else self._patience if self._turns else None
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), seconds)
                    continue
                name = "" if "" in self._turns else next(iter(self._turns))
                if name:
                    print(f"Turn {name} is drawn without the requests that did not come in {self._patience:g} s.")
            self._patience = PATIENCE
            # In the turn's order: the shape of a batch, and a row's place in it, decide the last digits.
            requests = sorted(self._turns.pop(name), key=lambda request: request.place)
            for start in range(0, len(requests), self._max_num_seqs):
                yield requests[start : start + self._max_num_seqs]

    def _is_whole(self, requests: list[_Request]) -> bool:
        """Returns whether all of a turn are here, or, without one, as many as fit into a batch."""
        return len(requests) >= (requests[0].turn.size if requests[0].turn else self._max_num_seqs)

    def _draw(self, batch: list[_Request], loop: asyncio.AbstractEventLoop) -> None:
        from deepscaler.models.decoding import draw_batch  # noqa: PLC0415

        draws = [request.draw for request in batch]
        for drawn in draw_batch(self._model, draws, self._ends, self._aborted.is_set):
            # Futures belong to the loop's thread, and this runs in another.
            loop.call_soon_threadsafe(batch[drawn.index].answer.set_result, drawn)
