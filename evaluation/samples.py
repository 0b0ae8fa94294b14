"""Stores samples on disk, one JSON line each, as they finish. A kill loses at most the line being written.

{"problem_id": "aime/2024-I-1", "sample": 3, "text": "...", "prompt_tokens": 120, "response_tokens": 8123,
 "finish_reason": "stop", "seed": 1203944, "started": 1763900000.1, "finished": 1763900123.9}
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from deepscaler.system.errors import UserError
from deepscaler.system.files import naming_full_disk

SYNC_INTERVAL = 5.0
"""Seconds between two fsyncs: the most that a power cut can cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Holds one response to one problem."""

    problem_id: str
    sample: int
    """Number of the sample within its problem: 0 .. num_samples - 1."""
    text: str
    """The response, without the prompt and without special tokens."""
    prompt_tokens: int
    response_tokens: int
    finish_reason: str
    """`stop`, or `length` if it was cut off at the token limit."""
    seed: int
    started: float
    """Unix seconds when the request went to the engine."""
    finished: float

    @property
    def key(self) -> tuple[str, int]:
        """Returns the problem and number, which identify the sample within an evaluation."""
        return self.problem_id, self.sample


_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("problem_id", "text", "finish_reason"), str),
    **dict.fromkeys(("sample", "prompt_tokens", "response_tokens", "seed"), int),
    **dict.fromkeys(("started", "finished"), (int, float)),
}


def read_samples(path: Path) -> list[Sample]:
    """Returns the samples of a file, without an incomplete last line. Raises UserError for a broken line."""
    return _parse(path)[0] if path.is_file() else []


def parse_sample(line: bytes) -> Sample:
    """Returns the sample in a line. Raises ValueError, KeyError, TypeError or RecursionError if it holds none."""
    values = json.loads(line)
    return Sample(**{name: _typed(values[name], kind) for name, kind in _TYPES.items()})


class SampleStore:
    """Appends samples to a file; opening it removes an incomplete last line that a kill left."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise UserError(f"{path} is a folder; remove it and run again")
        samples, whole = _parse(path) if path.is_file() else ([], 0)
        self.done = {sample.key for sample in samples}
        """Keys of the samples that were there at the start; the texts of a long run would not fit into memory."""
        self.repaired_bytes = (path.stat().st_size if path.is_file() else 0) - whole
        """Bytes of the incomplete last line that was removed."""
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if self.repaired_bytes:
            with _naming(path):
                os.ftruncate(self._file, whole)
        self._synced = time.monotonic()

    def append(self, sample: Sample) -> None:
        """Writes one line at once. It survives a kill immediately, and a power cut after SYNC_INTERVAL seconds."""
        line = json.dumps(asdict(sample), ensure_ascii=True).encode() + b"\n"
        with _naming(self._path, wanted=len(line)):
            while line:  # os.write may write less than it is given, and O_APPEND keeps each part at the end
                line = line[os.write(self._file, line) :]
            if time.monotonic() - self._synced > SYNC_INTERVAL:
                os.fsync(self._file)
                self._synced = time.monotonic()

    def close(self) -> None:
        """Syncs and closes the file."""
        with _naming(self._path):
            try:
                os.fsync(self._file)
            finally:
                os.close(self._file)

    def __enter__(self) -> "SampleStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _naming(path: Path, wanted: int = 0) -> Iterator[None]:
    """Adds the file to every error of the system: those of a descriptor name none, so a failing disk would not be."""
    try:
        with naming_full_disk(path, wanted):
            yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _typed(value: Any, kind: type | tuple[type, ...]) -> Any:
    # bool is a subclass of int
    # Integers of JSON have no limit, and columns of 64 bits do.
    if not isinstance(value, kind) or isinstance(value, bool) or (isinstance(value, int) and abs(value) >= 1 << 63):
        raise TypeError(f"{value!r:.40} has the wrong type")
    return value


def _parse(path: Path) -> tuple[list[Sample], int]:
    """Returns the samples, and the number of bytes in whole lines."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    samples: dict[tuple[str, int], Sample] = {}
    for number, line in enumerate(content[:whole].split(b"\n")[:-1], start=1):
        try:
            sample = parse_sample(line)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f"{path}: line {number} is not a sample ({error!r}); remove that line and run again"
            ) from error
        # Of two with one key the first counts: gathering that was killed may have copied a sample twice.
        samples.setdefault(sample.key, sample)
    return list(samples.values()), whole
