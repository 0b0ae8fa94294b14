"""Builds the report's tables as plain rows of cells, header first. Every output format draws them its own way.

A cell may have two lines: a value and its interval.
"""

import json
from typing import Any

from deepscaler.data.sources import title
from deepscaler.output.cells import Rows, percent, short_name, show_interval
from deepscaler.rewards.grade import Mode
from evaluation.folder import DIFFERING
from evaluation.protocols import (
    GRADERS,
    PROTOCOLS,
    Protocol,
    overrides,
    protocol_name,
    protocol_of,
    samples_of,
    told,
    told_numbers,
)
from evaluation.report.published import results_for
from evaluation.score import BenchmarkScores

UNDECIDED = ("timeout", "worker_died")
"""Outcomes that are failures of grading, not of the model."""


def comparison_table(benchmarks: list[BenchmarkScores], config: dict[str, Any], shown: str = "") -> Rows:
    """Returns this run's Pass@1 above the published results of its protocol, or of the protocol `shown`.

    If `shown` is `all`, each source names its protocol.
    """
    names = [one.dataset for one in benchmarks]
    mean = average(benchmarks, config)
    rows = [["model", *map(title, names), *(["mean"] if mean is not None else []), "source"]]
    own = [show_interval(one.pass_at_1, digits=0) for one in benchmarks]
    rows.append([short_name(str(config["model"])), *own, *([percent(mean)] if mean is not None else []), "this run"])
    for result in results_for(names, shown or protocol_name(config)):
        cells = [_published_cell(result.scores.get(name), result.deviations.get(name)) for name in names]
        if mean is not None:
            cells.append(_published_cell(_mean(result.scores, protocol_of(config)), None))
        source = f"{result.told}, protocol {result.protocol}" if shown == "all" else result.told
        rows.append([result.model, *cells, source])
    return rows


def protocol_table(config: dict[str, Any], mode: Mode) -> Rows:
    """Returns this run's settings above those of every protocol; `=` marks equal ones."""
    own = _own_settings(config, mode)
    header = ["protocol", "n", "T", "top-p", "tokens", "asks", "counts the box", "graded by"]
    rows = [header, ["this run", *own]]
    for protocol in PROTOCOLS.values():
        settings = _settings(protocol, config["datasets"])
        rows.append([protocol.name, *("=" if one == mine else one for one, mine in zip(settings, own, strict=True))])
    return rows


def _own_settings(config: dict[str, Any], mode: Mode) -> list[str]:
    asked = next((one.asks for one in PROTOCOLS.values() if one.prompt == config.get("prompt")), "otherwise")
    return [
        told_numbers(samples_of(config, name) for name in config["datasets"]),
        *(_number(config.get(name)) for name in ("temperature", "top_p", "max_tokens")),
        asked if config.get("prompt") else "unknown",
        _BOXES[config["thinking"]],
        GRADERS[mode],
    ]


def _settings(protocol: Protocol, datasets: list[str]) -> list[str]:
    return [
        told_numbers(map(protocol.samples_of, datasets)),
        *map(_number, (protocol.temperature, protocol.top_p, protocol.max_tokens)),
        protocol.asks,
        _BOXES["no" if protocol.thinking == "no" else "yes"],
        protocol.graded_by,
    ]


_BOXES = {"yes": "after </think>", "no": "anywhere"}


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def detail_table(benchmarks: list[BenchmarkScores]) -> Rows:
    """Returns the numbers behind each Pass@1, one column per benchmark."""
    columns = [_details(one) for one in benchmarks]
    return [
        ["", *(title(one.dataset) for one in benchmarks)],
        *([name, *(c[name] for c in columns)] for name in columns[0] if any(c[name] for c in columns)),
    ]


