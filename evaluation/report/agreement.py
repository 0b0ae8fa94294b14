"""Checks whether a run agrees with the published scores of the same model, and lists the differences in method.

AIME 2024: 41.0 agrees with the 43.1 of DeepScaleR README: chance alone moves two such runs apart by up to 5.9 points.
"""

from statistics import NormalDist
from typing import Any

import numpy as np

from deepscaler.data.sources import title
from deepscaler.output.cells import short_name
from deepscaler.rewards.grade import Mode
from evaluation.protocols import GRADERS, PROTOCOLS, overrides, protocol_of
from evaluation.report.published import PublishedResult, results_for
from evaluation.score import BenchmarkScores

SIGNIFICANT = 0.05
"""P-value below which a difference counts as more than chance."""


def agreement(
    benchmarks: list[BenchmarkScores], config: dict[str, Any], provenance: dict[str, Any], grader: Mode
) -> list[str]:
    """Returns a sentence on each published score of the same model and protocol, and one on differences in method."""
    if protocol_of(config) is None:
        return []
    # by name, because no source publishes a hash of the weights
    name = short_name(str(config["model"])).lower()
    rows = results_for([one.dataset for one in benchmarks], str(config["protocol"]))
    pairs = [
        (one, row)
        for row in rows
        if row.model.lower() == name
        for one in benchmarks
        if one.dataset in row.scores and one.scored
    ]
    if not pairs:
        return []
    return [*(_sentence(one, row) for one, row in pairs), _differences(pairs[0][1], config, provenance, grader)]


def _sentence(one: BenchmarkScores, row: PublishedResult) -> str:
    own, published = 100 * one.pass_at_1.value, row.scores[one.dataset]
    error = (own_variance(one) + _published_variance(one, row)) ** 0.5
    gap = abs(own - published)
    # without any variance, as where no sample is correct, equal figures to the printed digit agree and others
    # do not
    p = 2 * NormalDist().cdf(-gap / error) if error else float(gap < 0.05)
    told = f"{title(one.dataset)}: {own:.1f}"
    if p >= SIGNIFICANT:
        return (
            f"{told} agrees with the {published:.1f} of {row.told}: chance alone moves two such runs apart by up to"
            f" {1.96 * error:.1f} points (p {p:.2f})."
        )
    side = "above" if own > published else "below"
    return f"{told} is {gap:.1f} points {side} the {published:.1f} of {row.told}, more than chance (p {_shown(p)})."


def own_variance(one: BenchmarkScores) -> float:
    """Returns the variance of a run's Pass@1, in points squared, over other samples of the same problems.

    Both runs have the same problems, so differences in difficulty do not count. The estimate of a problem's p (1 - p)
    from its samples is unbiased. With one sample per problem it is unknown, and the mean's p (1 - p) bounds it.
    """
    counts: dict[str, list[bool]] = {}
    for scored in one.scored:
        counts.setdefault(scored.sample.problem_id, []).append(scored.grade.correct)
    rates = np.array([np.mean(row) for row in counts.values()])
    sizes = np.array([len(row) for row in counts.values()])
    if sizes.min() == 1:
        mean = float(rates.mean())
        # 1e4 turns the square of a share into the square of points.
        return 1e4 * mean * (1 - mean) / len(rates) / float(sizes.mean())
    # n / (n - 1) makes p (1 - p) unbiased, and its division by n gives the variance of a problem's rate.
    return 1e4 * float((rates * (1 - rates) / (sizes - 1)).sum()) / len(rates) ** 2


def _published_variance(one: BenchmarkScores, row: PublishedResult) -> float:
    """Returns the variance of the published figure: over its seeds, or this run's variance with the protocol's n."""
    number = PROTOCOLS[row.protocol].samples_of(one.dataset)
    if one.dataset in row.deviations:
        return row.deviations[one.dataset] ** 2 / number
    return own_variance(one) * len(one.scored) / one.num_problems / number


def _differences(row: PublishedResult, config: dict[str, Any], provenance: dict[str, Any], grader: Mode) -> str:
    protocol = PROTOCOLS[row.protocol]
    found = [f"here {option}" for option in overrides(config)]
    if row.but:
        found.append(f"there {row.but}")
    if protocol.graded_by != GRADERS[grader]:
        again = " (`deepscaler report --grader deepscaler` applies those)"
        is_near = protocol.grader == "deepscaler" and grader == "kit"
        found.append(f"graded there by {protocol.graded_by}, here by {GRADERS[grader]}{again if is_near else ''}")
    found += protocol.unlike
    engine = provenance.get("engine", {})
    versions = provenance.get("versions", {})
    here = [str(engine[key]) for key in ("name", "version", "dtype", "device") if engine.get(key)]
    if here:
        found.append(f"here {' '.join(here)}" + (f", torch {versions['torch']}" if versions.get("torch") else ""))
    return f"What differs from {row.source}: {'; '.join(found)}."


def _shown(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"
