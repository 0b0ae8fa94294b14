"""Predicts how long rollout engines take for a batch whose lengths are known as a distribution.

An engine's places stay full while responses wait; then fewer and fewer are left, and the longest response of all ends
the phase.
"""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

from deepscaler.recipes.cards import Card, Software
from deepscaler.recipes.model_shape import ModelShape
from deepscaler.recipes.response_lengths import Lengths

POINTS = 256
"""Points in time at which a generation is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """The rollout engines of a job, all alike."""

    shape: ModelShape
    card: Card
    software: Software
    number: int
    tensor_parallel: int
    """GPUs of one engine."""
    cached_tokens: int
    """Whose keys and values one engine holds."""

    def step(self, sequences: float, context: float) -> float:
        """Returns seconds of one decoding step of so many sequences, of so many tokens each until now.

        It reads the weights, or computes with them where that takes longer, and reads all keys and values.
        """
        # Two bytes a weight: vLLM's copy is in bfloat16, whatever the trainer holds.
        reading = 2 * self.shape.num_multiplied / self.card.memory_bandwidth
        computing = sequences * 2 * self.shape.num_multiplied / (self.software.forward * self.card.flops)
        cache = sequences * context * self.shape.kv_bytes_per_token / self.card.memory_bandwidth
        fixed = self.software.decode + sequences * self.software.decode_sequence
        return fixed + (max(reading, computing) + cache) / self.tensor_parallel

    def seconds(self, lengths: Lengths, responses: int, limit: int) -> float:
        """Returns seconds until the slowest engine has drawn its longest response, of `responses` over all engines.

        Where nothing waits, n x P(length > t) sequences are left at token t, and one until the longest of all ends.
        """
        longest = lengths.longest(responses, limit)
        width = longest / POINTS
        # Midpoints, with which a sum of 256 rectangles is exact for straight pieces.
        grid = [(point + 0.5) * width for point in range(POINTS)]
        left = [lengths.longer_than(tokens) for tokens in grid]
        mean = sum(left) * width
        # E[L^2] = 2 x the integral of t P(L > t), as E[L] is that of P(L > t).
        square = 2 * width * sum(share * tokens for share, tokens in zip(left, grid, strict=True))
        each = max(1.0, responses / self.number)
        # of so many sums of n lengths the largest is expected where the normal distribution has its n / (n + 1)
        above = NormalDist().inv_cdf(self.number / (self.number + 1)) if self.number > 1 else 0.0
        load = each * (1 + above * sqrt(max(0.0, square - mean**2)) / mean / sqrt(each))
        # The cache is fullest between the beginning, when contexts are short, and the end, when few are left.
        fullest = max(share * (lengths.prompt + tokens) for share, tokens in zip(left, grid, strict=True))
        # vLLM preempts sequences that do not fit, and computes them again: so it is taken to hold no more than fit.
        places = min(load, self.software.most_sequences, max(1.0, self.cached_tokens / fullest))
        waiting = (load - places) * mean / places * self.step(places, lengths.prompt + square / mean / 2)
        return waiting + sum(
            # At least one: the longest response of all is alone at the end.
            width * self.step(max(1.0, places * share), lengths.prompt + tokens)
            for share, tokens in zip(left, grid, strict=True)
        )
