"""What the trainer of one attempt has logged so far, line by line as it comes."""

import json
import time
from collections import deque
from collections.abc import Iterator

from deepscaler.training.run_directory import Attempt, RunDirectory
from deepscaler.training.verl_metrics import corrected

RECENT = 10
"""Steps that tell how long the next one takes."""


class LiveMetrics:
    """Follows `metrics.jsonl` of an attempt; knows how long steps took, in earlier attempts too."""

    def __init__(self, run: RunDirectory, attempt: Attempt) -> None:
        self._limit = int(run.read_manifest()["recipe"]["max_response_length"])
        self._path = attempt.metrics_path
        self._offset = int(attempt.read_record().get("step_offset", 0))
        self._position = 0
        self._last_line = time.monotonic()
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._saves: deque[float] = deque(maxlen=RECENT)
        for earlier in run.attempts()[:-1]:
            if earlier.metrics_path.is_file():
                for line in earlier.metrics_path.read_bytes().splitlines(keepends=True):
                    self._take(line)

    @property
    def has_begun(self) -> bool:
        """Whether the trainer has finished its start, so that a step may be in flight."""
        return self._path.is_file()

    @property
    def seconds_in_step(self) -> float:
        """Since the last step was logged, or since this attempt was started."""
        return time.monotonic() - self._last_line

    @property
    def recent_step_seconds(self) -> list[float]:
        """Of the last steps, with the validation that followed, without saving."""
        return list(self._recent)

    @property
    def save_seconds(self) -> float:
        """Of the slowest recent checkpoint."""
        return max(self._saves, default=0.0)

    def read_new(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Steps (the run's count) that were logged since the last call; a line in the making waits."""
        if not self.has_begun:
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            lines = [line for line in file.readlines() if line.endswith(b"\n")]
        for line in lines:
            self._position += len(line)
            self._last_line = time.monotonic()
            if taken := self._take(line):
                yield taken[0] + self._offset, taken[1]

    def _take(self, line: bytes) -> tuple[int, dict[str, float]] | None:
        try:
            entry = json.loads(line)
        except ValueError:
            return None
        values: dict[str, float] = entry["data"]
        if "timing_s/step" in values:
            save = values.get("timing_s/save_checkpoint", 0.0)
            self._recent.append(values["timing_s/step"] - save + values.get("timing_s/testing", 0.0))
            if save:
                self._saves.append(save)
        return int(entry["step"]), corrected(values, self._limit)
