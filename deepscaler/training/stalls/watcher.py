"""Watches a training from a thread beside the supervisor: notices when it makes no progress, and finds out why.

A file system that hangs must not hang the watcher, so it reads and writes through `Patience`. Most of what it finds is
said and written down by the supervisor's own thread, which may itself be waiting for that file system.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deepscaler.runs.beats import ROLES, Beat, beats_folder, read_beats
from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.runs.phases import BEAT, Moment, Usual, read_moment, usual_of
from deepscaler.system.errors import UserError
from deepscaler.system.patience import HangingError, Patience
from deepscaler.system.stacks import examine, state_of
from deepscaler.training.stalls.cause import Silence, likely_cause, not_replaced
from deepscaler.training.stalls.evidence import collect, write_down, write_sentence

PATIENCE = 10.0
"""Seconds for the run's folder to answer."""

EVIDENCE = 45.0
"""Seconds for evidence to be collected and written down; then the stall is reported without it."""

LOST_TIME = 5 * BEAT
"""Seconds between two looks after which this process itself was stopped, or its machine slept."""

GONE = 20.0
"""Seconds without progress that are allowed once an actor of this machine is dead: verl waits for what it had begun."""

NOT_REPLACED = {*ROLES.values()} - {"reward worker"}
"""Roles of actors that nobody starts again (see verl_plugin/replaced.py); other processes may end when they like."""

DEAD = ("", "Z", "X")
"""The kernel's letters of processes that have ended; the first is that of one without a trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds without progress that are always allowed, and those in a phase that was never seen."""

    floor: float
    ceiling: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """A training that stalls."""

    sentence: str
    folder: Path
    """Findings about the stall."""
    helps_to_restart: bool
    """False if the file system hangs: the training continues when that answers, and a new one would wait, too."""


