"""Models response lengths: a log-normal distribution, cut off at a limit, given by its mean and the share cut off.

Lengths(mean=4250, cut_off=0.08, limit=8192)     DeepScaleR's first stage, on average over its steps
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import exp, log
from statistics import NormalDist

from deepscaler.system.errors import UserError

_NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Tokens of the responses of a batch. Without random numbers: a batch of n is n quantiles."""

    mean: float
    """Mean of the responses as drawn; those that are cut off count as the limit."""
    cut_off: float
    """Share of responses that reach the limit; 1 where all have its length, as those of a model of random weights."""
    limit: int
    """Most tokens of a response (max_response_length)."""
    prompt: float = 150
    """Mean tokens of a prompt: an assumption for DeepScaleR's data."""

    def __post_init__(self) -> None:
        """Raises UserError if no distribution has such a mean."""
        # A model of random weights never ends a response: bench/gpu.py trains such a one.
        whole = self.cut_off == 1 and self.mean == self.limit
        if not whole and not (0 < self.cut_off < 1 and self.cut_off * self.limit < self.mean < self.limit):
            raise UserError(
                f"responses of {self.mean:g} tokens in the mean, {self.cut_off:g} of them cut off at {self.limit}:"
                " give a share above 0 and below mean / limit, and a mean below the limit"
            )

    @cached_property
    def _log_normal(self) -> tuple[float, float]:
        """Returns mu and sigma of the logarithm, without a limit.

        With z the normal quantile of 1 - cut_off, mu = ln(limit) - z sigma, and the mean over the limit is
        exp(sigma^2 / 2 - z sigma) Phi(z - sigma) + cut_off, which falls with sigma: bisection.
        """
        z = _NORMAL.inv_cdf(1 - self.cut_off)
        low, high = 0.0, 20.0
        # 60 halvings of 20 leave less than a float can hold.
        for _ in range(60):
            sigma = (low + high) / 2
            mean = exp(sigma**2 / 2 - z * sigma) * _NORMAL.cdf(z - sigma) + self.cut_off
            low, high = (sigma, high) if mean * self.limit > self.mean else (low, sigma)
        return log(self.limit) - z * low, low

    def at(self, share: float, limit: int = 0) -> float:
        """Returns the length that a share (above 0, below 1) of the responses does not exceed, under another limit."""
        if self.cut_off == 1:
            return float(limit or self.limit)
        mu, sigma = self._log_normal
        return min(exp(mu + sigma * _NORMAL.inv_cdf(share)), float(limit or self.limit))

    def longer_than(self, tokens: float) -> float:
        """Returns the share of responses that have more tokens, where no limit cuts them off."""
        if self.cut_off == 1:
            return 1.0
        mu, sigma = self._log_normal
        return 1 - _NORMAL.cdf((log(tokens) - mu) / sigma) if tokens > 0 else 1.0

    def longest(self, responses: int, limit: int = 0) -> float:
        """Returns the expected length of the longest of so many responses: the quantile n / (n + 1)."""
        # The n-th of n draws is expected near this quantile, which never reaches 1.
        return self.at(responses / (responses + 1), limit)

    def sample(self, responses: int, limit: int = 0) -> list[float]:
        """Returns the lengths of a typical batch, shortest first."""
        return [self.at((number + 0.5) / responses, limit) for number in range(responses)]

    def scaled(self, factor: float) -> "Lengths":
        """Returns lengths of another mean; the limit and the share cut off stay as they are."""
        return replace(self, mean=self.mean * factor)


DEEPSCALER = {
    "8k": Lengths(mean=4250, cut_off=0.08, limit=8192),
    "16k": Lengths(mean=4500, cut_off=0.05, limit=16_384),
    "24k": Lengths(mean=6000, cut_off=0.04, limit=24_576),
}
"""Means over the steps of DeepScaleR's stages: assumptions.

They are from memory of its blog's figures of response length and clip ratio ("Surpassing O1-Preview with a 1.5B Model
by Scaling RL"), to be checked there: 5,500 falling to about 3,000 in 8K, 3,500 rising to 5,500 in 16K, more in 24K.
"""


def assumed_lengths(limit: int, mean: float | None = None) -> tuple[Lengths, str]:
    """Returns lengths under a limit, and a line that says what is assumed; a given mean (tokens) is taken as it is.

    DeepScaleR's stages at their own limits, in proportion below the first, between them on a straight line, and as
    the last one's above. A share cut off that no distribution of the mean has is lowered. Raises UserError for a mean
    that is not below the limit.
    """
    by_limit = sorted(DEEPSCALER.values(), key=lambda one: one.limit)
    below = [one for one in by_limit if one.limit <= limit]
    above = [one for one in by_limit if one.limit >= limit]
    if not below:
        usual, cut_off = above[0].mean * limit / above[0].limit, above[0].cut_off
    elif not above:
        usual, cut_off = below[-1].mean, below[-1].cut_off
    else:
        (left, right), span = (below[-1], above[0]), max(1, above[0].limit - below[-1].limit)
        share = (limit - left.limit) / span
        usual, cut_off = (a + share * (b - a) for a, b in ((left.mean, right.mean), (left.cut_off, right.cut_off)))
    told = (
        f"responses of {usual:,.0f} tokens in the mean of all steps are an assumption (--mean-response gives another)"
    )
    if mean is not None:
        told = f"responses of {mean:,.0f} tokens in the mean of all steps, as given"
    chosen = usual if mean is None else mean
    if not 0 < chosen < limit:
        raise UserError(f"--mean-response {chosen:g} must be above 0 and below max_response_length {limit:,}")
    most = 0.9 * chosen / limit  # so that the responses that are not cut off have a length, too
    return Lengths(mean=chosen, cut_off=min(cut_off, most), limit=limit), told
