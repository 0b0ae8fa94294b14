"""Runs a training's mirror in a process beside it, and waits for it at the end, for a bounded time."""

import os
import time
from collections.abc import Callable
from subprocess import Popen

from deepscaler.mirror.uploader import Order, finish_path
from deepscaler.runs.fence import FencedError
from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.runs.mirror_state import read_state
from deepscaler.system import processes
from deepscaler.system.exit_codes import BAD_INPUT, DONE, FENCED
from deepscaler.system.files import write_text
from deepscaler.training.manifest import TrainOptions

FINISH = 300.0
"""Seconds after the training for what is still to be uploaded; less where --deadline comes earlier."""

GRACE = 3.0
"""Seconds for the process to write down how far it is, once its time is over."""

RESTART = 10.0
"""Seconds before a process that ended by itself is started again."""

POLL = 0.2

HUB = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_VERBOSITY": "error"}
"""Variables of the process, for the hub's package.

Xet keeps no bandwidth and shows no byte that moves; warnings name addresses that are signed for whoever has them.
"""


class MirrorProcess:
    """The process beside one attempt; without a mirror nothing happens."""

    def __init__(self, run: RunFolder, attempt: Attempt, options: TrainOptions, say: Callable[[str], None]) -> None:
        self._run, self._attempt, self._options, self._say = run, attempt, options, say
        self._process: Popen[bytes] | None = None
        self._started = 0.0
        self._given_up = not options.mirror
        self._error = ""
        if options.mirror:
            # The same attempt may finish twice: a rerun of a finished run uploads what is left under its last number.
            finish_path(run, attempt.number).unlink(missing_ok=True)
            say(f"Mirroring to {options.mirror}; what fails stands in {self._log}")

    @property
    def _log(self) -> str:
        return str(self._attempt.root / "mirror.log")

    def look(self) -> None:
        """Keeps the process going, and says what the mirror lacks and why. Raises FencedError for a newer attempt."""
        if self._given_up:
            return
        code = self._process.poll() if self._process else DONE
        # The claim in the bucket decides, too: a newer attempt's machine may not share this file system.
        if code == FENCED:
            self._given_up = True
            raise FencedError(f"a newer attempt has taken over {self._options.mirror}")
        if code == BAD_INPUT:
            self._given_up = True
            self._say(f"WARNING: nothing is mirrored any more: {self._last_words()}")
        elif code is not None and time.monotonic() - self._started > RESTART:
            # A pause, or a process that dies at once would be started every two seconds for the whole training.
            self._start()
        state = read_state(self._run)
        if state and state.error != self._error:
            self._error = state.error
            self._say(f"WARNING: the mirror falls behind: {state.error}" if state.error else "The mirror works again.")

    def finish(self, must_stop: Callable[[], bool] = lambda: False) -> None:
        """Waits until all is uploaded, at most FINISH seconds; then says what is not."""
        if self._given_up:
            return
        until = time.time() + FINISH
        if self._options.deadline:
            until = max(time.time(), min(until, self._options.deadline - GRACE))
        # A file, since the process ignores signals: SLURM sends them to all, and it must go by this time instead.
        write_text(finish_path(self._run, self._attempt.number), f"{until}\n")
        if (self._process and self._process.poll() is None) or time.time() < until:
            self._say(f"Finishing the mirror, for {max(0.0, until - time.time()):.0f} s at most.")
        # So that a process that has just died is started once more without a pause: time is short now.
        self._started = 0.0
        try:
            while time.time() < until + GRACE and not must_stop():
                if self._process and self._process.poll() == DONE:
                    break
                self.look()
                if self._given_up:
                    return
                time.sleep(POLL)
        finally:
            self.kill()
        state = read_state(self._run)
        done = self._process is not None and self._process.returncode == DONE
        where = f"{self._options.mirror} has step {state.steps[-1]}" if state and state.steps else "nothing is mirrored"
        if done:
            self._say(f"Mirrored: {where}.")
        else:
            left = ", ".join(state.left) if state and state.left else "what came last"
            self._say(f"WARNING: {where}; not uploaded: {left}. The same command uploads it.")

    def kill(self) -> None:
        """Ends the process at once; what it was sending does not count."""
        if self._process and self._process.poll() is None:
            processes.kill(self._process)

    def _start(self) -> None:
        order = Order(
            run_dir=str(self._run.root),
            attempt=self._attempt.number,
            url=self._options.mirror,
            bandwidth=self._options.mirror_bandwidth * 1e6,
        )
        self._started = time.monotonic()
        self._process = processes.start(
            processes.python_command("-m", "deepscaler.mirror.upload", order.words()),
            log=self._attempt.root / "mirror.log",
            environment={**os.environ, **HUB},
            # It outlives a stop request to upload the checkpoint that the request caused.
            ignored_signals=processes.PASSED_ON,
        )

    def _last_words(self) -> str:
        try:
            lines = (self._attempt.root / "mirror.log").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return "its log cannot be read"
        return lines[-1] if lines else "it said nothing"
