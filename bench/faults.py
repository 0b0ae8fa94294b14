"""Tests how a training on verl reacts when one of its processes stops, dies or never answers: `python bench/faults.py`.

Trains a tiny model on this machine's processor, injects one fault after another, and prints when each was noticed,
what was named, and when new steps followed. A fault that ends when its cause does (SIGCONT, a file system
that thaws) is reported and then healed, so that one training takes all of these; a killed process needs a restart. The
command is started again where it fails, as SLURM's job and Kubernetes' RayJob do. Freezing a file system takes root.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deepscaler.runs.beats import read_beats, role_of
from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.runs.phases import read_moment
from deepscaler.system.processes import deepscaler_command, process_start
from deepscaler.system.stacks import processes_of

BOUND = 40.0
"""Seconds without progress that are allowed here; the default is 60. The CPU's rollout may wait 30 for a whole turn."""

NOTICED = BOUND + 60.0
"""Seconds in which each fault has to be named."""

PATIENCE = 600.0
"""Seconds for a training to start and make steps on a busy machine."""

RECIPE = """
extends = "quickstart"
name = "faults"
model = "{model}"
num_steps = 100000
save_every = 1
keep = 3
train_batch_size = 2
mini_batch_size = 2
group_size = 4
max_response_length = 8
validate_every = 100000

[reward]
function = "never.py:score"
parts = {{grader = 1.0, function = 0.0}}
timeout = 3600.0
"""

REWARD = """
import time
from pathlib import Path

def score(response):
    while Path("{folder}/hang-reward").exists():
        time.sleep(0.2)
    return 0.0
"""

LOOP = """
import asyncio
from pathlib import Path

from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

original = SingleTurnAgentLoop.run

async def run(self, sampling_params, **kwargs):
    while Path("{folder}/lose-prompt").exists():
        await asyncio.sleep(0.2)
    return await original(self, sampling_params, **kwargs)

SingleTurnAgentLoop.run = run
"""
"""verl imports this module in every process, so that its own agent loop holds prompts while a file is there."""


class Training:
    """A command that trains, started again whenever it fails, and its run."""

    def __init__(
        self, folder: Path, model: Path, run: Path | None = None, on_stall: str = "restart", options: Sequence[str] = ()
    ) -> None:
        self.on_stall, self.options = on_stall, options
        self.folder, self.run = folder, RunFolder(run or folder / "run")
        (folder / "faults.toml").write_text(RECIPE.format(model=model, folder=folder))
        (folder / "never.py").write_text(REWARD.format(folder=folder))
        (folder / "losing_loop.py").write_text(LOOP.format(folder=folder))
        self.output = folder / "output.txt"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def attempt(self) -> Attempt:
        """Returns the newest attempt."""
        return self.run.attempts()[-1]

    def keep_running(self) -> None:
        """Starts the command if it does not run."""
        if self._process is None or self._process.poll() is not None:
            words = deepscaler_command(["train", str(self.folder / "faults.toml"), "--device", "cpu"])
            words += ["--output-dir", str(self.run.root), "--on-stall", self.on_stall, "--stall-after", str(BOUND)]
            words += self.options
            path = os.pathsep.join([str(self.folder), os.environ.get("PYTHONPATH", "")])
            environment = {**os.environ, "PYTHONPATH": path, "VERL_USE_EXTERNAL_MODULES": "losing_loop"}
            with self.output.open("ab") as output:
                self._process = subprocess.Popen(
                    words,
                    stdout=output,
                    stderr=output,
                    # A group of its own, which `end` kills as a whole.
                    start_new_session=True,
                    env=environment,
                )

    def change(self, on_stall: str) -> None:
        """Restarts the command with another policy."""
        if on_stall != self.on_stall:
            self.end()
            self.on_stall = on_stall

    def end(self) -> None:
        """Kills the command; what it started goes with it."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def steps(self) -> int:
        """Returns how many steps all attempts have logged."""
        with suppress(OSError):
            return sum(
                path.read_text(encoding="utf-8").count("timing_s/step")
                for path in self.run.root.glob("attempts/*/metrics.jsonl")
            )
        return 0

    def pid(self, role: str) -> int:
        """Returns a process of the newest attempt, by its role or by the name of its program."""
        for beat in read_beats(self.attempt):
            if beat.role == role:
                return beat.pid
        for pid in processes_of(self.run.root, self.attempt.number):
            words = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
            if role in (role_of(words[0]), Path(words[0]).name):
                return pid
        raise LookupError(f"no {role} in {self.attempt.root}")


Heal = Callable[[], object]
Strike = Callable[[Training], Heal]


@dataclass(frozen=True)
class Result:
    """Holds the outcome of a fault, in seconds from its beginning."""

    noticed: float
    named: str
    steps_again: float


def send(number: signal.Signals, role: str) -> Strike:
    """Returns a fault that signals a process of some role, and heals it with SIGCONT if it still lives."""

    def strike(training: Training) -> Heal:
        pid = training.pid(role)
        began = process_start(pid)
        os.kill(pid, number)
        # By now the number may belong to another process.
        return lambda: os.kill(pid, signal.SIGCONT) if process_start(pid) == began else None

    return strike


def while_generating(strike: Strike) -> Strike:
    """Returns the fault, delayed until the trainer waits for responses."""

    def later(training: Training) -> Heal:
        deadline = time.monotonic() + 60
        while read_moment(training.attempt).phase != "generate" and time.monotonic() < deadline:
            time.sleep(0.05)
        return strike(training)

    return later


def hang(flag: str) -> Strike:
    """Returns a fault by which rewards, or prompts, never return until the attempt has ended."""

    def strike(training: Training) -> Heal:
        (training.folder / flag).touch()
        return (training.folder / flag).unlink

    return strike


def command(*words: object, check: bool = True) -> None:
    """Runs a program of the system."""
    subprocess.run([*map(str, words)], check=check, capture_output=not check)


def freeze(training: Training) -> Heal:
    """Stops all writing to the run's file system (see `disk_that_freezes`)."""
    disk = training.run.root.parent
    command("fsfreeze", "--freeze", disk)
    return lambda: command("fsfreeze", "--unfreeze", disk)


