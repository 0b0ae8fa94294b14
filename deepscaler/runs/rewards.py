"""The parts of the reward in training, summed up where responses are scored, and read beside verl's metrics.

attempts/0001/rewards/node17-4711.jsonl
{"step": 3, "data_source": "deepscaler", "count": 12, "sums": {"grader": 5.0, "overlong": -1.5, "score": 3.5}}
=> {3: {"reward/grader/mean": 0.41, "reward/overlong/mean": -0.12, ...}}

A line holds what one of verl's reward workers has scored since its line before, so that a file is appended to by one
process and grows by a line a second at most. Responses count that were discarded later (filter_groups), and of those
of validation only where a validation set is trained on, too.
"""

import json
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

from deepscaler.runs.folder import Attempt, RunFolder

PREFIX = "reward/"

QUIET = 1.0
"""Seconds in which sums are gathered before they are written."""

Sums = dict[tuple[int, str], tuple[int, dict[str, float]]]
"""By step and data source: the number of responses, and the sum of each number."""


class RewardLog:
    """Writes one process's sums; a log without a file drops them."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._unwritten: Sums = {}
        self._timer: threading.Timer | None = None

    @classmethod
    def of_this_process(cls) -> "RewardLog":
        """Returns the log of a process that an attempt has started, told by its environment."""
        root, number = os.environ.get("DEEPSCALER_RUN_DIR"), os.environ.get("DEEPSCALER_ATTEMPT")
        if not root or not number:
            return cls(None)
        name = f"{socket.gethostname()}-{os.getpid()}.jsonl"
        return cls(RunFolder(Path(root)).attempt(int(number)).rewards / name)

    def add(self, step: int, data_source: str, numbers: dict[str, float]) -> None:
        """Counts one response."""
        if self._path is None:
            return
        with self._lock:
            _add(self._unwritten, (step, data_source), 1, numbers)
            if self._timer is None:
                self._timer = threading.Timer(QUIET, self.write)
                self._timer.daemon = True
                self._timer.start()

    def write(self) -> None:
        """Appends what is not written yet; a full disk costs numbers, not the training."""
        with self._lock:
            unwritten, self._unwritten, self._timer = self._unwritten, {}, None
        if self._path is None or not unwritten:
            return
        lines = [
            json.dumps({"step": step, "data_source": source, "count": count, "sums": dict(sums)})
            for (step, source), (count, sums) in unwritten.items()
        ]
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))


def read_rewards(attempt: Attempt, validated: set[str]) -> dict[int, dict[str, float]]:
    """Returns the mean of each number by verl's step, over the training's responses.

    Data sources in `validated` are left out, unless nothing else was scored in a step.
    """
    totals: Sums = {}
    for path in sorted(attempt.rewards.glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            with suppress(ValueError, KeyError, TypeError):  # torn by a kill
                entry = json.loads(line)
                sums = {str(name): float(value) for name, value in entry["sums"].items()}
                _add(totals, (int(entry["step"]), str(entry["data_source"])), int(entry["count"]), sums)
    found: dict[int, dict[str, float]] = {}
    for step in sorted({step for step, _ in totals}):
        here = {source: total for (at, source), total in totals.items() if at == step}
        chosen = {source: total for source, total in here.items() if source not in validated} or here
        count = sum(number for number, _ in chosen.values())
        names = sorted({name for _, total in chosen.values() for name in total})
        found[step] = {
            f"{PREFIX}{name}/mean": sum(total.get(name, 0.0) for _, total in chosen.values()) / count for name in names
        }
    return found


def _add(sums: Sums, key: tuple[int, str], count: int, numbers: dict[str, float]) -> None:
    before, total = sums.get(key, (0, {}))
    sums[key] = (before + count, {**total, **{name: total.get(name, 0.0) + value for name, value in numbers.items()}})
