"""Measures where seconds and CPU seconds go: from a command to its first step, and in a whole quickstart.

python bench/start.py                          a training of the quickstart's recipe: cold, warm, requeued
python bench/start.py --quickstart             `deepscaler quickstart`, by step
python bench/start.py ... --against FOLDER     the same beside another checkout of the kit; both take turns

Phases of a start are those that the run itself recorded (`deepscaler status --timing`). Cold: no file that Python reads
is in the page cache, as far as this user may empty it. Warm: the same again. Requeued: the warm run was killed after
its second step, and the same command resumes. CPU seconds are those of the command and all its descendants, sampled
twice a second: Ray's own count would miss its workers, whose parent ignores their end.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

from deepscaler.models.smollm import small_model
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.moments import start_phases
from deepscaler.system.processes import LIBC, PR_SET_CHILD_SUBREAPER, deepscaler_command, descendants, process_start

HERE = Path(__file__).resolve().parents[1]
PACKAGES = ("deepscaler", "evaluation", "slurm")
PAGES = Path("/proc/sys/vm/drop_caches")
TICKS = os.sysconf("SC_CLK_TCK")
FIRST_STEP, ALL = "from the command to the first step", "all"

Used = dict[str, tuple[float, float]]
"""Seconds on the clock, and of a processor, by phase."""


def main() -> None:
    """Measures in turns, and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quickstart", action="store_true", help="the whole quickstart instead of a training's start")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout of the kit")
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    model = small_model(print)
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)  # what outlives its parent is still seen
    checkouts = [*([arguments.against.resolve()] if arguments.against else []), HERE]
    found: dict[str, list[Used]] = {}
    for checkout in checkouts:
        subprocess.run([sys.executable, "-m", "compileall", "-q", *PACKAGES], cwd=checkout, check=True)
    for _ in range(arguments.repeats):
        for checkout in checkouts:
            with tempfile.TemporaryDirectory(prefix="bench-start-", dir="/var/tmp") as folder:
                measured = (
                    {"": quickstart(checkout, folder)} if arguments.quickstart else starts(checkout, folder, model)
                )
            for kind, used in measured.items():
                found.setdefault(f"{kind} {checkout.name}".strip(), []).append(used)
            tell(found)


def quickstart(checkout: Path, folder: str) -> Used:
    """Runs a quickstart, whose output tells when each step begins."""
    with running(checkout, ["quickstart", "--output-dir", folder]) as (process, cpu_at):
        moments = [("the command", time.time())]
        assert process.stdout
        for line in process.stdout:
            if line.startswith(("== ", "The chain is done")):
                moments.append((line.removeprefix("== ").strip() if line.startswith("== ") else "report", time.time()))
        if process.wait():
            sys.exit(f"the quickstart of {checkout} ended with code {process.returncode}")
    return used_between([*moments, ("", time.time())], cpu_at, ALL)


def starts(checkout: Path, folder: str, model: Path) -> dict[str, Used]:
    """Starts a run cold, another one warm, and resumes that one after a kill."""
    empty_page_cache()
    return {
        "cold": start(checkout, RunFolder(Path(folder, "cold")), model, steps=1),
        "warm": start(checkout, RunFolder(Path(folder, "warm")), model, steps=3, killed_after=2),
        "requeued": start(checkout, RunFolder(Path(folder, "warm")), model, steps=3),
    }


def start(checkout: Path, run: RunFolder, model: Path, *, steps: int, killed_after: int = 0) -> Used:
    """Starts a run, and lets it end or kills it after a step."""
    arguments = ["train", "quickstart", "--device", "cpu", "--output-dir", str(run.root), "--set", f"model={model}"]
    arguments += ["--set", f"num_steps={steps}", "--set", "save_every=1"]
    begun = time.time()
    with running(checkout, arguments) as (process, cpu_at):
        while process.poll() is None:
            if killed_after and (run.root / f"checkpoints/global_step_{killed_after}/seal.json").is_file():
                for pid in (process.pid, *descendants(process.pid)):
                    with suppress(ProcessLookupError):
                        os.kill(pid, 9)
            time.sleep(0.5)
        if process.returncode not in (0, -9):
            sys.exit(f"a start ended with code {process.returncode}; its output is in {run.root}")
    moments = [("", begun)]
    for phase, seconds in start_phases(run.attempts()[-1]):
        moments = [*moments[:-1], (phase, moments[-1][1]), ("", moments[-1][1] + seconds)]
    return used_between(moments, cpu_at, FIRST_STEP)


def used_between(moments: list[tuple[str, float]], cpu_at: Callable[[float], float], total: str) -> Used:
    """Returns the seconds that each phase, from its moment to the next, and all phases together used."""
    used = {name: (end - begin, cpu_at(end) - cpu_at(begin)) for (name, begin), (_, end) in pairwise(moments)}
    first, last = moments[0][1], moments[-1][1]
    return {**used, total: (last - first, cpu_at(last) - cpu_at(first))}


@contextmanager
def running(checkout: Path, arguments: list[str]) -> Iterator[tuple["subprocess.Popen[str]", Callable[[float], float]]]:
    """Starts a command; yields it, and the CPU seconds that it and its descendants had used by a time."""
    before = set(descendants(os.getpid()))
    seen: dict[tuple[int, str], float] = {}
    timeline: list[tuple[float, float]] = [(0.0, 0.0)]
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.5):
            for pid in set(descendants(os.getpid())) - before:
                with suppress(OSError):
                    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
                    seen[pid, process_start(pid) or ""] = sum(map(int, stat.rpartition(")")[2].split()[11:13])) / TICKS
            timeline.append((time.time(), sum(seen.values())))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    process = subprocess.Popen(deepscaler_command(arguments), stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield process, lambda when: timeline[bisect_right(timeline, (when + 0.5, 0.0)) - 1][1]
    finally:
        is_over.set()
        looking.join()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def empty_page_cache() -> None:
    """Empties the kernel's page cache, if this user may."""
    os.sync()
    try:
        PAGES.write_text("3", encoding="ascii")
    except OSError as error:
        print(f"The page cache stays ({error.strerror}): cold means no more than a first start here.")


def tell(found: dict[str, list[Used]]) -> None:
    """Prints the medians of each phase so far: seconds, and CPU seconds."""
    columns = [(kind, which) for kind in found for which in (0, 1)]
    names = list(dict.fromkeys(name for runs in found.values() for one in runs for name in one))
    print(f"\n{'median of ' + str(len(next(iter(found.values())))):<58}", end="")
    print("".join(f"{kind + (', CPU s' if which else ', s'):>20}" for kind, which in columns))
    for name in names:
        cells = [[one[name][which] for one in found[kind] if name in one] for kind, which in columns]
        print(f"{name:<58}" + "".join(f"{statistics.median(cell) if cell else 0:>20.1f}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
