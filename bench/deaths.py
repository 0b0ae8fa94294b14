"""Measures the cost of a dead process to a training: `python bench/deaths.py --model MODEL --folder FOLDER`.

The script trains on this machine's CPU, kills one process after another with SIGKILL, and reruns the command whenever
it ends, as launchers do. It prints the outcome and the cost in seconds for each kind of process: from the kill to the
next new step, less a usual step. The goodput for a given interval between faults follows from the mean cost. With
--every, faults of all kinds in turn hit one long training, that many seconds apart, and the script measures its
goodput. The same folder resumes.
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from deepscaler.runs.folder import RunFolder
from deepscaler.runs.goodput import goodput_of
from deepscaler.runs.metrics import read_metrics
from deepscaler.system.processes import deepscaler_command
from deepscaler.system.stacks import processes_of

# Ray gives its workers the titles of their actors: ray::RewardLoopWorker.compute_score.
KINDS = {
    "grader's process": r"deepscaler\.rewards\.workers\.worker",
    "reward worker": r"^ray::RewardLoopWorker",
    "agent loop": r"^ray::AgentLoopWorker",
    "rollout engine": r"^ray::(RolloutServer|vLLMHttpServer)",
    "rank": r"^ray::(WorkerDict|ActorRollout)",
    "queue of data": r"^ray::SimpleStorageUnit",
    "trainer": r"^ray::TaskRunner",
    "raylet": r"raylet/raylet ",
}

PATIENCE = 600.0
"""Seconds without a step after which a training counts as lost."""

POLL = 0.5
NO_SUCH = "no such process here"

RECIPE = """
extends = "quickstart"
name = "deaths"
model = "{model}"
num_steps = 1000000
save_every = {save_every}
keep = 2
train_batch_size = 2
mini_batch_size = 2
group_size = 4
max_response_length = 8
validate_every = 1000000
"""


class Training:
    """Runs the command, and reruns it whenever it ends."""

    def __init__(self, model: str, folder: Path, save_every: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        recipe = folder / "deaths.toml"
        recipe.write_text(RECIPE.format(model=model, save_every=save_every))
        self.run, self._log = RunFolder(folder / "run"), folder / "deaths.log"
        self._command = deepscaler_command(
            ["train", str(recipe), "--device", "cpu", "--output-dir", str(self.run.root), "--on-stall", "restart"]
        )
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, stdout=log, stderr=log)

    def look(self) -> None:
        """Starts the command again if it has ended."""
        if self._process.poll() is not None:
            self._process = self._start()

    def step(self) -> int:
        """Returns the last step that was logged."""
        return max(read_metrics(self.run), default=0) if self.run.is_run else 0

    def wait(self, seconds: float, step: int | None = None) -> None:
        """Keeps it running for so many seconds, or until a step is logged."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and (step is None or self.step() < step):
            self.look()
            time.sleep(POLL)

    def processes(self, pattern: str) -> list[int]:
        """Returns the run's processes whose command fits."""
        found = []
        for pid in processes_of(self.run.root):
            with suppress(OSError):
                # it may have ended since it was listed
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if re.search(pattern, command):
                    found.append(pid)
        return found

    def end(self) -> None:
        """Ends the command, which saves first."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(180)


def strike(training: Training, kind: str, usual: float) -> tuple[str, float]:
    """Kills one process; returns the outcome and its cost in seconds."""
    before, attempt = training.step(), training.run.attempts()[-1]
    victims = training.processes(KINDS[kind])
    if not victims:
        return NO_SUCH, 0.0
    os.kill(victims[0], signal.SIGKILL)
    began, noticed = time.monotonic(), None
    # A step that was nearly done may still be logged, so only the second step is certainly new.
    while training.step() < before + 2 and time.monotonic() < began + PATIENCE:
        training.look()
        if noticed is None and "ended" in attempt.read_record():
            noticed = time.monotonic() - began
        time.sleep(POLL)
    cost = max(0.0, time.monotonic() - began - 2 * usual)
    if training.step() < before + 2:
        return f"no step for {PATIENCE:.0f} s", cost
    if noticed is None:
        return "replaced", cost
    return f"{attempt.read_record()['outcome']} after {noticed:.0f} s, resumed", cost


def main() -> None:
    """Kills a process of every kind in turn, and prints a line for each, then the resulting goodput."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--save-every", type=int, default=1)
    parser.add_argument("--every", type=float, default=0.0, help="seconds between faults (default: one after another)")
    parser.add_argument("--seconds", type=float, default=540.0, help="seconds until SIGTERM stops it")
    given = parser.parse_args()
    began = time.monotonic()
    end = began + given.seconds
    training, costs = Training(given.model, given.folder.resolve(), given.save_every), []
    first = training.step()
    # some steps before the first kill, or there would be no usual duration to compare with
    training.wait(given.seconds, first + 3)
    for number, kind in enumerate(given.only):
        due = began + (number + 0.5) * given.every  # half an interval first, so that each fault has a whole one
        training.wait(min(due, end) - time.monotonic())
        if time.monotonic() > end:
            break
        times = [values["timing_s/step"] for values in read_metrics(training.run).values() if "timing_s/step" in values]
        # A median, because the steps after a restart compile and load, and are not usual ones.
        usual = statistics.median(times[-20:])
        what, cost = strike(training, kind, usual)
        print(f"{kind:20} {what:34} {cost:6.1f} s  (a step {usual:.1f} s)", flush=True)
        if what != NO_SUCH:
            costs.append(cost)
    if given.every:
        training.wait(end - time.monotonic())
    training.end()
    if costs:
        mean = statistics.mean(costs)
        shares = ", ".join(f"{1 - mean / every:.3f} every {every // 60} minutes" for every in (600, 3600))
        print(f"mean cost {mean:.1f} s: goodput {shares}")
    spent = goodput_of(training.run, read_metrics(training.run))
    assert spent
    print(
        f"measured goodput {spent.share:.3f}: {spent.useful:.0f} of {spent.allocated:.0f} s, {spent.attempts} attempts"
    )


if __name__ == "__main__":
    main()
