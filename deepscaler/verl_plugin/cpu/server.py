"""The rollout's server: collects requests for a moment, then draws them in batches, in a thread of its own.

An asynchronous trainer aborts it before each update: responses in the making go back as far as they are, verl's client
asks for the rest once generation is resumed with new weights, and requests that come meanwhile wait for that.
"""

import asyncio
import threading
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

QUIET = 0.2
"""Seconds without a new request after which a batch starts: verl sends a step's requests within some milliseconds."""


@ray.remote
class RolloutServer:
    """One model, asked token ids for token ids."""

    def __init__(self, model: str, response_length: int, max_num_seqs: int, seed: int) -> None:
        import torch  # noqa: PLC0415
        from transformers import AutoModelForCausalLM  # noqa: PLC0415

        from deepscaler.models.decoding import end_tokens  # noqa: PLC0415

        self._model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self._ends = end_tokens(self._model)
        self._response_length, self._max_num_seqs, self._seed = response_length, max_num_seqs, seed
        self._global_steps: int | None = None
        self._num_drawn = 0
        self._waiting: asyncio.Queue[tuple[Any, asyncio.Future[Any]]] = asyncio.Queue()
        self._worker: asyncio.Task[None] | None = None
        self._aborted = threading.Event()
        self._resumed, self._idle = asyncio.Event(), asyncio.Event()
        self._resumed.set()
        self._idle.set()

    async def ready(self) -> None:
        """The model is loaded; start to serve."""
        self._worker = asyncio.create_task(self._serve())

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any], **_: Any
    ) -> Any:
        """Draw one response to a prompt."""
        import torch  # noqa: PLC0415
        from verl.workers.rollout.replica import TokenOutput  # noqa: PLC0415

        from deepscaler.models.decoding import Draw  # noqa: PLC0415

        assert self._worker is not None
        self._num_drawn += 1
        step = self._global_steps or 0
        draw = Draw(
            prompt_token_ids=tuple(prompt_ids),
            max_tokens=int(sampling_params.get("max_tokens") or self._response_length),
            temperature=float(sampling_params["temperature"]),
            top_p=float(sampling_params["top_p"]),
            generator=torch.Generator().manual_seed(zlib.crc32(f"{self._seed} {step} {self._num_drawn}".encode())),
        )
        future = asyncio.get_running_loop().create_future()
        await self._waiting.put((draw, future))
        drawn = await future
        return TokenOutput(
            token_ids=drawn.token_ids,
            log_probs=drawn.log_probs if sampling_params.get("logprobs") else None,
            stop_reason="aborted" if drawn.finish_reason == "abort" else "completed",
            extra_fields={"global_steps": self._global_steps},
        )

    async def load_weights(self, arrays: dict[str, npt.NDArray[np.float32]], global_steps: int | None) -> None:
        """Take over the trainer's weights."""
        import torch  # noqa: PLC0415

        state = {name: torch.from_numpy(array) for name, array in arrays.items()}
        missing, unexpected = self._model.load_state_dict(state, strict=False)
        tied = set(self._model.all_tied_weights_keys or ())
        wrong = [*unexpected, *(set(missing) - tied)]
        assert not wrong, wrong
        self._global_steps, self._num_drawn = global_steps, 0

    async def abort_all_requests(self, **_: Any) -> None:
        """Ends what is being drawn, and draws nothing until generation is resumed."""
        self._resumed.clear()
        self._aborted.set()
        await self._idle.wait()

    async def resume_generation(self) -> None:
        """Draws again."""
        self._aborted.clear()
        self._resumed.set()

    async def wake_up(self, **_: Any) -> None:
        """It never sleeps; nor has it a cache to clear, or a profiler."""

    sleep = clear_kv_cache = start_profile = stop_profile = wake_up

    async def _serve(self) -> None:
        """Draw batch after batch; an error goes to those who wait for it."""
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < self._max_num_seqs:
                try:
                    batch.append(await asyncio.wait_for(self._waiting.get(), QUIET))
                except TimeoutError:
                    break
            await self._resumed.wait()
            self._idle.clear()
            try:
                await asyncio.to_thread(self._draw, batch, asyncio.get_running_loop())
            except Exception as error:  # whatever torch raises
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            finally:
                self._idle.set()

    def _draw(self, batch: list[tuple[Any, asyncio.Future[Any]]], loop: asyncio.AbstractEventLoop) -> None:
        from deepscaler.models.decoding import draw_batch  # noqa: PLC0415

        draws = [draw for draw, _ in batch]
        for drawn in draw_batch(self._model, draws, self._ends, self._aborted.is_set):
            loop.call_soon_threadsafe(batch[drawn.index][1].set_result, drawn)
