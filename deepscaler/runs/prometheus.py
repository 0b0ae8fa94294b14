"""Shows Prometheus the state of a run, a chain, or all runs below a folder, read from files at each scrape.

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
    "stalled": "whether the training makes no progress now",
    "stalls": "times that the run has made no progress, in all attempts",
    "goodput": "useful seconds of all attempts over those that they took",
    "seconds_left": "estimated seconds to the last step",
    "heartbeat_age": "seconds since the last sign of life",
    "checkpoint_age": "seconds since the last whole checkpoint",
}
"""Fields of Status, and what they mean."""


FURTHER = {
    "sick": ("whether the last step shows a sign of a sick run", ("run", "stage", "sign")),
    "state": ("1 for the state the run is in", ("run", "stage", "state")),
    "accuracy": ("of the last validation, share of one", ("run", "stage", "dataset")),
    "reward_part": ("mean of a part of the reward, last step", ("run", "stage", "part")),
    "unreadable": ("folders that could not be read, and are left out; the exporter's log names them", ()),
}
"""Metrics with other labels: what they mean, and the labels."""

Sample = tuple[str, tuple[str, ...], float]
"""Name of a metric, values of its labels, value."""


class RunsCollector(Collector):
    """Collects everything that is known of a run or a chain, or of all in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told = dict[str, str]()
        """Why folders could not be read, by their names: each is printed once, though Prometheus asks often."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields a family for each metric; a run that has no value for one is left out of it."""
        about = {name: (told, ("run", "stage")) for name, told in GAUGES.items()} | FURTHER
        families = {
            name: GaugeMetricFamily(f"{PREFIX}_{name}", told, labels=labels) for name, (told, labels) in about.items()
        }
        # Read once for all families, so that all numbers of one scrape are of the same moment.
        for name, labels, value in self._samples():
            families[name].add_metric(labels, value)
        yield from families.values()

    def _samples(self) -> Iterator[Sample]:
        """Yields what is known of all runs; one that cannot be read is counted, named, and left out until it can."""
        folder, told = self._folder.resolve(), dict[str, str]()
        for directory in [folder] if is_training(folder) else sorted(folder.iterdir()):
            name = _label(directory.name)
            # Whatever it is: folders of other users, names that are no UTF-8, files of any content. One of them must
            # not blind the scrape for all others, so all that can fail fails here, not while the answer is written.
            try:
                yield from [sample for status in _statuses(directory) for sample in _of_run(name, status)]
            except Exception as error:
                told[name] = _label(str(error) if isinstance(error, UserError | OSError) else repr(error))
                if told[name] != self._told.get(name):
                    print(f"{time.strftime('%H:%M:%S')} {name}: {told[name]}", flush=True)
        self._told = told
        yield "unreadable", (), len(told)


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


def _statuses(directory: Path) -> list[Status]:
    return read_statuses(directory) if is_training(directory) else []


def _of_run(run: str, status: Status) -> Iterator[Sample]:
    """Yields the samples of a run or of a chain's stage."""
    labels = (run, _label(status.name))
    for name in GAUGES:
        if (value := getattr(status, name)) is not None:
            yield name, labels, float(value)
    # 0 if it is not seen, because an absent series could also mean that nobody has looked.
    for sign in SIGNS if status.attempt else ():
        yield "sick", (*labels, sign), float(sign in (status.alarms or {}))
    yield "state", (*labels, _label(status.state)), 1.0
    for dataset, values in (status.validation or {}).items():
        yield "accuracy", (*labels, _label(dataset)), float(values["last"])
    for part, value in (status.parts or {}).items():
        yield "reward_part", (*labels, part), float(value)


def _label(text: str) -> str:
    """Returns a text as UTF-8 can write it: a name on disk may be any bytes, and JSON may hold half a character."""
    return text.encode(errors="backslashreplace").decode()