STOP, KILL = signal.SIGSTOP, signal.SIGKILL

WENT_ON = "the training went on"

KILLED = "kill "
"""Begins the names of the faults that only a restart overcomes."""

FAULTS: dict[str, tuple[Strike, str]] = {
    "stop rollout worker": (send(STOP, "rollout worker"), "rollout worker .* stopped"),
    "stop reward worker": (send(STOP, "reward worker"), "reward worker .* stopped"),
    "stop trainer": (send(STOP, "trainer"), "trainer .* stopped"),
    "stop model worker": (send(STOP, "model worker"), "model worker of rank 0 .* stopped"),
    "stop agent loop": (send(STOP, "agent loop"), "agent loop .* stopped"),
    "stop load balancer": (send(STOP, "load balancer"), "load balancer .* stopped"),
    "stop transfer queue": (send(STOP, "transfer queue"), "transfer queue .* stopped"),
    "stop its storage": (send(STOP, "transfer queue's storage"), "storage .* stopped"),
    "stop raylet": (send(STOP, "raylet"), f"raylet .* stopped|failed|{WENT_ON}"),
    "stop Ray's GCS": (send(STOP, "gcs_server"), f"gcs_server .* stopped|failed|{WENT_ON}"),
    "kill rollout worker": (send(KILL, "rollout worker"), "gone|failed"),
    "kill reward worker": (send(KILL, "reward worker"), WENT_ON),
    "kill trainer": (send(KILL, "trainer"), "gone|failed"),
    "kill model worker": (send(KILL, "model worker"), "gone|failed"),
    "kill agent loop": (while_generating(send(KILL, "agent loop")), "gone|failed"),
    "kill transfer queue": (send(KILL, "transfer queue"), "transfer queue .* gone|failed"),
    "kill raylet": (send(KILL, "raylet"), "gone|failed"),
    "kill Ray's GCS": (send(KILL, "gcs_server"), "gone|failed"),
    "reward never returns": (hang("hang-reward"), "a reward has been in progress"),
    "prompt never returns": (hang("lose-prompt"), "a prompt has been in progress .* agent loop"),
    "file system blocked": (freeze, "file system .* has not answered"),
}
"""Each fault, and the words that have to name it."""


def needs_restart(fault: str) -> bool:
    """Returns whether a fault outlasts its cause."""
    return fault.startswith(KILLED)


def wait_for_steps(training: Training, number: int) -> None:
    """Waits until so many steps are logged, as a launcher does."""
    deadline = time.monotonic() + PATIENCE
    while training.steps() < number:
        training.keep_running()
        assert time.monotonic() < deadline, training.output.read_text(errors="replace")[-3000:]
        time.sleep(0.2)


