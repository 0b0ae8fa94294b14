"""Draws with transformers, batch by batch, on machines that vLLM does not support. It is slow, but samples alike.

Every sample has its own random generator, so its seed means the same in any batch.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from deepscaler.system.errors import UserError
from evaluation.config import EvaluationConfig
from evaluation.requests import Request
from evaluation.samples import Sample

BATCH_SIZE = 32


class TransformersEngine:
    """Generates with transformers, with a seed per sample."""

    name = "transformers"

    def __init__(
        self, config: EvaluationConfig, model: str, context: int, beat: Callable[[], None] = lambda: None
    ) -> None:
        try:
            import torch  # noqa: PLC0415
            from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415
            from transformers.utils import logging as transformers_logging  # noqa: PLC0415
        except ImportError as error:
            raise UserError(f"--engine transformers needs torch and transformers: {error}") from error
        from deepscaler.models.decoding import end_tokens  # noqa: PLC0415

        # its advice and its bars for loading weights would stand between the lines of this command
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        self._config, self._context, self._torch = config, context, torch
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = config.dtype if config.dtype != "auto" else ("bfloat16" if device == "cuda" else "float32")
        revision = "main" if Path(model).is_dir() else config.revision
        self._tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
        self._model = AutoModelForCausalLM.from_pretrained(model, revision=revision, dtype=dtype).to(device).eval()
        self._model.register_forward_hook(lambda *_: beat())
        self._device, self._dtype = device, dtype
        self._ends = end_tokens(self._model)

    def generate(self, requests: Iterable[Request]) -> Iterator[Sample]:
        """Yields samples, drawn in batches of the config's max_num_seqs."""
        # A batch pads prompts to one length, which changes the order of floating-point sums and so their rounding.
        size = 1 if self._config.deterministic else self._config.max_num_seqs or BATCH_SIZE
        waiting = iter(requests)
        while batch := list(islice(waiting, size)):
            yield from self._generate_batch(batch)

    def describe(self) -> dict[str, object]:
        """Returns the version and settings, for the provenance."""
        import transformers  # noqa: PLC0415

        return {
            "name": "transformers",
            "version": transformers.__version__,
            "device": self._device,
            "dtype": self._dtype,
            "max_model_len": self._context,
        }

    def _generate_batch(self, batch: list[Request]) -> Iterator[Sample]:
        """Yields every sample of a batch as soon as it ends."""
        from deepscaler.models.decoding import Draw, draw_batch  # noqa: PLC0415  imports torch

        started = time.time()
        draws = [
            Draw(
                prompt_token_ids=request.prompt_token_ids,
                max_tokens=request.max_tokens,
                temperature=self._config.temperature,
                top_p=self._config.top_p,
                generator=self._torch.Generator().manual_seed(request.seed),
            )
            for request in batch
        ]
        for drawn in draw_batch(self._model, draws, self._ends):
            yield self._to_sample(batch[drawn.index], drawn.token_ids, drawn.finish_reason, started)

    def _to_sample(self, request: Request, response: list[int], finish_reason: str, started: float) -> Sample:
        # without the cleaning that some tokenizers' files turn on: it removes the blank before a comma or full
        # stop
        return Sample(
            problem_id=request.problem_id,
            sample=request.sample,
            text=self._tokenizer.decode(response, skip_special_tokens=True, clean_up_tokenization_spaces=False),
            prompt_tokens=len(request.prompt_token_ids),
            response_tokens=len(response),
            finish_reason=finish_reason,
            seed=request.seed,
            started=started,
            finished=time.time(),
        )