class Watcher:
    """Looks every two seconds; `stall` is what it has found, until there is progress again."""

    def __init__(
        self,
        run: RunFolder,
        attempt: Attempt,
        limits: Limits,
        environment: Mapping[str, str],
        say: Callable[[str], object],
        is_ending: Callable[[], bool] = lambda: False,
    ) -> None:
        self._attempt, self._limits, self._environment = attempt, limits, environment
        self._run, self._say, self._is_ending = run.root, say, is_ending
        self._usual = _known(run.attempts()[:-1])
        # The attempts before show what is usual; this one compiles again, so it begins with first steps.
        self._usual.begin()
        self._files, self._voice = Patience[object]("stall watcher's look"), Patience[object]("stall watcher's voice")
        self._evidence = Patience[tuple[str, Path]]("stall watcher's evidence")
        self._moment, self._beats = Moment(), dict[tuple[str, int], tuple[Beat, float]]()
        self._progressed = self._answered = self._looked = time.monotonic()
        self._num_looks = 0
        self._seen = set[tuple[str, int]]()
        """Processes that were alive on this machine."""
        self._hung: tuple[str, Silence] | None = None
        """Sentence about a file system that hangs, and its silence, until they can be written there."""
        self._has_failed = False
        """True once an error that nobody expects has been reported."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall watcher", daemon=True)
        self.stall: Stall | None = None
        self.news = False
        """True once `stall` has changed, until that is taken."""

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()  # not joined: it may be waiting for a file system that hangs

    def add(self, step: int, values: dict[str, float]) -> None:
        """Takes what was logged of a step."""
        self._usual.add(values, step)

    def take_news(self) -> Stall | None:
        """Returns what stalls, if anything does."""
        self.news = False
        return self.stall

    def _watch(self) -> None:
        while not self._over.wait(BEAT):
            # Nothing ends this loop: a training that nobody watches could stall for days.
            try:
                self._look_once()
            except (OSError, UserError):
                continue
            except Exception as error:
                if not self._has_failed:  # the next look may succeed, or fail in the same way
                    self._has_failed = self._tell(f"{type(error).__name__}: {error}. It keeps looking.")

    def _look_once(self) -> None:
        now = time.monotonic()
        if now - self._looked > LOST_TIME + PATIENCE:
            lost = now - self._looked
            # The time in which this process was stopped (Ctrl-Z, a laptop's lid) is nobody's silence.
            self._progressed += lost
            self._answered += lost
            self._beats = {key: (beat, since + lost) for key, (beat, since) in self._beats.items()}
        self._looked = now
        try:
            self._files.call(self._look, PATIENCE)
        except HangingError:
            self._files_hang()
        else:
            self._judge()

    def _look(self) -> None:
        """Reads what the processes say, and tries to write: a file system may answer from its cache alone."""
        folder = beats_folder(self._attempt)
        folder.mkdir(exist_ok=True)
        self._num_looks += 1
        # Not atomically: only whether writing comes back matters.
        (folder / "watcher").write_text(f"{self._num_looks}\n", encoding="ascii")
        moment, now = read_moment(self._attempt), time.monotonic()
        if moment.key != self._moment.key:
            self._progressed = now
        self._moment = moment
        before, self._beats = self._beats, {}  # a worker of Ray that is idle again has taken its file away
        for beat in read_beats(self._attempt):
            key = beat.host, beat.pid
            known = before.get(key)
            self._beats[key] = known if known and known[0].beat == beat.beat else (beat, now)
            # A container may share this host's name and count its processes from 1.
            if beat.host == os.uname().nodename and state_of(beat.pid) not in DEAD:
                self._seen.add(key)

    def _judge(self) -> None:
        now, moment = time.monotonic(), self._moment
        if now - self._answered > self._limits.floor:
            self._tell(f"the run's folder answers again after {now - self._answered:.0f} s.")
            self._progressed = now  # all were waiting for it
            self._write_down_hung()
        self._answered = now
        silent = now - self._progressed
        bound = self._usual.bound(moment.phase, self._limits.floor, self._limits.ceiling)
        if silent > GONE and self._is_someone_gone(now):
            bound = min(bound, GONE)
        if silent <= bound:
            if self.stall:
                self._tell("the training continues by itself.")
                self._set(None)
        elif self.stall is None:
            silence = Silence(
                moment=moment,
                seconds=silent,
                usual=self._usual.seconds(moment.phase),
                beats=[(beat, now - since) for beat, since in self._beats.values()],
            )
            self._found(silence)

    def _is_someone_gone(self, now: float) -> bool:
        """Returns whether an actor of this machine has died that nobody will replace, and not because the run ends."""
        here = [(beat, now - since) for key, (beat, since) in self._beats.items() if key in self._seen]
        if not any(beat.role in NOT_REPLACED and state_of(beat.pid) in DEAD for beat, _ in not_replaced(here)):
            return False
        try:
            return not self._files.call(self._is_ending, PATIENCE)
        except Exception:  # of any kind, as the caller's function is: where nobody knows, the usual bound holds
            return False

    def _found(self, silence: Silence) -> None:
        self._remember(silence)
        folder: Path | None
        try:
            sentence, folder = self._evidence.call(lambda: self._collect(silence), EVIDENCE)
            self._answered = time.monotonic()
        except Exception as error:  # a full disk, a file system that hangs, a machine without room for a thread
            why = f" within {EVIDENCE:.0f} s" if isinstance(error, HangingError) else f": {error}"
            sentence = f"{silence}: {likely_cause(silence, {})}; evidence could not be collected{why}."
            folder = None
        self._looked = time.monotonic()  # the time that this took was not lost
        self._set(Stall(sentence=sentence, folder=folder or self._attempt.root, helps_to_restart=True))
        if folder is None:
            self._tell(sentence)  # the supervisor writes it down before it says it, which may hang as well

    def _collect(self, silence: Silence) -> tuple[str, Path]:
        """Saves the evidence of a stall; returns the sentence about it, and the folder."""
        evidence = collect(self._attempt, silence, self._environment)
        cause = likely_cause(silence, evidence.seen, evidence.unreachable, evidence.gone)
        sentence = f"{silence}: {cause}."
        write_sentence(evidence.folder, sentence)
        return sentence, evidence.folder

    def _files_hang(self) -> None:
        """Says once that the run's folder does not answer, and looks at this machine's processes, elsewhere."""
        silent = time.monotonic() - self._answered
        if silent <= self._limits.floor or self.stall:
            return
        silence = Silence(moment=self._moment, seconds=silent)
        self._remember(silence)
        sentence = (
            f"{silence}: the file system of {self._run} has not answered for"
            f" {silent:.0f} s; all processes that use it wait."
        )
        self._hung = sentence, silence
        folder = self._folder_elsewhere()
        # Before anything is written or said: both may hang as the run's folder does.
        self._set(Stall(sentence=sentence, folder=folder or self._attempt.root, helps_to_restart=False))
        stacks = f"Stacks are in {folder}." if folder else f"{tempfile.gettempdir()} has no room for stacks."
        self._tell(f"{sentence} {stacks} It continues once the file system answers; a restart would not.")
        if folder:
            with suppress(OSError, RuntimeError):  # a disk that is full by now, or a process that cannot be looked at
                self._evidence.call(lambda: self._collect_elsewhere(folder, sentence), EVIDENCE)
            self._looked = time.monotonic()

    def _collect_elsewhere(self, folder: Path, sentence: str) -> tuple[str, Path]:
        write_sentence(folder, sentence)
        examine(folder / os.uname().nodename, self._run, self._attempt.number, hanging=self._run)
        return sentence, folder

    def _folder_elsewhere(self) -> Path | None:
        """Returns a new folder that is not the run's, which does not answer; None if this machine's disk is full."""
        try:
            return Path(tempfile.mkdtemp(prefix=f"deepscaler-stall-{self._run.name}-"))
        except OSError:
            return None

    def _write_down_hung(self) -> None:
        """Writes down a stall of the file system once that answers, where others look for stalls."""
        if self._hung:
            (sentence, silence), self._hung = self._hung, None
            with suppress(OSError, RuntimeError):
                self._files.call(lambda: write_down(self._attempt, silence, sentence), PATIENCE)

    def _remember(self, silence: Silence) -> None:
        self._usual.stall(silence.moment.phase, silence.moment.step, silence.seconds)

    def _set(self, stall: Stall | None) -> None:
        self.stall, self.news = stall, True

    def _tell(self, sentence: str) -> bool:
        """Returns whether it could be said: the terminal may hang, or be gone."""
        try:
            self._voice.call(lambda: self._say(f"Stall watcher: {sentence}"), PATIENCE)
        except Exception:
            return False
        return True


def _known(attempts: Sequence[Attempt]) -> Usual:
    """Returns what earlier attempts took; nothing where files are damaged: no training ends by being watched."""
    try:
        return usual_of(attempts)
    except UserError:
        return Usual()
