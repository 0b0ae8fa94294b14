"""Supervises engines that pull from one queue: watches them, restarts dead and hung ones, abandons useless ones."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import KILLED
from evaluation.engines.executors import PATIENCE, Place, Process
from evaluation.engines.pulse import Silence
from evaluation.engines.queue import Queue
from evaluation.folder import EvaluationFolder
from evaluation.progress import SampleProgress
from evaluation.requests import Key
from evaluation.samples import read_samples

POLL = 0.5
"""Seconds between two polls of the processes."""
LOOK = 5.0
"""Seconds between two looks at an engine's samples; each look costs a shared file system some requests."""
LOOK_AT_END = 1.0
"""Seconds between two looks once all work is claimed, because engines may be waiting for the next round."""
STARTS_IN_VAIN = 3
"""Starts without a new sample after which an engine is abandoned. Any other start makes progress, so it may repeat."""
PAUSES = (5.0, 15.0, 60.0)
"""Seconds before an engine restarts, by the number of futile starts. A lost engine may not have ended yet."""
PLACE_DEADLINE = 1800.0
"""Seconds that all engines may wait for a machine, which is enough to replace a lost one."""
LINE_DEADLINE = 120.0
"""Seconds after which a line that cannot be read is broken: a shared file system shows some bytes late."""
NAMED = 3
"""Engines named at most when the command says what it waits for."""


