"""The engine for machines that vLLM does not run on: transformers, batch by batch. Slow, and says the same things.

Batches are left-padded; every sample has its own random generator, so its seed means the same in any batch.
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from deepscaler.errors import UserError
from evaluation.config import EvaluationConfig
from evaluation.requests import Request
from evaluation.samples import Sample

BATCH_SIZE = 32


class TransformersEngine:
    """`transformers` generation with per-sample seeds."""

    name = "transformers"

    def __init__(self, config: EvaluationConfig, model: str, context: int) -> None:
        try:
            import torch  # noqa: PLC0415
            from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415
            from transformers.utils import logging as transformers_logging  # noqa: PLC0415
        except ImportError as error:
            raise UserError(f"--engine transformers needs torch and transformers: {error}") from error
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        self._config, self._context, self._torch = config, context, torch
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = config.dtype if config.dtype != "auto" else ("bfloat16" if device == "cuda" else "float32")
        revision = "main" if Path(model).is_dir() else config.revision
        self._tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
        self._model = AutoModelForCausalLM.from_pretrained(model, revision=revision, dtype=dtype).to(device).eval()
        self._device, self._dtype = device, dtype
        ends = self._model.generation_config.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [ends]) - {None}

    def generate(self, requests: Iterable[Request]) -> Iterator[Sample]:
        """Draw samples in batches of the config's max_num_seqs."""
        ordered = sorted(requests, key=lambda request: len(request.prompt_token_ids))
        size = self._config.max_num_seqs or BATCH_SIZE
        for start in range(0, len(ordered), size):
            yield from self._generate_batch(ordered[start : start + size])

    def describe(self) -> dict[str, object]:
        """Version and settings."""
        import transformers  # noqa: PLC0415

        return {
            "name": "transformers",
            "version": transformers.__version__,
            "device": self._device,
            "dtype": self._dtype,
            "max_model_len": self._context,
        }

    def _generate_batch(self, batch: list[Request]) -> Iterator[Sample]:
        """One token for every unfinished sequence at a time; a sample is yielded as soon as it ends."""
        torch = self._torch
        started = time.time()
        width = max(len(request.prompt_token_ids) for request in batch)
        padded = [[0] * (width - len(r.prompt_token_ids)) + list(r.prompt_token_ids) for r in batch]
        masks = [[0] * (width - len(r.prompt_token_ids)) + [1] * len(r.prompt_token_ids) for r in batch]
        tokens = torch.tensor(padded, device=self._device)
        mask = torch.tensor(masks, device=self._device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        generators = [torch.Generator().manual_seed(request.seed) for request in batch]
        responses: list[list[int]] = [[] for _ in batch]
        unfinished = set(range(len(batch)))
        cache: Any = None
        while unfinished:
            with torch.inference_mode():
                output = self._model(
                    input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
                )
            cache = output.past_key_values
            chosen = [
                self._choose(logits, g)
                for logits, g in zip(output.logits[:, -1].float().cpu(), generators, strict=True)
            ]
            for index in sorted(unfinished):
                responses[index].append(chosen[index])
                ended = chosen[index] in self._ends
                if ended or len(responses[index]) >= batch[index].max_tokens:
                    unfinished.discard(index)
                    yield self._to_sample(batch[index], responses[index], "stop" if ended else "length", started)
            tokens = torch.tensor(chosen, device=self._device).unsqueeze(-1)
            mask = torch.cat([mask, mask.new_ones((len(batch), 1))], dim=-1)
            positions = positions[:, -1:] + 1

    def _choose(self, logits: Any, generator: Any) -> int:
        """Sample one token id from a row of logits (vocabulary), by temperature and nucleus."""
        torch = self._torch
        if self._config.temperature == 0:
            return int(logits.argmax())
        probabilities, order = torch.softmax(logits / self._config.temperature, dim=-1).sort(descending=True)
        outside = probabilities.cumsum(-1) - probabilities >= self._config.top_p
        nucleus = probabilities.masked_fill(outside, 0.0)
        return int(order[torch.multinomial(nucleus, 1, generator=generator)])

    def _to_sample(self, request: Request, response: list[int], finish_reason: str, started: float) -> Sample:
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
