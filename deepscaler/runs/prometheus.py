"""The state of a run, of a chain, or of all below a folder for Prometheus, read from files each time that it asks.

deepscaler_step{run="8k",stage="8k"} 412.0
deepscaler_reward{run="8k",stage="8k"} 0.48
deepscaler_sick{run="8k",stage="8k",sign="cut_off"} 0.0
"""

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from deepscaler.recipes.signs import SIGNS
from deepscaler.runs.outputs import is_training
from deepscaler.runs.status import Status, read_statuses
from deepscaler.system.errors import UserError

PREFIX = "deepscaler"

GAUGES = {
    "step": "optimisation steps done",
    "num_steps": "optimisation steps of the stage",
    "attempt": "starts of the run so far",
    "reward": "mean reward of the last step",
    "response_length": "mean tokens of a response, last step",
    "cut_off": "share of responses at the token limit, last step",
    "undecided": "share of responses whose reward could not be decided, last step",
    "clip_fraction": "share of tokens whose probability ratio was clipped, last step",
    "clip_high_fraction": "share of tokens clipped at the upper bound, last step",
    "clip_low_fraction": "share of tokens clipped at the lower bound, last step",
    "dual_clip_fraction": "share of tokens at the dual clip, last step",
    "kl": "KL from the policy to the reference, nats, last step",
    "mismatch": "KL from the rollout engine's probabilities to the trainer's, nats, last step",
    "correction_cut": "share of tokens whose importance weight was cut, last step",
    "zero_variance": "share of groups whose responses all got one reward, last step",
    "discarded_tokens": "tokens drawn for the last step and thrown away",
    "staleness": "updates between a response's weights and its use, last step",
    "entropy": "of the policy, nats, last step",
    "step_seconds": "mean seconds of the last steps",
    "tokens_per_second": "of prompts and responses, on each GPU",
    "seconds_left": "estimated seconds to the last step",
    "heartbeat_age": "seconds since the last sign of life",
    "checkpoint_age": "seconds since the last whole checkpoint",
}
"""Fields of Status, and what they mean."""


FURTHER = ("sick", "state", "accuracy", "reward_part")
"""Metrics with one label more."""


class RunsCollector(Collector):
    """Collects everything that is known of a run or a chain, or of all in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields a family for each metric; a run that has no value for one is left out of it."""
        found = list(_statuses(self._folder))
        for name, about in GAUGES.items():
            family = GaugeMetricFamily(f"{PREFIX}_{name}", about, labels=("run", "stage"))
            for run, status in found:
                if (value := getattr(status, name)) is not None:
                    family.add_metric((run, status.name), value)
            yield family
        sick = GaugeMetricFamily(
            f"{PREFIX}_sick", "whether the last step shows a sign of a sick run", labels=("run", "stage", "sign")
        )
        for run, status in found:
            for sign in SIGNS if status.attempt else ():
                sick.add_metric((run, status.name, sign), sign in (status.alarms or {}))
        yield sick
        states = GaugeMetricFamily(f"{PREFIX}_state", "1 for the state the run is in", labels=("run", "stage", "state"))
        for run, status in found:
            states.add_metric((run, status.name, status.state), 1)
        yield states
        accuracy = GaugeMetricFamily(
            f"{PREFIX}_accuracy", "of the last validation, share of one", labels=("run", "stage", "dataset")
        )
        for run, status in found:
            for dataset, values in (status.validation or {}).items():
                accuracy.add_metric((run, status.name, dataset), values["last"])
        yield accuracy
        parts = GaugeMetricFamily(
            f"{PREFIX}_reward_part", "mean of a part of the reward, last step", labels=("run", "stage", "part")
        )
        for run, status in found:
            for part, value in (status.parts or {}).items():
                parts.add_metric((run, status.name, part), value)
        yield parts


def registry_of(folder: Path) -> CollectorRegistry:
    """Returns a registry that holds the runs of a folder, and nothing of this process itself."""
    registry = CollectorRegistry(auto_describe=False)  # describing would read every run once before it is asked
    registry.register(RunsCollector(folder))
    return registry


def start(folder: Path, host: str, port: int) -> tuple[WSGIServer, Thread]:
    """Starts to answer /metrics; returns the server and its thread. Raises UserError."""
    try:
        return start_http_server(port, host, registry_of(folder))
    except OSError as error:
        raise UserError(
            f"cannot serve on port {port} of {host} ({error.strerror}): give others with --host and --port"
        ) from error


def _statuses(folder: Path) -> Iterator[tuple[str, Status]]:
    """By the name of the run's folder; a run whose files cannot be read is left out until they can."""
    folder = folder.resolve()
    for directory in [folder] if is_training(folder) else sorted(folder.iterdir()):
        if is_training(directory):
            try:
                yield from ((directory.name, status) for status in read_statuses(directory))
            except (UserError, OSError) as error:
                print(f"{time.strftime('%H:%M:%S')} {directory.name}: {error}", flush=True)