def _details(one: BenchmarkScores) -> dict[str, str]:
    scored, lengths, largest = len(one.scored), one.lengths(), max(one.pass_at_k)
    samples = f"{scored:,}" if one.is_complete else f"{scored:,} of {one.num_expected:,}"
    if one.these_problems:
        samples += f"\nof at most {one.num_problems * one.num_samples:,}"
    return {
        "problems": str(one.num_problems),
        "samples": samples,
        "pass@1": show_interval(one.pass_at_1),
        "these problems": show_interval(one.these_problems) if one.these_problems else "",
        "pass@k": f"{percent(one.pass_at_k[largest])}\n(k={largest})",
        "maj@n": percent(one.majority),
        "cut off": percent(one.num_truncated / scored),
        "no box": percent(one.reasons.get("no_box", 0) / scored),
        "no </think>": percent(one.reasons["no_think_end"] / scored) if "no_think_end" in one.reasons else "",
        "undecided": str(sum(one.reasons.get(reason, 0) for reason in UNDECIDED)),
        "mean tokens": f"{sum(lengths) / len(lengths):,.0f}" if any(lengths) else "",
    }


def average(benchmarks: list[BenchmarkScores], config: dict[str, Any]) -> float | None:
    """Returns the mean Pass@1 of the benchmarks that the protocol averages; None unless all of them were run."""
    return _mean({one.dataset: one.pass_at_1.value for one in benchmarks}, protocol_of(config))


def _mean(scores: dict[str, float], protocol: Protocol | None) -> float | None:
    """Returns the mean over a protocol's benchmarks; None if one is missing or the protocol has no mean."""
    names = protocol.mean if protocol else ()
    if not names or not set(names) <= set(scores):
        return None
    return sum(scores[name] for name in names) / len(names)


def warnings(benchmarks: list[BenchmarkScores], config: dict[str, Any], provenance: dict[str, Any]) -> list[str]:
    """Returns the caveats that a reader must know before believing the numbers."""
    found = []
    if overrides(config) and results_for([one.dataset for one in benchmarks], str(config["protocol"])):
        found.append(f"The protocol is {told(config)}: not comparable with the published numbers.")
    if config.get("shard"):
        found.append(f"Shard {config['shard']} covers only a part of each benchmark's problems.")
    attempts = [attempt for attempt in provenance.get("attempts", []) if _has_drawn(attempt)]
    differing = [name for name in DIFFERING if len({_comparable(attempt.get(name)) for attempt in attempts}) > 1]
    if differing:
        found.append(f"The samples were drawn in {len(attempts)} attempts that differ in {', '.join(differing)}.")
    for one in benchmarks:
        name, scored = title(one.dataset), len(one.scored)
        if not one.is_complete:
            found.append(f"{name} is partial: {scored} of {one.num_expected} samples.")
        undecided = sum(one.reasons.get(reason, 0) for reason in UNDECIDED)
        if undecided:
            found.append(f"{name}: {undecided} of {scored} answers could not be graded in time; they count as wrong.")
        # Responses that were cut off lack it for another reason.
        if one.reasons.get("no_think_end", 0) - one.num_truncated > scored / 2:
            found.append(f"{name}: most responses lack </think>; if the model does not think, use --thinking no.")
    return found


def _has_drawn(attempt: dict[str, Any]) -> bool:
    """Returns whether an attempt may have drawn samples; one that got no answer from its endpoint has not."""
    engine = attempt.get("engine")
    return not isinstance(engine, dict) or engine.get("answered_as") != []


def _comparable(part: Any) -> str:
    """Returns a part of an attempt as text, without what may differ harmlessly."""
    # max_model_len only follows from the longest prompt; a server may restart at another port, and its host and
    # model are bound to the folder anyway
    return json.dumps({**part, "max_model_len": 0, "base_url": ""} if isinstance(part, dict) else part, sort_keys=True)


def _published_cell(score: float | None, deviation: float | None) -> str:
    if score is None:
        return "-"
    return f"{score:.1f}" + (f"\n±{deviation:.1f}" if deviation else "")