@dataclass(slots=True, kw_only=True)
class ShardRun:
    """Supervises one engine: its folder and the command that draws into it."""

    index: int
    arguments: list[str]
    shard: EvaluationFolder
    logs: Path
    files: list[Path]
    """The files of its samples."""
    is_given_up: bool = False
    process: Process | None = None
    log: Path = Path()
    """The log of the latest start. It exists once a machine has been found."""
    _ended: str = ""
    _drawn: int = 0
    _in_vain: int = 0
    _next: float = 0.0
    """Monotonic seconds of the next start, or of the next look at its samples."""
    _read: dict[Path, int] = field(default_factory=dict)
    """Bytes of each file of samples that have been read."""
    _broken: dict[Path, float] = field(default_factory=dict)
    """Monotonic seconds since when a file's next line cannot be read."""
    _silence: Silence = field(default_factory=Silence)
    _num_claims: int = 0
    num_held: int = 0
    """Samples that it had claimed and not drawn at the last look."""

    @property
    def is_waiting(self) -> bool:
        """Returns whether the engine still waits for a machine."""
        return self.process is not None and not self.log.exists()

    def step(self, place: Place, queue: Queue, console: Console) -> list[int]:
        """Starts the engine or checks on it. Returns the response tokens of every new sample."""
        now = time.monotonic()
        code = self.process.poll() if self.process else None
        if code is None and now < self._next:
            return []
        if self.process is None and not self.is_given_up:
            self._start(place)
            return []
        self._next = now + (LOOK if queue.backlog else LOOK_AT_END)
        drawn = [one for path in self.files for one in self._new_samples(path)]
        self._drawn += len(drawn)
        lengths = [tokens for key, tokens in drawn if queue.drawn(key, tokens)]
        if self.is_given_up:
            # Its machine may have been out of reach only: its samples count, and others draw what it still claims.
            queue.put_back(self.shard.claimed_path)
            return lengths
        if code is None and self._is_hung(queue, has_drawn=bool(drawn)):
            code = self._kill()
        if code is not None:
            # After its last samples were read above: what it has drawn is not handed out again.
            queue.put_back(self.shard.claimed_path)
            self._end(code, console)
        return lengths

    def waits_for(self) -> str:
        """Returns what the engine holds and, if it is silent, since when."""
        minutes = self._silence.seconds / 60
        return f"{self.num_held} of engine {self.index}" + (f", silent for {minutes:.0f} min" if minutes >= 1 else "")

    @property
    def silence(self) -> float:
        """Returns the seconds for which the engine has shown no sign of life."""
        return self._silence.seconds

    def last_words(self) -> str:
        """Returns how the engine last ended, with the last line of its log."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""
        last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it wrote nothing")
        return f"engine {self.index} {self._ended}, {self.log}: {last[-300:]}"

    def _start(self, place: Place) -> None:
        self.logs.mkdir(exist_ok=True)
        number = 1 + sum(1 for _ in self.logs.glob(f"{self.shard.root.name}.*.log"))
        self.log = self.logs / f"{self.shard.root.name}.{number}.log"
        self._drawn = 0
        self._silence = Silence()
        self.shard.alive_path.unlink(missing_ok=True)  # that of an earlier start
        self.process = place.start(self.index, self.arguments, self.log.absolute())

    def _is_hung(self, queue: Queue, *, has_drawn: bool) -> bool:
        """Returns whether the engine has work, and has taken no step for longer than any step takes."""
        num_claims, self.num_held = queue.held(self.shard.claimed_path)
        if self.is_waiting:
            self._silence = Silence()
            return False
        has_moved = has_drawn or num_claims != self._num_claims
        self._num_claims = num_claims
        has_work = self.num_held > 0 or len(queue.backlog) > 0
        self._silence.look(self.shard.alive_path, has_moved=has_moved, has_work=has_work)
        return self._silence.seconds > self._silence.bound

    def _kill(self) -> int:
        assert self.process
        where = self._silence.beats
        self.process.reason = (
            f"({where if where.pid else 'no process yet'}) took no step for {self._silence.seconds / 60:.0f} minutes"
            f" with {self.num_held} claimed samples, and was killed"
        )
        self.process.kill()
        # A process on a machine that hangs does not end, but its claims go to others.
        return self.process.poll() or KILLED

    def _end(self, code: int, console: Console) -> None:
        assert self.process
        self._ended = self.process.reason or f"ended with code {code}"
        self.process, self.num_held = None, 0
        self._in_vain = 0 if self._drawn else self._in_vain + 1
        self.is_given_up = self._in_vain >= STARTS_IN_VAIN
        self._next = time.monotonic() + PAUSES[min(self._in_vain, len(PAUSES) - 1)]
        console.print(f"{self.last_words()}; {'abandoned' if self.is_given_up else 'restarting'}", soft_wrap=True)

    def _new_samples(self, path: Path) -> list[tuple[Key, int]]:
        """Returns the key and the response tokens of every sample added to a file since the last look.

        Raises UserError for a line that stays broken.
        """
        if not path.exists():
            return []
        with path.open("rb") as opened:
            opened.seek(self._read.get(path, 0))
            content = opened.read()
        found: list[tuple[Key, int]] = []
        # Half a line is read again at the next look, and so is one that cannot be read: a shared file system may show
        # bytes that are not written yet.
        for line in content.split(b"\n")[:-1]:
            if not (one := _key_and_tokens(line)):
                if time.monotonic() - self._broken.setdefault(path, time.monotonic()) > LINE_DEADLINE:
                    read_samples(path)  # it names the line
                return found
            found.append(one)
            self._read[path] = self._read.get(path, 0) + len(line) + 1
        self._broken.pop(path, None)
        return found


def run_shards(
    runs: list[ShardRun],
    place: Place,
    queue: Queue,
    next_round: Callable[[], list[Key]],
    progress: SampleProgress,
    console: Console,
) -> None:
    """Supervises engines until all rounds are drawn or all engines are abandoned. Ends the engines however it ends."""
    placed = time.monotonic()
    try:
        while not all(run.is_given_up for run in runs):
            lengths = [length for run in runs for length in run.step(place, queue, console)]
            waiting = sum(run.is_waiting for run in runs)
            working = sum(run.process is not None for run in runs) - waiting
            state = f"{working} of {len(runs)} engines at work"
            state += f", {waiting} waiting for a machine" if waiting else ""
            progress.tell(lengths, state + _last_ones(runs, queue))
            queue.fill()
            if not queue.unseen:
                if not (keys := next_round()):
                    break
                queue.add(keys)
            # The clock runs only while engines wait for a machine and none of them works.
            placed = placed if waiting and not working else time.monotonic()
            if time.monotonic() - placed > PLACE_DEADLINE:
                raise UserError(
                    f"no machine of {place.name} had room for an engine in {PLACE_DEADLINE / 60:.0f} minutes: check"
                    " whether one is lost, busy or has fewer GPUs than --tensor-parallel-size; rerun the same command"
                )
            time.sleep(POLL)
        queue.close()
        _wait([run.process for run in runs if run.process is not None and not run.is_waiting])
    finally:
        _stop([run.process for run in runs if run.process is not None])


def _last_ones(runs: list[ShardRun], queue: Queue) -> str:
    """Returns in words what the command waits for once every missing sample is claimed; empty before."""
    if queue.backlog or not queue.unseen or sum(run.num_held for run in runs) < len(queue.unseen):
        return ""
    holding = sorted((run for run in runs if run.num_held), key=lambda run: -run.silence)
    named = "; ".join(run.waits_for() for run in holding[:NAMED])
    return f", waiting for the last {len(queue.unseen)} samples ({named})"


def _wait(processes: list[Process]) -> None:
    deadline = time.monotonic() + PATIENCE
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        time.sleep(0.1)


def _stop(processes: list[Process]) -> None:
    for process in processes:
        process.stop()
    _wait(processes)
    for process in processes:
        if process.poll() is None:
            process.kill()


def _key_and_tokens(line: bytes) -> tuple[Key, int] | None:
    try:
        sample = json.loads(line)
        return (str(sample["problem_id"]), int(sample["sample"])), int(sample["response_tokens"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