def inflict(training: Training, strike: Strike) -> Result:
    """Injects a fault once the newest attempt has made steps; returns what followed."""
    wait_for_steps(training, training.steps() + 3)
    # what was said of earlier faults is in the same file
    seen, before = len(training.output.read_bytes()), training.steps()
    struck, began = training.attempt, time.monotonic()
    heal = strike(training)
    named = noticed = None
    deadline = began + PATIENCE
    try:
        while named is None and time.monotonic() < deadline:
            time.sleep(0.2)
            named = news(training.output.read_bytes()[seen:].decode(errors="replace"))
            if training._process and training._process.poll() not in (None, 0):
                named = named or "the command ended"
            if time.monotonic() - began > NOTICED and training.steps() > before + 2:
                named = named or WENT_ON
        noticed = time.monotonic() - began
        if training.on_stall == "restart" and not re.search(f"file system|{WENT_ON}", named or ""):  # nobody restarts
            while "ended" not in struck.read_record():
                assert time.monotonic() < deadline, f"{named}, and not ended"
                time.sleep(0.2)
    finally:
        heal()
    wait_for_steps(training, training.steps() + 1)
    return Result(noticed=noticed, named=named or "nothing", steps_again=time.monotonic() - began)


def news(text: str) -> str | None:
    """Returns the line that names a fault, as far as it shows the cause."""
    for line in text.splitlines():
        for begins in ("STALLED: ", "Stall watcher: no progress"):
            if begins in line:
                return line.removeprefix("STALLED: ").removeprefix("Stall watcher: ").partition(" Stacks ")[0]
        if line.startswith("The trainer failed"):
            errors = [one.strip() for one in text.splitlines() if "Error" in one]
            return f"failed: {errors[-1][:150]}" if errors else "failed"
    return None


@contextmanager
def disk_that_freezes(folder: Path) -> Iterator[Path]:
    """Mounts a file system of its own, which can be frozen; it is thawed whatever happens."""
    image, disk = folder / "disk.img", folder / "disk"
    disk.mkdir()
    with image.open("wb") as file:
        # Sparse: it takes as much of the disk as is written.
        file.truncate(1 << 30)
    command("mkfs.ext4", "-q", image)
    command("mount", "-o", "loop", image, disk)
    try:
        yield disk
    finally:
        # It is thawed already unless a fault was interrupted.
        command("fsfreeze", "--unfreeze", disk, check=False)
        # Lazy, because a process that still stands may hold a file of it open.
        command("umount", "--lazy", disk)


def main() -> int:
    """Inflicts every fault, or those that are named, one after another: first those that heal, then the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=tuple(FAULTS), default=tuple(FAULTS), metavar="FAULT")
    parser.add_argument(
        "--model", type=Path, required=True, help="a tiny model: python tests/integration/tiny.py FOLDER"
    )
    parser.add_argument(
        "--on-stall", choices=("report", "restart"), help="action on every stall (default: restart after a kill alone)"
    )
    parser.add_argument("--output-dir", type=Path, help="an empty folder that is kept (default: a temporary one)")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the training ends, too, and the disk is unmounted
    folder = given.output_dir or Path(tempfile.mkdtemp(prefix="faults-"))
    folder.mkdir(exist_ok=True)
    print(f"{folder}\n| fault | noticed after | named as | steps again after |\n|---|---|---|---|", flush=True)
    missed = 0
    with disk_that_freezes(folder) as disk:
        training = Training(folder, given.model.absolute(), disk / "run")
        try:
            for fault in sorted(given.only, key=needs_restart):
                strike, said = FAULTS[fault]
                training.change(given.on_stall or ("restart" if needs_restart(fault) else "report"))
                try:
                    result = inflict(training, strike)
                # one that was not named counts as missed, and the others are inflicted all the same
                except (AssertionError, LookupError) as error:
                    print(f"| {fault} | | {error} | |", flush=True)
                    training.end()  # so that the next fault finds a training that makes steps
                    missed += 1
                    continue
                print(f"| {fault} | {result.noticed:.0f} s | {result.named} | {result.steps_again:.0f} s |", flush=True)
                missed += not re.search(said, result.named)
        finally:
            training.end()
            # what shows the faults, since the run itself is on a disk that is unmounted now
            kept = shutil.ignore_patterns("checkpoints", "resume", "tensorboard")
            shutil.copytree(training.run.root / "attempts", folder / "attempts", ignore=kept)
    print(f"{len(given.only) - missed} of {len(given.only)} named as expected")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
